"""The expression classifier (Section IV-C): a ResNet, or a cheaper network, over shape images."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from i2fet.nn.histograms import GradientHistograms

Backbone = Literal["histograms", "resnet18", "resnet50", "resnet101"]

CELL = 4
HIDDEN = 384
SMALLEST_SPREAD = 0.02
"""Least standard deviation of a histogram's values, so that those that hardly vary stay small."""


class ExpressionClassifier(nn.Module):
    """Images to expressions, by one activation map for each.

    Args:
        classes: C.
        backbone: A ResNet of torchvision, untrained; or "histograms" of gradient directions under
            one hidden layer, which learns within minutes on a CPU. Its weights belong to places of
            upright faces, so it fails on turned ones, and its maps have a single place.
        image_size: S, pixels; a multiple of `CELL` for histograms.
        small_images: For images of less than 100 pixels, which the first layers of a ResNet then
            halve once instead of twice.
        dropout: Share of the histograms' hidden layer that training leaves out.
    """

    def __init__(
        self,
        classes: int,
        backbone: Backbone = "resnet101",
        image_size: int = 224,
        small_images: bool = False,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if backbone == "histograms":
            self.features, width = _histogram_features(image_size, dropout), HIDDEN
        else:
            self.features, width = _resnet_features(backbone, small_images)
        self.classify = nn.Conv2d(width, classes, kernel_size=1, bias=False)
        # Each class starts as unlikely as one of C, which one-against-rest losses need.
        self.bias = nn.Parameter(torch.full((classes, 1, 1), -math.log(classes - 1)))

    def activation_maps(self, images: Tensor) -> Tensor:
        """(B, C, h, w) evidence for each class at each place of (B, 3, S, S) uint8 images."""
        return self.classify(self.features(images.float() / 127.5 - 1)) + self.bias

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits of (B, 3, S, S) uint8 images."""
        return self.activation_maps(images).mean(dim=(2, 3))


def _resnet_features(backbone: str, small_images: bool) -> tuple[nn.Sequential, int]:
    resnet = get_model(backbone, weights=None)
    if small_images:
        resnet.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
        resnet.maxpool = nn.Identity()
    features = nn.Sequential(*list(resnet.children())[:-2])
    # CPUs convolve faster in this order.
    return features.to(memory_format=torch.channels_last), resnet.fc.in_features


def _histogram_features(image_size: int, dropout: float) -> nn.Sequential:
    histograms = GradientHistograms(CELL)
    numbers = histograms(torch.zeros(1, 3, image_size, image_size)).numel()
    return nn.Sequential(
        histograms,
        nn.Flatten(),
        nn.BatchNorm1d(numbers, eps=SMALLEST_SPREAD**2, affine=False),
        nn.Dropout(dropout / 3),
        nn.Linear(numbers, HIDDEN, bias=False),
        nn.BatchNorm1d(HIDDEN),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Unflatten(1, (HIDDEN, 1, 1)),
    )
