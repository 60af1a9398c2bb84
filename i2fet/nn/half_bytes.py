"""Weights in half a byte each."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32
"""Neighbouring weights, along the last dimension, that share the size of a step."""

LEVELS = 7
"""Steps on either side of zero."""


def pack(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Round weights to multiples of a step.

    Args:
        weights: (..., K), K a multiple of `GROUP`.

    Returns:
        (..., K / 2) uint8, two weights in each byte, and the steps, (..., K / 32) float16.
    """
    groups = weights.unflatten(-1, (-1, GROUP))
    steps = (groups.abs().amax(-1) / LEVELS).half()
    # A step that rounds to nothing stands for weights that are nothing.
    counts = groups / steps.float().clamp(min=torch.finfo(torch.float16).tiny)[..., None]
    numbers = (counts.round().clamp(-LEVELS, LEVELS) + LEVELS).to(torch.uint8).flatten(-2)
    return numbers[..., ::2] * 16 + numbers[..., 1::2], steps


def unpack(numbers: Tensor, steps: Tensor) -> Tensor:
    """(..., K) float32 weights of what `pack` made."""
    pairs = torch.stack([numbers // 16, numbers % 16], dim=-1).flatten(-2)
    counts = pairs.float() - LEVELS
    return (counts.unflatten(-1, (-1, GROUP)) * steps.float()[..., None]).flatten(-2)
