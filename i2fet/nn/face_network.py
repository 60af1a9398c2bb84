"""The network that reads aligned crops of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2fet.coefficients import CAMERA_SIZE, EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FaceCoefficients

ACTIONS = EXPRESSION_SIZE + 1
"""The 50 actions, then the opening of the jaw as a share of jawOpen."""

OUTPUTS = (SHAPE_SIZE, EXPRESSION_SIZE, POSE_SIZE, CAMERA_SIZE)
PIXEL_MEAN, PIXEL_STD = 0.45, 0.25
MIN_LOG_SIGMA, MAX_LOG_SIGMA = -4.6, 0.7


@dataclass(frozen=True)
class Reading:
    """What the network makes of N crops.

    Attributes:
        coefficients: (N,) head rotation and camera as seen in the crop.
        sigma: (N, 51) standard deviation of the error that it expects of each action and, last, of
            the jaw's opening as a share of jawOpen.
    """

    coefficients: FaceCoefficients
    sigma: Tensor


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return torch.relu(x + self.convolutions(x))


class FaceNetwork(nn.Module):
    """Coefficients of aligned crops, with how sure each action is.

    Places matter in an aligned crop, so the last map is flattened, not averaged. A face of the
    same person at rest tells identity and expression apart; its features are given to the head
    beside those of the face, and a learned vector stands for them where there is none.

    Args:
        crop_size: Height and width of the crops, pixels, multiples of 32.
        widths: Channels of the stages, the first at a quarter of the crop's size, each next one at
            half the size of the one before.
        blocks: Residual blocks in each stage.
        features: Width of what is kept of a crop.
        hidden: Width of the head.
        dropout: Before the head.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        crop_size: tuple[int, int] = (160, 128),
        widths: Sequence[int] = (32, 64, 128, 192),
        blocks: Sequence[int] = (1, 1, 1, 1),
        features: int = 256,
        hidden: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.crop_size = crop_size
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4, bias=False)]
        for previous, width, count in zip((widths[0], *widths), widths, blocks, strict=False):
            if layers[1:]:
                layers.append(nn.Conv2d(previous, width, 3, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers += [ResidualBlock(width) for _ in range(count)]
        self.backbone = nn.Sequential(*layers)
        reduction = 4 * 2 ** (len(widths) - 1)
        cells = (crop_size[0] // reduction) * (crop_size[1] // reduction)
        self.squeeze = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * cells, features, bias=False),
            nn.BatchNorm1d(features),
        )
        self.unknown = nn.Parameter(torch.zeros(features))
        outputs = sum(OUTPUTS)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * features, hidden),
            nn.GELU(),
            nn.Linear(hidden, outputs + ACTIONS),
        )
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("std", torch.ones(outputs))

    def adopt(self, coefficients: FaceCoefficients) -> None:
        """Take over the units of the outputs from N typical faces in crops."""
        values = torch.cat(list(vars(coefficients).values()), dim=1)
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp(min=1e-3))

    def features(self, crops: Tensor) -> Tensor:
        """(N, F) of (N, 3, H, W) RGB in [0, 1]."""
        pixels = (crops - PIXEL_MEAN) / PIXEL_STD
        maps = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        return self.squeeze(maps.contiguous())

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

    def forward(self, crops: Tensor, neutral: Tensor | None = None) -> Reading:
        """Read (N, 3, H, W) crops, RGB in [0, 1]; `neutral` as for `read`."""
        return self.read(self.features(crops), neutral)
