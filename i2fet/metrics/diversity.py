"""How varied generated expressions are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class DiversityRatio(Metric):
    """Spread of generated vectors within a class over that of real ones.

    0 when every sample of a class is the same, which accuracy alone would reward; 1 when they are
    as diverse as real ones.

    Args:
        classes: C.
        size: K, of the vectors.
        kwargs: Of `torchmetrics.Metric`.
    """

    count: Tensor
    total: Tensor
    squares: Tensor
    full_state_update = False

    def __init__(self, classes: int, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        widths = {"count": 1, "total": size, "squares": size}
        for name, width in widths.items():
            empty = torch.zeros(2, classes, width, dtype=torch.float64)
            self.add_state(name, empty, dist_reduce_fx="sum")

    def update(self, vectors: Tensor, labels: Tensor, real: bool) -> None:
        """Add (..., K) vectors of (...) class indices, real or generated."""
        vectors, labels = vectors.detach().double().flatten(0, -2), labels.flatten()
        values = {"count": torch.ones_like(vectors[:, :1]), "total": vectors}
        for name, each in {**values, "squares": vectors.square()}.items():
            state = getattr(self, name)
            added = torch.zeros_like(state)
            added[int(real)].index_add_(0, labels, each)
            # In place it would fail on a state that was reset in inference mode.
            setattr(self, name, state + added)

    def compute(self) -> Tensor:
        """As `relative_spread`."""
        mean = self.total / self.count
        generated, real = (self.squares / self.count - mean.square()).clamp(min=0)
        return relative_spread(generated, real).float()


def relative_spread(generated: Tensor, real: Tensor) -> Tensor:
    """Spread of generated vectors in units of that of real ones.

    Args:
        generated: (C, K) variances within each class.
        real: (C, K) likewise.

    Returns:
        Scalar, the mean over the classes that are NaN in neither.
    """
    ratio = (generated.mean(dim=-1) / real.mean(dim=-1)).sqrt()
    return ratio.nanmean()
