"""Write a trained face encoder's network into the package, with a calibrated confidence.

python -m experiments.ship_encoder [CHECKPOINT] [--output FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from datamodules.album import COEFFICIENTS, FACES, AlbumDataModule
from experiments.script import run
from i2fet.coefficients import FaceCoefficients
from i2fet.nn.face_network import TOLERANCE
from i2fet.perception.network import NETWORK_FILE, save_face_network
from i2fet.tasks import FaceEncoderTask

CHECKPOINT = Path("outputs/encoder/cpu/last.ckpt")


@torch.no_grad()
def calibrate(task: FaceEncoderTask, people: dict[str, Tensor]) -> Tensor:
    """(2,) offset and slope of `FaceNetwork.confidence`, by logistic regression on the people.

    Args:
        task: The trained task.
        people: Descriptors and coefficients, eight of each person, the one at rest first.
    """
    network = task.network
    features = network.features(people["descriptors"])
    at_rest = torch.arange(len(features)) // FACES * FACES
    truth = task.head.actions(FaceCoefficients(*(people[name] for name in COEFFICIENTS)))
    sigmas, right = [], []
    for neutral in (None, features[at_rest]):
        reading = network.read(features, neutral)
        errors = (task.head.actions(reading.coefficients) - truth).abs()
        sigmas.append(np.log(TOLERANCE) - reading.sigma.log().flatten().numpy())
        right.append((errors <= TOLERANCE).flatten().numpy())
    regression = LogisticRegression().fit(np.concatenate(sigmas)[:, None], np.concatenate(right))
    return torch.tensor([regression.intercept_[0], regression.coef_[0, 0]]).float()


def main(argv: list[str] | None = None) -> None:
    """Calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--output", type=Path, default=NETWORK_FILE)
    options = parser.parse_args(argv)
    checkpoint = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    task = FaceEncoderTask.load_from_checkpoint(
        options.checkpoint, map_location="cpu", weights_only=True
    ).eval()
    data = AlbumDataModule.load_from_checkpoint(options.checkpoint, weights_only=True)
    data.setup("validate")
    task.network.calibration.copy_(calibrate(task, data.val.tensors))
    people, epochs = data.hparams["people"], checkpoint["epoch"] + 1
    trained = f"{people} synthetic people, {FACES} pictures each, {epochs} epochs"
    save_face_network(task.network, task.config, options.output, task.head, trained=trained)
    size = options.output.stat().st_size / 1e6
    offset, slope = task.network.calibration.tolist()
    print(f"{options.output}: {size:.1f} MB, {trained}")
    print(f"confidence = sigmoid({offset:.2f} + {slope:.2f} log({TOLERANCE} / sigma))")


if __name__ == "__main__":
    run(main)
