"""A trained I2FET as its users need it, without what trains it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2fet.nn.i2fet import I2fet
from i2fet.nn.pair_generator import PairGenerator

SHIPPED_GENERATOR = Path(__file__).with_name("i2fet.safetensors")
"""Trained on synthetic people; i2fet.md, beside it, is its card."""

MODEL_OPTIONS = (
    "latent",
    "hidden",
    "use_ifed",
    "share_ifed",
    "face_encoders",
    "text_encoders",
    "prior",
)


class ExpressionGenerator(PairGenerator):
    """I2FET's generator.

    Args:
        hparams: Hyperparameters of `I2FETTask`, its provenance among them.

    Attributes:
        model: The network, in standardised coefficients.
    """

    task = "I2FETTask"
    prefix = "generator."
    title = "I2FET"
    temperature: float

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__(hparams)
        self.model = I2fet(
            self.provenance.text_width,
            layers=hparams["caft_layers"],
            exchange=hparams["exchange"],
            **{name: hparams[name] for name in MODEL_OPTIONS},
        )
        self.temperature = hparams["temperature"]

    def noise(self, rows: int, generator: torch.Generator) -> Tensor:
        """(2, rows, 2, latent) standard normal, from the CPU: a seed means the same anywhere."""
        noise = torch.randn(2, rows, 2, self.model.latent, generator=generator)
        return noise.to(self.scaler.pose_mean.device)

    def forward(
        self, tokens: Tensor, mask: Tensor, instruction: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode latents of the prior.

        Args:
            tokens: (U, T, D) of the distinct instructions.
            mask: (U, T) bool, true where there is a token.
            instruction: (B,) row of tokens for each sample.
            noise: (2, B, 2, latent) of `noise`.

        Returns:
            Expression (B, 2, 50), clamped to the head's range, and pose (B, 2, 6).
        """
        noise = self.temperature * noise
        return self._restore(*self.model.generate(tokens, mask, instruction, noise))

    def sample(
        self, tokens: Tensor, mask: Tensor, instruction: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As `PairGenerator.sample`, from the prior."""
        return self(tokens, mask, instruction, self.noise(len(instruction), generator))
