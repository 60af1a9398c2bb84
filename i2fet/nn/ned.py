"""NED, the neutral encoder-decoder (Section IV-F2): a face to the same person's neutral face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2fet.checkpoint import Provenance, load_part
from i2fet.coefficients import EXPRESSION_SIZE, POSE_SIZE, FaceCoefficients
from i2fet.nn.scaler import CoefficientScaler

PREFIX = "ned."
"""Of the neutral generator's parameters in a checkpoint of `NEDTask`."""

FINE = 0.1
"""Resting faces differ by about this part of the spread of expressions."""


class Ned(nn.Module):
    """Four fully connected layers in, four out for the expression and four for the pose.

    Args:
        hidden: Width of the hidden layers.
        latent: Size of what the encoder hands on.
        dropout: After each hidden layer.
    """

    def __init__(self, hidden: int = 128, latent: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = fully_connected(EXPRESSION_SIZE + POSE_SIZE, hidden, latent, dropout)
        self.expression = fully_connected(latent, hidden, EXPRESSION_SIZE, dropout)
        self.pose = fully_connected(latent, hidden, POSE_SIZE, dropout)

    def forward(self, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 50) and (B, 6) of any one scale to (B, 50) and (B, 6)."""
        latent = self.encoder(torch.cat([expression, pose], dim=-1))
        return self.expression(latent), self.pose(latent)


class NeutralGenerator(nn.Module):
    """Faces with any expression to the neutral faces of the same people, in head units.

    The network sees how far a face is from the mean neutral one on a scale that is fine near it,
    where people's resting faces differ, and answers with a correction of that mean.

    Args:
        hparams: Hyperparameters of `NEDTask`, its provenance among them.

    Attributes:
        provenance: Where the training data came from.
        model: The network.
        scaler: Between standardised coefficients and head units.
        mean_expression: (50,) of neutral faces of the training part, head units.
        mean_pose: (6,) likewise.
    """

    mean_expression: Tensor
    mean_pose: Tensor

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.provenance = Provenance.from_values(hparams["provenance"])
        self.model = Ned(**{name: hparams[name] for name in ("hidden", "latent", "dropout")})
        self.scaler = CoefficientScaler()
        self.register_buffer("mean_expression", torch.zeros(EXPRESSION_SIZE))
        self.register_buffer("mean_pose", torch.zeros(POSE_SIZE))

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> NeutralGenerator:
        """Load a checkpoint of `NEDTask` on the CPU; needs neither Lightning nor data.

        Raises:
            CheckpointError: If the file is missing, broken or of another kind of task.
        """
        return load_part(cls, path, "NEDTask", PREFIX)

    def card(self) -> str:
        """What was trained on what, in one line."""
        return f"NED trained on {self.provenance.description}"

    def forward(self, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Neutral expression (B, 50), clamped to the head's range, and pose (B, 6)."""
        seen = self.scaler.standardize(expression, pose)
        mean = self.scaler.standardize(self.mean_expression, self.mean_pose)
        correction = self.model(
            *((s - m).div(FINE).asinh() for s, m in zip(seen, mean, strict=True))
        )
        neutral = (m + FINE * c for m, c in zip(mean, correction, strict=True))
        expression, pose = self.scaler.restore(*neutral)
        return expression.clamp(*self.provenance.expression_range), pose

    @torch.no_grad()
    def relax(self, faces: FaceCoefficients) -> FaceCoefficients:
        """(B,) neutral faces of the people who show (B,) expressions, from the same view."""
        expression, pose = self(faces.expression, faces.pose)
        return FaceCoefficients(faces.shape, expression, pose, faces.camera)


def fully_connected(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Four layers, three of them hidden."""
    layers: list[nn.Module] = []
    for width in (inputs, hidden, hidden):
        layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))
