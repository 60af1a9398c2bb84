"""What every model offers that turns instructions into pairs of expressions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from i2fet.checkpoint import Provenance, load_part
from i2fet.nn.scaler import CoefficientScaler


class PairGenerator(nn.Module, ABC):
    """Instructions to pairs of expressions in head units, without what trains it.

    Args:
        hparams: Hyperparameters of the task, its provenance among them.

    Attributes:
        task: Name of the task that trains it.
        prefix: Of its parameters in that task's checkpoints.
        title: Name of the model for people.
        provenance: Where the training data came from.
        scaler: Between the network's standardised coefficients and head units.
        temperature: Factor on the noise; None where the same sentence always gives the same faces.
    """

    task: ClassVar[str]
    prefix: ClassVar[str]
    title: ClassVar[str]
    temperature: float | None = None

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.provenance = Provenance.from_values(hparams["provenance"])
        self.scaler = CoefficientScaler()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Load a checkpoint of its task on the CPU; needs neither Lightning nor data.

        Raises:
            CheckpointError: If the file is missing, broken or of another kind of task.
        """
        return load_part(cls, path, cls.task, cls.prefix)

    def card(self) -> str:
        """What was trained on what, in one line."""
        return f"{self.title} trained on {self.provenance.description}"

    @abstractmethod
    def sample(
        self, tokens: Tensor, mask: Tensor, instruction: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """One pair for each of B requests.

        Args:
            tokens: (U, T, D) of the distinct instructions.
            mask: (U, T) bool, true where there is a token.
            instruction: (B,) row of tokens for each request.
            generator: Of the noise, on the CPU, so that a seed means the same anywhere.

        Returns:
            Expression (B, 2, 50), clamped to the head's range, and pose (B, 2, 6).
        """

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
        instruction = torch.arange(len(tokens), device=tokens.device).repeat_interleave(samples)
        expression, pose = self.sample(tokens, mask, instruction, generator)
        return expression.unflatten(0, (-1, samples)), pose.unflatten(0, (-1, samples))

    def _restore(self, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        expression, pose = self.scaler.restore(expression, pose)
        return expression.clamp(*self.provenance.expression_range), pose
