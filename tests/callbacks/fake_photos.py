"""Fake pairs with pictures and a cache of what was read off them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from fake_pairs import FakePairs

from i2fet.coefficients import FaceCoefficients


class FakePhotos(FakePairs):
    """Four faces, of which the second has no picture."""

    def __init__(self, cache: str = "nowhere", pictures: bool = True) -> None:
        super().__init__()
        self.encoder_name, self.cache_path = "fake", Path(cache)
        coefficients = FaceCoefficients.zeros(4)
        coefficients.camera[:, 0] = 5
        self.faces = SimpleNamespace(coefficients=coefficients, emotion=torch.arange(4))  # type: ignore[assignment]
        self.rows = {"train": torch.arange(4)}
        self.pictures = pictures

    def picture(self, row: int) -> np.ndarray | None:
        if row == 1 or not self.pictures:
            return None
        return np.full((120, 160, 3), 40 * row, np.uint8)
