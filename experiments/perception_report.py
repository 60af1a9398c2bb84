"""How well photos and synthetic faces are read.

    python -m experiments.perception_report [--faces N] [--seed N] [--output FOLDER]

Writes report.md and report.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from skimage import data
from torch import Tensor

from experiments.synthetic_faces import sample_faces
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.files import replacing
from i2fet.heads import ArkitHead, load_head
from i2fet.perception import FaceEncoder, LandmarkFaceEncoder
from i2fet.perception.encoder import to_picture_frame
from i2fet.perception.fitting import EYE_CORNERS, FitSettings, LandmarkFitter, fitted_points

SIZE = 384
ROUNDS = 7
BATCH = 16
MIN_SHOWN = 5
"""Faces that must show an action before its correlation is counted."""


@dataclass(frozen=True)
class Recovery:
    """Of one action over all faces: correlation and slope of the read on the true values."""

    name: str
    shown: int
    correlation: float
    slope: float


@dataclass(frozen=True)
class Report:
    """Medians, means and minima as their names say; distances in % of that between the eyes.

    `true_landmarks_median_correlation` is what the same fit reads from landmarks without error.
    """

    faces: int
    found: int
    photo_residual: float
    residual_mean: float
    residual_worst: float
    vertex_error_all: float
    vertex_error_front: float
    head_pose_error_degrees: float
    median_correlation: float
    median_slope: float
    true_landmarks_median_correlation: float
    milliseconds_single: float
    milliseconds_batched: float
    recovery: tuple[Recovery, ...]


def best_time(function: Callable[[], object]) -> float:
    """Shortest of some runs, milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def eye_distance(landmarks: Tensor) -> Tensor:
    """(N,) between the middles of the eyes in the picture, for (N, L, 3)."""
    near, far = (landmarks[:, list(corners), :2].mean(1) for corners in EYE_CORNERS)
    return (near - far).norm(dim=-1)


def front_vertices(head: ArkitHead) -> Tensor:
    """(V,) bool, those no further back or out than the landmarks."""
    landmarks = head.landmarks(head.template[None])[0]
    inside = (head.template >= landmarks.amin(0)) & (head.template <= landmarks.amax(0))
    return inside.all(1)


def vertex_errors(
    head: ArkitHead, read: FaceCoefficients, true: FaceCoefficients
) -> tuple[float, float]:
    """Mean error of the projected vertices, all and front, %."""
    seen, expected = (
        project(head.vertices(face), face.camera, SIZE, SIZE) for face in (read, true)
    )
    error = (seen - expected)[..., :2].norm(dim=-1)
    percent = 100 * error / eye_distance(head.landmarks(expected))[:, None]
    return float(percent.mean()), float(percent[:, front_vertices(head)].mean())


def pose_error(read: FaceCoefficients, true: FaceCoefficients) -> float:
    """Mean angle between the head rotations, degrees."""
    turns = [Rotation.from_rotvec(face.global_rotation.numpy()) for face in (read, true)]
    return float(np.degrees((turns[0].inv() * turns[1]).magnitude()).mean())


def recover(
    head: ArkitHead, read: FaceCoefficients, true: FaceCoefficients
) -> tuple[Recovery, ...]:
    """Of the 50 actions and the jaw."""

    def actions(face: FaceCoefficients) -> NDArray[np.float32]:
        opening = face.jaw[:, :1] / head.jaw_open_angle
        return torch.cat([face.expression, opening], dim=1).numpy()

    rows = []
    names = (*head.expression_names, "jaw")
    for name, seen, expected in zip(names, actions(read).T, actions(true).T, strict=True):
        (variance, covariance), (_, seen_variance) = np.cov(expected, seen)
        scale = np.sqrt(variance * seen_variance)
        correlation = covariance / scale if scale > 0 else 0.0
        slope = covariance / variance if variance > 0 else 0.0
        rows.append(Recovery(name, int((expected > 0).sum()), float(correlation), float(slope)))
    return tuple(rows)


def median_of(rows: tuple[Recovery, ...], field: str) -> float:
    """Over the actions that enough faces show."""
    values = [getattr(row, field) for row in rows if row.shown >= MIN_SHOWN]
    return float(np.median(values)) if values else float("nan")


def read_true_landmarks(head: ArkitHead, true: FaceCoefficients) -> FaceCoefficients:
    """What the fit makes of landmarks without error."""
    points = project(fitted_points(head, head.vertices(true)), true.camera, SIZE, SIZE)
    fitter = LandmarkFitter(head, FitSettings(noise=5e-4))
    return fitter(to_picture_frame(points, torch.full((len(true), 2), SIZE)))[0]


def measure(encoder: FaceEncoder, head: ArkitHead, count: int, seed: int) -> Report:
    """Read a photograph and `count` synthetic faces."""
    portrait = np.asarray(data.astronaut())
    faces, images = zip(*sample_faces(head, count, SIZE, seed), strict=True)
    encoded = encoder.encode(images)
    photo = encoder.encode([portrait])
    rows = encoded.found.nonzero()[:, 0]
    true = FaceCoefficients.cat(faces)[rows]
    read, residual = encoded.coefficients[rows], encoded.residual_percent[rows]
    recovery = recover(head, read, true)
    every, front = vertex_errors(head, read, true)
    ceiling = recover(head, read_true_landmarks(head, true), true)
    return Report(
        faces=count,
        found=len(rows),
        photo_residual=float(photo.residual_percent[0]),
        residual_mean=float(residual.mean()),
        residual_worst=float(residual.max()),
        vertex_error_all=every,
        vertex_error_front=front,
        head_pose_error_degrees=pose_error(read, true),
        median_correlation=median_of(recovery, "correlation"),
        median_slope=median_of(recovery, "slope"),
        true_landmarks_median_correlation=median_of(ceiling, "correlation"),
        milliseconds_single=best_time(lambda: encoder.encode([portrait])),
        milliseconds_batched=best_time(lambda: encoder.encode([portrait] * BATCH)) / BATCH,
        recovery=recovery,
    )


def to_markdown(name: str, report: Report) -> str:
    """The report as two tables."""
    summary = {key: value for key, value in vars(report).items() if key != "recovery"}
    lines = [f"# Face encoder `{name}` on a photograph and synthetic faces", ""]
    lines += ["| measure | value |", "|---|---:|"]
    lines += [f"| {key.replace('_', ' ')} | {value:.4g} |" for key, value in summary.items()]
    lines += ["", "| action | faces that show it | r | slope |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.name} | {row.shown} | {row.correlation:.2f} | {row.slope:.2f} |"
        for row in report.recovery
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faces", type=int, default=200, help="synthetic faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/perception"))
    options = parser.parse_args(argv)
    head = load_head("arkit")
    if not isinstance(head, ArkitHead):
        raise TypeError(f"the head 'arkit' is a {type(head).__name__}")
    encoder = LandmarkFaceEncoder(head)
    report = measure(encoder, head, options.faces, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": to_markdown(encoder.name, report),
        "report.json": json.dumps(asdict(report), indent=2) + "\n",
    }
    for file, text in texts.items():
        with replacing(options.output / file) as unfinished:
            unfinished.write_text(text)
    print(texts["report.md"])


if __name__ == "__main__":
    main()
