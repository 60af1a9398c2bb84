"""What people wear on the head: glasses, caps, beanies and headscarves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from datamodules.atlas import THING_CELL, Atlas, Floats, place_in_cell
from datamodules.hair import raise_shell
from datamodules.skin import Color, cover, step
from datamodules.surfaces import THING, Surface
from i2fet.heads import ArkitHead

GLASSES, SUNGLASSES, HEADWEAR = 0.22, 0.015, 0.1
"""How often each is worn."""

NOSE_BRIDGE = 168
RIM_POINTS = 28
EAR_DEPTH = 0.035
"""Metres before the head's origin where temples reach the ears."""
TEMPLE_BEND = 0.012 * torch.sin(torch.linspace(0, torch.pi, 6))[:, None] * torch.tensor([1.0, 0, 0])

CAP, BEANIE, SCARF = "cap", "beanie", "scarf"
BRIM_LENGTH = 0.06
SHOULDERS = ((0.062, 0.02), (0.075, 0.008), (0.13, -0.02), (0.19, -0.06), (0.21, -0.4))
"""Half widths and heights in metres, from the collar down."""


@dataclass(frozen=True)
class Glasses:
    """Glasses; lengths in metres.

    Attributes:
        color: RGB in [0, 1] of the frame.
        dark: Whether the lenses are dark.
        width: Half the width of a lens.
        height: Half its height.
        square: Exponent of its outline: 2 is an ellipse, more is a rounded box.
        rim: Thickness of the frame.
        slip: How far the glasses have slipped down.
    """

    color: Color
    dark: bool
    width: float
    height: float
    square: float
    rim: float
    slip: float


@dataclass(frozen=True)
class Headwear:
    """A cap, a beanie or a headscarf.

    Attributes:
        kind: One of the three.
        color: RGB in [0, 1].
        stripes: (2,) contrast and number of its stripes in a metre.
        edge: Metres above the usual edge.
        thickness: Metres.
    """

    kind: str
    color: Color
    stripes: tuple[float, float]
    edge: float
    thickness: float


def sample_glasses(rng: Generator) -> Glasses | None:
    """Draw glasses, or none."""
    if rng.random() > GLASSES + SUNGLASSES:
        return None
    thin = rng.random() < 0.5
    shade = rng.uniform(0.02, 0.7) if thin else rng.choice([0.03, 0.1, 0.3])
    return Glasses(
        color=(shade * rng.lognormal(0, 0.15, 3)).clip(0.01, 0.9).astype(np.float32),
        dark=rng.random() < SUNGLASSES / (GLASSES + SUNGLASSES),
        width=rng.uniform(0.022, 0.028),
        height=rng.uniform(0.014, 0.023),
        square=rng.uniform(2, 5),
        rim=rng.uniform(0.0008, 0.0018) if thin else rng.uniform(0.002, 0.0045),
        slip=rng.uniform(0, 0.006),
    )


def sample_headwear(rng: Generator) -> Headwear | None:
    """Draw something on the head, or nothing."""
    if rng.random() > HEADWEAR:
        return None
    color = rng.uniform(0.03, 0.85) * rng.lognormal(0, 0.35, 3)
    return Headwear(
        kind=(CAP, BEANIE, SCARF)[rng.integers(3)],
        color=color.clip(0.02, 0.95).astype(np.float32),
        stripes=(rng.uniform(0, 0.3) * (rng.random() < 0.5), rng.uniform(100, 900)),
        edge=rng.uniform(-0.008, 0.012),
        thickness=rng.uniform(0.005, 0.012),
    )


def headwear_cover(headwear: Headwear, points: Tensor) -> Tensor:
    """How much of (..., 3) points of the mean head is covered, in [0, 1]."""
    x, y, z = points.unbind(-1)
    if headwear.kind == SCARF:
        oval = ((x / 0.067).square() + ((y - 0.113 - headwear.edge) / 0.082).square()).sqrt()
        beyond = torch.maximum((oval - 1) * 0.07, 0.055 - z)
    else:
        beyond = y - 0.186 - headwear.edge - 0.25 * (z - 0.14)
    return torch.sigmoid(beyond / 0.0015)


def paint_headwear(headwear: Headwear, atlas: Atlas, texture: Floats) -> None:
    """Colour the cloth, in place, where it lies over the skin; sRGB and gloss in [0, 1]."""
    points = torch.from_numpy(atlas.points)
    covered = headwear_cover(headwear, points).numpy()
    contrast, number = headwear.stripes
    cloth = 1 + contrast * np.sign(np.sin(number * (atlas.points[..., 1] + atlas.points[..., 0])))
    color, gloss = texture[:3, : atlas.size], texture[3, : atlas.size]
    cover(color, step(covered, 0.3, 0.2), headwear.color[:, None, None] * cloth)
    gloss *= 1 - 0.7 * covered


def paint_things(
    clothes: Color,
    glasses: Glasses | None,
    headwear: Headwear | None,
    atlas: Atlas,
    texture: Floats,
) -> None:
    """Draw the colours of clothes, frames, lenses and brims into their cell, in place."""
    cell = atlas.cell(texture, THING_CELL)
    part = cell.shape[2] // 4
    cell[:3, :, 3 * part :] = clothes[:, None, None]
    if glasses:
        cell[:3, :, :part] = glasses.color[:, None, None]
        cell[:3, :, part : 2 * part] = 0.02
        cell[3, :, : 2 * part] = 0.6
    if headwear:
        cell[:3, :, 2 * part : 3 * part] = headwear.color[:, None, None] * 0.9


FRAME, LENS, BRIM, CLOTHES = ((part + 0.5) / 4 for part in range(4))
"""Where in the cell each colour lies, from its left."""


def wear_headwear(
    head: ArkitHead, headwear: Headwear, rest: Tensor, surface: Surface
) -> list[tuple[Surface, Tensor]]:
    """Cloth around the head, and a cap's brim; each with its vertices on the unposed head."""
    covered = headwear_cover(headwear, head.template)
    height = torch.full_like(covered, headwear.thickness)
    parts = [raise_shell(head, rest, surface, covered, height, THING)]
    if headwear.kind == CAP:
        x, _, z = head.template.unbind(1)
        edge = (covered - 0.5).abs() + 100 * x.abs() + (z < 0.1)
        parts.append(_brim(headwear, rest, rest[edge.argmin()]))
    return parts


def _brim(headwear: Headwear, rest: Tensor, front: Tensor) -> tuple[Surface, Tensor]:
    """A cap's brim, from the (3,) middle of its front edge."""
    half = 0.9 * rest[rest[:, 1] > front[1], 0].max()
    angle = torch.linspace(-1.1, 1.1, 17)
    back = front[2] + headwear.thickness - half
    inner = torch.stack([half * angle.sin(), -0.012 * angle.square(), half * angle.cos()], 1)
    inner = inner + torch.stack([torch.tensor(0.0), front[1], back])
    reach = BRIM_LENGTH * angle.cos()
    outer = inner + torch.stack([0.2 * reach * angle.sin(), -0.18 * reach, reach], 1)
    return _strip(inner, outer, BRIM)


def wear_glasses(
    head: ArkitHead, glasses: Glasses, rest: Tensor, joints: Tensor
) -> list[tuple[Surface, Tensor]]:
    """Rims, lenses if they are dark, bridge and temples; see `wear_headwear`.

    Args:
        head: The head.
        glasses: What is worn.
        rest: (V, 3) the person's unposed vertices.
        joints: (5, 3) the person's joints.
    """
    nose = head.landmarks(rest[None])[0, NOSE_BRIDGE]
    lens = torch.tensor([glasses.width, glasses.height])
    inner = lens * _rounded_box(glasses.square)
    outer = inner * (1 + glasses.rim / glasses.height)
    half = torch.tensor([0.0, max(glasses.rim, 0.001) / 2, 0.0])
    ears = 0.9 * float(rest[:, 0].abs().max())
    parts, bridge_ends = [], []
    for eye, side in zip(joints[3:5], (1.0, -1.0), strict=True):
        aside = max(float((eye[0] - nose[0]).abs()), glasses.width + 0.008)
        middle = torch.tensor([float(nose[0]) + side * aside, float(eye[1]) - 0.003 - glasses.slip])
        rim = _onto_lenses(middle + inner, nose)
        parts.append(_strip(_onto_lenses(middle + outer, nose), rim, FRAME))
        if glasses.dark:
            parts.append(_strip(rim, rim.mean(0).expand_as(rim), LENS))
        across = torch.tensor([side, 0.4]) * lens
        near, far = _onto_lenses(
            torch.stack([middle - across * torch.tensor([1, -1]), middle + across]), nose
        )
        bridge_ends.append(near)
        ear = torch.tensor([float(nose[0]) + side * ears, float(far[1]), EAR_DEPTH])
        temple = _line(far, ear) + side * TEMPLE_BEND
        parts.append(_strip(temple + 1.6 * side * half, temple - 1.6 * side * half, FRAME))
    bridge = _line(*bridge_ends)
    parts.append(_strip(bridge - half, bridge + half, FRAME))
    return parts


def _rounded_box(square: float) -> Tensor:
    """(N, 2) an outline between a circle, 2, and a square, above."""
    angle = torch.linspace(0, 2 * torch.pi, RIM_POINTS + 1)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    return circle.sign() * circle.abs() ** (2 / square)


def _onto_lenses(points: Tensor, nose: Tensor) -> Tensor:
    """(N, 3) points of (N, 2) on the slightly curved surface in which lenses lie."""
    beside = points[:, :1] - nose[0]
    return torch.cat([points, nose[2] + 0.002 - 2.2 * beside.square()], 1)


def _line(start: Tensor, end: Tensor) -> Tensor:
    """(6, 3) points from one to the other."""
    return torch.lerp(start, end, torch.linspace(0, 1, 6)[:, None])


def shoulders(neck: Tensor) -> tuple[Surface, Tensor]:
    """Shoulders below a neck joint (3,), and their vertices, which do not move with the head."""
    radius, height = torch.tensor(SHOULDERS).T
    angle = torch.linspace(0, 2 * torch.pi, 25)[:-1]
    wide = radius[:, None] * torch.stack([angle.cos(), angle.sin()])[:, None]
    rings = torch.stack([wide[0], height[:, None].expand_as(wide[0]), 0.6 * wide[1] + 0.01], -1)
    around = torch.arange(24)
    corner = around + 24 * torch.arange(1, len(SHOULDERS))[:, None]
    right = corner - around + (around + 1) % 24
    quads = torch.stack([corner, corner - 24, right, right, corner - 24, right - 24], -1)
    return _thing(quads.reshape(-1, 3), rings.reshape(-1, 3) + neck, CLOTHES)


def _strip(first: Tensor, second: Tensor, place: float) -> tuple[Surface, Tensor]:
    """A band between two (N, 3) lines, seen from both sides."""
    count = len(first)
    row = torch.arange(count - 1)
    one = torch.stack([row, row + count, row + 1], 1)
    other = torch.stack([row + 1, row + count, row + count + 1], 1)
    front = torch.cat([one, other])
    back = front.flip(1) + 2 * count
    return _thing(torch.cat([front, back]), torch.cat([first, second, first, second]), place)


def _thing(faces: Tensor, vertices: Tensor, place: float) -> tuple[Surface, Tensor]:
    uv = place_in_cell(torch.tensor([place, 0.5]), THING_CELL)
    surface = Surface(
        faces.int().contiguous(),
        uv.expand(len(faces), 3, 2).contiguous(),
        torch.full((len(faces),), THING, dtype=torch.int32),
        torch.full((len(vertices),), 0.9),
    )
    return surface, vertices
