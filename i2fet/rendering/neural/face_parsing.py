"""BiSeNet (Yu et al., 2018) as trained to parse faces, which tells CVTHead what is background."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

CLASSES = 19
"""Background, then 18 parts of faces, clothes and hair."""
PARSED_SIZE = 512
BACKBONE = (64, 128, 256, 512)


class ConvBnRelu(nn.Module):
    """Convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return F.relu(self.bn(self.conv(x)))


class AttentionRefinement(nn.Module):
    """Weighs channels by what the whole picture shows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        x = self.conv(x)
        whole = x.mean(dim=(2, 3), keepdim=True)
        return x * self.bn_atten(self.conv_atten(whole)).sigmoid()


class ContextPath(nn.Module):
    """ResNet-18 whose deep features are refined and brought to 1/8 of the picture's size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnet = resnet18()
        del self.resnet.fc, self.resnet.avgpool
        self.arm16 = AttentionRefinement(BACKBONE[2], width)
        self.arm32 = AttentionRefinement(BACKBONE[3], width)
        self.conv_head32 = ConvBnRelu(width, width)
        self.conv_head16 = ConvBnRelu(width, width)
        self.conv_avg = ConvBnRelu(BACKBONE[3], width, kernel=1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to (B, 128, H / 8, W / 8) of the backbone, and (B, width, H / 8, W / 8)."""
        net = self.resnet
        eighth = net.layer2(net.layer1(net.maxpool(F.relu(net.bn1(net.conv1(picture))))))
        sixteenth = net.layer3(eighth)
        deepest = net.layer4(sixteenth)
        whole = self.conv_avg(deepest.mean(dim=(2, 3), keepdim=True))
        deep = F.interpolate(self.arm32(deepest) + whole, sixteenth.shape[2:])
        middle = self.arm16(sixteenth) + self.conv_head32(deep)
        return eighth, self.conv_head16(F.interpolate(middle, eighth.shape[2:]))


class FeatureFusion(nn.Module):
    """Joins the backbone's features with the context."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblk = ConvBnRelu(inputs, outputs, kernel=1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        """(B, inputs, H, W) in two parts to (B, outputs, H, W)."""
        x = self.convblk(torch.cat([features, context], dim=1))
        whole = x.mean(dim=(2, 3), keepdim=True)
        return x + x * self.conv2(F.relu(self.conv1(whole))).sigmoid()


class Output(nn.Module):
    """Scores of the classes."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(inputs, inner)
        self.conv_out = nn.Conv2d(inner, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 19, H, W)."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Parses pictures at 1/8 of their size.

    The two outputs that only training has are left out.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.cp = ContextPath(width)
        self.ffm = FeatureFusion(BACKBONE[1] + width, 2 * width)
        self.conv_out = Output(2 * width, 2 * width)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) normalised by ImageNet's statistics to (B, 19, H, W) scores."""
        scores = self.conv_out(self.ffm(*self.cp(picture)))
        return F.interpolate(scores, picture.shape[2:], mode="bilinear", align_corners=True)


class FaceParsing(nn.Module):
    """Which pixels show the person.

    Args:
        width: Of BiSeNet's context; the official one by default.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.net = BiSeNet(width)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]))

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 19, H, W) scores of (B, 3, H, W) pictures in [-1, 1]."""
        normal = ((picture + 1) / 2 - self.mean[:, None, None]) / self.std[:, None, None]
        large = F.interpolate(normal, (PARSED_SIZE, PARSED_SIZE), mode="bilinear")
        return F.interpolate(self.net(large), picture.shape[2:], mode="bilinear")

    def foreground(self, picture: Tensor) -> Tensor:
        """(B, 1, H, W) one where (B, 3, H, W) pictures in [-1, 1] show the person, else zero."""
        return (self(picture).argmax(1, keepdim=True) > 0).to(picture)
