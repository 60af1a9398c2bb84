"""How far MediaPipe's landmarks lie beside the head's on average, measured on synthetic people.

    python -m experiments.landmark_bias [--faces N] [--seed N]

Takes about two minutes. Real photographs then fit better too, though none is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from experiments.script import run
from experiments.synthetic_faces import sample_faces
from i2fet.files import replacing
from i2fet.heads import ArkitHead, load_head
from i2fet.perception.encoder import FITTED, to_picture_frame
from i2fet.perception.fitting import BIAS_FILE, LandmarkFitter, embedding_hash
from i2fet.perception.landmarks import LandmarkDetector

SIZE = 384
ROUNDS = 3


def detect_targets(head: ArkitHead, count: int, seed: int) -> Tensor:
    """(N, 470, 3) detected points of synthetic people, as the fit takes them."""
    detector = LandmarkDetector()
    detected = (detector(image) for _, image in sample_faces(head, count, SIZE, seed))
    points = torch.from_numpy(np.stack([face.points for face in detected if face]))
    sizes = torch.full((len(points), 2), SIZE)
    return to_picture_frame(points, sizes)[:, FITTED]


def measure_bias(head: ArkitHead, targets: Tensor) -> Tensor:
    """(470, 3) metres, in the head's frame: the fit's mean residual, until it is zero."""
    bias = torch.zeros(targets.shape[1:])
    for _ in range(ROUNDS):
        fitter = LandmarkFitter(head, bias=bias)
        estimate = fitter.estimate(targets)
        residual = (targets - fitter.fitted(estimate)) / estimate.scale[:, None, None]
        bias = bias + (residual @ estimate.rotation).mean(0)
    return bias


def main(argv: list[str] | None = None, path: Path = BIAS_FILE) -> None:
    """Measure and write the bias."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faces", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args(argv)
    head = load_head("arkit")
    if not isinstance(head, ArkitHead):
        raise TypeError(f"the head 'arkit' is a {type(head).__name__}")
    bias = measure_bias(head, detect_targets(head, options.faces, options.seed))
    metadata = {"embedding": embedding_hash(head), "faces": str(options.faces)}
    with replacing(path) as unfinished:
        save_file({"bias": bias.contiguous()}, unfinished, metadata)


if __name__ == "__main__":
    run(main)
