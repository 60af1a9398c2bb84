"""The coefficient space in which models work."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from i2fet.coefficients import EXPRESSION_SIZE, POSE_SIZE

SMALLEST_SPREAD = 1e-3
"""Floor of a coefficient's standard deviation, so that one that never moves stays harmless."""


class CoefficientScaler(nn.Module):
    """Standardise coefficients by the training set's statistics, kept in the checkpoint.

    A new scaler changes nothing; `adopt` gives it statistics.
    """

    expression_mean: Tensor
    expression_std: Tensor
    pose_mean: Tensor
    pose_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, size in (("expression", EXPRESSION_SIZE), ("pose", POSE_SIZE)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def adopt(self, statistics: Mapping[str, Tensor]) -> None:
        """Take over expression_mean, expression_std (50,), pose_mean and pose_std (6,)."""
        for name, buffer in self.named_buffers():
            buffer.copy_(statistics[name])
        self.expression_std.clamp_(min=SMALLEST_SPREAD)
        self.pose_std.clamp_(min=SMALLEST_SPREAD)

    def standardize(self, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Head units to the models' units, (..., 50) and (..., 6)."""
        return (
            (expression - self.expression_mean) / self.expression_std,
            (pose - self.pose_mean) / self.pose_std,
        )

    def restore(self, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """The models' units to head units, (..., 50) and (..., 6)."""
        return (
            expression * self.expression_std + self.expression_mean,
            pose * self.pose_std + self.pose_mean,
        )
