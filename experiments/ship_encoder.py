"""Write a trained face encoder's network into the package, smaller, with a calibrated confidence.

python -m experiments.ship_encoder [CHECKPOINT] [--rank N] [--output FILE]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from datamodules.album import COEFFICIENTS, FACES, AlbumDataModule
from experiments.script import run
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.nn.face_network import TOLERANCE, FaceNetwork
from i2fet.perception.network import NETWORK_FILE, build_face_network, save_face_network
from i2fet.tasks import SecondLookTask

CHECKPOINT = Path("outputs/encoder/cpu/second.ckpt")
LARGEST = ("first.trunk.4", "second.surroundings.3")
"""The matrices that hold most of the weights: behind the patches, and behind the windows."""

RANK = 384
TYPICAL = 1024
"""People of the training by whom matrices are approximated."""

Config = dict[str, dict[str, Any]]


@torch.no_grad()
def compress(
    network: FaceNetwork, config: Config, descriptors: Tensor, rank: int
) -> tuple[FaceNetwork, Config]:
    """Replace the largest matrices by products of two smaller ones.

    Of all matrices of the rank, these change the layers' outputs for the given crops least:
    outputs are projected on their principal directions.

    Args:
        network: As `build_face_network` makes it.
        config: With which it was built.
        descriptors: (N, D) of typical crops.
        rank: Of the products; the matrices' own rank at most.

    Returns:
        The smaller network, and the arguments of `build_face_network` for it.
    """
    outputs: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(partial(_keep, outputs, name))
        for name in LARGEST
    ]
    network.features(descriptors)
    for hook in hooks:
        hook.remove()
    state = network.state_dict()
    for name in LARGEST:
        weight = state.pop(f"{name}.weight")
        directions = torch.linalg.svd(outputs[name], full_matrices=False).Vh[:rank]
        state[f"{name}.0.weight"], state[f"{name}.1.weight"] = directions @ weight, directions.T
    config = {
        look: {**options, "rank": len(state[f"{name}.0.weight"])}
        for (look, options), name in zip(config.items(), LARGEST, strict=True)
    }
    smaller = build_face_network(**config).eval()
    smaller.load_state_dict(state)
    return smaller, config


def _keep(outputs: dict[str, Tensor], name: str, _: nn.Module, __: Any, output: Tensor) -> None:
    outputs[name] = output


@torch.no_grad()
def calibrate(network: FaceNetwork, head: ArkitHead, people: dict[str, Tensor]) -> Tensor:
    """(2,) offset and slope of `FaceNetwork.confidence`, by logistic regression on the people.

    Args:
        network: A trained one.
        head: Whose coefficients it reads.
        people: Descriptors and coefficients, eight of each person, the one at rest first.
    """
    features = network.features(people["descriptors"])
    at_rest = torch.arange(len(features)) // FACES * FACES
    truth = head.actions(FaceCoefficients(*(people[name] for name in COEFFICIENTS)))
    sigmas, right = [], []
    for neutral in (None, features[at_rest]):
        reading = network.read(features, neutral)
        errors = (head.actions(reading.coefficients) - truth).abs()
        sigmas.append(np.log(TOLERANCE) - reading.sigma.log().flatten().numpy())
        right.append((errors <= TOLERANCE).flatten().numpy())
    regression = LogisticRegression().fit(np.concatenate(sigmas)[:, None], np.concatenate(right))
    return torch.tensor([regression.intercept_[0], regression.coef_[0, 0]]).float()


def main(argv: list[str] | None = None) -> None:
    """Calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--rank", type=int, default=RANK, help="of the largest matrices")
    parser.add_argument("--output", type=Path, default=NETWORK_FILE)
    options = parser.parse_args(argv)
    checkpoint = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    task = SecondLookTask.load_from_checkpoint(
        options.checkpoint, map_location="cpu", weights_only=True
    ).eval()
    people = checkpoint["datamodule_hyper_parameters"]["people"]
    data = AlbumDataModule.load_from_checkpoint(
        options.checkpoint, weights_only=True, people=min(people, TYPICAL)
    )
    data.setup("fit")
    typical = data.train.tensors["descriptors"]
    network, config = compress(task.network, task.config, typical, options.rank)
    network.calibration.copy_(calibrate(network, task.head, data.val.tensors))
    trained = f"{people} synthetic people, {FACES} pictures each, {checkpoint['epoch'] + 1} epochs"
    save_face_network(network, config, options.output, task.head, trained=trained)
    size = options.output.stat().st_size / 1e6
    offset, slope = network.calibration.tolist()
    print(f"{options.output}: {size:.1f} MB, {trained}")
    print(f"confidence = sigmoid({offset:.2f} + {slope:.2f} log({TOLERANCE} / sigma))")


if __name__ == "__main__":
    run(main)
