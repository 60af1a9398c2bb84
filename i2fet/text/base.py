"""What every text encoder offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

MAX_TOKENS = 77
"""Length to which instructions are padded (Section III-B1); longer ones are refused."""


@dataclass(frozen=True)
class TokenEmbeddings:
    """The embedded tokens of N sentences: x^t of the paper.

    Attributes:
        tokens: (N, 77, D) float32, zero where there is no token.
        mask: (N, 77) bool, true where there is one.
    """

    tokens: Tensor
    mask: Tensor


class TextEncoder(Protocol):
    """A frozen sentence to token embeddings model.

    Attributes:
        name: Recorded in checkpoints and caches.
        width: D, the size of a token's embedding.
        max_tokens: Number of rows a sentence is padded to, 77.
    """

    name: str
    width: int
    max_tokens: int

    def encode(self, sentences: Sequence[str]) -> TokenEmbeddings:
        """Embed sentences.

        Raises:
            InstructionError: If a sentence is longer than `max_tokens` tokens.
        """
        ...

    def token_spans(self, sentences: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Where each token of `encode` stands in its sentence; empty spans for added marks.

        Returns:
            For each sentence, first character and the one after the last of each of its tokens.
        """
        ...
