"""First and second moments per class, gathered over batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class ClassMoments(Metric):
    """Mean and variance of vectors within each class.

    Args:
        classes: C.
        size: K, of the vectors.
    """

    count: Tensor
    total: Tensor
    squares: Tensor
    full_state_update = False

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        states = {"count": (classes, 1), "total": (classes, size), "squares": (classes, size)}
        for name, shape in states.items():
            self.add_state(name, torch.zeros(shape), dist_reduce_fx="sum")

    def update(self, vectors: Tensor, labels: Tensor) -> None:
        """Add (..., K) vectors of (...) class indices."""
        vectors, labels = vectors.flatten(0, -2), labels.flatten()
        self.count.index_add_(0, labels, torch.ones_like(vectors[:, :1]))
        self.total.index_add_(0, labels, vectors)
        self.squares.index_add_(0, labels, vectors.square())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (C, K) each; NaN for a class without vectors."""
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0)


def nearest_class(vectors: Tensor, means: Tensor) -> Tensor:
    """Class of the nearest mean.

    Args:
        vectors: (..., K).
        means: (C, K); a class whose mean is NaN is never the nearest.

    Returns:
        (...) int64.
    """
    distances = (vectors[..., None, :] - means).square().sum(dim=-1)
    return distances.nan_to_num(nan=torch.inf).argmin(dim=-1)


def relative_spread(generated: Tensor, real: Tensor) -> Tensor:
    """Spread of generated vectors in units of that of real ones.

    Args:
        generated: (C, K) variances within each class.
        real: (C, K) likewise; classes that are NaN are left out.

    Returns:
        Scalar, the mean over classes: 0 where every sample of a class is the same, 1 where they
        are as diverse as real ones.
    """
    ratio = (generated.mean(dim=-1) / real.mean(dim=-1)).sqrt()
    return ratio.nanmean()
