"""The networks of CVTHead (Ma et al., 2024), which load its official checkpoint.

Held by hand against the official modules of github.com/HowieMa/CVTHead; see the figures in
`README.md` beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.rendering.neural.face_parsing import FaceParsing
from i2fet.rendering.neural.hair import COMPONENTS, hair_offsets, hair_regressor
from i2fet.rendering.neural.hair import WIDTH as HAIR_WIDTH
from i2fet.rendering.neural.layers import EXPANSION, encoder_layers
from i2fet.rendering.neural.mesh_levels import SPIRAL_LENGTH, MeshLevels
from i2fet.rendering.neural.states import fill, with_prefix

HEADS = 4
PATCH = 2
"""Side of the patches that become tokens, in features of the encoder."""
TEMPERATURE = 10_000
EMPTY_DEPTH = -2.0
"""Where no vertex is seen."""


class PictureEncoder(nn.Module):
    """ROME's encoder of a photo and its mask."""

    def __init__(self, width: int, max_width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*encoder_layers(4, width, max_width))

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 4, H, W) to (B, C, H / 8, W / 8)."""
        return self.net(picture)


class SelfAttention(nn.Module):
    """Multi-head attention without biases inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) to (B, N, width)."""
        qkv = self.to_qkv(tokens).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv)
        return self.to_out(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers, the inner one twice as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 2 * width
        # The dropouts do nothing at use; they keep the layers' numbers those of the checkpoint.
        self.net = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Dropout(0), nn.Linear(inner, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) to (B, N, width)."""
        return self.net(tokens)


class PreNorm(nn.Module):
    """A layer on normalised tokens, added to them."""

    def __init__(self, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = layer

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) to (B, N, width)."""
        return tokens + self.fn(self.norm(tokens))


class Transformer(nn.Module):
    """Pre-norm transformer encoder."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(PreNorm(width, SelfAttention(width)), PreNorm(width, FeedForward(width)))
            for _ in range(depth)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) to (B, N, width)."""
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class SpiralConv(nn.Module):
    """A linear map of what lies on the spiral around each vertex."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width * SPIRAL_LENGTH, width)

    def forward(self, features: Tensor, spirals: Tensor) -> Tensor:
        """(B, V, width) to (B, V, width) along (V, 9) spirals."""
        return self.layer(features[:, spirals].flatten(2))


class SpiralBlock(nn.Module):
    """A spiral convolution that is not the last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = SpiralConv(width)

    def forward(self, features: Tensor, spirals: Tensor) -> Tensor:
        """(B, V, width) to (B, V, width) along (V, 9) spirals."""
        return F.elu(self.conv(features, spirals))


class SpiralDecoder(nn.Module):
    """Features of the coarsest level's vertices to those of all vertices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.de_layers = nn.ModuleList([SpiralBlock(width), SpiralBlock(width), SpiralConv(width)])

    def forward(self, features: Tensor, levels: MeshLevels) -> Tensor:
        """(B, coarsest, width) to (B, V, width)."""
        features = self.de_layers[0](levels.up[1](features), levels.middle_spirals)
        features = self.de_layers[1](levels.up[0](features), levels.fine_spirals)
        return self.de_layers[2](features, levels.fine_spirals)


class Down(nn.Module):
    """Two convolutions of one level on the way down."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm0 = nn.BatchNorm2d(outputs)
        self.norm1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return F.relu(self.norm1(self.conv2(F.relu(self.norm0(self.conv1(x))))))


class Up(nn.Module):
    """One level on the way up, joined with what the way down saw there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.upconv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv2d(2 * outputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm0 = nn.BatchNorm2d(outputs)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, inputs, H / 2, W / 2) and (B, outputs, H, W) to (B, outputs, H, W)."""
        x = F.interpolate(x, seen.shape[2:], mode="bilinear", align_corners=True)
        x = F.relu(self.norm0(self.upconv(x)))
        x = F.relu(self.norm1(self.conv1(torch.cat([x, seen], dim=1))))
        return F.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """A U-Net of five levels.

    Args:
        inputs: Channels.
        outputs: Channels.
        width: Of the first level; each has twice as many channels as the one before.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down_convs = nn.ModuleList(map(Down, [inputs, *widths], widths))
        self.up_convs = nn.ModuleList(map(Up, widths[:0:-1], widths[-2::-1]))
        self.conv_final = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W); H and W multiples of 16."""
        seen: list[Tensor] = []
        for down in self.down_convs:
            seen.append(down(F.max_pool2d(seen[-1], 2) if seen else x))
        x = seen.pop()
        for up in self.up_convs:
            x = up(x, seen.pop())
        return self.conv_final(x)


def waves(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines of positions, in turn.

    Args:
        positions: (...) in [0, 1].
        width: Of the encoding, even.

    Returns:
        (..., width).
    """
    octaves = torch.arange(0, width, 2, device=positions.device) / width
    angles = 2 * math.pi * positions[..., None] / TEMPERATURE**octaves
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def splat(points: Tensor, features: Tensor, size: int) -> Tensor:
    """Draw points as single pixels, the nearest on top.

    Args:
        points: (B, V, 3) across, down and away from the viewer; a picture spans [-1, 1], and points
            beside it are drawn on its edge.
        features: (B, V, C) of them.
        size: Of the picture.

    Returns:
        (B, 1 + C, size, size) depth, -2 where no point is seen, and features, zero there.
    """
    batch, vertices = points.shape[:2]
    pixels = (points[..., :2] * size / 2 + size / 2).clamp(0, size - 1).round().long()
    column, row = pixels.unbind(-1)
    far_to_near = points[..., 2].argsort(descending=True, stable=True)
    rank = torch.empty_like(far_to_near).scatter_(
        1, far_to_near, torch.arange(vertices, device=points.device).expand(batch, -1)
    )
    top = torch.full((batch, size * size), -1, device=points.device)
    top = top.scatter_reduce(1, row * size + column, rank, "amax")
    seen = far_to_near.gather(1, top.clamp(min=0))[..., None]
    values = torch.cat([points[..., 2:], features], dim=-1)
    values = values.gather(1, seen.expand(-1, -1, values.shape[-1]))
    empty = values.new_zeros(values.shape[-1])
    empty[0] = EMPTY_DEPTH
    values = torch.where((top >= 0)[..., None], values, empty)
    return values.transpose(1, 2).unflatten(2, (size, size))


class CvtHeadNetworks(nn.Module):
    """All networks of `cvthead.pt`, by the names it uses; the official widths by default.

    Args:
        levels: Of the head's mesh.
        width: Of the picture encoder.
        max_width: Of the picture encoder.
        patch_width: Of its features in a patch.
        token_width: Of the transformer.
        depth: Of the transformer.
        descriptor: Width of what is known of each vertex.
        unet_width: Of the U-Net's first level.
        parsing_width: Of the face parser.
        hair_width: Of the regressor of hair and shoulders.
        size: Of the pictures.
    """

    pos_embedding: Tensor
    deform_mean: Tensor
    deform_basis: Tensor

    def __init__(
        self,
        levels: MeshLevels,
        width: int = 64,
        max_width: int = 512,
        patch_width: int = 256,
        token_width: int = 128,
        depth: int = 6,
        descriptor: int = 32,
        unet_width: int = 32,
        parsing_width: int = 128,
        hair_width: int = 64,
        size: int = 256,
    ) -> None:
        super().__init__()
        vertices, coarsest = levels.sizes
        self.size = size
        self.levels = levels
        self.face_parsing = FaceParsing(parsing_width)
        self.hair_model = hair_regressor(hair_width)
        self.register_buffer("deform_mean", torch.zeros(vertices, 3))
        self.register_buffer("deform_basis", torch.zeros(vertices, 3, COMPONENTS))
        self.autoencoder = PictureEncoder(width, max_width)
        self.ae_proj = nn.Conv2d(EXPANSION * min(8 * width, max_width), patch_width, 1)
        self.patch_to_embedding = nn.Linear(PATCH * PATCH * patch_width, token_width)
        tokens = (size // 8 // PATCH) ** 2
        self.register_buffer("pos_embedding", torch.zeros(1, tokens, token_width))
        self.vtx_upsampler = SpiralDecoder(token_width)
        self.vtx_query = nn.Parameter(torch.zeros(1, coarsest, token_width))
        self.transformer = Transformer(token_width, depth)
        self.vtx_descriptor_head = nn.Sequential(nn.Linear(token_width, descriptor))
        self.unet_generator = UNet(1 + descriptor, 4, unet_width)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> CvtHeadNetworks:
        """The networks of a checkpoint, as wide as its tensors say.

        Args:
            state: The official one with those of `levels`; what is not used here is passed over.

        Raises:
            KeyError: If a tensor is missing.
            ValueError: If one has another shape than the others ask for.
        """
        levels = MeshLevels.from_tensors(with_prefix(state, "levels."))
        depth = {key.split(".")[2] for key in state if key.startswith("transformer.layers.")}
        networks = cls(
            levels,
            width=len(state["autoencoder.net.0.weight"]) // EXPANSION,
            max_width=state["ae_proj.weight"].shape[1] // EXPANSION,
            patch_width=len(state["ae_proj.weight"]),
            token_width=state["vtx_query"].shape[-1],
            depth=len(depth),
            descriptor=len(state["vtx_descriptor_head.0.weight"]),
            unet_width=state["unet_generator.conv_final.weight"].shape[1],
            parsing_width=len(state["face_parsing.net.cp.conv_avg.conv.weight"]),
            hair_width=len(state[HAIR_WIDTH]),
            size=8 * PATCH * math.isqrt(state["pos_embedding"].shape[1]),
        )
        return fill(networks, state)

    def hair_offsets(self, picture: Tensor) -> Tensor:
        """(B, V, 3) metres of hair and shoulders (f_H of eq. 17) in (B, 3, H, W) in [-1, 1]."""
        return hair_offsets(self.hair_model(picture), self.deform_basis, self.deform_mean)

    def describe(self, picture: Tensor, mask: Tensor, points: Tensor) -> Tensor:
        """What a photo shows at each vertex.

        Args:
            picture: (B, 3, size, size) in [-1, 1].
            mask: (B, 1, size, size) one where it shows the person.
            points: (B, V, 3) the vertices in the picture, as for `splat`.

        Returns:
            (B, V, descriptor).
        """
        features = self.ae_proj(self.autoencoder(torch.cat([picture, mask], dim=1)))
        patches = features.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        picture_tokens = self.patch_to_embedding(patches) + self.pos_embedding
        tokens = torch.cat([self._queries(points), picture_tokens], dim=1)
        coarse = self.transformer(tokens)[:, : self.vtx_query.shape[1]]
        return self.vtx_descriptor_head(self.vtx_upsampler(coarse, self.levels))

    def _queries(self, points: Tensor) -> Tensor:
        across, down, away = ((self.levels.down(points) + 1) / 2).unbind(-1)
        width = self.vtx_query.shape[-1]
        place = torch.cat([waves(down, width // 2), waves(across, width // 2)], dim=-1)
        return self.vtx_query + place + waves(away, width)

    def draw(self, points: Tensor, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of vertices.

        Args:
            points: (B, V, 3) the vertices in the pictures, as for `splat`.
            descriptors: (B, V, descriptor) of them.

        Returns:
            (B, 3, size, size) pictures in [-1, 1] and (B, 1, size, size) soft masks in [0, 1].
        """
        drawn = self.unet_generator(splat(points, descriptors, self.size))
        return drawn[:, :3].tanh(), drawn[:, 3:].sigmoid()
