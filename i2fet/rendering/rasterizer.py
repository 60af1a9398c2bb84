"""A triangle rasteriser in NVIDIA Warp: the same kernels on CPU and CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
import warp as wp
from torch import Tensor
from torch.nn import functional

from i2fet.errors import OptionError
from i2fet.rendering import kernels
from i2fet.rendering.parallel import for_parts_of_batch, launch

Backend = Literal["warp", "pytorch3d"]

MAX_COORDINATE = float(kernels.MAX_COORDINATE)
"""Pixels from the origin within which triangles are drawn."""


@dataclass(frozen=True)
class Fragments:
    """What is seen through each pixel's centre.

    Attributes:
        pix_to_face: (B, H, W) int64 face index in [0, F), -1 where there is only background.
        barycentrics: (B, H, W, 3) float32 weights of that face's corners, in [0, 1] and summing
            to one; zero on the background.
        depth: (B, H, W) float32, larger nearer the viewer; -inf on the background.
    """

    pix_to_face: Tensor
    barycentrics: Tensor
    depth: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool, true where a face is seen."""
        return self.pix_to_face >= 0


def check_mesh(vertices: Tensor, faces: Tensor) -> None:
    """Make sure that a kernel cannot read outside a mesh.

    Raises:
        ValueError: Vertices that are not (B, V, 3), faces that are not (F, 3), or a face naming a
            vertex that does not exist.
    """
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise ValueError(f"vertices have shape {tuple(vertices.shape)}, expected (B, V, 3)")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"faces have shape {tuple(faces.shape)}, expected (F, 3)")
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < vertices.shape[1]:
        raise ValueError(f"faces have an index outside the mesh's {vertices.shape[1]} vertices")


@torch.no_grad()
def rasterize(
    pixels: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    cull_backfaces: bool = False,
    backend: Backend = "warp",
) -> Fragments:
    """Find the nearest triangle behind each pixel's centre, orthographically.

    Pixel (row i, column j) is sampled at (j + 0.5, i + 0.5). Of faces at exactly the same depth
    the one with the lower index is seen. Triangles with a corner that is not finite, or further
    than 32,768 pixels from the origin, are not drawn. On the CPU the images of a batch are shared
    out over `torch.get_num_threads()` threads. Nothing here is differentiable.

    Args:
        pixels: (B, V, 3) pixel x, pixel y and depth (larger is nearer), as from
            `i2fet.camera.project`.
        faces: (F, 3) integer vertex indices; counter-clockwise, seen with y up, from the front.
        height: Of the pictures, pixels.
        width: Of the pictures, pixels.
        cull_backfaces: Leave out the faces turned away from the viewer.
        backend: "pytorch3d", where it is installed, for comparison: it is slower, and on edges and
            at equal depths it may see another face.

    Returns:
        The fragments of the B pictures.

    Raises:
        OptionError: PyTorch3D is asked for and not installed.
        ValueError: Shapes other than these, or a face naming a vertex that does not exist.
    """
    check_mesh(pixels, faces)
    pixels = pixels.detach().to(torch.float32).contiguous()
    if backend == "pytorch3d":
        if find_spec("pytorch3d") is None:
            raise OptionError("PyTorch3D is not installed; rasterise with 'warp' or install it")
        from i2fet.rendering.pytorch3d_rasterizer import rasterize_with_pytorch3d

        faces = faces.to(pixels.device, torch.int64)
        return rasterize_with_pytorch3d(pixels, faces, height, width, cull_backfaces)
    faces = faces.to(pixels.device, torch.int32).contiguous()
    size, device = (len(pixels), height, width), pixels.device
    keys = torch.full(size, kernels.EMPTY.value, dtype=torch.int64, device=device)
    pix_to_face = torch.empty(size, dtype=torch.int64, device=device)
    barycentrics = torch.empty((*size, 3), device=device)
    depth = torch.empty(size, device=device)

    def draw(part: slice) -> None:
        mesh = [wp.from_torch(pixels[part], wp.vec3), wp.from_torch(faces, wp.vec3i)]
        visible = wp.from_torch(keys[part])
        outputs = [
            wp.from_torch(pix_to_face[part]),
            wp.from_torch(barycentrics[part], wp.vec3),
            wp.from_torch(depth[part]),
        ]
        triangles = (visible.shape[0], len(faces))
        launch(kernels.draw, triangles, [*mesh, cull_backfaces, visible], device)
        launch(kernels.resolve, visible.shape, [*mesh, visible, *outputs], device)

    for_parts_of_batch(draw, len(pixels), kernels, device)
    return Fragments(pix_to_face, barycentrics, depth)


def interpolate(attributes: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Spread attributes of vertices over the pixels.

    Args:
        attributes: (B, V, C), or (V, C) shared by the batch.
        faces: (F, 3) as given to `rasterize`.
        fragments: Of B pictures of H x W pixels.

    Returns:
        (B, H, W, C), zero on the background; differentiable in the attributes.
    """
    images, vertices = len(fragments.depth), attributes.shape[-2]
    corners = faces.to(attributes.device, torch.int64)[fragments.pix_to_face.clamp(min=0)]
    if attributes.ndim == 3:
        corners = corners + vertices * torch.arange(images).to(corners)[:, None, None, None]
    values = functional.embedding_bag(
        corners.view(-1, 3),
        attributes.reshape(-1, attributes.shape[-1]),
        per_sample_weights=fragments.barycentrics.view(-1, 3).to(attributes),
        mode="sum",
    )
    return values.view(*fragments.depth.shape, -1)
