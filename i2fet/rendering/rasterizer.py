"""A triangle rasteriser in NVIDIA Warp: the same kernels on CPU and CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
import warp as wp
from torch import Tensor
from torch.nn import functional

from i2fet.rendering import kernels

wp.config.log_level = wp.LOG_WARNING


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


@cache
def _start_warp() -> None:
    """Start Warp, whose native code warns on stderr of every machine without a GPU."""
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _check(pixels: Tensor, faces: Tensor) -> None:
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(f"pixels has shape {tuple(pixels.shape)}, expected (B, V, 3)")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"faces has shape {tuple(faces.shape)}, expected (F, 3)")
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < pixels.shape[1]:
        raise ValueError(f"faces has an index outside the mesh's {pixels.shape[1]} vertices")


def _rasterize_images(
    pixels: Tensor, faces: Tensor, cull_backfaces: bool, keys: Tensor, fragments: Fragments
) -> None:
    """Fill the fragments of some images of a batch."""
    device = wp.device_from_torch(pixels.device)
    stream = wp.stream_from_torch(pixels.device) if device.is_cuda else None
    corners, triangles = wp.from_torch(pixels, wp.vec3), wp.from_torch(faces, wp.vec3i)
    visible = wp.from_torch(keys)
    wp.launch(
        kernels.draw,
        dim=(len(pixels), len(faces)),
        inputs=[corners, triangles, cull_backfaces, visible],
        device=device,
        stream=stream,
    )
    wp.launch(
        kernels.resolve,
        dim=tuple(keys.shape),
        inputs=[corners, triangles, visible],
        outputs=[
            wp.from_torch(fragments.pix_to_face),
            wp.from_torch(fragments.barycentrics, wp.vec3),
            wp.from_torch(fragments.depth),
        ],
        device=device,
        stream=stream,
    )


def _slices(length: int, parts: int) -> list[slice]:
    step = max(-(-length // parts), 1)
    return [slice(start, start + step) for start in range(0, length, step)]


def _in_parallel(function: Callable[[slice], None], slices: list[slice]) -> None:
    if len(slices) == 1:
        function(slices[0])
        return
    with ThreadPoolExecutor(max(len(slices), 1)) as pool:
        list(pool.map(function, slices))


@torch.no_grad()
def rasterize(
    pixels: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool = False
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

    Returns:
        The fragments of the B pictures.

    Raises:
        ValueError: Shapes other than these, or a face naming a vertex that does not exist.
    """
    _start_warp()
    _check(pixels, faces)
    pixels = pixels.detach().to(torch.float32).contiguous()
    faces = faces.to(pixels.device, torch.int32).contiguous()
    size, device = (len(pixels), height, width), pixels.device
    keys = torch.full(size, kernels.EMPTY.value, dtype=torch.int64, device=device)
    fragments = Fragments(
        torch.empty(size, dtype=torch.int64, device=device),
        torch.empty((*size, 3), device=device),
        torch.empty(size, device=device),
    )
    workers = 1 if pixels.is_cuda else torch.get_num_threads()
    wp.load_module(kernels, device=wp.device_from_torch(device))  # else the threads race for it

    def draw(part: slice) -> None:
        some = Fragments(*(tensor[part] for tensor in vars(fragments).values()))
        _rasterize_images(pixels[part], faces, cull_backfaces, keys[part], some)

    _in_parallel(draw, _slices(len(pixels), workers))
    return fragments


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
