"""Acc1, Acc2 and G-mean (Sections IV-C and IV-D1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassExactMatch,
)


class SingleAccuracy(MulticlassAccuracy):
    """Acc1: the share of single expressions that are right.

    Predictions and targets are (B, ...) int64 of any shape; (B, C, ...) logits serve as well.

    Args:
        classes: C.
        kwargs: Of `torchmetrics.Metric`.
    """

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(classes, average="micro", **kwargs)


class PairAccuracy(MulticlassExactMatch):
    """Acc2: the share of instructions whose expressions are all right.

    Predictions and targets are (B, 2) int64, or (B, steps) for longer instructions.

    Args:
        classes: C.
        kwargs: Of `torchmetrics.Metric`.
    """

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(classes, multidim_average="global", **kwargs)


class GeometricMean(MulticlassConfusionMatrix):
    """G-mean: the geometric mean of the classes' recalls.

    Predictions and targets are as for `SingleAccuracy`.

    Args:
        classes: C.
        kwargs: Of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(classes, **kwargs)

    def compute(self) -> Tensor:
        """The G-mean so far."""
        return geometric_mean(super().compute())


def geometric_mean(confusion: Tensor) -> Tensor:
    """Geometric mean of the recalls of the classes that occur.

    Args:
        confusion: (C, C) counts, targets in rows.

    Returns:
        Scalar in [0, 1]; 0 if a class that occurs is never recognised, NaN if none occurs.
    """
    counts = confusion.sum(dim=1)
    recalls = (confusion.diagonal() / counts)[counts > 0]
    return recalls.log().mean().exp()


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
