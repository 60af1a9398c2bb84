"""What a descriptor tells around points, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVEL, SPREAD = 40.0, 48.0
"""About the mean and the standard deviation of a descriptor's numbers, which range to 255."""


@dataclass(frozen=True)
class Window:
    """A square that moves over one of a descriptor's maps.

    Attributes:
        numbers: (C, H, W) int64 place in the descriptor of each number of the map, or -1.
        corner: x and y of the map's corner, pixels of the crop.
        cell: Side of the map's cells, pixels, and distance between the square's samples.
        side: Samples along either side of the square.
    """

    numbers: Tensor
    corner: tuple[float, float]
    cell: float
    side: int

    @property
    def size(self) -> int:
        """How many numbers are sampled around a point."""
        return len(self.numbers) * self.side**2


class CloseUp(nn.Module):
    """A linear map of the surroundings of every point by itself, each with weights of its own.

    Args:
        windows: Whose samples lie side by side.
        points: (P,) which of the points are looked at.
        units: U, outputs for each.
    """

    points: Tensor

    def __init__(self, windows: Sequence[Window], points: Tensor, units: int) -> None:
        super().__init__()
        self.windows = windows
        self.register_buffer("points", points, persistent=False)
        for row, window in enumerate(windows):
            self.register_buffer(f"numbers{row}", window.numbers, persistent=False)
            steps = (torch.arange(window.side) - (window.side - 1) / 2) * window.cell
            offsets = torch.cartesian_prod(steps, steps).flip(1) - torch.tensor(window.corner)
            self.register_buffer(f"offsets{row}", offsets, persistent=False)
        inputs = sum(window.size for window in windows)
        self.weight = nn.Parameter(torch.empty(len(points), inputs, units))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    def forward(self, values: Tensor, places: Tensor) -> Tensor:
        """(N, P U) of (N, D) descriptors and all (N, Q, 2) points, pixels of the crop."""
        places = places[:, self.points]
        seen = [self._sample(row, values, places) for row in range(len(self.windows))]
        return torch.bmm(torch.cat(seen, dim=-1), self.weight).transpose(0, 1).flatten(1)

    def _sample(self, row: int, values: Tensor, places: Tensor) -> Tensor:
        """(P, N, samples C) of (N, P, 2) places; nothing beyond the map."""
        numbers: Tensor = getattr(self, f"numbers{row}")
        padded = F.pad((values - LEVEL) / SPREAD, (0, 1))
        maps = padded[:, numbers.flatten()].unflatten(1, numbers.shape)
        size = torch.tensor(numbers.shape[:0:-1], device=values.device)
        where = (places[:, :, None] + getattr(self, f"offsets{row}")) / self.windows[row].cell
        samples = F.grid_sample(maps, where / size * 2 - 1, align_corners=False)
        return samples.permute(2, 0, 3, 1).flatten(2)
