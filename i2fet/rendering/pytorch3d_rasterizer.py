"""PyTorch3D's rasteriser behind the interface of ours."""

from __future__ import annotations

import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

from i2fet.rendering.rasterizer import MAX_COORDINATE, Fragments


def rasterize_with_pytorch3d(
    pixels: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool
) -> Fragments:
    """As `i2fet.rendering.rasterizer.rasterize`, of checked arguments."""
    finite = pixels.isfinite().all(-1) & (pixels[..., :2].abs() < MAX_COORDINATE).all(-1)
    drawn = [each[faces].all(-1).nonzero()[:, 0] for each in finite]
    pixels = torch.where(finite[..., None], pixels, 0)
    meshes = Meshes(verts=[*_to_ndc(pixels, height, width)], faces=[faces[rows] for rows in drawn])
    packed, _, barycentrics, _ = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=False,
        cull_backfaces=cull_backfaces,
    )
    packed, barycentrics = packed[..., 0], barycentrics[..., 0, :]
    seen = packed >= 0
    original = torch.cat([*drawn, faces.new_zeros(1)])
    pix_to_face = torch.where(seen, original[packed.clamp(min=0)], -1)
    corners = faces[pix_to_face.clamp(min=0)]
    images = torch.arange(len(pixels), device=pixels.device)[:, None, None, None]
    depth = (barycentrics * pixels[images, corners][..., 2]).sum(-1)
    return Fragments(
        pix_to_face,
        torch.where(seen[..., None], barycentrics, 0),
        torch.where(seen, depth, -torch.inf),
    )


def _to_ndc(pixels: Tensor, height: int, width: int) -> Tensor:
    """PyTorch3D's frame: x to the left, y up, z positive and away; the shorter side is [-1, 1]."""
    half = min(height, width) / 2
    x = (width / 2 - pixels[..., 0]) / half
    y = (height / 2 - pixels[..., 1]) / half
    z = 1 + (pixels[..., 2].amax() - pixels[..., 2]) / half
    return torch.stack([x, y, z], dim=-1)
