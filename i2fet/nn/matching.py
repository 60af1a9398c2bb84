"""One embedding for texts and for the faces they ask for, by which generated faces are measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.checkpoint import Provenance, load_part
from i2fet.coefficients import FACE_PARAMETER_SIZE
from i2fet.judge import TrainingPart
from i2fet.nn.i2fet import face_parameters, mlp
from i2fet.nn.ifed import TextProjection
from i2fet.nn.scaler import CoefficientScaler

PREFIX = "matcher."
"""Of the matcher's parameters in a checkpoint of `MatchingTask`."""

EXPRESSIONS = 2


class Matcher(nn.Module):
    """Two small encoders onto the unit sphere, one of texts and one of pairs of faces.

    Args:
        hparams: Hyperparameters of `MatchingTask`, its provenance and training part among them.

    Attributes:
        provenance: Where the training data came from.
        scaler: Between head units and standardised coefficients.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.provenance = Provenance.from_values(hparams["provenance"])
        self._hparams = hparams
        size, hidden, width = hparams["size"], hparams["hidden"], self.provenance.text_width
        self.project_text = TextProjection(width, EXPRESSIONS)
        self.text_encoder = mlp(EXPRESSIONS * width, hidden, size)
        self.face_encoder = mlp(EXPRESSIONS * FACE_PARAMETER_SIZE, hidden, size)
        self.scaler = CoefficientScaler()

    @property
    def training_part(self) -> TrainingPart:
        """Whom it was trained on; known once training has begun."""
        return TrainingPart.from_values(self._hparams["training_part"])

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Matcher:
        """Load a checkpoint of `MatchingTask` on the CPU; needs neither Lightning nor data.

        Raises:
            CheckpointError: If the file is missing, broken or of another kind of task.
        """
        return load_part(cls, path, "MatchingTask", PREFIX)

    def embed_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(U, E) of (U, T, D) tokens, true ones in mask."""
        rows = self.project_text(tokens, mask).flatten(1)
        return F.normalize(self.text_encoder(rows), dim=1)

    def embed_faces(self, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, E) of pairs (B, 2, 50) and (B, 2, 6) in head units, without the head's turn."""
        faces = face_parameters(*self.scaler.standardize(expression, pose))
        return F.normalize(self.face_encoder(faces.flatten(1)), dim=1)


def contrastive_loss(faces: Tensor, texts: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of telling a row's text by its faces and its faces by its text.

    Args:
        faces: (B, E) embeddings.
        texts: (B, E) embeddings.
        label: (B,) int64; rows of one label serve each other as well as themselves.
        temperature: Of the softmax over cosines.
    """
    logits = faces @ texts.mT / temperature
    same = (label[:, None] == label).to(logits)
    target = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.mT, target)) / 2


def draw_candidates(label: Tensor, pool: int, generator: torch.Generator) -> Tensor:
    """For each row, itself and rows of other labels, all different, by chance.

    Args:
        label: (B,) int64.
        pool: P, rows for each; no more than there are different labels.
        generator: Source of chance.

    Returns:
        (B, P) int64 rows, the own one first.
    """
    labels, group, sizes = label.unique(return_inverse=True, return_counts=True)
    chance = torch.rand(len(label), len(labels), generator=generator)
    chance[torch.arange(len(label)), group] = 2
    chosen = chance.topk(pool, dim=1).indices[:, 1:]
    offset = (torch.rand(chosen.shape, generator=generator) * sizes[chosen]).long()
    others = group.argsort()[(sizes.cumsum(0) - sizes)[chosen] + offset]
    return torch.cat([torch.arange(len(label))[:, None], others], dim=1)
