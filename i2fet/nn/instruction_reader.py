"""The network that reads which expressions a sentence asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2fet.emotions import Emotion
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
    """Finds the words for each expression in a sentence, and tells what they name by themselves.

    The words are found, and put in order, from the whole sentence, by a transformer; what they name
    is told from an embedding of these words alone, so that new words of a known meaning are
    understood wherever they stand.

    Args:
        text_width: Size of a token's embedding.
        words_width: Size of the embedding of a step's words.
        width: Of the transformer.
        heads: Of its attention.
        layers: Of it.
        dropout: In it.
        hidden: Width between a step's words and what they name.
        word_dropout: Before and after that.
    """

    def __init__(
        self,
        text_width: int,
        words_width: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        hidden: int = 256,
        word_dropout: float = 0.3,
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
        self.meaning = nn.Sequential(
            nn.LayerNorm(words_width),
            nn.Dropout(word_dropout),
            nn.Linear(words_width, hidden),
            nn.GELU(),
            nn.Dropout(word_dropout),
            nn.Linear(hidden, len(Emotion) + 1),
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> InstructionReading:
        """Find the words in N sentences.

        Args:
            tokens: (N, T, D) embeddings, T at most 77.
            mask: (N, T) bool, true where there is a token.
        """
        read = self.enter(tokens) + self.positions[: tokens.shape[1]]
        read = self.encoder(read, src_key_padding_mask=~mask)
        return InstructionReading(self.mark(read), self.time(read).squeeze(-1))

    def name(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """What words name.

        Args:
            words: (..., W) their embeddings.

        Returns:
            (..., 8) logits of the emotions, and (...) natural logarithms of the intensity.
        """
        meaning = self.meaning(words)
        return meaning[..., :-1], meaning[..., -1]
