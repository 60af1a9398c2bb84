"""Where clips in the wild are taken: cluttered, badly lit, half covered, poorly recorded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.nn import functional

from i2fet.rendering.mesh import Lighting

Picture = NDArray[np.uint8]

COVERED = 0.2
"""Share of the scenes in which something is before the face."""


@dataclass(frozen=True)
class Scene:
    """All about a clip's pictures that is not the person.

    Attributes:
        lighting: Two lamps and the light of the room.
        background: (S, S, 3) RGB.
        cover: RGB of what is before the face.
        covered: (S, S, 1) bool, where that is.
        gamma: Of the exposure; above 1 is too dark.
        blur: Standard deviation, pixels.
        noise: Standard deviation, of 255.
    """

    lighting: Lighting
    background: Picture
    cover: tuple[int, int, int]
    covered: NDArray[np.bool_]
    gamma: float
    blur: float
    noise: float


def sample_scene(size: int, rng: Generator) -> Scene:
    """Draw a scene for pictures of `size` pixels squared."""
    return Scene(
        lighting=_sample_lighting(rng),
        background=_sample_background(size, rng),
        cover=_sample_color(rng),
        covered=_sample_cover(size, rng),
        gamma=rng.lognormal(0, 0.2),
        blur=rng.uniform(0, size / 250),
        noise=rng.uniform(0, 6),
    )


def _sample_lighting(rng: Generator) -> Lighting:
    azimuth = rng.uniform(-1.5, 1.5, 2)
    elevation = rng.uniform(-0.4, 1.1, 2)
    directions = [
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    ]
    tint = rng.lognormal(0, 0.12, (3, 3))
    strength = np.array([rng.uniform(0.12, 0.5), rng.uniform(0.5, 1.0), rng.uniform(0, 0.4)])
    ambient, *lamps = torch.from_numpy(strength[:, None] * tint).float()
    return Lighting(
        ambient=ambient,
        directions=functional.normalize(torch.from_numpy(np.stack(directions, 1)).float(), dim=1),
        colors=torch.stack(lamps),
        wrap=rng.uniform(0.05, 0.5),
    )


def _sample_color(rng: Generator) -> tuple[int, int, int]:
    """RGB, seldom vivid."""
    color = rng.uniform(10, 245) + rng.normal(0, 35, 3)
    red, green, blue = color.clip(0, 255).astype(int).tolist()
    return red, green, blue


def _sample_background(size: int, rng: Generator) -> Picture:
    """Things of all shapes, more or less out of focus."""
    picture = np.full((size, size, 3), _sample_color(rng), np.uint8)
    for _ in range(rng.integers(4, 25)):
        color = _sample_color(rng)
        (x, y), (width, height) = rng.integers(0, size, 2), rng.integers(size // 20, size // 2, 2)
        if rng.random() < 0.5:
            cv2.rectangle(picture, (int(x), int(y), int(width), int(height)), color, cv2.FILLED)
        else:
            axes = (int(width) // 2, int(height) // 2)
            angle = rng.uniform(0, 180)
            cv2.ellipse(picture, (int(x), int(y)), axes, angle, 0, 360, color, cv2.FILLED)
    return _blur(picture, rng.uniform(0.2, size / 40))


def _sample_cover(size: int, rng: Generator) -> NDArray[np.bool_]:
    """(S, S, 1) a microphone from below before the chin or the mouth, or nothing."""
    mask = np.zeros((size, size, 1), np.uint8)
    if rng.random() < COVERED:
        head = int(rng.uniform(0.35, 0.65) * size), int(rng.uniform(0.6, 0.85) * size)
        foot = int(rng.uniform(0.1, 0.9) * size), size
        radius = max(int(rng.uniform(0.03, 0.08) * size), 1)
        cv2.line(mask, head, foot, 1, radius)
        cv2.circle(mask, head, radius, 1, cv2.FILLED)
    return mask > 0


def _blur(picture: Picture, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.01)), np.uint8)


def film(pictures: Picture, scene: Scene, rng: Generator) -> Picture:
    """Pictures (T, S, S, 3) as a poor camera records them in a scene."""
    exposure = 255 * (np.arange(256, dtype=np.float32) / 255) ** scene.gamma
    exposed = exposure[np.where(scene.covered, np.array(scene.cover, np.uint8), pictures)]
    exposed += np.float32(scene.noise) * rng.standard_normal(pictures.shape, np.float32)
    return np.stack(
        [_blur(picture, scene.blur) for picture in exposed.clip(0, 255).astype(np.uint8)]
    )
