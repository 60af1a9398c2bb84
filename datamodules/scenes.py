"""Where and how people are photographed: light, background, what is in the way, the camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.nn import functional

from i2fet.rendering.mesh import Lighting

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

COVERED = 0.2
"""Share of the scenes in which something is before the face."""
GREY = 0.08
"""Share of the scenes recorded without colour."""
SHAKEN = 0.15
"""Share of the scenes in which the camera or the head moved."""


@dataclass(frozen=True)
class Scene:
    """All about a clip's pictures that is not the person.

    Attributes:
        lighting: One to three lamps and the light of the room.
        background: (S, S, 3) RGB.
        cover: (S, S, 3) RGB of what is before the face.
        covered: (S, S, 1) how much of each pixel it hides, in [0, 1].
        gamma: Of the exposure; above 1 is too dark.
        balance: (3,) factors on the colours.
        grey: Whether the picture has no colours.
        detail: Share of the pixels along each side that the recording keeps.
        blur: Standard deviation, pixels.
        shake: (2,) pixels right and down that the picture moves during the exposure.
        noise: Standard deviation, of 255.
        quality: Of the JPEG compression, 30 to 95; 100 is none.
    """

    lighting: Lighting
    background: Picture
    cover: Picture
    covered: Floats
    gamma: float
    balance: Floats
    grey: bool
    detail: float
    blur: float
    shake: tuple[float, float]
    noise: float
    quality: int


def sample_scene(size: int, rng: Generator) -> Scene:
    """Draw a scene for pictures of `size` pixels squared."""
    cover, covered = _sample_cover(size, rng)
    length = size * rng.uniform(0.005, 0.03) * (rng.random() < SHAKEN)
    angle = rng.uniform(0, np.pi)
    return Scene(
        lighting=_sample_lighting(rng),
        background=_sample_background(size, rng),
        cover=cover,
        covered=covered,
        gamma=rng.lognormal(0, 0.2),
        balance=rng.lognormal(0, 0.06, 3).astype(np.float32),
        grey=rng.random() < GREY,
        detail=rng.uniform(0.3, 0.9) if rng.random() < 0.25 else 1.0,
        blur=rng.uniform(0, size / 250),
        shake=(length * np.cos(angle), length * np.sin(angle)),
        noise=rng.uniform(0, 6),
        quality=int(rng.integers(30, 96)) if rng.random() < 0.8 else 100,
    )


def _sample_lighting(rng: Generator) -> Lighting:
    """A key light from the front or the side, up to two others, and the room."""
    lamps = rng.integers(1, 4)
    azimuth = rng.uniform(-1.5, 1.5, lamps)
    elevation = rng.uniform(-0.4, 1.1, lamps)
    directions = [
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    ]
    tint = rng.lognormal(0, 0.12, (lamps + 1, 3))
    strength = np.array([rng.uniform(0.12, 0.6), rng.uniform(0.4, 1.0), *rng.uniform(0, 0.4, 2)])
    ambient, *colors = torch.from_numpy(strength[: lamps + 1, None] * tint).float()
    return Lighting(
        ambient=ambient,
        directions=functional.normalize(torch.from_numpy(np.stack(directions, 1)).float(), dim=1),
        colors=torch.stack(colors),
        wrap=rng.uniform(0.05, 0.5),
    )


def _sample_color(rng: Generator) -> tuple[int, int, int]:
    """RGB, seldom vivid."""
    color = rng.uniform(10, 245) + rng.normal(0, 35, 3)
    red, green, blue = color.clip(0, 255).astype(int).tolist()
    return red, green, blue


def _sample_background(size: int, rng: Generator) -> Picture:
    """A wall, a room or clutter, more or less out of focus."""
    fill: tuple[Callable[[int, Generator], Picture], ...] = (_wall, _room, _clutter)
    kind = rng.choice(3, p=(0.3, 0.3, 0.4))
    return _blur(fill[kind](size, rng), rng.uniform(0.2, size / 40))


def _wall(size: int, rng: Generator) -> Picture:
    """Light that falls off across an even or grainy surface."""
    corners = np.array([_sample_color(rng)] * 4) * rng.uniform(0.6, 1.2, (4, 1))
    wall = cv2.resize(corners.reshape(2, 2, 3), (size, size), interpolation=cv2.INTER_LINEAR)
    grain = rng.standard_normal((size // 4, size // 4, 1)) * rng.uniform(0, 12)
    wall += cv2.resize(grain, (size, size))[..., None]
    return np.asarray(wall.clip(0, 255), np.uint8)


def _room(size: int, rng: Generator) -> Picture:
    """Upright things before a wall, above a floor or a table; sometimes a bright window."""
    picture = _wall(size, rng)
    floor = int(rng.uniform(0.6, 1.1) * size)
    picture[floor:] = _sample_color(rng)
    for _ in range(rng.integers(1, 8)):
        left, width = rng.integers(0, size), rng.integers(size // 25, size // 3)
        top = rng.integers(0, size)
        color = (255, 250, 240) if rng.random() < 0.15 else _sample_color(rng)
        cv2.rectangle(picture, (left, top), (left + width, size), color, cv2.FILLED)
        for shelf in range(top, size, max(size // int(rng.integers(4, 20)), 2)):
            cv2.line(picture, (left, shelf), (left + width, shelf), _sample_color(rng), 1)
    return picture


def _clutter(size: int, rng: Generator) -> Picture:
    """Things of all shapes."""
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
    return picture


def _sample_cover(size: int, rng: Generator) -> tuple[Picture, Floats]:
    """A microphone or a hand before the lower half of the picture, or nothing."""
    picture = np.zeros((size, size, 3), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    if rng.random() < COVERED:
        (_hold_microphone if rng.random() < 0.5 else _hold_hand)(picture, mask, rng)
        mask = _blur(mask, 0.4 + size / 500)
        mask[: size // 2] = 0
    return picture, (mask.astype(np.float32) / 255)[..., None]


def _hold_microphone(picture: Picture, mask: Picture, rng: Generator) -> None:
    size = len(mask)
    head = int(rng.uniform(0.35, 0.65) * size), int(rng.uniform(0.65, 0.85) * size)
    foot = int(rng.uniform(0.1, 0.9) * size), size
    radius = max(int(rng.uniform(0.03, 0.08) * size), 1)
    picture[:] = _sample_color(rng)
    cv2.circle(picture, (head[0] - radius // 3, head[1] - radius // 3), radius // 2, (90,) * 3, -1)
    cv2.line(mask, head, foot, 255, radius)
    cv2.circle(mask, head, radius, 255, cv2.FILLED)


def _hold_hand(picture: Picture, mask: Picture, rng: Generator) -> None:
    """Fingers side by side, each with a bright ridge, that reach in from one side or from below."""
    size = len(mask)
    thick = rng.uniform(0.05, 0.08) * size
    angle = rng.uniform(-2.6, -0.5)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    tip = rng.uniform((0.25, 0.6), (0.75, 0.9)) * size
    skin = np.array([230, 175, 145]) * rng.uniform(0.3, 1.05)
    ends = [0.0, -0.5, -0.4, 0.3]
    for finger in range(rng.integers(2, 5)):
        start = tip + across * thick * 0.95 * (finger - 1.5) + along * thick * ends[finger]
        stop = start - along * size
        first, last = ([round(v) for v in point.tolist()] for point in (start, stop))
        for share, shade in ((1.0, 0.72), (0.75, 0.88), (0.4, 1.0)):
            color = (skin * shade).clip(0, 255).tolist()
            cv2.line(picture, first, last, color, max(int(thick * share), 1), cv2.LINE_AA)
        cv2.line(mask, first, last, 255, max(int(thick), 1), cv2.LINE_AA)


def _blur(picture: Picture, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.01)), np.uint8)


def film(pictures: Picture, scene: Scene, rng: Generator) -> Picture:
    """Pictures (T, S, S, 3) as the scene's camera records them."""
    covered = pictures + scene.covered * (scene.cover.astype(np.float32) - pictures)
    return np.stack([_record(picture, scene, rng) for picture in covered])


def _record(picture: Floats, scene: Scene, rng: Generator) -> Picture:
    size = len(picture)
    picture = 255 * (picture * scene.balance / 255).clip(0, 1) ** np.float32(scene.gamma)
    if scene.grey:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if any(scene.shake):
        picture = cv2.filter2D(picture, -1, _shake_kernel(scene.shake))
    if scene.blur > 0.1:
        picture = cv2.GaussianBlur(picture, (0, 0), scene.blur)
    if scene.detail < 1:
        small = round(size * scene.detail)
        picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    picture = picture + np.float32(scene.noise) * rng.standard_normal(picture.shape, np.float32)
    recorded = picture.clip(0, 255).astype(np.uint8)
    if scene.quality < 100:
        _, code = cv2.imencode(".jpg", recorded, [cv2.IMWRITE_JPEG_QUALITY, scene.quality])
        recorded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    if scene.detail < 1:
        recorded = cv2.resize(recorded, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(recorded)


def _shake_kernel(shake: tuple[float, float]) -> Floats:
    """A line through the middle of a small square, whose sum is one."""
    half = int(np.ceil(max(map(abs, shake)) / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    move = np.array(shake) / 2
    start, end = ((half + np.stack([-move, move])) * 16).round().astype(int).tolist()
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_8, 4)
    # The line's ends are rounded; turned by half a circle and added, it moves nothing.
    kernel = cv2.GaussianBlur(kernel + kernel[::-1, ::-1], (0, 0), 0.5)
    return np.asarray(kernel / kernel.sum())
