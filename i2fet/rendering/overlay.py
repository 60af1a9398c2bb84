"""The mesh on the photo, to see whether it sits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.rendering.mesh import clay_colors, render_vertices
from i2fet.rendering.portrait import crop_head
from i2fet.rendering.video import write_image

OPACITY = 0.65


def draw_overlay(
    head: HeadModel, photo: NDArray[np.uint8], face: FaceCoefficients, size: int = 512
) -> NDArray[np.uint8]:
    """The head in a photo, and beside it the same with the mesh laid over it.

    Args:
        head: The head that the coefficients belong to.
        photo: (H, W, 3) RGB.
        face: (1,) coefficients whose camera is for `photo`.
        size: Height of the picture, half its width, pixels.

    Returns:
        (size, 2 * size, 3) RGB.
    """
    vertices = head.vertices(face)
    crop = crop_head(photo, vertices, face.camera, size)
    pixels = project(vertices, crop.camera, size, size)
    drawn = render_vertices(
        pixels,
        vertices,
        head.faces,
        clay_colors(head),
        size,
        size,
        background=crop.image,
        supersample=2,
    )
    blended = cv2.addWeighted(drawn[0], OPACITY, crop.image, 1 - OPACITY, 0)
    return np.concatenate([crop.image, np.asarray(blended, np.uint8)], axis=1)


def write_overlays(path: Path, overlays: Sequence[NDArray[np.uint8]]) -> None:
    """Write pictures of one width below each other.

    Raises:
        OutputError: Not a .png or .jpg, or a path that cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.concatenate(overlays), "a synthetic head laid over photos")
