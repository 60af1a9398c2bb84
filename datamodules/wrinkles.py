"""Wrinkles that come and go with the expression, and stay with age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from datamodules.atlas import HIGH, LOW, Atlas, Floats
from i2fet.heads import ArkitHead

Curve = tuple[tuple[float, float], ...]

METRE = 1 / (HIGH - LOW)
"""Of the head, in widths of the texture."""

POINTS = 8
"""Of a line's course."""
FADE = np.sin(np.linspace(0.25, math.pi - 0.25, POINTS - 1)).tolist()


@dataclass(frozen=True)
class Fold:
    """Lines that deepen together, on the subject's left side; millimetres on the face's front.

    Attributes:
        curves: Their courses, x from the middle of the face, y from the head's origin.
        actions: ARKit actions that deepen them, without the side, and by how much.
        depth: Of a fully deepened line, millimetres.
        width: Standard deviation of a line's profile, millimetres.
        rest: Share of the depth that an old face keeps.
    """

    curves: tuple[Curve, ...]
    actions: Mapping[str, float]
    depth: float
    width: float
    rest: float


FOLDS: dict[str, Fold] = {
    "forehead": Fold(
        (
            ((0, 171), (12, 172), (24, 174)),
            ((0, 178), (14, 179), (27, 181)),
            ((0, 185), (12, 186), (25, 188)),
            ((0, 192), (10, 193), (22, 194)),
        ),
        {"browInnerUp": 1.0, "browOuterUp": 0.35},
        0.55,
        1.2,
        0.3,
    ),
    "brow arch": Fold(
        (
            ((22, 172), (33, 175), (45, 175), (54, 170)),
            ((24, 180), (35, 183), (47, 182), (56, 177)),
            ((24, 188), (36, 190), (48, 189)),
        ),
        {"browOuterUp": 1.0, "browInnerUp": 0.2},
        0.55,
        1.2,
        0.3,
    ),
    "glabella": Fold(
        (((9, 149), (8, 156), (9, 163), (12, 169)), ((3, 151), (3, 158), (4, 164))),
        {"browDown": 1.0, "noseSneer": 0.2},
        0.8,
        1.1,
        0.35,
    ),
    "nose root": Fold(
        (((0, 147), (5, 146), (9, 143)), ((0, 151), (6, 150), (10, 148))),
        {"noseSneer": 0.7, "browDown": 0.5},
        0.6,
        1.0,
        0.15,
    ),
    "nose side": Fold(
        (
            ((6, 141), (10, 136), (14, 131)),
            ((7, 136), (11, 131), (15, 126)),
            ((8, 131), (12, 126), (15, 121)),
        ),
        {"noseSneer": 1.0},
        0.7,
        1.0,
        0.1,
    ),
    "crow's foot": Fold(
        (
            ((49, 146), (55, 149), (61, 153)),
            ((50, 143), (57, 143.5), (64, 145)),
            ((49, 140), (56, 138), (62, 136)),
            ((47, 137), (53, 133), (58, 129)),
        ),
        {"cheekSquint": 0.6, "eyeSquint": 0.4, "mouthSmile": 0.4},
        0.55,
        0.9,
        0.35,
    ),
    "under the eye": Fold(
        (
            ((17, 137), (24, 132), (33, 130), (42, 133)),
            ((16, 134), (23, 128), (32, 125), (42, 127)),
        ),
        {"eyeSquint": 0.7, "cheekSquint": 0.7, "mouthSmile": 0.2},
        0.45,
        1.3,
        0.4,
    ),
    "nasolabial": Fold(
        (((19, 110), (25, 103), (31, 93), (35, 83), (37, 74)),),
        {"mouthSmile": 0.9, "noseSneer": 0.6, "mouthUpperUp": 0.5, "cheekSquint": 0.3},
        1.3,
        1.8,
        0.45,
    ),
    "mouth corner": Fold(
        (((28, 72), (31, 66), (32, 58)),),
        {"mouthFrown": 1.0, "mouthStretch": 0.3, "mouthShrugLower": 0.2},
        0.8,
        1.4,
        0.35,
    ),
    "dimple": Fold(
        (((36, 79), (38.5, 73), (37, 66)),),
        {"mouthDimple": 1.0, "mouthSmile": 0.5, "mouthPress": 0.2},
        0.9,
        1.5,
        0.05,
    ),
    "smile line": Fold(
        (((43, 90), (46, 80), (45, 69)),), {"mouthSmile": 0.8, "cheekSquint": 0.2}, 0.7, 1.8, 0.1
    ),
    "chin": Fold(
        (((0, 54), (9, 53), (17, 49)), ((2, 46), (7, 43)), ((9, 47), (14, 42)), ((1, 40), (8, 38))),
        {"mouthShrugLower": 1.0, "mouthPress": 0.15},
        0.8,
        1.3,
        0.1,
    ),
    "around the lips": Fold(
        (
            ((4, 84), (5, 88)),
            ((10, 83), (12, 87)),
            ((16, 80), (19, 84)),
            ((5, 59), (6, 55)),
            ((11, 60), (13, 56)),
            ((17, 63), (20, 59)),
        ),
        {"mouthPucker": 1.0, "mouthFunnel": 0.4, "mouthPress": 0.2},
        0.45,
        0.8,
        0.3,
    ),
}


@dataclass(frozen=True)
class Creases:
    """One person's wrinkles; K folds.

    Attributes:
        depth: (K,) factor on each fold's depth.
        rest: (K,) share of that depth that stays.
        shift: (K, 2) of each fold's course, millimetres outwards and upwards.
        pores: Depth of the pores, millimetres.
        seed: Of the small irregularities.
    """

    depth: NDArray[np.float64]
    rest: NDArray[np.float64]
    shift: NDArray[np.float64]
    pores: float
    seed: int


def sample_creases(age: float, rng: Generator) -> Creases:
    """Draw the wrinkles of a person; age from 0, young, to 1, old."""
    kept = np.array([fold.rest for fold in FOLDS.values()])
    count = len(FOLDS)
    return Creases(
        depth=(0.5 + 1.1 * age) * rng.lognormal(0, 0.3, count),
        rest=kept * age**1.5 * rng.uniform(0, 1.2, count),
        shift=rng.normal(0, 1, (count, 2)),
        pores=rng.uniform(0.005, 0.02) + 0.03 * age * rng.random(),
        seed=int(rng.integers(2**31)),
    )


def fold_weights(head: ArkitHead, expression: Tensor) -> Tensor:
    """(T, 2, K) how far (T, 50) expressions deepen each fold on the left and the right, 0 to 1."""
    names = list(head.expression_names)
    weights = torch.zeros(2, len(FOLDS), len(names))
    for side, suffix in enumerate(("Left", "Right")):
        for row, fold in enumerate(FOLDS.values()):
            for action, weight in fold.actions.items():
                name = action if action in names else action + suffix
                weights[side, row, names.index(name)] = weight
    return torch.einsum("te,ske->tsk", expression, weights).clamp(0, 1)


def draw_relief(head: ArkitHead, creases: Creases, atlas: Atlas, expression: Tensor) -> Tensor:
    """Height of the skin.

    Args:
        head: The head.
        creases: The person's.
        atlas: Of the head.
        expression: (T, 50).

    Returns:
        (T, S, S) metres.
    """
    rest = torch.from_numpy(creases.rest).float()
    depth = torch.from_numpy(creases.depth).float()
    weights = (fold_weights(head, expression) * (1 - rest) + rest) * depth
    size = atlas.size
    maps = torch.from_numpy(_fold_maps(creases, atlas)).flatten(1)
    left, right = (weights.transpose(0, 1) @ maps).unflatten(2, (size, size // 2))
    return torch.cat([right.flip(2), left], 2) + torch.from_numpy(_pores(creases, size))


def _fold_maps(creases: Creases, atlas: Atlas) -> Floats:
    """(K, S, S / 2) height in metres of each fold on the left half of the face."""
    rng = np.random.default_rng(creases.seed)
    half = atlas.size // 2
    maps = np.zeros((len(FOLDS), atlas.size, half), np.float32)
    for fold, picture, shift in zip(FOLDS.values(), maps, creases.shift, strict=True):
        points = np.stack([_bend(curve, shift, rng) for curve in fold.curves])
        _engrave(picture, atlas.locate(points) - (half, 0), fold, rng)
    return maps


def _bend(curve: Curve, shift: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """(P, 2) metres along a person's own course of a curve."""
    points = np.array(curve, float) + shift * (np.array(curve)[:, :1] > 0.5) + rng.normal(0, 0.4, 2)
    steps = np.linspace(0, len(points) - 1, POINTS)
    return np.stack([np.interp(steps, range(len(points)), axis) for axis in points.T], 1) / 1000


def _engrave(picture: Floats, curves: Floats, fold: Fold, rng: Generator) -> None:
    """Lower a picture along (C, P, 2) lines that fade at both ends, and raise what is beside."""
    texels = METRE * len(picture) / 1000
    sigma = max(fold.width * texels, 0.6)
    margin = int(6 * sigma) + 2
    low = np.maximum(curves.min((0, 1)).astype(int) - margin, 0)
    high = np.minimum(curves.max((0, 1)).astype(int) + margin, picture.shape[::-1])
    lines = np.zeros((high - low)[::-1], np.float32)
    places = ((curves - low - 0.5) * 16).round().astype(int)
    for course in places.tolist():
        strength = rng.uniform(0.5, 1)
        for start, end, fade in zip(course[:-1], course[1:], FADE, strict=True):
            cv2.line(lines, start, end, strength * fade, 1, cv2.LINE_8, 4)
    groove = cv2.GaussianBlur(lines, (0, 0), sigma)
    groove -= 0.8 * cv2.GaussianBlur(groove, (0, 0), 1.6 * sigma)
    depth = sigma * math.sqrt(2 * math.pi) * fold.depth / 1000
    picture[low[1] : high[1], low[0] : high[0]] = -depth * groove


def _pores(creases: Creases, size: int) -> Floats:
    """(S, S) height in metres of pores and fine lines."""
    rng = np.random.default_rng(creases.seed + 1)
    noise = rng.standard_normal((size, size), np.float32)
    return np.asarray(cv2.blur(noise, (2, 2)) * np.float32(creases.pores / 1000))
