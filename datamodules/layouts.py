"""The datasets by name: how each is read, and what the paper makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from datamodules.celebvhq import MIN_EXPRESSIONS, read_celebvhq, read_celebvhq_truth
from datamodules.ckplus import read_ckplus, read_truth
from datamodules.records import FaceRecords
from i2fet.coefficients import FaceCoefficients


@dataclass(frozen=True)
class Layout:
    """How a dataset is read, and what the paper makes of it.

    Attributes:
        read: Lists its frames.
        read_truth: Of its synthetic twin.
        options: Those options of the data module that `read` takes.
        samples: Number of samples in the paper.
        min_expressions: Fewest expressions of a subject.
        max_head_angle: Largest yaw, pitch and roll, degrees.
    """

    read: Callable[..., FaceRecords]
    read_truth: Callable[[FaceRecords], FaceCoefficients]
    options: tuple[str, ...]
    samples: int
    min_expressions: int
    max_head_angle: float


LAYOUTS = {
    "ckplus": Layout(read_ckplus, read_truth, ("apex_frames", "unlabelled"), 26352, 1, math.inf),
    "celebvhq": Layout(
        read_celebvhq,
        read_celebvhq_truth,
        ("frames_per_span", "min_expressions"),
        28335,
        MIN_EXPRESSIONS,
        15,
    ),
}
