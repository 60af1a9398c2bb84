"""The weak-perspective camera that places a head in a picture."""

from __future__ import annotations

import torch
from torch import Tensor


def project(vertices: Tensor, camera: Tensor, height: int, width: int) -> Tensor:
    """Project points into a picture.

    Args:
        vertices: (B, V, 3) metres; x right, y up, z towards the viewer.
        camera: (B, 3) scale, tx, ty. With half = max(height, width) / 2 a point lands at
            pixel x = width / 2 + half * scale * (x + tx) and
            pixel y = height / 2 - half * scale * (y + ty),
            so the same camera serves every resolution of one picture.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        (B, V, 3) pixel x and y, continuous (the first pixel's centre is at 0.5), and depth in the
        same unit, larger nearer the viewer.
    """
    scale = camera[:, None, :1] * max(height, width) / 2
    x = width / 2 + scale[..., 0] * (vertices[..., 0] + camera[:, None, 1])
    y = height / 2 - scale[..., 0] * (vertices[..., 1] + camera[:, None, 2])
    return torch.stack([x, y, scale[..., 0] * vertices[..., 2]], dim=-1)
