"""How much a reading of the same photograph changes with size, crop, mirror, blur and JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from skimage import data
from torch import Tensor

from i2fet.heads import ArkitHead
from i2fet.perception import FaceEncoder, Picture
from i2fet.perception.mirror import Mirror

SHOWN = 0.2
"""Least action, in either reading, that has to agree."""

NAMED = ("mouthSmileLeft", "mouthSmileRight", "browDownLeft", "browDownRight", "jawOpen")


@dataclass(frozen=True)
class Robustness:
    """Of one encoder on one photograph.

    Attributes:
        read: The actions that `NAMED` names, as read from the photograph.
        residual_percent: Of the mesh's landmarks.
        disagreement: For each altered photograph, the action that differs most, and by how much.
    """

    read: dict[str, float]
    residual_percent: float
    disagreement: dict[str, tuple[str, float]]


def photograph() -> Picture:
    """A smiling astronaut, (512, 512, 3)."""
    return np.asarray(data.astronaut(), np.uint8)


def alter(photo: Picture) -> dict[str, Picture]:
    """The same photograph in other ways."""

    def resize(factor: float) -> Picture:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        resized = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=method)
        return np.asarray(resized, np.uint8)

    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=40)
    return {
        "half the size": resize(0.5),
        "0.7 of the size": resize(0.7),
        "twice the size": resize(2),
        "upper left crop": np.ascontiguousarray(photo[:300, 80:380]),
        "close crop": np.ascontiguousarray(photo[30:210, 135:315]),
        "blur of 1 pixel": np.asarray(cv2.GaussianBlur(photo, (0, 0), 1), np.uint8),
        "JPEG 40": np.asarray(Image.open(buffer), np.uint8),
        "mirror": np.ascontiguousarray(photo[:, ::-1]),
    }


def measure_robustness(encoder: FaceEncoder, head: ArkitHead) -> Robustness:
    """Read the photograph in all ways."""
    photo = photograph()
    names, plain = head.action_names, encoder.encode([photo])
    read = head.actions(plain.coefficients)[0]
    disagreement = {}
    for way, altered in alter(photo).items():
        other = head.actions(encoder.encode([altered]).coefficients)
        other = Mirror(head).swap(other)[0] if way == "mirror" else other[0]
        disagreement[way] = _worst(read, other, names)
    values = dict(zip(names, read.tolist(), strict=True))
    return Robustness(
        {name: values[name] for name in NAMED}, float(plain.residual_percent[0]), disagreement
    )


def _worst(read: Tensor, other: Tensor, names: tuple[str, ...]) -> tuple[str, float]:
    difference = (read - other).abs() * ((read > SHOWN) | (other > SHOWN))
    worst = int(difference.argmax())
    return names[worst], float(difference[worst])
