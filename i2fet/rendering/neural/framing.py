"""How ROME and CVTHead want to be shown a photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from i2fet.coefficients import FaceCoefficients
from i2fet.perception.deca import BOXED
from i2fet.quiet import native_stderr_silenced
from i2fet.rendering.portrait import Crop, Image, crop_square

SIZE = 256
"""Side of all pictures that the networks see and draw."""
BATCH = 8
"""Frames drawn at once."""

LEFT_EYE, RIGHT_EYE = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
MOUTH_CORNERS = (61, 291)
"""MediaPipe's landmarks nearest those of the usual 68; left and right of the picture."""

ALIGNED_SIDE = 1.25
"""Of ROME's aligned photo in FFHQ's crops."""

Matting = Callable[[Image], NDArray[np.floating]]
"""(H, W, 3) RGB to the share of each pixel, (H, W) in [0, 1], that shows the person."""


def person_mask(picture: Image) -> NDArray[np.floating]:
    """(H, W) share of each pixel that shows the person, by MediaPipe's selfie segmentation."""
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    with native_stderr_silenced(), SelfieSegmentation(model_selection=0) as segmentation:
        return segmentation.process(picture).segmentation_mask


def crop_face(photo: Image, landmarks: Tensor, camera: Tensor) -> Crop:
    """The square in which ROME shows a face: twice as wide as it, and a little higher.

    Args:
        photo: (H, W, 3).
        landmarks: (468 or more, 2 or more) pixels of the photo.
        camera: (1, 3) of the photo.
    """
    low, high = landmarks[list(BOXED), :2].aminmax(dim=0)
    extent = float((high - low).max())
    centre = (low + high) / 2 - torch.tensor([0.0, extent / 6])
    return crop_square(photo, camera, (centre - extent).tolist(), 2 * extent, SIZE)


def align(picture: Tensor, landmarks: Tensor) -> Tensor:
    """Turn and scale a picture as FFHQ's are, with a quarter more around.

    Args:
        picture: (1, C, H, H).
        landmarks: (468 or more, 2 or more) pixels of it.

    Returns:
        (1, C, H, H).
    """
    points = landmarks[:, :2].to(picture)
    left, right = (points[list(eye)].mean(0) for eye in (LEFT_EYE, RIGHT_EYE))
    corners = points[list(MOUTH_CORNERS)]
    eyes, across = (left + right) / 2, right - left
    down = corners.mean(0) - eyes
    direction = across + torch.stack([down[1], -down[0]])
    side = torch.maximum(2.0 * across.norm(), 1.8 * down.norm())
    half = picture.shape[-1] / 2
    x = ALIGNED_SIDE * side * direction / direction.norm() / half
    centre = (eyes + 0.1 * down) / half - 1
    theta = torch.stack([x, torch.stack([-x[1], x[0]]), centre], dim=1)
    grid = F.affine_grid(theta[None], [*picture.shape], align_corners=True)
    return F.grid_sample(picture, grid, align_corners=False)


def to_tensor(picture: NDArray[np.generic]) -> Tensor:
    """(1, C, H, W) float32 of (H, W, C); bytes become [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    return tensor.float() / 255 if picture.dtype == np.uint8 else tensor.float()


def on_white(colors: Tensor, mask: Tensor, size: int) -> list[Image]:
    """Pictures of people on white.

    Args:
        colors: (B, 3, H, W) in [0, 1].
        mask: (B, 1, H, W) in [0, 1].
        size: Side of the result.
    """
    laid = (255 * (colors * mask + 1 - mask)).clamp(0, 255).round().byte()
    method = cv2.INTER_CUBIC if size > laid.shape[-1] else cv2.INTER_AREA
    pictures = laid.permute(0, 2, 3, 1).cpu().numpy()
    return [cv2.resize(picture, (size, size), interpolation=method) for picture in pictures]


def batches(trajectory: FaceCoefficients) -> Iterator[FaceCoefficients]:
    """Some frames at a time."""
    for start in range(0, len(trajectory), BATCH):
        yield trajectory[start : start + BATCH]
