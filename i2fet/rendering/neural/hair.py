"""Hair and shoulders, which a head model lacks: f_H of eq. 17, from ROME."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

COMPONENTS = 60
"""Of the linear basis: 50 for hair and 10 for shoulders."""
WIDTH = "hair_model.layer1.0.conv1.weight"
"""A tensor as long as the regressor is wide."""


def hair_regressor(width: int = 64) -> nn.Module:
    """ResNet-50 that reads the weights of the basis from a photo, as `linear_hair.pth` holds it.

    Args:
        width: Of its first bottlenecks.
    """
    return resnet50(num_classes=COMPONENTS, width_per_group=width)


def hair_offsets(weights: Tensor, basis: Tensor, mean: Tensor) -> Tensor:
    """Where hair and shoulders lie off the head model.

    Args:
        weights: (B, K) of the basis.
        basis: (V, 3, K) metres.
        mean: (V, 3) metres.

    Returns:
        (B, V, 3) metres, to be added to the head's vertices.
    """
    return mean + torch.einsum("bk,vck->bvc", weights, basis)
