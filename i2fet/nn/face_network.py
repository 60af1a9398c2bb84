"""The network that reads aligned crops of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import CAMERA_SIZE, EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FaceCoefficients

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
        self.register_buffer("places", places, persistent=False)
        self.weight = nn.Parameter(torch.empty(patches, inputs, units))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    def forward(self, values: Tensor) -> Tensor:
        """(N, P U) of (N, D)."""
        # Rows of many numbers are gathered several times faster than single ones.
        numbers = F.pad(values, (0, 1)).T.contiguous()
        seen = numbers[self.places.flatten()].unflatten(0, self.places.shape)
        return torch.bmm(seen.mT, self.weight).transpose(0, 1).flatten(1)


class FaceNetwork(nn.Module):
    """Coefficients of descriptors of aligned crops, with how sure each action is.

    A face of the same person at rest tells identity and expression apart; its features are given
    to the head beside those of the face, and a learned vector stands for them where there is none.

    Args:
        places: (P, I) numbers of a descriptor that make up each patch, or -1 for none.
        units: Outputs of the first layer for each patch.
        widths: Of the layers between these and the features.
        features: Width of what is kept of a crop.
        hidden: Width of the head.
        dropout: Share of each layer's outputs that training leaves out.
    """

    calibration: Tensor
    center: Tensor
    spread: Tensor
    mean: Tensor
    std: Tensor

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
            layers += [nn.BatchNorm1d(size), nn.GELU(), nn.Dropout(dropout)]
            layers.append(nn.Linear(size, width, bias=False))
        self.trunk = nn.Sequential(*layers, nn.BatchNorm1d(features))
        self.unknown = nn.Parameter(torch.zeros(features))
        outputs = sum(OUTPUTS)
        self.head = nn.Sequential(
            nn.Linear(2 * features, hidden), nn.GELU(), nn.Linear(hidden, outputs + ACTIONS)
        )
        self.register_buffer("calibration", torch.tensor([0.0, 1.0]))
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("std", torch.ones(outputs))

    def adopt(self, descriptors: Tensor, coefficients: FaceCoefficients) -> None:
        """Take over the units of inputs and outputs from N typical crops."""
        values = torch.cat(list(vars(coefficients).values()), dim=1)
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp(min=1e-3))
        numbers = descriptors.float()
        self.center.copy_(numbers.mean(0))
        self.spread.copy_(numbers.std(0) + SMALLEST_SPREAD)

    def features(self, descriptors: Tensor) -> Tensor:
        """(N, F) of (N, D) descriptors, 0 to 255."""
        features: Tensor = self.trunk((descriptors.float() - self.center) / self.spread)
        return features

    def read(self, features: Tensor, neutral: Tensor | None = None) -> Reading:
        """Coefficients.

        Args:
            features: (N, F) of the faces.
            neutral: (N, F) of the same people at rest, if known.
        """
        reference = self.unknown.expand_as(features) if neutral is None else neutral
        outputs = self.head(torch.cat([features, reference], dim=1))
        codes, log_sigma = outputs.split([sum(OUTPUTS), ACTIONS], dim=1)
        codes = self.mean + self.std * codes
        shape, expression, pose, camera = codes.split(OUTPUTS, dim=1)
        sigma = log_sigma.clamp(MIN_LOG_SIGMA, MAX_LOG_SIGMA).exp()
        return Reading(FaceCoefficients(shape, expression, pose, camera), sigma)

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
