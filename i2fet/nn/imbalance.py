"""Classification losses, two of them for classes of very different sizes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss


class MapClassifier(Protocol):
    """A classifier whose logits are the means of its activation maps."""

    def activation_maps(self, images: Tensor) -> Tensor: ...


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """Weights by the effective number of samples, (1 - beta) / (1 - beta^n).

    Args:
        counts: (C,) training samples of each class.
        beta: In [0, 1); 0 weighs all classes alike, near 1 by the inverse of their sizes.

    Returns:
        (C,) with a mean of 1 over the classes that occur, 0 for the others.
    """
    return _scaled((1 - beta) / (1 - beta ** counts.double()), counts)


def inverse_frequency_weights(counts: Tensor) -> Tensor:
    """Weights by the inverse of the classes' sizes.

    Args:
        counts: (C,) training samples of each class.

    Returns:
        (C,) with a mean of 1 over the classes that occur, 0 for the others.
    """
    return _scaled(1 / counts.double(), counts)


def rebalanced_smooth_labels(labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Soft targets that give the rarer of the other classes more.

    Args:
        labels: (B,) int64.
        weights: (C,) of the classes.
        smoothing: What the label gives away, in [0, 1].

    Returns:
        (B, C), each row summing to 1.
    """
    own = functional.one_hot(labels, len(weights)).to(weights)
    others = weights * (1 - own)
    return (1 - smoothing) * own + smoothing * others / others.sum(dim=1, keepdim=True)


class CrossEntropyLoss(nn.Module):
    """Plain cross-entropy."""

    def forward(self, classifier: MapClassifier, images: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of (B, 3, S, S) images with (B,) labels."""
        logits = classifier.activation_maps(images).mean(dim=(2, 3))
        return functional.cross_entropy(logits, labels)


class ClassBalancedFocalLoss(nn.Module):
    """Re-weighted focal loss, the paper's RFL: one-against-rest, summed over the classes.

    Args:
        counts: (C,) training samples of each class.
        beta: Of `class_balanced_weights`.
        gamma: How strongly easy samples are played down.
    """

    weights: Tensor

    def __init__(self, counts: Tensor, beta: float = 0.999, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        weights = class_balanced_weights(counts, beta).float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, classifier: MapClassifier, images: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of (B, 3, S, S) images with (B,) labels."""
        logits = classifier.activation_maps(images).mean(dim=(2, 3))
        return self.focal(logits, labels)

    def focal(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of (B, C) logits with (B,) labels."""
        targets = functional.one_hot(labels, logits.shape[1]).to(logits)
        losses = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=self.gamma)
        return (self.weights[labels] * losses.sum(dim=1)).mean()


class MekLoss(nn.Module):
    """MEK: re-balanced smooth labels, and attention that mirrors when the image does.

    Args:
        counts: (C,) training samples of each class.
        smoothing: Of `rebalanced_smooth_labels`.
        consistency: Weight of the attention term.
    """

    weights: Tensor

    def __init__(self, counts: Tensor, smoothing: float = 0.3, consistency: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.consistency = consistency
        weights = inverse_frequency_weights(counts).float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, classifier: MapClassifier, images: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of (B, 3, S, S) images with (B,) labels."""
        maps, mirrored = classifier.activation_maps(torch.cat([images, images.flip(-1)])).chunk(2)
        targets = rebalanced_smooth_labels(labels, self.weights, self.smoothing)
        loss = functional.cross_entropy(maps.mean(dim=(2, 3)), targets)
        return loss + self.consistency * self.inconsistency(maps, mirrored)

    def inconsistency(self, maps: Tensor, mirrored: Tensor) -> Tensor:
        """Scalar squared difference of (B, C, h, w) maps of images and of mirrored images."""
        errors = (maps - mirrored.flip(-1)).square().mean(dim=(0, 2, 3))
        return (self.weights * errors).mean()


def _scaled(weights: Tensor, counts: Tensor) -> Tensor:
    occurring = counts > 0
    weights = weights.where(occurring, 0)
    return weights * occurring.sum() / weights.sum()
