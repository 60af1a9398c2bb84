"""Shaded pictures of heads: plain clay for shapes, vertex colours for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor
from torch.nn import functional

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.rendering import kernels
from i2fet.rendering.parallel import for_parts_of_batch, launch
from i2fet.rendering.rasterizer import Fragments, check_mesh, rasterize

CLAY = (0.83, 0.76, 0.71)
PAPER = (0.95, 0.95, 0.96)
REGION_COLORS = {
    "brows": (0.66, 0.58, 0.53),
    "lips": (0.76, 0.62, 0.58),
    "sclera": (0.95, 0.95, 0.94),
    "iris": (0.36, 0.40, 0.44),
    "pupil": (0.08, 0.08, 0.09),
    "mouth_interior": (0.32, 0.20, 0.19),
    "tongue": (0.50, 0.30, 0.29),
}
"""What sets a head's named regions apart from the clay."""

MAX_PIXELS = 2**21
"""Pixels drawn at once, which bounds the memory of long clips."""


@dataclass(frozen=True)
class Lighting:
    """Distant lights and an even ambient one, in linear intensities; all may lead with a batch.

    Attributes:
        ambient: (..., 3) colour of the light from everywhere.
        directions: (..., L, 3) unit vectors towards the L lights, in the picture's frame.
        colors: (..., L, 3) colour of each light.
        wrap: How far past the terminator a light still reaches, in [0, 1]; softens it.
    """

    ambient: Tensor
    directions: Tensor
    colors: Tensor
    wrap: float = 0.3

    def shade(self, normals: Tensor) -> Tensor:
        """(B, V, 3) light that falls on surfaces with (B, V, 3) unit normals."""
        facing = normals @ self.directions.to(normals).mT
        reach = ((facing + self.wrap) / (1 + self.wrap)).clamp(min=0)
        return reach @ self.colors.to(normals) + self.ambient.to(normals)[..., None, :]


STUDIO = Lighting(
    ambient=torch.tensor([0.13, 0.14, 0.16]),
    directions=functional.normalize(
        torch.tensor([[-0.6, 0.8, 0.7], [0.9, 0.0, 0.5], [0.1, 0.5, -0.8]]), dim=-1
    ),
    colors=torch.tensor([[0.98, 0.94, 0.88], [0.16, 0.18, 0.21], [0.14, 0.15, 0.16]]),
    wrap=0.15,
)
"""A key light from the upper left, a fill from the right, a rim from behind."""


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Smooth normals, each face weighted by its area.

    Args:
        vertices: (B, V, 3).
        faces: (F, 3) vertex indices, counter-clockwise from outside.

    Returns:
        (B, V, 3) unit vectors out of the surface; zero at a vertex of no face.

    Raises:
        ValueError: Shapes other than these, or a face naming a vertex that does not exist.
    """
    check_mesh(vertices, faces)
    vertices = vertices.detach().to(torch.float32).contiguous()
    faces = faces.to(vertices.device, torch.int32).contiguous()
    sums = torch.zeros_like(vertices)

    def add(part: slice) -> None:
        points, totals = (wp.from_torch(each[part], wp.vec3) for each in (vertices, sums))
        triangles = wp.from_torch(faces, wp.vec3i)
        dim = (points.shape[0], len(faces))
        launch(kernels.add_face_normals, dim, [points, triangles, totals], vertices.device)

    for_parts_of_batch(add, len(vertices), kernels, vertices.device)
    return functional.normalize(sums, dim=-1)


def fit_camera(vertices: Tensor, margin: float = 0.08) -> Tensor:
    """One camera that shows all of some heads, centred.

    Args:
        vertices: (B, V, 3) metres.
        margin: Of the square picture's side, left free around the heads.

    Returns:
        (B, 3) scale, tx, ty, the same for each; see `i2fet.camera.project`.
    """
    low, high = vertices.flatten(0, 1)[:, :2].aminmax(dim=0)
    scale = 2 * (1 - 2 * margin) / (high - low).max()
    return torch.cat([scale[None], -(low + high) / 2]).expand(len(vertices), 3)


def _average(colors: Tensor, faces: Tensor, fragments: Fragments, samples: int) -> Tensor:
    """(B, H, W, 4) colour times coverage and coverage, of (B, V, 3) colours."""
    size, device = fragments.depth.shape, colors.device
    averages = colors.new_empty(size[0], size[1] // samples, size[2] // samples, 4)
    faces = faces.to(device, torch.int32).contiguous()

    def average(part: slice) -> None:
        inputs = [
            wp.from_torch(colors[part], wp.vec3),
            wp.from_torch(faces, wp.vec3i),
            wp.from_torch(fragments.pix_to_face[part]),
            wp.from_torch(fragments.barycentrics[part], wp.vec3),
        ]
        output = wp.from_torch(averages[part], wp.vec4)
        launch(kernels.average_colors, output.shape, [*inputs, samples, output], device)

    for_parts_of_batch(average, len(colors), kernels, device)
    return averages


def _composite(drawn: Tensor, background: Tensor) -> np.ndarray:
    """(B, H, W, 4) linear colours over a linear background, to uint8 pictures."""
    linear = drawn[..., :3] + (1 - drawn[..., 3:]) * background
    return (linear.clamp(0, 1).sqrt() * 255 + 0.5).byte().cpu().numpy()


def _backdrop(background: np.ndarray | tuple[float, float, float], device: torch.device) -> Tensor:
    """(1 or B, H or 1, W or 1, 3) linear colours of a background."""
    colors = torch.tensor(background, dtype=torch.float32, device=device)
    if isinstance(background, np.ndarray):
        colors = colors / 255
    return colors.square()[(None,) * (4 - colors.ndim)]


@torch.no_grad()
def render_vertices(
    pixels: Tensor,
    vertices: Tensor,
    faces: Tensor,
    vertex_colors: Tensor,
    height: int,
    width: int,
    lighting: Lighting = STUDIO,
    background: np.ndarray | tuple[float, float, float] = PAPER,
    supersample: int = 1,
) -> np.ndarray:
    """Draw coloured meshes, shaded at their vertices.

    Args:
        pixels: (B, V, 3) vertices in the picture, from `i2fet.camera.project`.
        vertices: (B, V, 3) the same vertices in space, for their normals.
        faces: (F, 3) vertex indices, counter-clockwise from outside.
        vertex_colors: (V, 3) or (B, V, 3) RGB in [0, 1].
        height: Of the pictures, pixels.
        width: Of the pictures, pixels.
        lighting: One for all pictures, or with a batch dimension, one for each.
        background: One RGB colour in [0, 1], or uint8 pictures (H, W, 3) or (B, H, W, 3).
        supersample: Samples along each side of a pixel; 2 smooths outlines.

    Returns:
        (B, H, W, 3) uint8 RGB.
    """
    light = lighting.shade(vertex_normals(vertices, faces))
    colors = light * vertex_colors.to(light).square()
    scene = _backdrop(background, pixels.device)
    step = max(MAX_PIXELS // (height * width * supersample**2), 1)
    images = np.empty((len(pixels), height, width, 3), np.uint8)
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        zoom = pixels.new_tensor([supersample, supersample, 1])
        fragments = rasterize(pixels[part] * zoom, faces, height * supersample, width * supersample)
        drawn = _average(colors[part], faces, fragments, supersample)
        behind = scene if len(scene) == 1 else scene[part]
        images[part] = _composite(drawn, behind)
    return images


def clay_colors(head: HeadModel) -> Tensor:
    """(V, 3) RGB in [0, 1]: clay, with the regions that the head names told apart."""
    colors = torch.tensor(CLAY, device=head.template.device).expand(head.num_vertices, 3)
    for name, mask in head.regions.items():
        if name in REGION_COLORS:
            colors = torch.lerp(colors, colors.new_tensor(REGION_COLORS[name]), mask[:, None])
    return colors


@torch.no_grad()
def render_shape(
    head: HeadModel,
    coefficients: FaceCoefficients,
    size: int = 256,
    camera: Tensor | None = None,
    lighting: Lighting = STUDIO,
    background: np.ndarray | tuple[float, float, float] = PAPER,
    supersample: int = 2,
) -> np.ndarray:
    """Draw shape images: heads as shaded clay on a plain background.

    Args:
        head: The head that the coefficients belong to.
        coefficients: (B,) of them.
        size: Side of the square pictures, pixels.
        camera: (B, 3) or (3,) instead of the coefficients' own; `fit_camera` shows whole heads.
        lighting: As for `render_vertices`.
        background: As for `render_vertices`.
        supersample: Samples along each side of a pixel; 2 smooths outlines.

    Returns:
        (B, size, size, 3) uint8 RGB.
    """
    vertices = head.vertices(coefficients)
    camera = (coefficients.camera if camera is None else camera).expand(len(vertices), 3)
    return render_vertices(
        project(vertices, camera, size, size),
        vertices,
        head.faces,
        clay_colors(head),
        size,
        size,
        lighting,
        background,
        supersample,
    )
