"""Pictures of a dataset to coefficients, through the same perception that photos take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from datamodules.clips import decode_clip
from datamodules.records import FaceRecords
from i2fet.coefficients import FaceCoefficients

if TYPE_CHECKING:
    from i2fet.perception import FaceEncoder

DECODER_VERSION = "2"
"""Changes whenever pictures are read in another way, which makes cached coefficients stale."""

BATCH = 32


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3) RGB, or None if the file is no picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_frames(faces: FaceRecords) -> Iterator[NDArray[np.uint8] | None]:
    """(H, W, 3) RGB of every record in turn, each clip decoded once; None where there is none."""
    for frame, records in groupby(faces.records, lambda record: record.frame):
        indices = [record.index for record in records if record.index is not None]
        if indices:
            yield from decode_clip(faces.root / frame, indices)
        else:
            yield read_picture(faces.root / frame)


def extract(encoder: FaceEncoder, faces: FaceRecords) -> dict[str, Tensor]:
    """Read the coefficients of every record.

    Returns:
        shape (N, 100), expression (N, 50), pose (N, 6), camera (N, 3), and bool (N,): `readable`,
        where there is a picture, and `found`, where there is a face in it. In the records' order;
        zeros where no face was found.
    """
    frames = read_frames(faces)
    starts = range(0, len(faces.records), BATCH)
    parts = [
        _extract_batch(encoder, list(islice(frames, BATCH)))
        for _ in track(starts, f"Reading {faces.root.name}")
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _extract_batch(
    encoder: FaceEncoder, images: Sequence[NDArray[np.uint8] | None]
) -> dict[str, Tensor]:
    tensors = vars(FaceCoefficients.zeros(len(images)))
    readable = torch.tensor([image is not None for image in images])
    found = torch.zeros_like(readable)
    if readable.any():
        encoded = encoder.encode([image for image in images if image is not None])
        found[readable] = encoded.found
        for name, values in tensors.items():
            values[found] = getattr(encoded.coefficients, name)[encoded.found]
    return {**tensors, "readable": readable, "found": found}
