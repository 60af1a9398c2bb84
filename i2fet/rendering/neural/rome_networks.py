"""The networks of ROME (Khakhulin et al., 2022), which load its official checkpoint.

Held by hand against the official modules of github.com/SamsungLabs/rome; see the figures in
`README.md` beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.rendering.neural.hair import COMPONENTS, hair_offsets, hair_regressor
from i2fet.rendering.neural.hair import WIDTH as HAIR_WIDTH
from i2fet.rendering.neural.layers import (
    BLOCKS_PER_GROUP,
    ENCODER_GROUPS,
    EXPANSION,
    Bottleneck,
    StandardizedConv2d,
    encoder_layers,
    group_norm,
)
from i2fet.rendering.neural.states import fill, with_prefix

FREQUENCIES = 6
POSITION_SCALE = 5
WIDEST, TEXTURE = "autoencoder.net.11.main.2.weight", "autoencoder.net.25.weight"
"""Tensors that are as long as the widest bottleneck, and as the texture has channels."""


def harmonics(values: Tensor) -> Tensor:
    """(..., C) values, and their sines and cosines at six octaves: (..., 13 C)."""
    octaves = [values * 2**octave for octave in range(FREQUENCIES)]
    waves = [wave for scaled in octaves for wave in (scaled.sin(), scaled.cos())]
    return torch.cat([values, *waves], dim=-1)


def decoder_layers(width: int, max_width: int) -> Iterator[nn.Module]:
    """From the features of `encoder_layers` back to the pictures' size, 4 `width` channels."""
    inputs = min(width * 2**ENCODER_GROUPS, max_width)
    for group in reversed(range(ENCODER_GROUPS)):
        outputs = min(width * 2 ** max(group - 1, 0), max_width)
        for block in range(BLOCKS_PER_GROUP):
            last = block == BLOCKS_PER_GROUP - 1
            yield Bottleneck(inputs, outputs if last else inputs, inputs)
        if group:
            yield nn.Upsample(scale_factor=2)
        inputs = outputs


class TextureEncoder(nn.Module):
    """Photo to neural texture.

    Args:
        channels: Of the texture.
        width: Of the first bottlenecks.
        max_width: Of the widest.
    """

    def __init__(self, channels: int, width: int, max_width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *encoder_layers(4, width, max_width),
            *decoder_layers(width, max_width),
            *(group_norm(EXPANSION * width), nn.ReLU()),
            nn.Conv2d(EXPANSION * width, channels, 1),
        )

    def forward(self, photo: Tensor) -> Tensor:
        """(B, channels, H, W) of (B, 4, H, W) RGB and mask in [0, 1]; H and W multiples of 8."""
        return self.net(photo)


class ConvBlock(nn.Module):
    """Two standardised 3 x 3 convolutions, each normalised and rectified."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            StandardizedConv2d(inputs, inner, 3, padding=1, bias=False),
            *(group_norm(inner), nn.ReLU()),
            StandardizedConv2d(inner, outputs, 3, padding=1, bias=False),
            *(group_norm(outputs), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return self.main(x)


class UNet(nn.Module):
    """A U-Net of four levels.

    Args:
        inputs: Channels.
        outputs: Channels.
        width: Of the first convolution; the levels have 2, 4, 8 and 8 times as many channels.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        levels = [inputs, 2 * width, 4 * width, 8 * width, 8 * width]
        self.encoder = nn.ModuleList(
            nn.Sequential(ConvBlock(before, before if level else width, after))
            for level, (before, after) in enumerate(pairwise(levels))
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(ConvBlock(2 * channels, channels, channels // 2))
            for channels in (8 * width, 4 * width, 2 * width)
        )
        self.to_outputs = nn.Conv2d(width, outputs, 1)
        self.downsample = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W); H and W multiples of 8."""
        features: list[Tensor] = []
        for block in self.encoder:
            features.append(block(self.downsample(features[-1]) if features else x))
        x = features.pop()
        for block in self.decoder:
            x = block(torch.cat([self.upsample(x), features.pop()], dim=1))
        return self.to_outputs(x)


class OffsetNetwork(nn.Module):
    """An MLP of eight layers that sees its input again in the fifth: how far a vertex moves.

    Args:
        inputs: Channels.
        width: Of the layers.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.block_1 = nn.Sequential(*_rectified(inputs, width, 4))
        self.block_2 = nn.Sequential(
            *_rectified(inputs + width, width, 4), nn.Linear(width, 3, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., 3)."""
        return self.block_2(torch.cat([x, self.block_1(x)], dim=-1))


def _rectified(inputs: int, width: int, layers: int) -> Iterator[nn.Module]:
    for layer in range(layers):
        yield nn.Linear(width if layer else inputs, width)
        yield nn.ReLU()


class RomeMesh(nn.Module):
    """ROME's triangles over FLAME's vertices; V vertices, F triangles.

    Args:
        faces: (F, 3) vertex indices.
        uv_faces: (F, 3) indices of FLAME's texture coordinates.
        vertex_uv: (V, 2) of each vertex, across and down in [-1, 1].
        movable: (V, 1) one where `mlp_deformer` may move a vertex: hair, neck and shoulders.
    """

    faces: Tensor
    uv_faces: Tensor
    vertex_uv: Tensor
    movable: Tensor

    def __init__(self, faces: Tensor, uv_faces: Tensor, vertex_uv: Tensor, movable: Tensor) -> None:
        super().__init__()
        self.register_buffer("faces", faces)
        self.register_buffer("uv_faces", uv_faces)
        self.register_buffer("vertex_uv", vertex_uv)
        self.register_buffer("movable", movable)


class RomeNetworks(nn.Module):
    """All networks of `rome.pth`, by the names it uses; the official widths by default.

    Args:
        mesh: ROME's.
        width: Of the texture encoder and the U-Nets.
        max_width: Of the texture encoder.
        texture_channels: Of the neural texture.
        offset_channels: Of what the first deformer tells the second about each vertex.
        offset_width: Of the second deformer.
        hair_width: Of the regressor of hair and shoulders.
    """

    deform_mean: Tensor
    deform_basis: Tensor

    def __init__(
        self,
        mesh: RomeMesh,
        width: int = 64,
        max_width: int = 512,
        texture_channels: int = 8,
        offset_channels: int = 32,
        offset_width: int = 256,
        hair_width: int = 64,
    ) -> None:
        super().__init__()
        harmonic = 1 + 2 * FREQUENCIES
        surface = texture_channels + 3 * harmonic
        vertices = len(mesh.vertex_uv)
        self.mesh = mesh
        self.autoencoder = TextureEncoder(texture_channels, width, max_width)
        self.mesh_deformer = UNet(surface, offset_channels, width)
        self.mlp_deformer = OffsetNetwork(offset_channels + 2 * harmonic, offset_width)
        self.unet = UNet(surface, 4, width)
        self.hair_model = hair_regressor(hair_width)
        self.register_buffer("deform_mean", torch.zeros(vertices, 3))
        self.register_buffer("deform_basis", torch.zeros(vertices, 3, COMPONENTS))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> RomeNetworks:
        """The networks of a checkpoint, as wide as its tensors say.

        Args:
            state: That of `rome.pth`, with `linear_hair.pth` as `hair_model.`, its basis and mean
                as `deform_basis` and `deform_mean`, and a `RomeMesh` as `mesh.`; what is not used
                here is passed over.

        Raises:
            KeyError: If a tensor is missing.
            ValueError: If one has another shape than the others ask for.
        """
        networks = cls(
            RomeMesh(**with_prefix(state, "mesh.")),
            width=len(state["autoencoder.net.0.weight"]) // EXPANSION,
            max_width=len(state[WIDEST]),
            texture_channels=len(state[TEXTURE]),
            offset_channels=len(state["mesh_deformer.to_outputs.weight"]),
            offset_width=len(state["mlp_deformer.block_1.0.weight"]),
            hair_width=len(state[HAIR_WIDTH]),
        )
        return fill(networks, state)

    def hair_offsets(self, picture: Tensor) -> Tensor:
        """(B, V, 3) metres of hair and shoulders (f_H of eq. 17) in (B, 3, H, W) in [0, 1]."""
        return hair_offsets(self.hair_model(picture), self.deform_basis, self.deform_mean)

    def texture(self, picture: Tensor, mask: Tensor) -> Tensor:
        """(B, texture, H, W) of (B, 3, H, W) pictures and (B, 1, H, W) masks in [0, 1]."""
        return self.autoencoder(torch.cat([picture, mask], dim=1))

    def normal_offsets(self, texture: Tensor, positions: Tensor) -> Tensor:
        """How far hair, neck and shoulders lie off the head, by ROME's two deformers.

        Args:
            texture: (B, texture, H, W).
            positions: (B, H, W, 3) metres of the surface in texture space, zero where there is
                none.

        Returns:
            (B, V, 3) factors on the vertices' normals, metres, in [-1, 1].
        """
        surface = harmonics(POSITION_SCALE * positions).permute(0, 3, 1, 2)
        features = self.mesh_deformer(torch.cat([texture, surface], dim=1))
        place = self.mesh.vertex_uv.expand(len(texture), 1, -1, -1)
        local = F.grid_sample(features, place, align_corners=False)[:, :, 0].mT
        # What sampling a grid of coordinates gives whose ends are at the middle of pixels.
        side = texture.shape[-1]
        place = place[:, 0] * (side / (side - 1))
        moved = self.mlp_deformer(torch.cat([local, harmonics(place)], dim=-1))
        return moved.tanh() * self.mesh.movable

    def draw(self, texture: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of a textured surface.

        Args:
            texture: (B, texture, H, W) as it is seen, zero beside it.
            normals: (B, H, W, 3) in the head's own frame, zero beside it.

        Returns:
            (B, 3, H, W) pictures and (B, 1, H, W) soft masks in [0, 1].
        """
        surface = harmonics(normals).permute(0, 3, 1, 2)
        drawn = self.unet(torch.cat([texture, surface], dim=1)).sigmoid()
        return drawn[:, :3], drawn[:, 3:]
