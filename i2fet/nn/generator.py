"""A trained I2FET as its users need it, without what trains it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2fet.checkpoint import Provenance, load_part
from i2fet.nn.i2fet import I2fet
from i2fet.nn.scaler import CoefficientScaler

MODEL_OPTIONS = ("latent", "hidden", "use_ifed", "share_ifed", "face_encoders", "text_encoders")
PREFIX = "generator."
"""Of the generator's parameters in a checkpoint of `I2FETTask`, in which it has this name."""


class ExpressionGenerator(nn.Module):
    """Instructions to pairs of expressions in head units.

    Args:
        hparams: Hyperparameters of `I2FETTask`, its provenance among them.

    Attributes:
        provenance: Where the training data came from.
        model: The network, in standardised coefficients.
        scaler: Between these and head units.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.provenance = Provenance.from_values(hparams["provenance"])
        self.model = I2fet(
            self.provenance.text_width,
            layers=hparams["caft_layers"],
            exchange=hparams["exchange"],
            **{name: hparams[name] for name in MODEL_OPTIONS},
        )
        self.scaler = CoefficientScaler()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> ExpressionGenerator:
        """Load a checkpoint of `I2FETTask` on the CPU; needs neither Lightning nor data.

        Raises:
            CheckpointError: If the file is missing, broken or of another kind of task.
        """
        return load_part(cls, path, "I2FETTask", PREFIX)

    def card(self) -> str:
        """What was trained on what, in one line."""
        return f"I2FET trained on {self.provenance.description}"

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
        generated = self.model.generate(tokens, mask, instruction, noise)
        expression, pose = self.scaler.restore(*generated)
        return expression.clamp(*self.provenance.expression_range), pose

    @torch.no_grad()
    def generate(
        self, tokens: Tensor, mask: Tensor, samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Several pairs for each instruction.

        Args:
            tokens: (N, T, D) token embeddings of N instructions.
            mask: (N, T) bool, true where there is a token.
            samples: S, per instruction.
            generator: Of the noise, on the CPU.

        Returns:
            Expression (N, S, 2, 50), clamped to the head's range, and pose (N, S, 2, 6).
        """
        instruction = torch.arange(len(tokens)).repeat_interleave(samples).to(tokens.device)
        noise = self.noise(len(instruction), generator)
        expression, pose = self(tokens, mask, instruction, noise)
        return expression.unflatten(0, (-1, samples)), pose.unflatten(0, (-1, samples))
