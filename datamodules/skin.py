"""Skin, lips and what grows or is painted on them, drawn into the texture of a head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from datamodules.atlas import Atlas, Floats

Color = NDArray[np.float32]

TONES = np.array(
    [
        [0.97, 0.83, 0.76],
        [0.93, 0.75, 0.65],
        [0.87, 0.67, 0.54],
        [0.76, 0.55, 0.42],
        [0.62, 0.43, 0.32],
        [0.47, 0.32, 0.24],
        [0.35, 0.24, 0.19],
        [0.26, 0.18, 0.15],
    ],
    np.float32,
)
BLOOD = np.array([0.02, -0.09, -0.07], np.float32)
SHADE = np.array([-0.10, -0.11, -0.06], np.float32)
LIPSTICKS = np.array(
    [[0.70, 0.08, 0.12], [0.55, 0.10, 0.18], [0.80, 0.35, 0.38], [0.60, 0.30, 0.26]], np.float32
)
MARKS = np.array([0.45, 0.36, 0.34], np.float32)
EYE_SHADOWS = np.array(
    [[0.25, 0.18, 0.16], [0.45, 0.30, 0.30], [0.20, 0.25, 0.38], [0.50, 0.36, 0.20]], np.float32
)


@dataclass(frozen=True)
class MakeUp:
    """Colours are RGB in [0, 1], strengths in [0, 1].

    Attributes:
        lipstick: Colour.
        lips: Strength of the lipstick.
        shadow: Colour around the eyes.
        lids: Strength of it.
        blush: Strength on the cheeks.
        liner: Strength of the line along the lids; lashes without make-up have some too.
    """

    lipstick: Color
    lips: float
    shadow: Color
    lids: float
    blush: float
    liner: float


@dataclass(frozen=True)
class Beard:
    """Hair on cheeks, chin and upper lip.

    Attributes:
        color: RGB in [0, 1].
        density: Of the hairs, in [0, 1]; 0 is shaved clean.
        strand: Length of the hairs' streaks, millimetres; near 1 is stubble.
        chin: Whether cheeks and chin carry it.
        moustache: Whether the upper lip carries it.
        cheek: Height on the cheeks, millimetres above the usual.
    """

    color: Color
    density: float
    strand: float
    chin: bool
    moustache: bool
    cheek: float


@dataclass(frozen=True)
class Brows:
    """Eyebrows.

    Attributes:
        color: RGB in [0, 1].
        density: Of the hairs, in [0, 1].
        thickness: Factor on the usual height.
        arch: Millimetres by which the middle rises.
        tilt: Millimetres by which the outer end rises.
        length: Share of the usual length.
        gap: Millimetres by which the inner ends lie further apart.
    """

    color: Color
    density: float
    thickness: float
    arch: float
    tilt: float
    length: float
    gap: float


@dataclass(frozen=True)
class Skin:
    """A person's skin.

    Attributes:
        tone: RGB in [0, 1].
        lips: RGB in [0, 1], without lipstick.
        mottling: Strength of slow changes of tone.
        redness: Of cheeks, nose and ears.
        circles: Darkness under the eyes.
        freckles: How many, in [0, 1].
        moles: (M, 2) metres, x and y on the front of the face.
        gloss: In [0, 1]; how oily.
        beard: Hair on the face.
        brows: Eyebrows.
        make_up: What is painted on.
        seed: Of the irregularities.
    """

    tone: Color
    lips: Color
    mottling: float
    redness: float
    circles: float
    freckles: float
    moles: NDArray[np.float64]
    gloss: float
    beard: Beard
    brows: Brows
    make_up: MakeUp
    seed: int


def sample_skin(hair: Color, darkness: float, age: float, bearded: bool, rng: Generator) -> Skin:
    """Draw a skin.

    Args:
        hair: Colour of the person's hair.
        darkness: 0 pale to 1 dark.
        age: 0 young to 1 old.
        bearded: Whether hair may grow on the cheeks; else make-up is likely.
        rng: Source of chance.
    """
    place = darkness * (len(TONES) - 1)
    index = min(int(place), len(TONES) - 2)
    tone = TONES[index] + (place - index) * (TONES[index + 1] - TONES[index])
    tone = (tone * rng.lognormal(0, 0.03, 3)).clip(0.05, 0.98).astype(np.float32)
    pink = np.array([0.90, 0.66, 0.66], np.float32) * rng.lognormal(0, 0.05, 3)
    return Skin(
        tone=tone,
        lips=(tone * (0.5 + 0.5 * pink) if rng.random() < 0.2 else tone * pink).astype(np.float32),
        mottling=rng.uniform(0.3, 1.2) + 0.6 * age,
        redness=rng.uniform(0, 1.2) * (1 - 0.5 * darkness),
        circles=rng.uniform(0, 0.6) + 0.5 * age * rng.random(),
        freckles=rng.random() ** 2 if rng.random() < 0.3 * (1 - darkness) + 0.1 * age else 0.0,
        moles=rng.uniform((-0.06, 0.03), (0.06, 0.19), (rng.poisson(1.5), 2)),
        gloss=rng.uniform(0.16, 0.42),
        beard=_sample_beard(hair, bearded, rng),
        brows=_sample_brows(hair, bearded, rng),
        make_up=_sample_make_up(tone, not bearded and rng.random() < 0.6, rng),
        seed=int(rng.integers(2**31)),
    )


def _sample_beard(hair: Color, bearded: bool, rng: Generator) -> Beard:
    kind = rng.random()
    long = kind < 0.3
    density = rng.uniform(0.5, 1.0) if long else rng.uniform(0, 0.5)
    return Beard(
        color=(hair * rng.uniform(0.6, 1.1)).astype(np.float32),
        density=density if bearded and kind < 0.75 else 0.0,
        strand=rng.uniform(4, 10) if long else 1.0,
        chin=rng.random() < 0.85,
        moustache=rng.random() < 0.85,
        cheek=rng.normal(-2, 6),
    )


def _sample_brows(hair: Color, bearded: bool, rng: Generator) -> Brows:
    return Brows(
        color=(hair * rng.uniform(0.45, 1.0)).clip(0.02, 0.8).astype(np.float32),
        density=rng.uniform(0.25, 1.0) if bearded else rng.uniform(0.1, 1.0),
        thickness=rng.uniform(0.7, 1.5) if bearded else rng.uniform(0.4, 1.15),
        arch=rng.normal(0, 0.8),
        tilt=rng.normal(0, 0.8),
        length=rng.uniform(0.8, 1.08),
        gap=rng.normal(0, 1.5),
    )


def _sample_make_up(tone: Color, wears: bool, rng: Generator) -> MakeUp:
    strength = rng.uniform(0, 1, 4) * wears
    return MakeUp(
        lipstick=(LIPSTICKS[rng.integers(len(LIPSTICKS))] * (0.5 + tone[0] / 2)).astype(np.float32),
        lips=float(strength[0]),
        shadow=EYE_SHADOWS[rng.integers(len(EYE_SHADOWS))],
        lids=float(0.7 * strength[1] * (rng.random() < 0.6)),
        blush=float(strength[2]),
        liner=float(0.15 + 0.25 * rng.random() + 0.6 * strength[3]),
    )


def paint_skin(skin: Skin, atlas: Atlas, texture: Floats) -> None:
    """Draw a skin into a texture, in place; sRGB and gloss, both in [0, 1]."""
    rng = np.random.default_rng(skin.seed)
    color, gloss = texture[:3, : atlas.size], texture[3, : atlas.size]
    zones = skin_zones(atlas)
    color[:] = skin.tone[:, None, None]
    gloss[:] = skin.gloss + 0.08 * zones["shine"]
    _mottle(color, skin, zones, rng)
    _sprinkle(color, skin, atlas, rng)
    make_up = skin.make_up
    if make_up.blush:
        cover(color, 0.35 * make_up.blush * zones["blush"], skin.tone + 2.2 * BLOOD)
    if make_up.lids:
        paint = make_up.shadow * (0.4 + 0.6 * skin.tone.mean())
        cover(color, make_up.lids * zones["lids"], paint)
    _paint_lashes(color, skin, atlas)
    _paint_lips(color, gloss, skin, zones, rng)
    if skin.beard.density:
        _grow_beard(color, gloss, skin.beard, atlas, zones, rng)
    cover(color, _brow_hairs(skin.brows, atlas, rng), skin.brows.color)
    np.clip(color, 0.01, 1, out=color)


def cover(color: Floats, opacity: Floats, paint: Floats) -> None:
    """Paint over (3, H, W) colours, in place, with a colour (3,) or colours (3, H, W)."""
    for plane, value in zip(color, paint, strict=True):
        plane += opacity * (value - plane)


@cache
def skin_zones(atlas: Atlas) -> dict[str, Floats]:
    """(S, S) masks of what everybody's skin has in the same places."""
    x, y = abs(atlas.points[..., 0]) * 1000, atlas.points[..., 1] * 1000

    def spot(at_x: float, at_y: float, wide: float, high: float) -> Floats:
        return np.asarray(np.exp(-(((x - at_x) / wide) ** 2) - ((y - at_y) / high) ** 2))

    texel = atlas.size / 270
    lips = cv2.GaussianBlur(atlas.regions["lips"], (0, 0), 1.2 * texel)
    wide_lips = cv2.GaussianBlur(atlas.regions["lips"], (0, 0), 1.5 * texel)
    cheeks_and_nose = spot(45, 108, 18, 16) + spot(0, 102, 12, 14)
    return {
        "red": cheeks_and_nose + 0.4 * spot(0, 42, 14, 10) + 0.4 * step(x, 72, 6),
        "circles": spot(28, 129, 15, 6) + 0.6 * spot(17, 141, 7, 9),
        "neck": 1 - step(y, 20, 30),
        "shine": spot(0, 105, 14, 20) + 0.75 * spot(0, 180, 30, 18),
        "blush": spot(45, 112, 14, 11),
        "lids": spot(32, 149, 16, 6),
        "lips": lips,
        "seam": cv2.GaussianBlur(atlas.regions["mouth_interior"], (0, 0), 0.8 * texel),
        "beside the lips": 1 - step(wide_lips, 0.35, 0.4),
        "front": step(y, 8, 20) * step(atlas.points[..., 2] * 1000, 30, 30),
        "upper lip": step(y + 0.15 * x, 78, 4) * (1 - step(y, 95, 6)),
        "beard line": 74 + 0.75 * (x - 28).clip(0) - y,
        "side": x,
    }


def step(values: Floats, edge: float, softness: float) -> Floats:
    """0 below an edge and 1 above it."""
    return np.asarray(((values - edge) / softness + 0.5).clip(0, 1), np.float32)


def _noise(rng: Generator, size: int, *cells: int) -> Floats:
    """(S, S) smooth noise of about unit variance with so many bumps across, summed."""
    grids = [rng.standard_normal((count, count), np.float32) for count in cells]
    scaled = [cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR) for grid in grids]
    return np.asarray(sum(scaled), np.float32)


def _mottle(color: Floats, skin: Skin, zones: dict[str, Floats], rng: Generator) -> None:
    size = color.shape[1]
    red = 0.12 * skin.mottling * _noise(rng, size, 7, 40) + skin.redness * zones["red"]
    tan = 0.12 * skin.mottling * _noise(rng, size, 12, 90) + skin.circles * zones["circles"]
    tan += 0.25 * zones["neck"]
    grain = 1 + 0.02 * rng.standard_normal((size, size), np.float32)
    strength = skin.tone.mean()
    for plane, blood, shade in zip(color, strength * BLOOD, strength * SHADE, strict=True):
        plane += red * blood
        plane += tan * shade
        plane *= grain


def _sprinkle(color: Floats, skin: Skin, atlas: Atlas, rng: Generator) -> None:
    """Freckles and moles."""
    size = atlas.size
    marks = np.zeros((size, size), np.float32)
    count = int(500 * skin.freckles)
    places = rng.normal((0, 0.115), (0.035, 0.022), (count, 2))
    texel = size / 270
    for column, row in atlas.locate(places).astype(int).tolist():
        radius = max(round(rng.uniform(0.2, 0.9) * texel), 0)
        cv2.circle(marks, (column, row), radius, rng.uniform(0.1, 0.5), cv2.FILLED)
    for column, row in atlas.locate(skin.moles).astype(int).tolist():
        radius = max(round(rng.uniform(0.5, 2) * texel), 0)
        cv2.circle(marks, (column, row), radius, rng.uniform(0.5, 1), cv2.FILLED)
    if marks.any():
        cover(color, cv2.GaussianBlur(marks, (0, 0), 0.4 * texel), skin.tone * MARKS)


def _paint_lashes(color: Floats, skin: Skin, atlas: Atlas) -> None:
    size, liner = atlas.size, skin.make_up.liner
    rows = slice(int(0.36 * size), int(0.56 * size))
    lines = np.zeros((size, size), np.float32)
    thickness = max(round(size / 270 * (1.1 + 1.1 * liner)), 1)
    for margin, strength in ((atlas.lids[0], 1.0), (atlas.lids[1], 0.45)):
        for mirrored in (margin, margin * (-1, 1) + (1, 0)):
            points = (mirrored * size * 16 - 8).round().astype(np.int32)
            cv2.polylines(lines, [points], False, strength, thickness, cv2.LINE_8, 4)
    lashes = cv2.GaussianBlur(lines[rows], (0, 0), max(0.5 * size / 270, 0.4))
    cover(color[:, rows], (lashes * (0.55 + 0.9 * liner)).clip(0, 0.95), skin.tone * 0.12)


def _paint_lips(
    color: Floats, gloss: Floats, skin: Skin, zones: dict[str, Floats], rng: Generator
) -> None:
    size, make_up = len(gloss), skin.make_up
    rows = slice(int(0.6 * size), int(0.85 * size))
    color, lips, seam = color[:, rows], zones["lips"][rows], zones["seam"][rows]
    paint = skin.lips + make_up.lips * (make_up.lipstick - skin.lips)
    cover(color, lips * (0.8 + 0.2 * make_up.lips), paint)
    streaks = cv2.resize(rng.standard_normal((4, size // 2), np.float32), lips.shape[::-1])
    color *= 1 + 0.06 * lips * streaks
    cover(color, 0.75 * seam, paint * 0.35)
    gloss[rows] += lips * (rng.uniform(0.1, 0.3) + 0.25 * make_up.lips)


def _grow_beard(
    color: Floats,
    gloss: Floats,
    beard: Beard,
    atlas: Atlas,
    zones: dict[str, Floats],
    rng: Generator,
) -> None:
    size = atlas.size
    rows = slice(size // 2, size)
    wobble = 3 * _noise(rng, size, 24)[rows]
    zone = np.zeros_like(wobble)
    if beard.chin:
        zone += step(zones["beard line"][rows] + beard.cheek + wobble, 0, 9) * zones["front"][rows]
    if beard.moustache:
        lip = step(30 + wobble - zones["side"][rows], 0, 8) * zones["upper lip"][rows]
        np.maximum(zone, lip, out=zone)
    zone *= zones["beside the lips"][rows]
    length = max(round(beard.strand * size / 270), 1)
    noise = rng.standard_normal(zone.shape, np.float32)
    strands = cv2.blur(noise, (1, length)) * math.sqrt(length)
    hairs = zone * (beard.density * 1.1 + 0.25 * strands * zone).clip(0, 0.96)
    cover(color[:, rows], hairs, beard.color * 0.9)
    color[:, rows] *= 1 + 0.12 * beard.density * zone * strands
    gloss[rows] *= 1 - 0.4 * beard.density * zone


BROW = np.array([[11, 157], [18, 160], [28, 163], [38, 163], [45, 160], [53, 155]], np.float64)
"""Millimetres, the usual course of the left brow."""
HALF_HEIGHT = np.array([3.6, 4.0, 3.8, 3.0, 2.0, 0.6])


def _brow_hairs(brows: Brows, atlas: Atlas, rng: Generator) -> Floats:
    """(S, S) opacity of the brows' hairs, which lie outwards and, near the nose, upwards."""
    size = atlas.size
    hairs = np.zeros((size, size), np.float32)
    count = int(60 + 260 * brows.density)
    for side in (1, -1):
        along = rng.random(count) ** 0.9
        where = along * 5 * brows.length
        across = rng.uniform(-1, 1, count)
        middle = np.stack([np.interp(where, range(6), axis) for axis in BROW.T], 1)
        half = np.interp(where, range(6), HALF_HEIGHT) * brows.thickness
        middle[:, 0] += brows.gap * (1 - along)
        middle[:, 1] += brows.arch * np.sin(np.pi * along) + brows.tilt * along + across * half
        angle = np.interp(along, (0, 0.3, 1), (1.2, 0.35, -0.45)) - 0.35 * across
        length = rng.uniform(2, 5, count) * (0.5 + 0.5 * brows.thickness)
        ends = middle + (length * np.stack([np.cos(angle), np.sin(angle)])).T
        strokes = atlas.locate(np.stack([middle, ends], 1) / 1000 * (side, 1))
        places = ((strokes - 0.5) * 16).round().astype(np.int32)
        cv2.polylines(hairs, list(places), False, 1.0, max(round(size / 500), 1), cv2.LINE_8, 4)
    soft = cv2.GaussianBlur(hairs, (0, 0), 0.55 * size / 270)
    soft *= 0.55
    soft += 0.5 * cv2.GaussianBlur(hairs, (0, 0), 1.6 * size / 270)
    return np.asarray((soft * (0.35 + 0.75 * brows.density)).clip(0, 0.95))
