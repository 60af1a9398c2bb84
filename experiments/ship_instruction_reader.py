"""Write a trained instruction reader into the package.

python -m experiments.ship_instruction_reader [CHECKPOINT] [--output FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.script import run
from i2fet.tasks import InstructionReaderTask
from i2fet.text import load_text_encoder
from i2fet.text.listener import READER_FILE, Listener, save_listener

CHECKPOINT = Path("outputs/language/cpu/last.ckpt")
CONFIG = (
    "text_width",
    "words_width",
    "width",
    "heads",
    "layers",
    "dropout",
    "hidden",
    "word_dropout",
)


def main(argv: list[str] | None = None) -> None:
    """Write the network and say what it was trained on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--output", type=Path, default=READER_FILE)
    parser.add_argument(
        "--least-asking",
        type=float,
        default=0.4,
        help="tokens below name no expression; the default has the fewest false alarms of those "
        "that tell as many sentences to ask for nothing, in validation",
    )
    parser.add_argument(
        "--least-confidence",
        type=float,
        default=0.03,
        help="readings below are refused; of the default's, nine in ten were wrong in validation",
    )
    options = parser.parse_args(argv)
    checkpoint = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    data = checkpoint["datamodule_hyper_parameters"]
    task = InstructionReaderTask.load_from_checkpoint(
        options.checkpoint, map_location="cpu", weights_only=True
    )
    listener = Listener(
        task.network,
        load_text_encoder(data["text"]),
        load_text_encoder(data["words"]),
        options.least_asking,
        options.least_confidence,
    )
    config = {name: task.hparams[name] for name in CONFIG}
    vocabulary = "all words and forms" if data["part"] == "all" else "the training words and forms"
    trained = (
        f"{data['sentences']} sentences composed of {vocabulary}, {checkpoint['epoch'] + 1} epochs"
    )
    save_listener(listener, config, options.output, trained=trained)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size:.1f} MB, {trained}, words by {data['words']}")


if __name__ == "__main__":
    run(main)
