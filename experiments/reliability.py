"""Whether the confidences of the learned encoder are honest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from experiments.synthetic_faces import Photos, cover_mouths, take_photos
from i2fet.files import replacing
from i2fet.heads import ArkitHead
from i2fet.nn.face_network import TOLERANCE
from i2fet.perception import FaceEncoder
from i2fet.perception.readout import PARTS

BINS = 10
MIN_READINGS = 20
"""In a bin, for it to be drawn."""

YAWS = ((0, 15), (15, 30), (30, 45), (45, 60))


@dataclass(frozen=True)
class Reliability:
    """Of some readings of actions.

    Attributes:
        readings: How many.
        confidence: Mean confidence.
        right: Share that is right within the tolerance.
        calibration_error: Mean distance of the two over bins of confidence, by their size.
        curve: For each bin of some readings, mean confidence and share that is right.
    """

    readings: int
    confidence: float
    right: float
    calibration_error: float
    curve: tuple[tuple[float, float], ...]


def measure_group(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> Reliability:
    """Compare (M,) confidences with what was right."""
    share, mean = calibration_curve(right, confidence, n_bins=BINS)
    count = np.histogram(confidence, bins=BINS, range=(0, 1))[0]
    count = count[count > 0]
    error, full = np.average(np.abs(share - mean), weights=count), count >= MIN_READINGS
    return Reliability(
        readings=len(right),
        confidence=float(confidence.mean()),
        right=float(right.mean()),
        calibration_error=float(error),
        curve=tuple(zip(mean[full].tolist(), share[full].tolist(), strict=True)),
    )


def measure_reliability(
    encoder: FaceEncoder, head: ArkitHead, frontal: Photos, seed: int
) -> dict[str, Reliability]:
    """By yaw, and of covered mouths.

    Args:
        encoder: That knows confidences.
        head: Its head.
        frontal: Photos from the front, on which mouths are covered as well.
        seed: Of the people who turn.
    """
    groups = {}
    for low, high in YAWS:
        yaw = (float(np.radians(low)), float(np.radians(high)))
        photos = take_photos(len(frontal) // len(YAWS), seed + high, yaw)
        groups[f"yaw {low} to {high} degrees"] = _measure(encoder, head, photos, "")
    covered = cover_mouths(frontal, head, seed)
    groups["mouth actions, seen"] = _measure(encoder, head, frontal, "mouth")
    groups["mouth actions, covered"] = _measure(encoder, head, covered, "mouth")
    return groups


def _measure(encoder: FaceEncoder, head: ArkitHead, photos: Photos, part: str) -> Reliability:
    faces = encoder.encode(photos.pictures)
    beginnings = PARTS.get(part, ("",))
    columns = [i for i, name in enumerate(head.action_names) if name.startswith(beginnings)]
    error = (head.actions(faces.coefficients) - head.actions(photos.truth)).abs()
    right = (error <= TOLERANCE)[faces.found][:, columns]
    confidence = faces.confidence[faces.found][:, columns].double()
    return measure_group(right.flatten().numpy(), confidence.flatten().numpy())


def draw_reliability(groups: Mapping[str, Reliability], path: Path) -> None:
    """Draw the curves."""
    figure, axes = plt.subplots(figsize=(6, 5.5), layout="constrained")
    axes.plot([0, 1], [0, 1], "--", color="grey", label="honest")
    for name, group in groups.items():
        axes.plot(*np.reshape(group.curve, (-1, 2)).T, "o-", label=name)
    axes.set(
        xlabel="confidence", ylabel=f"share right within {TOLERANCE}", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)
