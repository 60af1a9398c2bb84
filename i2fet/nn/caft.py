"""Cross-attention between facial parameters and text (CAFT, eq. 1 and 2)."""

from __future__ import annotations

from math import ceil
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import FACE_PARAMETER_SIZE

Exchange = Literal["paper", "symmetric"]


class Attention(nn.Module):
    """Multi-head attention whose inner width need not be that of its input.

    Args:
        width: Of the input and output.
        head_width: Of each head; there are as many heads as it takes to reach the width, which
            the 53 of the face branch, a prime, need not equal.
    """

    def __init__(self, width: int, head_width: int | None = None) -> None:
        super().__init__()
        head_width = head_width or (64 if width >= 256 else 16)
        self.heads = ceil(width / head_width)
        inner = self.heads * head_width
        self.query = nn.Linear(width, inner)
        self.key_value = nn.Linear(width, 2 * inner)
        self.output = nn.Linear(inner, width)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, Q, width) for (B, Q, width) queries over (B, K, width) context."""
        q = self._split(self.query(query))
        k, v = map(self._split, self.key_value(context).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerEncoder(nn.Module):
    """One pre-norm transformer encoder (eq. 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(B, m, width) to (B, m, width)."""
        normed = self.attention_norm(rows)
        rows = rows + self.attention(normed, normed)
        return rows + self.feed_forward(rows)


class CrossAttention(nn.Module):
    """One direction of eq. 2: g(CA(y + x_1) + y) with y = h(x_0), in the other branch's width.

    Args:
        width: Of the rows that ask.
        other: Width of the rows that answer, in which the attention happens.
    """

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, other))
        self.norm = nn.LayerNorm(other)
        self.attention = Attention(other)
        self.back_project = nn.Sequential(nn.LayerNorm(other), nn.GELU(), nn.Linear(other, width))

    def forward(self, rows: Tensor, context: Tensor) -> Tensor:
        """Fuse each row with its own context row.

        Args:
            rows: (B, R, width), each in the class token's role.
            context: (B, R, other), each in the role of the other branch's patches.

        Returns:
            (B, R, width).
        """
        asking = self.project(rows)
        tokens = self.norm(torch.stack([asking, context], dim=2).flatten(0, 1))
        fused = asking + self.attention(tokens[:, :1], tokens).view_as(asking)
        return self.back_project(fused)


class CaftLayer(nn.Module):
    """The face branch's encoders and the exchange between the branches (eq. 1 and 2)."""

    def __init__(self, text_width: int, face_width: int, encoders: int, exchange: Exchange) -> None:
        super().__init__()
        self.asking = 2 if exchange == "symmetric" else 1
        self.face_encoders = encoder_stack(face_width, encoders)
        self.face_to_text = CrossAttention(face_width, text_width)
        self.text_to_face = CrossAttention(text_width, face_width)

    def forward(self, face: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, 2, 53) faces and exchange them with (B, 2, D) encoded text.

        Row 0 of each branch asks row 1 of the other; in the symmetric exchange row 1 also asks
        row 0, with the same weights.
        """
        face = self.face_encoders(face)
        asking = slice(self.asking)
        fused_face = self.face_to_text(face[:, asking], text.flip(1)[:, asking])
        fused_text = self.text_to_face(text[:, asking], face.flip(1)[:, asking])
        return (
            torch.cat([fused_face, face[:, self.asking :]], dim=1),
            torch.cat([fused_text, text[:, self.asking :]], dim=1),
        )


class Caft(nn.Module):
    """The dual-branch transformer of Fig. 3, on two rows (expressions) a branch.

    Args:
        text_width: D.
        face_width: 53, expression and jaw.
        layers: Number of CAFT layers (Table VII).
        face_encoders: N of Table VIII.
        text_encoders: M of Table VIII.
        exchange: "paper" fuses row 0 only, as eq. 2 does; "symmetric" fuses both rows.
    """

    def __init__(
        self,
        text_width: int,
        face_width: int = FACE_PARAMETER_SIZE,
        layers: int = 1,
        face_encoders: int = 2,
        text_encoders: int = 1,
        exchange: Exchange = "paper",
    ) -> None:
        super().__init__()
        if exchange not in get_args(Exchange):
            raise ValueError(f"exchange is {exchange!r}, not one of {get_args(Exchange)}")
        self.text_encoders = nn.ModuleList(
            encoder_stack(text_width, text_encoders) for _ in range(layers)
        )
        self.layers = nn.ModuleList(
            CaftLayer(text_width, face_width, face_encoders, exchange) for _ in range(layers)
        )

    def encode_text(self, text: Tensor) -> Tensor:
        """The first layer's text encoders, which see no face: once per distinct instruction.

        Args:
            text: (U, 2, D) projected rows.

        Returns:
            (U, 2, D).
        """
        return self.text_encoders[0](text)

    def forward(self, face: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse both branches.

        Args:
            face: (B, 2, 53) x^f.
            text: (B, 2, D) rows of `encode_text`.

        Returns:
            x_o^f (B, 2, 53) and x_o^t (B, 2, D).
        """
        for index, layer in enumerate(self.layers):
            if index:
                text = self.text_encoders[index](text)
            face, text = layer(face, text)
        return face, text


def encoder_stack(width: int, depth: int) -> nn.Sequential:
    """Transformer encoders one after the other."""
    return nn.Sequential(*(TransformerEncoder(width) for _ in range(depth)))
