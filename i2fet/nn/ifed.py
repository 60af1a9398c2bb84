"""The instruction-driven facial expression decomposer (IFED, eq. 3 and 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import EXPRESSION_SIZE, FACE_PARAMETER_SIZE, POSE_SIZE
from i2fet.nn.caft import Caft


class TextProjection(nn.Module):
    """P_t: tokens to one row per expression, by attention pooling with learned queries.

    The queries meet the tokens without a key projection, which could be folded into them.

    Args:
        width: D.
        rows: m, the expressions of an instruction.
        heads: Queries per row.
    """

    def __init__(self, width: int, rows: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.rows = rows
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(rows * heads, width))
        self.output = nn.Linear(heads * width, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool tokens.

        Args:
            tokens: (U, T, D).
            mask: (U, T) bool, true where there is a token.

        Returns:
            (U, m, D).
        """
        longest = int(mask.sum(dim=1).max())
        tokens, mask = self.norm(tokens[:, :longest]), mask[:, None, :longest]
        queries = self.queries.expand(len(tokens), -1, -1)
        pooled = F.scaled_dot_product_attention(queries, tokens, tokens, attn_mask=mask)
        return self.output(pooled.unflatten(1, (self.rows, -1)).flatten(2))


class Ifed(nn.Module):
    """Facial parameters and text to the conditions of the VAE (Fig. 3).

    Args:
        text_width: D.
        caft: Further arguments of `Caft`.
    """

    def __init__(self, text_width: int, **caft: Any) -> None:
        super().__init__()
        self.project_text = TextProjection(text_width)
        self.caft = Caft(text_width, **caft)
        self.text_norm = nn.LayerNorm(text_width)
        self.face_norm = nn.LayerNorm(FACE_PARAMETER_SIZE)
        self.expression = nn.Linear(text_width + FACE_PARAMETER_SIZE, EXPRESSION_SIZE)
        self.pose = nn.Linear(text_width + FACE_PARAMETER_SIZE, POSE_SIZE)

    def encode_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(U, 2, D) rows for (U, T, D) tokens: all that depends on the instruction alone."""
        return self.caft.encode_text(self.project_text(tokens, mask))

    def forward(self, face: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Decompose.

        Args:
            face: (B, 2, 53) expression and jaw, standardised.
            text: (B, 2, D) rows of `encode_text`.

        Returns:
            x_emb^e (B, 2, 50) and x_emb^p (B, 2, 6).
        """
        face, text = self.caft(face, text)
        fused = torch.cat([self.text_norm(text), self.face_norm(face)], dim=-1)
        return self.expression(fused), self.pose(fused)


class TextCondition(nn.Module):
    """What stands in for IFED in Table V: a linear map of the pooled text, blind to the face."""

    def __init__(self, text_width: int) -> None:
        super().__init__()
        self.project_text = TextProjection(text_width)
        self.expression = nn.Linear(text_width, EXPRESSION_SIZE)
        self.pose = nn.Linear(text_width, POSE_SIZE)

    def encode_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(U, 2, D) rows for (U, T, D) tokens."""
        return self.project_text(tokens, mask)

    def forward(self, face: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """As `Ifed.forward`."""
        return self.expression(text), self.pose(text)
