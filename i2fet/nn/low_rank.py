"""Low-rank changes of the weights of a frozen network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

STRENGTH = 2.0
"""Factor on the changes: how much faster they are learned than the parameters of other layers."""


class LowRank(nn.Module):
    """Adds the product of two thin matrices to a weight; at first it is zero (LoRA).

    Args:
        rows: Of the weight.
        columns: Of the weight.
        rank: Of what is added.
    """

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight, of the same shape."""
        return weight + STRENGTH * self.up @ self.down


def adapt(network: nn.Module, rank: int) -> None:
    """Freeze a network but for a low-rank change of each weight matrix below it.

    Args:
        network: Changed in place; its own parameters are not.
        rank: Of the changes.
    """
    network.requires_grad_(False)
    matrices = [
        (module, name, weight.shape)
        for module in network.modules()
        for name, weight in module.named_parameters(recurse=False)
        if weight.dim() == 2
    ]
    for module, name, (rows, columns) in matrices:
        parametrize.register_parametrization(module, name, LowRank(rows, columns, rank))
