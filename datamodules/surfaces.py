"""Textured surfaces and their pictures: rasterised once, lit at every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import warp as wp
from numpy.typing import NDArray
from torch import Tensor

from datamodules import shaders
from i2fet.rendering import kernels
from i2fet.rendering.mesh import Lighting, vertex_normals
from i2fet.rendering.parallel import for_parts_of_batch, launch

SKIN, EYE, MOUTH, TOOTH, HAIR, THING = range(6)
"""Materials; skin alone has wrinkles."""


@dataclass(frozen=True)
class Surface:
    """Triangles and how they are coloured; V vertices, F triangles.

    Attributes:
        faces: (F, 3) int32 vertex indices, counter-clockwise from outside.
        corners: (F, 3, 2) texture coordinates of the triangles' corners; both in units of the
            texture's width, from its upper left.
        materials: (F,) int32, of the constants above.
        openness: (V,) share of the room's light that reaches each vertex, in [0, 1].
    """

    faces: Tensor
    corners: Tensor
    materials: Tensor
    openness: Tensor


def join(surfaces: Sequence[Surface]) -> Surface:
    """One surface of several, their vertices in the same order."""
    starts = np.cumsum([0, *(len(surface.openness) for surface in surfaces)])
    faces = [s.faces + int(start) for s, start in zip(surfaces, starts[:-1], strict=True)]
    return Surface(
        torch.cat(faces),
        torch.cat([surface.corners for surface in surfaces]),
        torch.cat([surface.materials for surface in surfaces]),
        torch.cat([surface.openness for surface in surfaces]),
    )


@torch.no_grad()
def draw_surface(
    surface: Surface,
    vertices: Tensor,
    pixels: Tensor,
    openness: Tensor,
    texture: Tensor,
    relief: Tensor,
    turns: Tensor,
    arc: float,
    texel: float,
    lighting: Lighting,
    background: NDArray[np.uint8],
    supersample: int = 2,
) -> NDArray[np.uint8]:
    """Draw a surface in several states.

    Args:
        surface: What is drawn.
        vertices: (T, V, 3) metres, for the normals.
        pixels: (T, V, 3) the same vertices in the picture, as from `i2fet.camera.project`.
        openness: (T, V) share of the room's light that reaches each vertex, in [0, 1].
        texture: (R, S, 4) linear RGB and gloss in [0, 1]; R at least S.
        relief: (T, S, S) height of the skin, metres.
        turns: (T, 3, 3) how the head is turned.
        arc: Radians around the head that the texture's width covers.
        texel: Of the relief, metres.
        lighting: Of all pictures.
        background: (S, S, 3) RGB behind the surface.
        supersample: Samples along each side of a pixel.

    Returns:
        (T, S, S, 3) RGB.
    """
    height, width = background.shape[:2]
    device = vertices.device
    normals = vertex_normals(vertices, surface.faces)
    zoom = pixels.new_tensor([supersample, supersample, 1])
    places = (pixels * zoom).contiguous()
    size = (len(pixels), height * supersample, width * supersample)
    keys = torch.full(size, kernels.EMPTY.value, dtype=torch.int64, device=device)
    behind = torch.from_numpy(background).to(device).float().div(255).square()
    pictures = torch.empty((len(pixels), height, width, 3), dtype=torch.uint8, device=device)
    faces = wp.from_torch(surface.faces, wp.vec3i)

    def draw(part: slice) -> None:
        arguments = [wp.from_torch(places[part], wp.vec3), faces, True, wp.from_torch(keys[part])]
        launch(kernels.draw, (len(places[part]), len(surface.faces)), arguments, device)

    def shade(part: slice) -> None:
        arguments = [
            wp.from_torch(places[part], wp.vec3),
            faces,
            wp.from_torch(keys[part]),
            wp.from_torch(normals[part], wp.vec3),
            wp.from_torch(openness[part]),
            wp.from_torch(surface.corners, wp.vec2),
            wp.from_torch(surface.materials),
            wp.from_torch(texture, wp.vec4),
            wp.from_torch(relief[part]),
            wp.from_torch(turns[part], wp.mat33),
            arc,
            texel,
            _light(lighting, device),
            supersample,
            wp.from_torch(behind, wp.vec3),
            wp.from_torch(pictures[part]),
        ]
        launch(shaders.shade, (len(places[part]), height, width), arguments, device)

    for_parts_of_batch(draw, len(pixels), kernels, device)
    for_parts_of_batch(shade, len(pixels), shaders, device)
    return np.asarray(pictures.cpu())


def _light(lighting: Lighting, device: torch.device) -> Any:
    light: Any = shaders.Light()
    light.directions = wp.from_torch(lighting.directions.to(device).contiguous(), wp.vec3)
    light.colors = wp.from_torch(lighting.colors.to(device).contiguous(), wp.vec3)
    light.ambient = wp.vec3(*lighting.ambient.tolist())
    light.wrap = lighting.wrap
    return light
