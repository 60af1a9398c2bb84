"""How far the distribution of generated coefficients is from that of real ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class FrechetDistance(Metric):
    """Frechet distance between the Gaussians of real and of generated vectors.

    Sums are kept in double precision, so that the covariances survive a mean far from 0.

    Args:
        size: K, of the vectors; standardise them first, so that each counts alike.
        kwargs: Of `torchmetrics.Metric`.
    """

    count: Tensor
    total: Tensor
    products: Tensor
    full_state_update = False
    higher_is_better = False

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        states = {"count": (2, 1), "total": (2, size), "products": (2, size, size)}
        for name, shape in states.items():
            empty = torch.zeros(shape, dtype=torch.float64)
            self.add_state(name, empty, dist_reduce_fx="sum")

    def update(self, vectors: Tensor, real: bool) -> None:
        """Add (..., K) vectors, real or generated."""
        vectors = vectors.detach().double().flatten(0, -2)
        self.count[int(real)] += len(vectors)
        self.total[int(real)] += vectors.sum(dim=0)
        self.products[int(real)] += vectors.mT @ vectors

    def compute(self) -> Tensor:
        """Scalar; NaN until there are two vectors of either kind."""
        mean = self.total / self.count
        outer = mean[:, :, None] * mean[:, None] * self.count[..., None]
        covariance = (self.products - outer) / (self.count[..., None] - 1)
        if (self.count < 2).any():
            return mean.new_full((), torch.nan)
        return frechet_distance(mean[0], covariance[0], mean[1], covariance[1])


def frechet_distance(
    mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor
) -> Tensor:
    """Squared 2-Wasserstein distance between two Gaussians.

    Args:
        mean1: (K,).
        covariance1: (K, K), singular ones too.
        mean2: (K,).
        covariance2: (K, K).

    Returns:
        Scalar, at least 0.
    """
    # The trace of (C1 C2)^(1/2) is the nuclear norm of R1' R2 for any roots C = R R'.
    cross = torch.linalg.matrix_norm(_root(covariance1).mT @ _root(covariance2), "nuc")
    spread = covariance1.trace() + covariance2.trace() - 2 * cross
    return ((mean1 - mean2).square().sum() + spread).clamp(min=0)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()
