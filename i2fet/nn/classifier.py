"""The expression classifier (Section IV-C): a ResNet over shape images."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import get_model

Backbone = Literal["resnet18", "resnet50", "resnet101"]


class ExpressionClassifier(nn.Module):
    """Images to expressions, by one activation map for each.

    Args:
        classes: C.
        backbone: A ResNet of torchvision, untrained.
        small_images: Keep more of images of less than 100 pixels: the first layers then halve
            them once instead of twice.
    """

    def __init__(
        self, classes: int, backbone: Backbone = "resnet101", small_images: bool = False
    ) -> None:
        super().__init__()
        resnet = get_model(backbone, weights=None)
        if small_images:
            resnet.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
            resnet.maxpool = nn.Identity()
        layers, width = list(resnet.children())[:-2], resnet.fc.in_features
        self.features = nn.Sequential(*layers)
        self.classify = nn.Conv2d(width, classes, kernel_size=1, bias=False)
        # Each class starts as unlikely as one of C, which one-against-rest losses need.
        self.bias = nn.Parameter(torch.full((classes, 1, 1), -math.log(classes - 1)))

    def activation_maps(self, images: Tensor) -> Tensor:
        """(B, C, h, w) evidence for each class at each place of (B, 3, S, S) uint8 images."""
        return self.classify(self.features(images.float() / 127.5 - 1)) + self.bias

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits of (B, 3, S, S) uint8 images."""
        return self.activation_maps(images).mean(dim=(2, 3))
