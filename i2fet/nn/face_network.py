"""The network that reads aligned crops of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import CAMERA_SIZE, EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.nn.close_up import CloseUp, Window

ACTIONS = EXPRESSION_SIZE + 1
"""The 50 actions, then the opening of the jaw as a share of jawOpen."""

OUTPUTS = (SHAPE_SIZE, EXPRESSION_SIZE, POSE_SIZE, CAMERA_SIZE)
SMALLEST_SPREAD = 2.0
"""Added to the standard deviations of a descriptor's numbers, which range from 0 to 255."""

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


class PatchLinear(nn.Module):
    """A linear map of every patch by itself, each with weights of its own.

    Args:
        places: (P, I) numbers of a descriptor that make up each patch, or -1 for none.
        units: U, outputs for each patch.
    """

    places: Tensor

    def __init__(self, places: Tensor, units: int) -> None:
        super().__init__()
        patches, inputs = places.shape
        # Where there is none, the zero that is put behind the numbers.
        places = places.where(places >= 0, places.max() + 1)
        self.register_buffer("places", places, persistent=False)
        self.weight = nn.Parameter(torch.empty(patches, inputs, units))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    def forward(self, values: Tensor) -> Tensor:
        """(N, P U) of (N, D)."""
        # Rows of many numbers are gathered several times faster than single ones.
        numbers = F.pad(values, (0, 1)).T.contiguous()
        seen = numbers.index_select(0, self.places.flatten()).unflatten(0, self.places.shape)
        return torch.bmm(seen.mT, self.weight).transpose(0, 1).flatten(1)


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


class FirstLook(nn.Module):
    """Features of a whole aligned crop, patch by patch.

    Args:
        places: (P, I) numbers of a descriptor that make up each patch, or -1 for none.
        units: Outputs of the first layer for each patch.
        widths: Of the layers between these and the features.
        features: Width of what is kept of a crop.
        hidden: Width of the head.
        dropout: Share of each layer's outputs that training leaves out.
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self,
        places: Tensor,
        units: int = 24,
        widths: Sequence[int] = (512,),
        features: int = 256,
        hidden: int = 384,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inputs, sizes = int(places.max()) + 1, [len(places) * units, *widths]
        layers: list[nn.Module] = [PatchLinear(places, units)]
        for size, width in zip(sizes, [*widths, features], strict=True):
            layers += _activated(size, width, dropout)
        self.trunk = nn.Sequential(*layers, nn.BatchNorm1d(features))
        self.head = ReadingHead(features, hidden)
        self.width = features
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))

    def adopt(self, descriptors: Tensor) -> None:
        """Take over the units of the inputs from N typical crops."""
        numbers = descriptors.float()
        self.center.copy_(numbers.mean(0))
        self.spread.copy_(numbers.std(0) + SMALLEST_SPREAD)

    def forward(self, descriptors: Tensor) -> Tensor:
        """(N, F) features of (N, D) descriptors, 0 to 255."""
        features: Tensor = self.trunk((descriptors.float() - self.center) / self.spread)
        return features


class SecondLook(nn.Module):
    """Features of the surroundings of landmarks, wherever the first look sees them.

    What a mouth does is told from around the mouth's own points, which lie elsewhere on every face.

    Args:
        views: The windows that move over the crop, and (P,) which of the landmarks each of
            these groups of windows follows.
        landmarks: Q, how many are located.
        first: Width of the first look's features.
        units: Outputs of the first layer for each landmark and group of windows.
        width: Of the layers between these and the features.
        features: Width of what is kept of a crop.
        hidden: Width of the head.
        dropout: Share of each layer's outputs that training leaves out.
    """

    middle: Tensor
    reach: Tensor

    def __init__(
        self,
        views: Sequence[tuple[Sequence[Window], Tensor]],
        landmarks: int,
        first: int,
        units: int = 32,
        width: int = 640,
        features: int = 256,
        hidden: int = 384,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.finder = nn.Sequential(
            nn.Linear(first, first), nn.GELU(), nn.Linear(first, 2 * landmarks)
        )
        self.close_ups = nn.ModuleList(CloseUp(*view, units) for view in views)
        seen = units * sum(len(points) for _, points in views)
        self.surroundings = nn.Sequential(*_activated(seen, width, dropout))
        self.places = nn.Sequential(
            nn.BatchNorm1d(2 * landmarks), nn.Linear(2 * landmarks, width, bias=False)
        )
        self.trunk = nn.Sequential(*_activated(width, features, dropout), nn.BatchNorm1d(features))
        self.head = ReadingHead(features, hidden)
        self.width = features
        self.register_buffer("middle", torch.zeros(landmarks, 2))
        self.register_buffer("reach", torch.ones(2))

    def adopt(self, landmarks: Tensor) -> None:
        """Take over the units of places from the (N, Q, 2) landmarks of typical crops."""
        self.middle.copy_(landmarks.mean(0))
        self.reach.copy_((landmarks - self.middle).flatten(0, 1).std(0))

    def locate(self, first: Tensor) -> Tensor:
        """(N, Q, 2) pixels of the crop where the landmarks lie, from the first look's features."""
        return self.middle + self.reach * self.finder(first).unflatten(1, (-1, 2))

    def forward(self, descriptors: Tensor, landmarks: Tensor) -> Tensor:
        """(N, F) features of (N, D) descriptors, 0 to 255, around (N, Q, 2) landmarks."""
        values = descriptors.float()
        seen = torch.cat([close_up(values, landmarks) for close_up in self.close_ups], dim=1)
        features: Tensor = self.trunk(self.surroundings(seen) + self.places(landmarks.flatten(1)))
        return features


class FaceNetwork(nn.Module):
    """Coefficients of descriptors of aligned crops, with how sure each action is.

    Args:
        first: Looks at the whole crop.
        second: Looks closer; what both read is averaged. Without it the first look is all.
    """

    calibration: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, first: FirstLook, second: SecondLook | None = None) -> None:
        super().__init__()
        self.first, self.second = first, second
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
        """(N, F) of (N, D) descriptors, 0 to 255: those of either look, side by side."""
        first: Tensor = self.first(descriptors)
        if self.second is None:
            return first
        second = self.second(descriptors, self.second.locate(first))
        return torch.cat([first, second], dim=1)

    def read(self, features: Tensor, neutral: Tensor | None = None) -> Reading:
        """Coefficients.

        Args:
            features: (N, F) of the faces.
            neutral: (N, F) of the same people at rest, if known.
        """
        looks = self._looks()
        widths = [look.width for look in looks]
        rest = [None] * len(looks) if neutral is None else neutral.split(widths, dim=1)
        told = [
            look.head(seen, at_rest)
            for look, seen, at_rest in zip(looks, features.split(widths, dim=1), rest, strict=True)
        ]
        codes, log_sigma = (torch.stack(values).mean(0) for values in zip(*told, strict=True))
        return self.decode(codes, log_sigma)

    def decode(self, codes: Tensor, log_sigma: Tensor) -> Reading:
        """What the outputs of a `ReadingHead` mean."""
        parts = (self.mean + self.std * codes).split(OUTPUTS, dim=1)
        sigma = log_sigma.clamp(MIN_LOG_SIGMA, MAX_LOG_SIGMA).exp()
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

    def _looks(self) -> list[FirstLook | SecondLook]:
        return [self.first] if self.second is None else [self.first, self.second]


def _activated(inputs: int, outputs: int, dropout: float) -> tuple[nn.Module, ...]:
    """A linear layer of normalised and activated inputs."""
    linear = nn.Linear(inputs, outputs, bias=False)
    return nn.BatchNorm1d(inputs), nn.GELU(), nn.Dropout(dropout), linear
