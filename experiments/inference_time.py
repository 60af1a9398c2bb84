"""Time from an instruction to its expressions, of several models side by side (Section IV-D3).

    python -m experiments.inference_time CHECKPOINT [CHECKPOINT ...]

The models take turns, so that whatever else the machine does meets all of them. What follows, from
expressions to pictures, is the same for every model.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from experiments.script import run
from i2fet.nn import PairGenerator, load_generator
from i2fet.text import TokenEmbeddings, load_text_encoder

INSTRUCTION = "Turn this face from surprise to anger."
ROUNDS = 200


def generation_seconds(model: PairGenerator, text: TokenEmbeddings) -> float:
    """Seconds for one pair of expressions."""
    start = time.perf_counter()
    model.generate(text.tokens, text.mask, 1, torch.Generator().manual_seed(0))
    return time.perf_counter() - start


def measure(checkpoints: list[Path]) -> dict[str, float]:
    """Median milliseconds of each model, by its name and checkpoint."""
    models = [load_generator(path) for path in checkpoints]
    encoders = [load_text_encoder(model.provenance.text) for model in models]
    texts = [encoder.encode([INSTRUCTION]) for encoder in encoders]
    times = np.array(
        [
            [generation_seconds(*each) for each in zip(models, texts, strict=True)]
            for _ in range(ROUNDS)
        ]
    )
    medians = 1000 * np.median(times, axis=0)
    names = [f"{model.title}, {path}" for model, path in zip(models, checkpoints, strict=True)]
    return dict(zip(names, medians.tolist(), strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    for name, milliseconds in measure(parser.parse_args().checkpoints).items():
        print(f"{milliseconds:8.2f} ms  {name}")


if __name__ == "__main__":
    run(main)
