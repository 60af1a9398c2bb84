"""Weights in a byte or half a byte each."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32
"""Neighbouring weights, along the last dimension, that share the size of a step."""

HALF_BYTE, BYTE = 7, 127
"""Steps on either side of zero."""


def pack(weights: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Round weights to multiples of a step.

    Args:
        weights: (..., K), K a multiple of `GROUP`.
        levels: `HALF_BYTE` or `BYTE`.

    Returns:
        (..., K / 2) uint8, two weights in each byte, or (..., K) int8; and the steps,
        (..., K / 32) float16.
    """
    groups = weights.unflatten(-1, (-1, GROUP))
    steps = (groups.abs().amax(-1) / levels).half()
    # A step that rounds to nothing stands for weights that are nothing.
    counts = groups / steps.float().clamp(min=torch.finfo(torch.float16).tiny)[..., None]
    numbers = counts.round().clamp(-levels, levels).flatten(-2)
    if levels == BYTE:
        return numbers.to(torch.int8), steps
    positive = (numbers + HALF_BYTE).to(torch.uint8)
    return positive[..., ::2] * 16 + positive[..., 1::2], steps


def unpack(numbers: Tensor, steps: Tensor) -> Tensor:
    """(..., K) float32 weights of what `pack` made."""
    counts = numbers.float()
    if numbers.dtype == torch.uint8:
        pairs = torch.stack([numbers // 16, numbers % 16], dim=-1).flatten(-2)
        counts = pairs.float() - HALF_BYTE
    return (counts.unflatten(-1, (-1, GROUP)) * steps.float()[..., None]).flatten(-2)
