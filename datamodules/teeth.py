"""Two rows of teeth, which the head lacks: the upper fixed to the skull, the lower to the jaw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from datamodules.atlas import TOOTH_CELL, Atlas, Floats, place_in_cell
from datamodules.skin import Color, cover
from datamodules.surfaces import TOOTH, Surface
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.heads.skinning import pose_head, rotation_matrices

WIDTHS = np.array([8.6, 6.6, 7.6, 7.0, 6.8, 9.0, 8.0])
"""Millimetres of the upper teeth from the middle; the lower front teeth are narrower."""
HEIGHTS = np.array([10.0, 8.8, 9.6, 8.4, 8.0, 7.0, 6.5])
LOWER = np.array([0.62, 0.85, 0.92, 1.0, 1.05, 1.1, 1.1])
"""Widths of the lower teeth, as shares of the upper."""

ACROSS, DOWN = 6, 6
"""Vertices of a tooth and its gum."""

BEHIND_LIPS = 0.0095
"""Metres from where the lips meet to the front teeth."""
RECESS = 0.012
"""Metres by which all within the mouth is drawn further back, so that nothing pierces the lips."""

CLOSED, OPEN = 0.0005, 0.0025
"""Metres by which lips part further than at rest while no light, and all, falls on the teeth."""

LIPS_MEET = (13, 14)
CHIN = 152
JAW_ACTIONS = ("jawForward", "jawLeft", "jawRight")


@dataclass(frozen=True)
class Teeth:
    """A person's teeth.

    Attributes:
        color: RGB in [0, 1].
        gums: RGB in [0, 1].
        size: Factor on their usual size.
        show: Metres by which the upper teeth reach below the line where the lips meet.
        gaps: Darkness between the teeth, in [0, 1].
        jitter: (2, 14, 3) of each tooth: share of its height, metres forward, share of its tone.
    """

    color: Color
    gums: Color
    size: float
    show: float
    gaps: float
    jitter: Tensor


def sample_teeth(rng: Generator) -> Teeth:
    """Draw teeth: white to yellowish, even or not."""
    yellow = rng.beta(1.5, 2.5)
    color = np.array([0.93, 0.91, 0.87]) + yellow * np.array([-0.08, -0.14, -0.28])
    disorder = rng.exponential(0.5)
    return Teeth(
        color=(color * rng.uniform(0.9, 1.03)).astype(np.float32),
        gums=np.array([0.72, 0.42, 0.42], np.float32) * np.float32(rng.uniform(0.6, 1.05)),
        size=rng.uniform(0.9, 1.08),
        show=rng.uniform(0.0, 0.003),
        gaps=rng.uniform(0.3, 0.9),
        jitter=torch.from_numpy(
            disorder * rng.normal(0, 1, (2, 14, 3)) * (0.05, 0.0006, 0.02)
        ).float(),
    )


@cache
def teeth_surface() -> Surface:
    """Both rows: columns of vertices from the gums to the edges, tooth by tooth."""
    grid = torch.arange(ACROSS * DOWN).view(ACROSS, DOWN)
    quads = torch.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], -1)
    quads = quads.reshape(-1, 4)
    tooth = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    starts = torch.arange(28)[:, None, None] * ACROSS * DOWN
    # The lower row runs upwards, which turns its triangles around.
    faces = torch.cat([tooth + starts[:14], tooth.flip(1) + starts[14:]]).reshape(-1, 3)
    across, down = torch.linspace(0, 1, ACROSS), torch.linspace(0, 1, DOWN)
    place = torch.stack(torch.meshgrid(across, down, indexing="ij"), -1).reshape(-1, 2)
    uv = place_in_cell(place.repeat(28, 1), TOOTH_CELL)
    side = (torch.arange(14) - 6.5).abs() - 0.5
    openness = (0.95 - 0.09 * side).repeat(2).repeat_interleave(ACROSS * DOWN)
    return Surface(
        faces.int(),
        uv[faces].contiguous(),
        torch.full((len(faces),), TOOTH, dtype=torch.int32),
        openness.contiguous(),
    )


def place_teeth(
    head: ArkitHead,
    teeth: Teeth,
    coefficients: FaceCoefficients,
    at_rest: Tensor,
    landmarks: Tensor,
) -> tuple[Tensor, Tensor]:
    """Teeth of T faces of one person.

    Args:
        head: The head.
        teeth: The person's.
        coefficients: Of T faces.
        at_rest: (L, 3) landmarks of the person's neutral head, unposed.
        landmarks: (T, L, 3) of the faces.

    Returns:
        (T, 1008, 3) vertices in metres, and (T,) share of the light that the lips let in, 0 to 1.
    """
    rest, lips = at_rest[list(LIPS_MEET)], landmarks[:, list(LIPS_MEET)]
    up = rotation_matrices(coefficients.global_rotation)[..., 1]
    opening = ((lips[:, 0] - lips[:, 1]) * up).sum(1) - (rest[0] - rest[1])[1]
    light = ((opening - CLOSED) / (OPEN - CLOSED)).clamp(0, 1)
    meet = rest.mean(0)
    upper, lower = (_row(teeth, row) + meet for row in (0, 1))
    names = list(head.expression_names)
    chin = head.faces[head.landmark_faces[CHIN], 0]
    rows = [names.index(name) for name in JAW_ACTIONS]
    moved = coefficients.expression[:, rows] @ head.expression_basis[rows, chin]
    count = len(coefficients)
    points = torch.cat([upper.expand(count, -1, -1), lower + moved[:, None]], 1)
    jaw = torch.cat([torch.zeros(len(upper)), torch.ones(len(lower))])
    joints = head.joint_positions(coefficients.shape)
    return pose_head(points, joints[:, 0], joints[:, 2], jaw, coefficients.pose), light


def _row(teeth: Teeth, row: int) -> Tensor:
    """(504, 3) one row, relative to where the lips meet."""
    widths = WIDTHS * (LOWER if row else 1) * teeth.size / 1000
    ends = np.concatenate([-widths.cumsum()[::-1], [0], widths.cumsum()])
    height = torch.from_numpy(np.concatenate([HEIGHTS[::-1], HEIGHTS]) / 1000).float()
    height = height * teeth.size * (1 + teeth.jitter[row, :, 0]) * (0.85 if row else 1)
    across = torch.linspace(0, 1, ACROSS)
    starts, stops = torch.from_numpy(ends[:-1]).float(), torch.from_numpy(ends[1:]).float()
    along = starts[:, None] + (stops - starts)[:, None] * across
    x, z = _arch(along)
    bulge = 0.0011 * (1 - (2 * across - 1) ** 4) + teeth.jitter[row, :, 1:2]
    round_edge = 1 - 0.10 * (2 * across - 1) ** 4
    down = torch.tensor([-0.35, 0.0, 0.08, 0.45, 0.85, 1.0])
    lean = torch.tensor([-0.0008, -0.0006, 0.0, 0.0004, 0.0, -0.0012])
    y = -height[:, None, None] * round_edge[:, None] * down
    depth = (z + bulge)[..., None] + lean
    top = teeth.show + float(height[6:8].mean())
    if row:
        # The lower edges rest just behind and above the upper ones.
        y, depth, top = -y, depth - 0.0022, -teeth.show * 0.3 - float(height[6:8].mean()) + 0.002
        points = torch.stack([x[..., None].expand_as(y), y + top, depth], -1)
    else:
        points = torch.stack([x[..., None].expand_as(y), y + top - 2 * teeth.show, depth], -1)
    return points.reshape(-1, 3) - torch.tensor([0, 0, BEHIND_LIPS])


def _arch(along: Tensor) -> tuple[Tensor, Tensor]:
    """Metres to the side and forward at lengths along the dental arch."""
    angle = along / 0.030
    return 0.0285 * torch.sin(angle.clamp(-1.5, 1.5)), 0.036 * (torch.cos(0.85 * angle) - 1)


def paint_teeth(teeth: Teeth, atlas: Atlas, texture: Floats) -> None:
    """Draw one tooth and its gum into their cell, in place; sRGB and gloss in [0, 1]."""
    cell = atlas.cell(texture, TOOTH_CELL)
    axis = (np.arange(cell.shape[1], dtype=np.float32) + 0.5) / cell.shape[1]
    axis = ((axis - 0.04) / 0.92).clip(0, 1)
    across, down = np.meshgrid(axis, axis)
    beside = abs(2 * across - 1)
    gap = ((beside - 0.8) / 0.2).clip(0, 1) ** 2
    gum = ((0.24 + 0.14 * beside**2 - down) / 0.05 + 0.5).clip(0, 1)
    cell[:3] = teeth.color[:, None, None] * (1 - 0.75 * teeth.gaps * gap) * (0.9 + 0.12 * down)
    cover(cell[:3], gum, teeth.gums[:, None, None] * (1 - 0.2 * beside))
    cell[3] = 0.62
