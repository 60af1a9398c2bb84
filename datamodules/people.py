"""How synthetic people look: skin, hair, eyes, light and background, all drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from datamodules.prototypes import Style, sample_style
from i2fet.camera import project
from i2fet.coefficients import SHAPE_SIZE, FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.rendering.mesh import Lighting, render_vertices

SKIN_TONES = torch.tensor(
    [
        [0.96, 0.80, 0.71],
        [0.91, 0.72, 0.60],
        [0.84, 0.64, 0.50],
        [0.72, 0.51, 0.38],
        [0.56, 0.38, 0.28],
        [0.41, 0.27, 0.20],
        [0.30, 0.20, 0.15],
    ]
)
HAIR_COLORS = torch.tensor(
    [
        [0.07, 0.06, 0.06],
        [0.17, 0.11, 0.08],
        [0.30, 0.20, 0.13],
        [0.52, 0.39, 0.24],
        [0.42, 0.19, 0.10],
        [0.50, 0.49, 0.48],
    ]
)
IRIS_COLORS = torch.tensor(
    [[0.20, 0.12, 0.07], [0.33, 0.20, 0.10], [0.30, 0.36, 0.22], [0.32, 0.45, 0.55]]
)
SCLERA = torch.tensor([0.88, 0.87, 0.85])
PUPIL = torch.tensor([0.03, 0.03, 0.03])
MOUTH = torch.tensor([0.22, 0.06, 0.06])
TONGUE = torch.tensor([0.55, 0.24, 0.24])

FOREHEAD_LANDMARK, CHIN_LANDMARK = 10, 152
EAR_START = 0.86
"""Ears stand out beyond this share of the head's half width."""


@dataclass(frozen=True)
class Look:
    """Everything about a person's picture that is not geometry; colours are RGB in [0, 1].

    Attributes:
        skin: (3,).
        mottling: (K, 3) wave vectors in radians per metre, of the skin's slow changes of tone.
        phases: (K,) of the waves.
        hair: (3,); also the brows.
        hairline: Height of the hairline in face heights above the forehead; None for no hair.
        brows: How dense the brows are, 0 to 1.
        lips: (3,).
        iris: (3,).
        lighting: A lamp and the light of the room.
        background: (2, 3) at the top and at the bottom.
    """

    skin: Tensor
    mottling: Tensor
    phases: Tensor
    hair: Tensor
    hairline: float | None
    brows: float
    lips: Tensor
    iris: Tensor
    lighting: Lighting
    background: Tensor


@dataclass(frozen=True)
class Person:
    """A synthetic person: identity (100,), the way of moving, the look."""

    shape: Tensor
    style: Style
    look: Look


def sample_person(rng: Generator) -> Person:
    """Draw a person."""
    shape = torch.from_numpy(0.85 * rng.standard_normal(SHAPE_SIZE).clip(-2.5, 2.5)).float()
    return Person(shape, sample_style(rng), sample_look(rng))


def sample_look(rng: Generator) -> Look:
    """Draw a look: pale to dark skin, shaved or not, lit from any side of the front."""
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    skin = _blend_palette(SKIN_TONES, tone) * _jitter(rng, 0.02)
    hairs = len(HAIR_COLORS) if tone < 3 else 2
    return Look(
        skin=skin,
        mottling=torch.from_numpy(rng.normal(0, 50, (8, 3))).float(),
        phases=torch.from_numpy(rng.uniform(0, 2 * np.pi, 8)).float(),
        hair=HAIR_COLORS[rng.integers(hairs)] * _jitter(rng, 0.04),
        hairline=None if rng.random() < 0.1 else rng.uniform(0.05, 0.14),
        brows=rng.uniform(0.6, 1),
        lips=skin * torch.tensor([0.86, 0.66, 0.68]) * _jitter(rng, 0.03),
        iris=_blend_palette(IRIS_COLORS, rng.uniform(0, len(IRIS_COLORS) - 1)),
        lighting=_sample_lighting(rng),
        background=torch.from_numpy(rng.uniform(0.1, 0.9) + rng.normal(0, 0.03, (2, 3)))
        .float()
        .clamp(0, 1),
    )


def _sample_lighting(rng: Generator) -> Lighting:
    azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(-0.1, 0.9)
    direction = [
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    ]
    ambient = rng.uniform(0.25, 0.55)
    lamp = rng.uniform(0.9, 1.2) - ambient
    return Lighting(
        ambient=ambient * _jitter(rng, 0.03),
        directions=torch.tensor([direction], dtype=torch.float32),
        colors=lamp * _jitter(rng, 0.03)[None],
        wrap=rng.uniform(0.1, 0.5),
    )


def _blend_palette(palette: Tensor, position: float) -> Tensor:
    low = min(int(position), len(palette) - 2)
    return torch.lerp(palette[low], palette[low + 1], position - low)


def _jitter(rng: Generator, spread: float) -> Tensor:
    return torch.from_numpy(rng.lognormal(0, spread, 3)).float()


def paint(head: ArkitHead, look: Look) -> Tensor:
    """(V, 3) RGB of each vertex in [0, 1], without light."""
    waves = (head.template @ look.mottling.T + look.phases).sin().mean(1, keepdim=True)
    blush = torch.tensor([0.05, 0.10, 0.10])
    colors = look.skin * (1 + waves * blush)
    if look.hairline is not None:
        colors = torch.lerp(colors, look.hair.expand_as(colors), hair_mask(head, look.hairline))
    layers = (
        ("brows", look.hair * 0.8 + look.skin * 0.1, look.brows),
        ("lips", look.lips, 0.85),
        ("mouth_interior", MOUTH, 1.0),
        ("tongue", TONGUE, 1.0),
        ("sclera", SCLERA, 1.0),
        ("iris", look.iris, 1.0),
        ("pupil", PUPIL, 1.0),
    )
    for region, color, opacity in layers:
        mask = head.regions[region][:, None] * opacity
        colors = torch.lerp(colors, color.expand_as(colors), mask)
    return colors.clamp(0, 1)


def hair_mask(head: ArkitHead, hairline: float) -> Tensor:
    """(V, 1) how much hair covers each vertex: the scalp behind a plane from forehead to nape."""
    forehead, chin = head.landmarks(head.template[None])[0, [FOREHEAD_LANDMARK, CHIN_LANDMARK]]
    height = forehead[1] - chin[1]
    edge = forehead + height * torch.tensor([0, hairline, 0])
    normal = functional.normalize(torch.tensor([0.0, 0.55, -0.85]), dim=0)
    behind = torch.sigmoid((head.template - edge) @ normal / (0.015 * height))
    width = head.template[:, 0].abs()
    ears = torch.sigmoid((width - EAR_START * width.max()) / (0.01 * height))
    return (behind * (1 - ears))[:, None]


def photograph(
    head: ArkitHead,
    look: Look,
    coefficients: FaceCoefficients,
    size: int,
    background: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Pictures of one person.

    Args:
        head: The head.
        look: The person's look.
        coefficients: Of T faces.
        size: Width and height, pixels.
        background: (size, size, 3) RGB instead of the look's own.

    Returns:
        (T, size, size, 3) RGB.
    """
    vertices = head.vertices(coefficients)
    return render_vertices(
        project(vertices, coefficients.camera, size, size),
        vertices,
        head.faces,
        paint(head, look),
        size,
        size,
        look.lighting,
        _backdrop(look.background, size) if background is None else background,
        supersample=2,
    )


def _backdrop(colors: Tensor, size: int) -> NDArray[np.uint8]:
    rows = torch.linspace(0, 1, size)[:, None, None]
    image = torch.lerp(colors[0], colors[1], rows).expand(size, size, 3)
    return (image * 255).byte().numpy()
