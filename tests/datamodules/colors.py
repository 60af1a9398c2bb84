"""A face encoder for tests that worker processes can load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from i2fet.coefficients import FaceCoefficients


@dataclass(frozen=True)
class ColorFaces:
    """Reads a picture's mean colour as three actions; sees no face in black pictures.

    Attributes:
        log: Grows by a letter for each picture read.
        fingerprint: As `FaceEncoder` says.
        seconds: Time that a picture takes.
    """

    log: Path
    fingerprint: str = "1"
    seconds: float = 0.0
    name: str = "colors"

    def __call__(self) -> ColorFaces:
        """Itself, as what loads it."""
        return self

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> SimpleNamespace:
        coefficients = FaceCoefficients.zeros(len(images))
        for row, image in enumerate(images):
            time.sleep(self.seconds)
            coefficients.expression[row, :3] = torch.from_numpy(image.mean((0, 1)))
            with self.log.open("a") as file:
                file.write("x")
        return SimpleNamespace(
            coefficients=coefficients, found=coefficients.expression[:, :3].sum(1) > 0
        )


def write_sequences(root: Path, subjects: int = 3, sequences: int = 3) -> Path:
    """A folder in CK+'s layout whose pictures differ in colour; four labelled frames a sequence."""
    for subject in range(1, subjects + 1):
        for number in range(1, sequences + 1):
            place, stem = f"S{subject:03d}/{number:03d}", f"S{subject:03d}_{number:03d}"
            images, labels = root / "cohn-kanade-images" / place, root / "Emotion" / place
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for frame in range(1, 5):
                picture = np.full((8, 8, 3), (frame, 10 * number, 10 * subject), np.uint8)
                cv2.imwrite(str(images / f"{stem}_{frame:08d}.png"), picture)
            (labels / f"{stem}_00000004_emotion.txt").write_text(f"   {number:.7e}\n")
    return root
