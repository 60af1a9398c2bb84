"""Where each part of a head lies in its texture.

The skin is unrolled around the head's vertical axis, with the eyes closed so that lids lie flat;
below it a strip of square cells holds what is not skin. All coordinates of the texture are in units
of its width, from its upper left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d, median_filter
from torch import Tensor

from datamodules.surfaces import EYE, MOUTH, SKIN, Surface
from i2fet.heads import ArkitHead
from i2fet.rendering.mesh import vertex_normals
from i2fet.rendering.rasterizer import interpolate, rasterize

Floats = NDArray[np.float32]

ARC = math.radians(210)
"""Around the head, that the texture's width covers."""
LOW, HIGH = -0.005, 0.265
"""Metres of height that the skin's square covers."""
AXIS = 0.05
"""Metres of the vertical axis before the head's origin."""

COLUMNS = 4
EYE_CELL, MOUTH_CELL, TOOTH_CELL, HAIR_CELL, THING_CELL = range(5)
CELL = 1 / COLUMNS
"""Side of a cell; two rows of cells make the texture half as high again as it is wide."""

EYE_RADIUS = 0.0165
MOUTH_FRONT, MOUTH_BACK = 0.145, 0.06
"""Depths in metres between which the inside of the mouth darkens."""

FRONT_GRID = 1200
DIRECTIONS, DEPTH_SIZE = 60, 160


@dataclass(frozen=True, eq=False)
class Atlas:
    """The head's surface and the texels that colour it; S texels in a row of the skin.

    Attributes:
        surface: The head.
        points: (S, S, 3) metres, where on the mean head each texel of the skin lies.
        regions: (S, S) masks in [0, 1] by name.
        front: (G, G, 2) texture coordinates of what is seen from the front, see `locate`.
        lids: (2, 24, 2) texture coordinates of the left eye's upper and lower lid margin, from the
            inner corner to the outer.
    """

    surface: Surface
    points: Floats
    regions: dict[str, Floats]
    front: Floats
    lids: Floats

    @property
    def size(self) -> int:
        return len(self.points)

    def locate(self, positions: NDArray[np.floating]) -> Floats:
        """Texel coordinates of the skin at (..., 2) x and y in metres on the front of the face."""
        grid = ((np.asarray(positions) * (1, -1) + (0.13, HIGH)) / 0.27 * FRONT_GRID).astype(int)
        column, row = grid.clip(0, FRONT_GRID - 1).T
        return np.asarray(self.front[row.T, column.T] * self.size, np.float32)

    def blank(self) -> Floats:
        """(4, 3 S / 2, S) an empty texture: three colours and gloss."""
        return np.zeros((4, self.size + 2 * self.size // COLUMNS, self.size), np.float32)

    def cell(self, texture: Floats, index: int) -> Floats:
        """(4, S / 4, S / 4) view of one cell of a texture."""
        side = self.size // COLUMNS
        row, column = divmod(index, COLUMNS)
        top, left = self.size + row * side, column * side
        return texture[:, top : top + side, left : left + side]


@cache
def load_atlas(head: ArkitHead, size: int) -> Atlas:
    """Unroll a head.

    Args:
        head: The head.
        size: Texels in a row of the skin, a multiple of 8.
    """
    with torch.no_grad():
        flat = _closed_eyes(head)
        skin_uv = _unroll(flat)
        corners, materials = _corner_coordinates(head, skin_uv)
        surface = Surface(head.faces.int(), corners, materials, _openness(head))
        skin = (materials == SKIN) & (corners.amax(1) - corners.amin(1)).lt(0.3).all(1)
        points, regions = _spread(head, skin_uv, head.faces[skin], size)
        front = _seen_from_front(head, skin_uv, materials)
        return Atlas(surface, points, regions, front, _lid_margins(head, materials, front))


def _closed_eyes(head: ArkitHead) -> Tensor:
    blinks = [head.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    return head.template + 0.45 * head.expression_basis[blinks].sum(0)


def _unroll(vertices: Tensor) -> Tensor:
    """(V, 2) texture coordinates of points on the skin."""
    angle = torch.atan2(vertices[:, 0], vertices[:, 2] - AXIS)
    return torch.stack([0.5 + angle / ARC, (HIGH - vertices[:, 1]) / (HIGH - LOW)], 1)


def _corner_coordinates(head: ArkitHead, skin_uv: Tensor) -> tuple[Tensor, Tensor]:
    """(F, 3, 2) texture coordinates and (F,) materials of all triangles."""
    inside = (head.regions["mouth_interior"] + head.regions["tongue"]) > 0.5
    eye = (head.regions["sclera"] + head.regions["iris"] + head.regions["pupil"]) > 0.5
    vertices = head.template
    depth = (MOUTH_FRONT - vertices[:, 2]) / (MOUTH_FRONT - MOUTH_BACK)
    tongue = head.regions["tongue"] > 0.5
    mouth_uv = torch.stack([torch.where(tongue, 0.75, 0.25), depth.clamp(0.02, 0.98)], 1)
    centres = torch.where(vertices[:, :1] > 0, head.joints[3, :2], head.joints[4, :2])
    eye_uv = 0.5 + 0.5 * (vertices[:, :2] - centres) / EYE_RADIUS * torch.tensor([1, -1])
    faces = head.faces
    is_eye, is_mouth = eye[faces].all(1), inside[faces].all(1)
    corners = skin_uv[faces]
    for chosen, uv, index in ((is_eye, eye_uv, EYE_CELL), (is_mouth, mouth_uv, MOUTH_CELL)):
        corners[chosen] = place_in_cell(uv, index)[faces[chosen]]
    materials = torch.full((len(faces),), SKIN, dtype=torch.int32)
    materials[is_eye], materials[is_mouth] = EYE, MOUTH
    return corners.contiguous(), materials


def place_in_cell(coordinates: Tensor, cell: int) -> Tensor:
    """Texture coordinates of (..., 2) coordinates in [0, 1] within a cell, clear of its edges."""
    inner = 0.04 + 0.92 * coordinates.clamp(0, 1)
    row, column = divmod(cell, COLUMNS)
    return inner * CELL + torch.tensor([column * CELL, 1 + row * CELL])


def _spread(
    head: ArkitHead, uv: Tensor, faces: Tensor, size: int
) -> tuple[Floats, dict[str, Floats]]:
    """Positions and region masks of the skin's texels."""
    outward = (head.template - head.template.mean(0)).norm(dim=1, keepdim=True)
    fragments = rasterize(torch.cat([uv * size, outward], 1)[None], faces, size, size)
    values = torch.cat([head.template, *(m[:, None] for m in head.regions.values())], 1)
    spread = interpolate(values, faces, fragments)[0].numpy()
    missing = ~fragments.mask[0].numpy()
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    filled = np.ascontiguousarray(spread[tuple(nearest)])
    masks = filled[..., 3:].transpose(2, 0, 1)
    return filled[..., :3], dict(zip(head.regions, masks, strict=True))


def _front_pixels(head: ArkitHead) -> Tensor:
    """(1, V, 3) the mean head on a grid of its front."""
    scale = FRONT_GRID / 0.27
    offset = torch.tensor([0.13, HIGH, 0])
    return ((head.template * torch.tensor([1, -1, 1]) + offset) * scale)[None]


def _seen_from_front(head: ArkitHead, uv: Tensor, materials: Tensor) -> Floats:
    faces = head.faces[materials == SKIN]
    fragments = rasterize(_front_pixels(head), faces, FRONT_GRID, FRONT_GRID, True)
    return interpolate(uv, faces, fragments)[0].numpy()


def _lid_margins(head: ArkitHead, materials: Tensor, front: Floats) -> Floats:
    """Where the skin meets the left eye as the mean head shows it from the front."""
    fragments = rasterize(_front_pixels(head), head.faces, FRONT_GRID, FRONT_GRID, True)
    shown = materials[fragments.pix_to_face[0].clamp(min=0)].numpy()
    eye = (shown == EYE) & (np.arange(FRONT_GRID) > 0.13 / 0.27 * FRONT_GRID)
    columns = np.flatnonzero(eye.sum(0) > 3)
    upper = eye[:, columns].argmax(0) - 5
    lower = FRONT_GRID + 2 - eye[::-1, columns].argmax(0)
    return np.stack([_smooth(front[rows, columns]) for rows in (upper, lower)])


def _smooth(points: Floats) -> Floats:
    """(24, 2) a smooth line through noisy points in the order of their x."""
    steady = gaussian_filter1d(median_filter(points, (15, 1)), 4, axis=0)
    return np.asarray(steady[np.linspace(0, len(steady) - 1, 24).astype(int)])


def _openness(head: ArkitHead) -> Tensor:
    """(V,) share of directions from which each vertex is seen, weighted by their slant."""
    index = torch.arange(DIRECTIONS) + 0.5
    height = 1 - 2 * index / DIRECTIONS
    angle = math.pi * (1 + math.sqrt(5)) * index
    around = (1 - height.square()).sqrt()
    towards = torch.stack([around * angle.cos(), height, around * angle.sin()], 1)
    up = torch.tensor([0.0, 1.0, 0.01])
    right = torch.nn.functional.normalize(torch.linalg.cross(up.expand_as(towards), towards))
    axes = torch.stack([right, torch.linalg.cross(towards, right), towards], 2)
    scale = DEPTH_SIZE / 0.4
    turned = (head.template - head.template.mean(0)) @ axes * scale
    pixels = turned * torch.tensor([1, -1, 1]) + torch.tensor([DEPTH_SIZE / 2, DEPTH_SIZE / 2, 0])
    fragments = rasterize(pixels, head.faces, DEPTH_SIZE, DEPTH_SIZE)
    column, row = pixels[..., :2].long().clamp(0, DEPTH_SIZE - 1).unbind(-1)
    nearest = fragments.depth[torch.arange(DIRECTIONS)[:, None], row, column]
    slant = (vertex_normals(head.template[None], head.faces)[0] @ towards.T).clamp(min=0).T
    seen = torch.sigmoid((pixels[..., 2] - nearest + 0.004 * scale) / (0.002 * scale)) * slant
    return (seen.sum(0) / slant.sum(0).clamp(min=1e-3)).clamp(0.05, 1).contiguous()
