"""Shape images as the expression classifier sees them: every face upright, at the same place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.precision import full_precision
from i2fet.rendering.mesh import PAPER, render_shape

MARGIN = 0.1
"""Of the picture's side, left free around the landmarks of a neutral face."""


def frontal(faces: FaceCoefficients) -> FaceCoefficients:
    """The same faces without the head's rotation; the jaw keeps its own."""
    pose = torch.cat([torch.zeros_like(faces.global_rotation), faces.jaw], dim=-1)
    return FaceCoefficients(faces.shape, faces.expression, pose, faces.camera)


def neutral_camera(head: HeadModel, shape: Tensor) -> Tensor:
    """Cameras that frame each person's neutral face, whatever it expresses.

    Args:
        head: The head.
        shape: (B, 100).

    Returns:
        (B, 3) scale, tx, ty; see `i2fet.camera.project`.
    """
    still = shape.new_zeros(len(shape), 50), shape.new_zeros(len(shape), 6)
    landmarks = head.landmarks(head(shape, *still))[..., :2]
    low, high = landmarks.amin(dim=1), landmarks.amax(dim=1)
    scale = 2 * (1 - 2 * MARGIN) / (high - low).amax(dim=1, keepdim=True)
    return torch.cat([scale, -(low + high) / 2], dim=1)


@torch.no_grad()
def draw_shape_images(head: HeadModel, faces: FaceCoefficients, size: int) -> Tensor:
    """Draw faces from the front, each in its person's own frame.

    Args:
        head: The head that the coefficients belong to.
        faces: (B,) of them; their cameras and head rotations are not used.
        size: S, pixels.

    Returns:
        (B, 3, S, S) uint8 RGB on the faces' device.
    """
    with full_precision(faces.shape):
        camera = neutral_camera(head, faces.shape)
        pictures = render_shape(head, frontal(faces), size, camera, supersample=1)
    return torch.from_numpy(pictures).to(faces.shape.device).permute(0, 3, 1, 2)


def rotate_images(images: Tensor, degrees: float | Tensor) -> Tensor:
    """Turn images counter-clockwise about their centres, on plain paper.

    Args:
        images: (B, 3, S, S) uint8.
        degrees: One angle, or (B,) of them.
    """
    angles = torch.as_tensor(degrees, dtype=torch.float32).to(images.device).deg2rad()
    cos, sin = angles.cos().expand(len(images)), angles.sin().expand(len(images))
    zero = torch.zeros_like(cos)
    rows = [torch.stack([cos, -sin, zero], dim=1), torch.stack([sin, cos, zero], dim=1)]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    paper = 255 * torch.tensor(PAPER, device=images.device)[:, None, None]
    turned = paper + functional.grid_sample(images - paper, grid, align_corners=False)
    return turned.round().clamp(0, 255).byte()


class ShapeImageCache:
    """Keeps shape images in memory, so that each is drawn once.

    Args:
        draw: Faces to images.
    """

    def __init__(self, draw: Callable[[FaceCoefficients], Tensor]) -> None:
        self._draw = draw
        self._images: dict[int, Tensor] = {}

    def __call__(self, keys: Sequence[int], faces: FaceCoefficients) -> Tensor:
        """(B, 3, S, S) images of B faces, each with a key of its own."""
        missing = [place for place, key in enumerate(keys) if key not in self._images]
        if missing:
            drawn = self._draw(faces[torch.tensor(missing)])
            self._images.update(zip((keys[place] for place in missing), drawn, strict=True))
        return torch.stack([self._images[key] for key in keys])
