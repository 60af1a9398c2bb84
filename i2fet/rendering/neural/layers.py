"""Blocks that the networks of ROME and CVTHead share; their parameters bear the official names."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 4
"""Outer over inner channels of a bottleneck."""
MAX_GROUPS = 32
ENCODER_GROUPS = 4
BLOCKS_PER_GROUP = 2


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose kernels have zero mean and unit deviation."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        # Means of means and only then deviations: across a deep network the rounding of another
        # order grows to a thousandth of what this one gives.
        mean = self.weight.mean(1, keepdim=True).mean(2, keepdim=True).mean(3, keepdim=True)
        centred = self.weight - mean
        weight = centred / (centred.flatten(1).std(1)[:, None, None, None] + 1e-5)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation in at most 32 groups."""
    return nn.GroupNorm(min(MAX_GROUPS, channels), channels)


class Bottleneck(nn.Module):
    """A pre-activation bottleneck with two 3 x 3 convolutions inside.

    Args:
        inputs: Input channels, divided by `EXPANSION`.
        outputs: Output channels, divided by `EXPANSION`.
        inner: Channels of the convolutions inside.
    """

    def __init__(self, inputs: int, outputs: int, inner: int) -> None:
        super().__init__()
        wide_in, wide_out = EXPANSION * inputs, EXPANSION * outputs
        self.main = nn.Sequential(
            *(group_norm(wide_in), nn.ReLU()),
            StandardizedConv2d(wide_in, inner, 1, bias=False),
            *(group_norm(inner), nn.ReLU()),
            StandardizedConv2d(inner, inner, 3, padding=1, bias=False),
            *(group_norm(inner), nn.ReLU()),
            StandardizedConv2d(inner, inner, 3, padding=1, bias=False),
            *(group_norm(inner), nn.ReLU()),
            nn.Conv2d(inner, wide_out, 1, bias=False),
        )
        self.skip = (
            nn.Conv2d(wide_in, wide_out, 1, bias=False) if inputs != outputs else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 inputs, H, W) to (B, 4 outputs, H, W)."""
        return self.main(x) + self.skip(x)


def encoder_layers(inputs: int, width: int, max_width: int) -> Iterator[nn.Module]:
    """The encoder that ROME trained and CVTHead took over: pictures to features at 1/8 the size.

    Args:
        inputs: Channels of the pictures.
        width: Of the first group's bottlenecks; it doubles with each of the four groups.
        max_width: At which it stops doubling. The features have `EXPANSION` times as many channels.
    """
    yield nn.Conv2d(inputs, EXPANSION * width, 7, padding=3, bias=False)
    widths = [min(width * 2**group, max_width) for group in range(ENCODER_GROUPS)]
    for group, (before, after) in enumerate(zip([width, *widths], widths, strict=False)):
        if group:
            yield nn.MaxPool2d(2)
        for block in range(BLOCKS_PER_GROUP):
            yield Bottleneck(after if block else before, after, after)
