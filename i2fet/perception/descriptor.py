"""What the face network is shown of a crop: in which directions brightness changes, and tints.

Histograms of gradient directions over small cells (Dalal and Triggs, 2005) do the work of a
network's first layers without any training, which is most of the work where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2fet.perception.crop import CROP_SIZE
from i2fet.perception.images import Picture

Maps = NDArray[np.float32]

DIRECTIONS = 8
CELL, FINE_CELL, TINT_CELL = 4, 2, 8
"""Sides of the cells, pixels."""

EYES = (slice(36, 60), slice(20, 108))
MOUTH = (slice(88, 124), slice(36, 92))
"""Rows and columns of the crop that are described by fine cells as well."""

SOFTNESS = 1.0
"""Standard deviation of the blur, pixels, that makes sharp pictures look like soft ones."""

DARKNESS = 0.03
"""Added before the square root, which makes changes in the shade count as those in the light."""

FAINT = 0.0016
"""Changes much weaker than this are taken for noise."""

UNIT = 128
MIDDLE = (slice(3, -3), slice(2, -2))
"""Of the cells of tints, those that surely show the face."""

FACE = (0.49, 0.5, 0.48, 0.46)
"""Centre and half axes, down and across, of the ellipse that is kept, in shares of the crop."""


def describe(crop: Picture) -> NDArray[np.uint8]:
    """(D,) of a (160, 128, 3) RGB crop; D is `descriptor_size()`."""
    crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), SOFTNESS), np.uint8)
    light = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    strengths = _direction_strengths(np.sqrt(light + DARKNESS))
    kept, kept_tints = _kept(CELL), _kept(TINT_CELL)
    parts = (
        _histograms(strengths, CELL, 2.0)[:, kept],
        *(_histograms(strengths[:, part[0], part[1]], FINE_CELL, 3.0) for part in (EYES, MOUTH)),
        _tints(crop)[:, kept_tints],
    )
    values = np.concatenate([part.reshape(-1) for part in parts])
    return (values * UNIT).clip(0, 255).astype(np.uint8)


def descriptor_size() -> int:
    """How many numbers describe a crop."""
    return len(mirrored_places())


@cache
def mirrored_places() -> NDArray[np.int64]:
    """(D,) for each number of a descriptor, which number of it describes the mirror image so."""
    turned = (DIRECTIONS // 2 - np.arange(DIRECTIONS)) % DIRECTIONS
    orders = (turned, turned, turned, np.arange(3))
    places = [
        numbers[order][:, :, ::-1][numbers >= 0]
        for numbers, order in zip(grids(), orders, strict=True)
    ]
    return np.concatenate(places)


def grids() -> Iterator[NDArray[np.int64]]:
    """Four times (C, rows, columns): the place in a descriptor of each number of a map, or -1."""
    crop, first = np.ones(CROP_SIZE, bool), 0
    for mask, channels in (
        (_kept(CELL), DIRECTIONS),
        *((crop[part][::FINE_CELL, ::FINE_CELL], DIRECTIONS) for part in (EYES, MOUTH)),
        (_kept(TINT_CELL), 3),
    ):
        numbers = np.full((channels, *mask.shape), -1)
        numbers[:, mask] = first + np.arange(channels * mask.sum()).reshape(channels, -1)
        yield numbers
        first += channels * int(mask.sum())


def _direction_strengths(light: Maps) -> Maps:
    """(8, H, W) how much brightness grows towards each of eight directions."""
    options: dict[str, Any] = {"ksize": 3, "scale": 1 / 8, "borderType": cv2.BORDER_REPLICATE}
    right = cv2.Sobel(light, cv2.CV_32F, 1, 0, **options)
    down = cv2.Sobel(light, cv2.CV_32F, 0, 1, **options)
    size = cv2.magnitude(right, down) + 1e-6
    strengths = np.empty((DIRECTIONS, *light.shape), np.float32)
    half = DIRECTIONS // 2
    for number, angle in enumerate(np.arange(half) * np.pi / half):
        along = right * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle))
        # The square of the cosine tells directions apart better than the cosine.
        along *= np.abs(along) / size
        strengths[number] = np.maximum(along, 0)
        strengths[number + half] = np.maximum(-along, 0)
    return strengths


def _histograms(strengths: Maps, cell: int, surroundings: float) -> Maps:
    """(8, H / cell, W / cell) in units of all strength within some cells around."""
    height, width = strengths.shape[1] // cell, strengths.shape[2] // cell
    kernel = (2 * cell + 1, 2 * cell + 1)
    cells = np.stack(
        [
            cv2.resize(
                cv2.GaussianBlur(strength, kernel, cell / 2),
                (width, height),
                interpolation=cv2.INTER_AREA,
            )
            for strength in strengths
        ]
    )
    energy = cv2.GaussianBlur(np.square(cells).sum(0), (0, 0), surroundings)
    return np.asarray(cells / (np.sqrt(energy) + FAINT), np.float32)


def _tints(crop: Picture) -> Maps:
    """(3, 20, 16) brightness, and how red and how blue, against the middle of the face."""
    size = (CROP_SIZE[1] // TINT_CELL, CROP_SIZE[0] // TINT_CELL)
    cells = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    light = cells.mean(-1)
    face = light[MIDDLE]
    hues = cells / (light[..., None] + 0.05)
    hues -= hues[MIDDLE].mean((0, 1))
    bright = 0.25 * (light - face.mean()) / (face.std() + 0.05)
    return np.stack([bright, hues[..., 0], hues[..., 2]]) + np.float32(1)


def _kept(cell: int) -> NDArray[np.bool_]:
    """(H / cell, W / cell) the cells within the ellipse around the face."""
    top, left, down, across = FACE
    rows, columns = ((np.arange(side // cell) + 0.5) * cell / side for side in CROP_SIZE)
    distance = np.square((rows - top) / down)[:, None] + np.square((columns - left) / across)
    return np.asarray(distance < 1)
