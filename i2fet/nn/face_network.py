"""The network that reads aligned crops of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import CAMERA_SIZE, EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FaceCoefficients

ACTIONS = EXPRESSION_SIZE + 1
"""The 50 actions, then the opening of the jaw as a share of jawOpen."""

OUTPUTS = (SHAPE_SIZE, EXPRESSION_SIZE, POSE_SIZE, CAMERA_SIZE)
LEVEL, SPREAD = 40.0, 48.0
"""About the mean and the standard deviation of a descriptor's numbers, which range to 255."""

Stages = Sequence[tuple[int, int]]
"""Channels and number of blocks of each stage of convolutions."""

TOLERANCE = 0.1
"""An action within this of the truth counts as right."""

MIN_LOG_SIGMA, MAX_LOG_SIGMA = -4.6, 0.7
"""Natural logarithms of 0.01 and 2, where actions range from 0 to 1."""


@dataclass(frozen=True)
class Reading:
    """What the network makes of N crops.

    Attributes:
        coefficients: (N,) whose head rotation and camera are as seen in the crop.
        sigma: (N, 51) standard deviation of the error that it expects of each action and, last, of
            the jaw's opening as a share of jawOpen.
    """

    coefficients: FaceCoefficients
    sigma: Tensor


class Convolution(nn.Module):
    """A convolution whose weights are one matrix, as Muon and packed weights want them.

    Args:
        inputs: Channels.
        outputs: Channels.
        side: Of the kernel, odd; the borders are padded by half of it.
        stride: Of the outputs.
    """

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel = (inputs, side, side)
        self.stride, self.padding = stride, side // 2
        reach = (inputs * side**2) ** -0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs * side**2).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, outputs, H', W') of (N, inputs, H, W)."""
        kernels = self.weight.unflatten(1, self.kernel)
        return F.conv2d(maps, kernels, self.bias, self.stride, self.padding)


class Block(nn.Module):
    """Two convolutions whose outputs are added to the inputs, as residual networks do.

    It starts by passing its inputs on, through a linear map where size or channels change, so that
    it needs no normalisation.

    Args:
        inputs: Channels.
        outputs: Channels.
        stride: 2 halves the size.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.first = Convolution(inputs, outputs, 3, stride)
        self.second = Convolution(outputs, outputs, 3)
        nn.init.zeros_(self.second.weight)
        changes = stride > 1 or inputs != outputs
        self.shortcut = Convolution(inputs, outputs, 1) if changes else None

    def forward(self, maps: Tensor) -> Tensor:
        """(N, outputs, H / stride, W / stride), rounded up, of (N, inputs, H, W)."""
        active = maps.relu()
        change = self.second(self.first(active).relu())
        if self.shortcut is None:
            return maps + change
        smaller = F.avg_pool2d(active, self.stride, ceil_mode=True)
        return change + self.shortcut(smaller)


def convolve(channels: int, stages: Stages) -> nn.Sequential:
    """Convolutions of one map.

    Args:
        channels: Of the map.
        stages: Channels and number of blocks of each; every one halves the size.
    """
    width = stages[0][0]
    layers: list[nn.Module] = [Convolution(channels, width, 5, stride=2)]
    for number, (outputs, blocks) in enumerate(stages):
        for block in range(blocks):
            layers.append(Block(width, outputs, stride=2 if number and not block else 1))
            width = outputs
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten())


def count_outputs(sides: Sequence[int], stages: Stages) -> int:
    """How many numbers `convolve` makes of a map of these sides."""
    return stages[-1][0] * prod(ceil(side / 2 ** len(stages)) for side in sides)


class ReadingHead(nn.Module):
    """What features tell, alone or beside those of the same person at rest.

    That face tells identity and expression apart; a learned vector stands for it where there is
    none.

    Args:
        features: Their width.
        hidden: Width of the layer between.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.unknown = nn.Parameter(torch.zeros(features))
        self.layers = nn.Sequential(
            nn.Linear(2 * features, hidden),
            nn.GELU(),
            nn.Linear(hidden, sum(OUTPUTS) + ACTIONS),
        )

    def forward(self, features: Tensor, neutral: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, 159) standardised coefficients and (N, 51) logarithms of sigma.

        Args:
            features: (N, F) of the faces.
            neutral: (N, F) of the same people at rest, if known.
        """
        reference = self.unknown.expand_as(features) if neutral is None else neutral
        outputs: Tensor = self.layers(torch.cat([features, reference], dim=1))
        codes, log_sigma = outputs.split([sum(OUTPUTS), ACTIONS], dim=1)
        return codes, log_sigma


class FaceNetwork(nn.Module):
    """Coefficients of descriptors of aligned crops, with how sure each action is.

    The fine maps of eyes and mouth are convolved like that of the whole crop, each by weights of
    its own.

    Args:
        maps: Four times (C, H, W), the place in a descriptor of each number of a map, or -1: the
            whole crop, the eyes, the mouth, the tints.
        crop: Stages of the convolutions of the whole crop, see `convolve`.
        part: Of those of the eyes and of the mouth.
        features: Width of what is kept of a crop.
        hidden: Width of the head.
        dropout: Share of the convolutions' outputs that training leaves out.
    """

    calibration: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        maps: Sequence[Tensor],
        crop: Stages,
        part: Stages,
        features: int = 384,
        hidden: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shapes = [tuple(places.shape) for places in maps]
        self.inputs = int(max(places.max() for places in maps)) + 1
        for number, places in enumerate(maps):
            # Where there is none, the zero that is put behind the numbers.
            found = places.where(places >= 0, self.inputs).flatten()
            self.register_buffer(f"places_{number}", found, persistent=False)
        *convolved, tints = self.shapes
        branches = list(zip(convolved, (crop, part, part), strict=True))
        self.branches = nn.ModuleList(convolve(shape[0], stages) for shape, stages in branches)
        self.dropout = nn.Dropout(dropout)
        seen = sum(count_outputs(shape[1:], stages) for shape, stages in branches) + prod(tints)
        self.gather = nn.Linear(seen, features, bias=False)
        self.normalize = nn.BatchNorm1d(features)
        self.head = ReadingHead(features, hidden)
        outputs = sum(OUTPUTS)
        self.register_buffer("calibration", torch.tensor([0.0, 1.0]))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("std", torch.ones(outputs))

    def adopt(self, coefficients: FaceCoefficients) -> None:
        """Take over the units of the outputs from N typical crops."""
        values = torch.cat(list(vars(coefficients).values()), dim=1)
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp(min=1e-3))

    def features(self, descriptors: Tensor) -> Tensor:
        """(N, F) of (N, D) descriptors, 0 to 255."""
        seen = self.dropout(self._convolved(descriptors))
        features: Tensor = self.normalize(self.gather(seen))
        return features.float()

    def read(self, features: Tensor, neutral: Tensor | None = None) -> Reading:
        """Coefficients.

        Args:
            features: (N, F) of the faces.
            neutral: (N, F) of the same people at rest, if known.
        """
        codes, log_sigma = self.head(features, neutral)
        parts = (self.mean + self.std * codes).split(OUTPUTS, dim=1)
        sigma = log_sigma.float().clamp(MIN_LOG_SIGMA, MAX_LOG_SIGMA).exp()
        return Reading(FaceCoefficients(*parts), sigma)

    def confidence(self, sigma: Tensor) -> Tensor:
        """Probability of errors within `TOLERANCE`, for a sigma of any shape.

        The two numbers of the calibration, a and b, give it as sigmoid(a + b log(TOLERANCE /
        sigma)).
        """
        offset, slope = self.calibration
        return torch.sigmoid(offset + slope * (TOLERANCE / sigma).log())

    def forward(self, descriptors: Tensor, neutral: Tensor | None = None) -> Reading:
        """Read (N, D) descriptors; `neutral` as for `read`."""
        return self.read(self.features(descriptors), neutral)

    def _convolved(self, descriptors: Tensor) -> Tensor:
        """(N, K) of (N, D): what the convolutions make of the maps, and the tints as they are."""
        *maps, tints = self._maps(descriptors)
        convolved = [branch(seen) for branch, seen in zip(self.branches, maps, strict=True)]
        return torch.cat([*convolved, tints.flatten(1)], dim=1)

    def _maps(self, descriptors: Tensor) -> list[Tensor]:
        """Four times (N, C, H, W)."""
        values = (descriptors.float() - LEVEL) / SPREAD
        # Rows of many numbers are gathered several times faster than single ones.
        numbers = F.pad(values, (0, 1)).T.contiguous()
        return [
            numbers.index_select(0, self.get_buffer(f"places_{number}"))
            .T.unflatten(1, shape)
            .contiguous(memory_format=torch.channels_last)
            for number, shape in enumerate(self.shapes)
        ]
