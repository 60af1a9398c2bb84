"""Write a trained I2FET into the package, without what only training needs.

python -m experiments.ship_generator CHECKPOINT [--output FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.script import run
from i2fet.checkpoint import read_content, reading_checkpoint, write_shipped
from i2fet.nn.generator import SHIPPED_GENERATOR, ExpressionGenerator


def main(argv: list[str] | None = None) -> None:
    """Read, write, and read again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, default=SHIPPED_GENERATOR)
    options = parser.parse_args(argv)
    with reading_checkpoint(options.checkpoint, ExpressionGenerator.task):
        content = read_content(options.checkpoint)
    write_shipped(content, options.output, ExpressionGenerator.prefix)
    card = ExpressionGenerator.from_checkpoint(options.output).card()
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, {card}")


if __name__ == "__main__":
    run(main)
