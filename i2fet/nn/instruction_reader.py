"""The network that reads which expressions a sentence asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2fet.text.base import MAX_TOKENS

OUTSIDE, BEGIN, INSIDE = range(3)
"""Marks of a token: it names nothing to be shown, or begins or goes on with what names it."""


@dataclass(frozen=True)
class InstructionReading:
    """Where N sentences of T tokens name what is to be shown, and when.

    Attributes:
        marks: (N, T, 3) logits of `OUTSIDE`, `BEGIN` and `INSIDE`.
        times: (N, T) the greater, the later is shown what a token names.
    """

    marks: Tensor
    times: Tensor


class InstructionReader(nn.Module):
    """Finds the words for each expression in a sentence, and puts them in order, by a transformer.

    What they name is for `i2fet.nn.word_namer` to tell, from these words alone.

    Args:
        text_width: Size of a token's embedding.
        width: Of the transformer.
        heads: Of its attention.
        layers: Of it.
        dropout: In it.
    """

    def __init__(
        self,
        text_width: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width))
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, width) / width**0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.mark = nn.Linear(width, 3)
        self.time = nn.Linear(width, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> InstructionReading:
        """Find the words in N sentences.

        Args:
            tokens: (N, T, D) embeddings, T at most 77.
            mask: (N, T) bool, true where there is a token.
        """
        read = self.enter(tokens) + self.positions[: tokens.shape[1]]
        read = self.encoder(read, src_key_padding_mask=~mask)
        return InstructionReading(self.mark(read), self.time(read).squeeze(-1))
