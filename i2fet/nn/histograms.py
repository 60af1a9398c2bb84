"""Histograms of gradient directions, in place of first layers that need a GPU to be trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

DIRECTIONS = 8
SURROUNDINGS = 5
"""Cells along each side of those whose strength a cell is measured by."""

IMAGES_AT_ONCE = 16
"""More would not fit into a processor's caches."""

DARKNESS = 0.03
"""Added before the square root, which makes changes in the shade count as those in the light."""

FAINT = 0.0016
"""Changes much weaker than this, between pixels two apart, are taken for noise."""


class GradientHistograms(nn.Module):
    """Histograms of gradient directions over small cells (Dalal and Triggs, 2005).

    They do the work of a network's first layers without any training. Cells overlap by half.

    Args:
        cell: Distance between cells, pixels; even.
    """

    directions: Tensor

    def __init__(self, cell: int = 4) -> None:
        super().__init__()
        self.cell = cell
        angles = torch.arange(DIRECTIONS // 2) * (2 * math.pi / DIRECTIONS)
        directions = torch.stack([angles.cos(), angles.sin()], dim=1)[..., None, None]
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 8, S / cell, S / cell) of (B, 3, S, S) images in [-1, 1]."""
        return torch.cat([self._describe(some) for some in images.split(IMAGES_AT_ONCE)])

    def _describe(self, images: Tensor) -> Tensor:
        light = ((images.mean(dim=1, keepdim=True) + 1) / 2 + DARKNESS).sqrt()
        padded = functional.pad(light, (1, 1, 1, 1), mode="replicate")
        right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        size = (right.square() + down.square()).sqrt() + 1e-6
        along = functional.conv2d(torch.cat([right, down], dim=1), self.directions)
        # The square of the cosine tells directions apart better than the cosine.
        along = along * along.abs() / size
        cells = self._pool(torch.cat([along.relu(), (-along).relu()], dim=1))
        energy = self._blur(cells.square().sum(dim=1, keepdim=True))
        return cells / (energy.sqrt() + FAINT)

    def _pool(self, strengths: Tensor) -> Tensor:
        cell = self.cell
        return functional.avg_pool2d(strengths, 2 * cell, cell, cell // 2, count_include_pad=False)

    def _blur(self, energy: Tensor) -> Tensor:
        side = SURROUNDINGS
        return functional.avg_pool2d(energy, side, 1, side // 2, count_include_pad=False)
