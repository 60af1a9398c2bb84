"""Eyeballs and the inside of the mouth, drawn into their cells of the texture of a head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from datamodules.atlas import EYE_CELL, EYE_RADIUS, MOUTH_CELL, Atlas, Floats
from datamodules.skin import Color, cover

IRISES = np.array(
    [
        [0.16, 0.09, 0.05],
        [0.26, 0.15, 0.08],
        [0.38, 0.24, 0.12],
        [0.40, 0.40, 0.24],
        [0.36, 0.46, 0.42],
        [0.38, 0.50, 0.62],
        [0.48, 0.54, 0.58],
    ],
    np.float32,
)
VEINS = np.array([0.95, 0.55, 0.5], np.float32)
PUPIL = np.array([0.02, 0.02, 0.02], np.float32)
INSIDE = np.array([0.48, 0.20, 0.19], np.float32)
TONGUE = np.array([0.66, 0.34, 0.33], np.float32)


@dataclass(frozen=True)
class Eyes:
    """A pair of eyes.

    Attributes:
        iris: RGB in [0, 1].
        sclera: RGB in [0, 1].
        radius: Of the iris, millimetres.
        pupil: Radius of the pupil as a share of the iris's.
        limbus: Darkness of the iris's rim, in [0, 1].
        seed: Of the iris's fibres.
    """

    iris: Color
    sclera: Color
    radius: float
    pupil: float
    limbus: float
    seed: int


def sample_eyes(darkness: float, rng: Generator) -> Eyes:
    """Draw eyes; dark-skinned people's are brown."""
    shades = 2 if rng.random() < 2 * darkness else len(IRISES) - 1
    place = rng.uniform(0, shades)
    index = min(int(place), len(IRISES) - 2)
    iris = IRISES[index] + (place - index) * (IRISES[index + 1] - IRISES[index])
    white = np.array([0.90, 0.87, 0.84]) * rng.uniform(0.82, 1.02) * rng.lognormal(0, 0.015, 3)
    return Eyes(
        iris=(iris * rng.lognormal(0, 0.08, 3)).clip(0.02, 0.8).astype(np.float32),
        sclera=white.clip(0, 0.97).astype(np.float32),
        radius=rng.uniform(5.7, 6.4),
        pupil=rng.uniform(0.22, 0.6),
        limbus=rng.uniform(0.2, 0.8),
        seed=int(rng.integers(2**31)),
    )


def paint_eyes(eyes: Eyes, atlas: Atlas, texture: Floats) -> None:
    """Draw the eyes into their cell, in place; sRGB and gloss, both in [0, 1]."""
    rng = np.random.default_rng(eyes.seed)
    cell = atlas.cell(texture, EYE_CELL)
    side = cell.shape[1]
    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) / 0.46 * EYE_RADIUS * 1000
    right, down = np.meshgrid(axis, axis)
    radius = np.hypot(right, down)
    edge = 0.5 * EYE_RADIUS * 4000 / side

    def disc(size: float) -> Floats:
        return np.asarray(((size - radius) / edge + 0.5).clip(0, 1))

    veins = (radius / (EYE_RADIUS * 1000)).clip(0, 1) ** 3
    share = radius / eyes.radius
    fibres = rng.standard_normal(48)[(np.arctan2(down, right) * 24 / np.pi).astype(int)]
    shading = (1.15 - 0.25 * share) * (1 + 0.12 * fibres)
    shading *= 1 - eyes.limbus * ((share - 0.72) / 0.28).clip(0, 1)
    cell[:3] = eyes.sclera[:, None, None] * (1 + 0.5 * veins * (VEINS[:, None, None] - 1))
    cover(cell[:3], disc(eyes.radius), eyes.iris[:, None, None] * shading)
    cover(cell[:3], disc(eyes.radius * eyes.pupil), PUPIL)
    np.clip(cell, 0.01, 1, out=cell)
    cell[3] = 0.65 + 0.33 * disc(eyes.radius)


def paint_mouth(atlas: Atlas, texture: Floats) -> None:
    """Draw the inside of the mouth, darker towards the throat, and the tongue beside it."""
    cell = atlas.cell(texture, MOUTH_CELL)
    half = cell.shape[1] // 2
    depth = np.linspace(0, 1, cell.shape[1], dtype=np.float32)[:, None]
    cell[:3, :, :half] = INSIDE[:, None, None] * np.exp(-3.5 * depth)
    cell[:3, :, half:] = TONGUE[:, None, None] * np.exp(-1.6 * depth)
    cell[3] = 0.55
