"""Pictures of a dataset to coefficients, through the same perception that photos take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from datamodules.records import FaceRecords
from i2fet.coefficients import FaceCoefficients

if TYPE_CHECKING:
    from i2fet.perception import FaceEncoder

DECODER_VERSION = "1"
"""Changes whenever pictures are read in another way, which makes cached coefficients stale."""

BATCH = 32


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3) RGB, or None if the file is no picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def extract(encoder: FaceEncoder, faces: FaceRecords) -> dict[str, Tensor]:
    """Read the coefficients of every record.

    Returns:
        shape (N, 100), expression (N, 50), pose (N, 6), camera (N, 3) and found (N,) bool, in the
        records' order; zeros where no face was found.
    """
    frames = [record.frame for record in faces.records]
    starts = range(0, len(frames), BATCH)
    parts = [
        _extract_batch(encoder, faces.root, frames[start : start + BATCH])
        for start in track(starts, f"Reading {faces.root.name}")
    ]
    coefficients = FaceCoefficients.cat([part for part, _ in parts])
    return {**vars(coefficients), "found": torch.cat([found for _, found in parts])}


def _extract_batch(
    encoder: FaceEncoder, root: Path, frames: Sequence[str]
) -> tuple[FaceCoefficients, Tensor]:
    images = {row: read_picture(root / frame) for row, frame in enumerate(frames)}
    readable = {row: image for row, image in images.items() if image is not None}
    coefficients = FaceCoefficients.zeros(len(frames))
    found = torch.zeros(len(frames), dtype=torch.bool)
    if readable:
        encoded = encoder.encode(list(readable.values()))
        rows = torch.tensor(list(readable))[encoded.found]
        found[rows] = True
        for name, values in vars(coefficients).items():
            values[rows] = getattr(encoded.coefficients, name)[encoded.found]
    return coefficients, found
