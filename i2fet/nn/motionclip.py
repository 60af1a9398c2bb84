"""MotionCLIP, the paper's baseline: an autoencoder of trajectories whose latents meet text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import EXPRESSION_SIZE, POSE_SIZE
from i2fet.nn.pair_generator import PairGenerator

FRAME_SIZE = EXPRESSION_SIZE + POSE_SIZE

LatentScale = Literal["free", "unit"]


class MotionClip(nn.Module):
    """A transformer that puts a trajectory into one latent, and another that reads it back.

    Both work on standardised coefficients, expression and pose side by side. Of the original's two
    summary tokens only the mean's is kept, since nothing reads the other.

    Args:
        latent: Size of the latent: that of the text's embedding.
        latent_scale: See `scale_latent`.
        width: Of the transformers.
        layers: Of each of them.
        heads: Of their attention.
        feedforward: Width of their hidden layers.
        dropout: In both of them.
    """

    def __init__(
        self,
        latent: int,
        latent_scale: LatentScale = "free",
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.latent_scale: LatentScale = latent_scale
        options: dict[str, Any] = {
            "dropout": dropout,
            "activation": "gelu",
            "batch_first": True,
        }
        self.embed = nn.Linear(FRAME_SIZE, width)
        self.summary = nn.Parameter(torch.randn(width))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, heads, feedforward, **options),
            layers,
            enable_nested_tensor=False,
        )
        self.to_latent = nn.Linear(width, latent)
        self.from_latent = nn.Linear(latent, width)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(width, heads, feedforward, **options), layers
        )
        self.output = nn.Linear(width, FRAME_SIZE)

    def encode(self, motion: Tensor) -> Tensor:
        """(B, latent) of (B, T, 56) trajectories."""
        frames = self.embed(motion)
        tokens = torch.cat([self.summary.expand(len(frames), 1, -1), frames], dim=1)
        latent = self.to_latent(self.encoder(tokens + positions(tokens))[:, 0])
        return scale_latent(latent, self.latent_scale)

    def embed_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(U, latent) of (U, T, D) tokens: the mean of those in mask, as MiniLM has it."""
        pooled = (tokens * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return scale_latent(pooled, self.latent_scale)

    def decode(self, latent: Tensor, frames: int) -> Tensor:
        """(B, T, 56) trajectories of (B, latent): T queries that are nothing but their place."""
        memory = self.from_latent(latent)[:, None]
        queries = positions(memory.expand(-1, frames, -1)).expand(len(latent), -1, -1)
        return self.output(self.decoder(queries, memory))

    def forward(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """The trajectories (B, T, 56) read back, and their latents (B, latent)."""
        latent = self.encode(motion)
        return self.decode(latent, motion.shape[1]), latent


class MotionClipGenerator(PairGenerator):
    """A trained MotionCLIP: the text's embedding takes the latent's place, as the original has it.

    The same sentence always gives the same faces.

    Args:
        hparams: Hyperparameters of `MotionClipTask`, its provenance among them.

    Attributes:
        model: The network.
        frames: T, of its trajectories.
    """

    task = "MotionClipTask"
    prefix = "motionclip."
    title = "MotionCLIP"

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__(hparams)
        options = ("latent_scale", "width", "layers", "heads", "feedforward", "dropout")
        self.model = MotionClip(
            self.provenance.text_width, **{name: hparams[name] for name in options}
        )
        self.frames: int = hparams["frames"]

    def sample(
        self, tokens: Tensor, mask: Tensor, instruction: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As `PairGenerator.sample`; both anchors of the trajectory, and no chance in them."""
        motion = self.model.decode(self.model.embed_text(tokens, mask), self.frames)
        expression, pose = self._restore(*split_motion(motion[:, [0, -1]]))
        return expression[instruction], pose[instruction]


def scale_latent(latent: Tensor, scale: LatentScale) -> Tensor:
    """(B, D) latents as they are for "free", the original's way; of mean square 1 for "unit".

    The cosine between latent and text says nothing of their lengths, so that free texts may lie
    where the decoder has never been.
    """
    return F.normalize(latent, dim=1) * latent.shape[1] ** 0.5 if scale == "unit" else latent


def positions(tokens: Tensor) -> Tensor:
    """(T, width) sinusoidal positions for (B, T, width) tokens of an even width."""
    length, width = tokens.shape[1:]
    steps = torch.arange(length, device=tokens.device)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=tokens.device) * (-math.log(1e4) / width))
    return torch.cat([(steps * rates).sin(), (steps * rates).cos()], dim=1)


def split_motion(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Expression (..., 50) and pose (..., 6) of (..., 56)."""
    expression, pose = motion.split([EXPRESSION_SIZE, POSE_SIZE], dim=-1)
    return expression, pose
