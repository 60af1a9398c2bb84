"""Hair on the head: painted on the scalp, raised into a shell, and hanging in locks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from datamodules.atlas import HAIR_CELL, Atlas, Floats, place_in_cell
from datamodules.skin import Color, cover
from datamodules.surfaces import HAIR, SKIN, Surface
from i2fet.heads import ArkitHead
from i2fet.rendering.mesh import vertex_normals

FOREHEAD = 0.1946
"""Height in metres of the upper end of the mean face."""
FACE_HEIGHT = 0.163
EAR_START = 0.068
"""Metres beside the middle where the mean head's ears begin."""
SCALP_CENTRE = (0.0, 0.165, 0.045)

SUNK = 0.008
"""Metres below the skin at which a shell ends, deeper than expressions draw the skin in."""
JOINTS = 7
"""Cross-sections of a lock."""


@dataclass(frozen=True)
class Hair:
    """A hair style.

    Attributes:
        color: RGB in [0, 1].
        hairline: Height of the hairline above the face, metres; lower is a low forehead.
        recession: Metres by which it recedes at the temples.
        crown: Radius of the bald crown, metres; above 0.2 no hair is left.
        thickness: Metres of the shell.
        curl: Height of the shell's bumps, metres.
        locks: (N,) height of each lock's root on the head, from 0 at the ears to 1 at the parting.
        sides: (N,) angle of its root around the head, radians from the front.
        lengths: (N,) metres.
        sweep: Direction to the side in which a fringe falls, in [-1, 1].
        wave: Metres by which locks swing.
        width: Of a lock, metres.
        seed: Of the irregularities.
    """

    color: Color
    hairline: float
    recession: float
    crown: float
    thickness: float
    curl: float
    locks: Tensor
    sides: Tensor
    lengths: Tensor
    sweep: float
    wave: float
    width: float
    seed: int


def sample_hair(color: Color, age: float, bearded: bool, rng: Generator) -> Hair:
    """Draw a hair style: none, cropped, short, curly, with a fringe, tied back or long."""
    bald = bearded and rng.random() < 0.1 + 0.3 * age
    cropped = bald or rng.random() < (0.35 if bearded else 0.08)
    curly = not cropped and rng.random() < 0.25
    hangs = rng.random() < (0.1 if bearded else 0.65)
    fringe = not cropped and rng.random() < 0.45
    angles, heights, lengths = [], [], []
    if fringe:
        count = int(rng.integers(25, 70))
        angles.append(rng.normal(0, 0.5, count))
        heights.append(rng.uniform(0.55, 1, count))
        lengths.append(rng.uniform(0.03, 0.09) * rng.uniform(0.6, 1.1, count))
    if hangs and not cropped:
        count = int(rng.integers(120, 200))
        angles.append(rng.choice([-1, 1], count) * rng.uniform(0.85, 2.2, count))
        heights.append(rng.uniform(0.1, 1, count))
        lengths.append(rng.uniform(0.1, 0.35) * rng.uniform(0.8, 1.1, count))
    if not cropped:
        count = int(rng.integers(20, 60))
        angles.append(rng.uniform(-2, 2, count))
        heights.append(rng.uniform(0.3, 1, count))
        lengths.append(rng.uniform(0.02, 0.06, count))
    empty = np.zeros(0)
    return Hair(
        color=color,
        hairline=rng.uniform(-0.004, 0.022),
        recession=rng.uniform(0, 0.012) + (0.05 * age * rng.random() if bearded else 0),
        crown=rng.uniform(0.07, 0.3) if bald else 0.0,
        thickness=rng.uniform(0.001, 0.004) if cropped else rng.uniform(0.006, 0.018),
        curl=rng.uniform(0.004, 0.014) if curly else 0.001,
        locks=torch.from_numpy(np.concatenate([*heights, empty])).float(),
        sides=torch.from_numpy(np.concatenate([*angles, empty])).float(),
        lengths=torch.from_numpy(np.concatenate([*lengths, empty])).float(),
        sweep=rng.uniform(-1, 1),
        wave=rng.uniform(0, 0.012),
        width=rng.uniform(0.005, 0.009) * (2.5 if hangs else 1),
        seed=int(rng.integers(2**31)),
    )


def under_headwear(hair: Hair) -> Hair:
    """The same hair lying flat, without locks."""
    none = torch.zeros(0)
    return replace(hair, thickness=0.001, curl=0.0, locks=none, sides=none, lengths=none)


def hair_cover(hair: Hair, points: Tensor, softness: float) -> Tensor:
    """How much hair covers (..., 3) points of the mean head, in [0, 1].

    Args:
        hair: The style.
        points: Metres.
        softness: Metres over which the hair thins out at the hairline.
    """
    x, y, z = points.unbind(-1)
    temples = ((x.abs() - 0.03) / 0.03).clamp(0, 1)
    edge = FOREHEAD + hair.hairline + hair.recession * temples
    behind = 0.55 * (y - edge) - 0.85 * (z - 0.14)
    beside = y - 0.13 + 1.2 * (0.02 - z).clamp(min=0)
    ears = torch.sigmoid((x.abs() - EAR_START) / 0.002) * (y < 0.158) * (z > -0.01)
    crown = (points - points.new_tensor([0.0, 0.245, 0.09])).norm(dim=-1) - hair.crown
    within = torch.stack([behind, crown, beside]).amin(0)
    return torch.sigmoid(4 * within / softness) * (1 - ears)


def paint_hair(hair: Hair, atlas: Atlas, texture: Floats) -> None:
    """Draw the scalp's hair and the cell of the locks, in place; sRGB and gloss in [0, 1]."""
    rng = np.random.default_rng(hair.seed)
    size = atlas.size
    top = size * 3 // 4
    sparse = torch.from_numpy(atlas.points[:top:2, ::2])
    opacity = cv2.resize(hair_cover(hair, sparse, 0.012).numpy(), (size, top))
    length = max(round(8 * size / 270), 1)
    strands = cv2.blur(rng.standard_normal((top, size), np.float32), (1, length))
    strands *= math.sqrt(length)
    opacity = (opacity * (1.15 + strands * (1 - opacity))).clip(0, 1)
    shine = (1 + 0.22 * strands).clip(0.3, 2)
    cover(texture[:3, :top], opacity, hair.color[:, None, None] * shine)
    texture[3, :top] *= 1 - 0.3 * opacity
    cell = atlas.cell(texture, HAIR_CELL)
    streaks = 1 + 0.22 * rng.standard_normal(cell.shape[2], np.float32)
    tips = np.linspace(0.8, 1.15, cell.shape[1], dtype=np.float32)[:, None]
    cell[:3] = (hair.color[:, None, None] * tips * streaks).clip(0.01, 1)
    cell[3] = 0.34


def raise_shell(
    head: ArkitHead, rest: Tensor, surface: Surface, covered: Tensor, height: Tensor, material: int
) -> tuple[Surface, Tensor]:
    """A copy of the skin, raised where something covers it and sunk elsewhere.

    Args:
        head: The head.
        rest: (V, 3) a person's unposed vertices.
        surface: Of the head.
        covered: (V,) how much covers each vertex, in [0, 1].
        height: (V,) metres above the skin where it is fully covered.
        material: Of the shell.

    Returns:
        The shell and its (V', 3) vertices.
    """
    chosen = (covered[head.faces] > 0.15).all(1) & (surface.materials == SKIN)
    kept, faces = head.faces[chosen].unique(return_inverse=True)
    normals = vertex_normals(rest[None], head.faces)[0, kept]
    lift = height[kept] * covered[kept] - SUNK * (1 - covered[kept])
    shell = Surface(
        faces.int().contiguous(),
        surface.corners[chosen].contiguous(),
        torch.full((len(faces),), material, dtype=torch.int32),
        (0.5 + 0.5 * surface.openness[kept]).contiguous(),
    )
    return shell, rest[kept] + normals * lift[:, None]


def grow_hair(
    head: ArkitHead, hair: Hair, rest: Tensor, surface: Surface
) -> tuple[Surface, Tensor]:
    """The shell of a person's hair, and its vertices on the unposed head; see `raise_shell`."""
    rng = np.random.default_rng(hair.seed + 1)
    waves = torch.from_numpy(rng.normal(0, 90, (6, 3))).float()
    phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, 6)).float()
    bumps = (head.template @ waves.T + phases).sin().sum(1) / 2
    covered = hair_cover(hair, head.template, 0.02)
    height = (hair.thickness + hair.curl + hair.curl * bumps).clamp(min=0.0005)
    return raise_shell(head, rest, surface, covered, height, HAIR)


def hang_locks(hair: Hair, rest: Tensor) -> tuple[Surface, Tensor]:
    """The locks of a person's hair: ribbons that lie outside the head.

    Args:
        hair: The style.
        rest: (V, 3) the person's unposed vertices.

    Returns:
        The locks and their vertices on the unposed head.
    """
    rng = np.random.default_rng(hair.seed + 2)
    count = len(hair.locks)
    scalp = rest[rest[:, 1] > 0.11]
    low, high = scalp.amin(0), scalp.amax(0)
    centre = torch.tensor(SCALP_CENTRE)
    radii = torch.stack([(high[0] - low[0]) * 0.46, high[1] - centre[1], high[2] - centre[2]])
    outside = 1 + (hair.thickness + hair.curl) / 0.09
    elevation = (0.25 + 0.95 * hair.locks) * 1.05
    direction = torch.stack(
        [
            elevation.cos() * hair.sides.sin(),
            elevation.sin(),
            elevation.cos() * hair.sides.cos(),
        ],
        1,
    )
    point = centre + radii * direction * outside * 0.97
    aside = torch.tensor([0.6 * hair.sweep, -0.1, 0.0])
    heading = functional.normalize(0.5 * direction * torch.tensor([1.0, 0.0, 1.0]) + aside, dim=1)
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, count)).float()
    steps = hair.lengths[:, None] / (JOINTS - 1)
    path = [point]
    for joint in range(1, JOINTS):
        heading = functional.normalize(0.8 * heading + torch.tensor([0.0, -0.6, 0.0]), dim=1)
        point = point + steps * heading
        offset = (point - centre) / radii
        depth = offset.norm(dim=1, keepdim=True)
        below = (point[:, 1:2] < centre[1]).float()
        inside = (outside + 0.01 - depth).clamp(min=0) * (1 - 0.6 * below)
        point = point + offset / depth * radii * inside
        swing = hair.wave * torch.sin(phase + joint * 0.9)
        path.append(point + swing[:, None] * torch.tensor([0.7, 0.0, 0.7]))
    return _ribbons(torch.stack(path, 1), centre, hair.width, rng)


def _ribbons(path: Tensor, centre: Tensor, width: float, rng: Generator) -> tuple[Surface, Tensor]:
    """Ribbons along (N, J, 3) paths that face away from a centre."""
    count = len(path)
    along = functional.normalize(path.diff(dim=1, append=2 * path[:, -1:] - path[:, -2:-1]), dim=2)
    across = functional.normalize(torch.linalg.cross(along, path - centre), dim=2)
    taper = torch.linspace(1, 0.35, JOINTS)[:, None]
    half = across * taper * torch.from_numpy(rng.uniform(0.3, 0.7, (count, 1, 1)) * width).float()
    vertices = torch.stack([path - half, path + half], 2).reshape(-1, 3)
    ring = torch.arange(JOINTS - 1)[:, None] * 2
    quads = torch.cat([ring + torch.tensor([0, 2, 1]), ring + torch.tensor([1, 2, 3])])
    faces = (torch.arange(count)[:, None, None] * 2 * JOINTS + quads).reshape(-1, 3)
    place = torch.from_numpy(rng.uniform(0, 0.8, (count, 1, 1))).float()
    side = place + torch.tensor([0.0, 0.2]).expand(count, JOINTS, 2)
    down = torch.linspace(0, 1, JOINTS)[None, :, None].expand_as(side)
    uv = place_in_cell(torch.stack([side, down], -1).reshape(-1, 2), HAIR_CELL)
    openness = torch.from_numpy(rng.uniform(0.6, 1, (count, 1)).repeat(2 * JOINTS, 1)).float()
    return Surface(
        faces.int().contiguous(),
        uv[faces].contiguous(),
        torch.full((len(faces),), HAIR, dtype=torch.int32),
        openness.flatten().contiguous(),
    ), vertices
