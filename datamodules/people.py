"""Synthetic people: who they are, how they look, and photographs of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from datamodules.accessories import (
    Glasses,
    Headwear,
    paint_headwear,
    paint_things,
    sample_glasses,
    sample_headwear,
    shoulders,
    wear_glasses,
    wear_headwear,
)
from datamodules.atlas import ARC, HIGH, LOW, Atlas, load_atlas
from datamodules.eyes import Eyes, paint_eyes, paint_mouth, sample_eyes
from datamodules.hair import Hair, grow_hair, hang_locks, paint_hair, sample_hair, under_headwear
from datamodules.prototypes import Style, sample_style
from datamodules.skin import Color, Skin, paint_skin, sample_skin
from datamodules.surfaces import Surface, draw_surface, join
from datamodules.teeth import RECESS, Teeth, paint_teeth, place_teeth, sample_teeth, teeth_surface
from datamodules.wrinkles import Creases, draw_relief, sample_creases
from i2fet.camera import project
from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.heads.skinning import rotation_matrices
from i2fet.rendering.mesh import Lighting

HAIR_COLORS = np.array(
    [
        [0.07, 0.06, 0.06],
        [0.17, 0.11, 0.08],
        [0.30, 0.20, 0.13],
        [0.62, 0.48, 0.30],
        [0.46, 0.20, 0.10],
    ],
    np.float32,
)
GREY = np.array([0.68, 0.67, 0.66], np.float32)

TEXTURE_SHARE = 2
"""Texels in a row of the skin for each pixel of a picture."""
LARGEST_TEXTURE = 768

NEAREST, FARTHEST = 0.4, 8.0
"""Metres from the camera to a face."""


@dataclass(frozen=True)
class Look:
    """Everything about a person's picture that is not geometry.

    Attributes:
        skin: With lips, beard, brows and make-up.
        creases: How the skin wrinkles.
        eyes: Of the eyeballs.
        teeth: Of both rows.
        hair: On the head.
        glasses: If any.
        headwear: If any.
        clothes: RGB in [0, 1].
        distance: Metres from the camera to the face.
        lighting: Lamps and the light of the room.
        background: (2, 3) RGB in [0, 1] at the top and at the bottom.
    """

    skin: Skin
    creases: Creases
    eyes: Eyes
    teeth: Teeth
    hair: Hair
    glasses: Glasses | None
    headwear: Headwear | None
    clothes: Color
    distance: float
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
    """Draw a look: of any age, pale to dark, shaved or not, lit from any side of the front."""
    age, darkness, bearded = rng.random(), rng.random(), rng.random() < 0.5
    hair_color = _sample_hair_color(age, darkness, rng)
    headwear = sample_headwear(rng)
    hair = sample_hair(hair_color, age, bearded, rng)
    return Look(
        skin=sample_skin(hair_color, darkness, age, bearded, rng),
        creases=sample_creases(age, rng),
        eyes=sample_eyes(darkness, rng),
        teeth=sample_teeth(rng),
        hair=under_headwear(hair) if headwear else hair,
        glasses=sample_glasses(rng),
        headwear=headwear,
        clothes=(rng.uniform(0.03, 0.9) * rng.lognormal(0, 0.25, 3)).clip(0.02, 0.95),
        distance=math.exp(rng.uniform(math.log(NEAREST), math.log(FARTHEST))),
        lighting=_sample_lighting(rng),
        background=torch.from_numpy(rng.uniform(0.1, 0.9) + rng.normal(0, 0.03, (2, 3)))
        .float()
        .clamp(0, 1),
    )


def _sample_hair_color(age: float, darkness: float, rng: Generator) -> Color:
    known = len(HAIR_COLORS) if darkness < 0.5 else 2
    color = HAIR_COLORS[rng.integers(known)] * rng.lognormal(0, 0.08, 3)
    grey = rng.random() * (age > 0.6) * (rng.random() < 0.6)
    return np.asarray(color + grey * (GREY - color), np.float32)


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
        ambient=torch.from_numpy(ambient * rng.lognormal(0, 0.03, 3)).float(),
        directions=torch.tensor([direction], dtype=torch.float32),
        colors=torch.from_numpy(lamp * rng.lognormal(0, 0.03, (1, 3))).float(),
        wrap=rng.uniform(0.1, 0.5),
    )


def paint(look: Look, atlas: Atlas) -> Tensor:
    """(3 S / 2, S, 4) texture of a person: linear RGB and gloss in [0, 1]."""
    texture = atlas.blank()
    paint_skin(look.skin, atlas, texture)
    paint_hair(look.hair, atlas, texture)
    if look.headwear:
        paint_headwear(look.headwear, atlas, texture)
    paint_things(look.clothes, look.glasses, look.headwear, atlas, texture)
    paint_eyes(look.eyes, atlas, texture)
    paint_mouth(atlas, texture)
    paint_teeth(look.teeth, atlas, texture)
    texture[:3] *= texture[:3]
    return torch.from_numpy(texture).permute(1, 2, 0).contiguous()


def photograph(
    head: ArkitHead,
    look: Look,
    coefficients: FaceCoefficients,
    size: int,
    background: NDArray[np.uint8] | None = None,
    supersample: int = 2,
) -> NDArray[np.uint8]:
    """Pictures of one person.

    Args:
        head: The head.
        look: The person's look.
        coefficients: Of T faces.
        size: Width and height, pixels.
        background: (size, size, 3) RGB instead of the look's own.
        supersample: Samples along each side of a pixel.

    Returns:
        (T, size, size, 3) RGB.
    """
    atlas = load_atlas(head, min(TEXTURE_SHARE * size, LARGEST_TEXTURE) // 8 * 8)
    texture = paint(look, atlas)
    vertices = head.vertices(coefficients)
    rest = head.rest_vertices(coefficients.shape[:1], torch.zeros(1, EXPRESSION_SIZE))[0]
    landmarks, at_rest = head.landmarks(vertices), head.landmarks(rest[None])[0]
    teeth, mouth_light = place_teeth(head, look.teeth, coefficients, at_rest, landmarks)
    worn, worn_vertices = _dress(head, look, atlas, coefficients, rest)
    vertices = torch.cat([vertices, teeth, worn_vertices], 1)
    surface = join([atlas.surface, teeth_surface(), worn])
    openness = surface.openness.repeat(len(vertices), 1)
    inside = _inside_mouth(head)
    openness[:, : head.num_vertices][:, inside] = 0.7 * mouth_light[:, None]
    openness[:, head.num_vertices :][:, : teeth.shape[1]] *= mouth_light[:, None]
    points = _approach(vertices, landmarks, look.distance)
    pixels = project(points, coefficients.camera, size, size)
    _recess_mouth(head, pixels, coefficients.camera[:, :1] * size / 2)
    return draw_surface(
        surface,
        vertices,
        pixels,
        openness,
        texture,
        draw_relief(head, look.creases, atlas, coefficients.expression),
        rotation_matrices(coefficients.global_rotation),
        ARC,
        (HIGH - LOW) / atlas.size,
        look.lighting,
        _backdrop(look.background, size) if background is None else background,
        supersample,
    )


def _dress(
    head: ArkitHead, look: Look, atlas: Atlas, coefficients: FaceCoefficients, rest: Tensor
) -> tuple[Surface, Tensor]:
    """What a person carries on the head, and its (T, V', 3) vertices, which move with the skull."""
    joints = head.joint_positions(coefficients.shape[:1])[0]
    parts = [grow_hair(head, look.hair, rest, atlas.surface), hang_locks(look.hair, rest)]
    if look.headwear:
        parts += wear_headwear(head, look.headwear, rest, atlas.surface)
    if look.glasses:
        parts += wear_glasses(head, look.glasses, rest, joints)
    root, count = joints[0], len(coefficients)
    turns = rotation_matrices(coefficients.global_rotation)
    turned = (torch.cat([part[1] for part in parts]) - root) @ turns.mT + root
    clothes, still = shoulders(root)
    vertices = torch.cat([turned, still.expand(count, -1, -1)], 1)
    return join([*(part[0] for part in parts), clothes]), vertices


def _approach(vertices: Tensor, face: Tensor, distance: float) -> Tensor:
    """Vertices moved to where a camera at a distance in metres sees them.

    What is nearer looks larger. The face (T, L, 3) keeps its mean place and size, so that the
    weak-perspective camera of the truth stays the best.
    """
    middle = face.mean(1, keepdim=True)

    def seen(points: Tensor) -> Tensor:
        offset = points - middle
        return offset[..., :2] / (1 - offset[..., 2:] / distance)

    flat, near = (face - middle)[..., :2], seen(face)
    shift = near.mean(1, keepdim=True)
    size = flat.square().sum((1, 2)) / (flat * (near - shift)).sum((1, 2))
    moved = size[:, None, None] * (seen(vertices) - shift) + middle[..., :2]
    return torch.cat([moved, vertices[..., 2:]], 2)


def _recess_mouth(head: ArkitHead, pixels: Tensor, metre: Tensor) -> None:
    """Move the depth of all within the mouth back, in place: nothing then pierces the lips."""
    pixels[:, : head.num_vertices, 2] -= _inside_mouth(head) * 2 * RECESS * metre
    pixels[:, head.num_vertices :, 2][:, : len(teeth_surface().openness)] -= RECESS * metre


def _inside_mouth(head: ArkitHead) -> Tensor:
    return (head.regions["mouth_interior"] + head.regions["tongue"]) > 0.5


def _backdrop(colors: Tensor, size: int) -> NDArray[np.uint8]:
    rows = torch.linspace(0, 1, size)[:, None, None]
    image = torch.lerp(colors[0], colors[1], rows).expand(size, size, 3)
    return (image * 255).byte().numpy()
