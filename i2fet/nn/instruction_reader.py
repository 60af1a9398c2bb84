"""The network that reads which expressions a sentence asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.emotions import Emotion
from i2fet.text.base import MAX_TOKENS

MAX_STEPS = 6
"""Expressions that a sentence may ask for."""


@dataclass(frozen=True)
class InstructionReading:
    """What N sentences ask for.

    Attributes:
        places: (N, T, 7) logits: a token says nothing, or belongs to step 1 to 6.
        present: (N, 6) probability that there is such a step.
        emotions: (N, 6, 8) logits of what it shows.
        log_intensity: (N, 6) natural logarithm of the intensity.
    """

    places: Tensor
    present: Tensor
    emotions: Tensor
    log_intensity: Tensor

    @property
    def asking(self) -> Tensor:
        """(N,) probability that a sentence asks for an expression at all."""
        return self.present[:, 0]

    @property
    def steps(self) -> Tensor:
        """(N,) number of expressions asked for."""
        return (self.present >= 0.5).long().cumprod(dim=1).sum(dim=1)

    @property
    def confidence(self) -> Tensor:
        """(N,) probability that everything is read right, were all decisions independent."""
        shown = torch.arange(MAX_STEPS, device=self.steps.device) < self.steps[:, None]
        right = self.present * self.emotions.softmax(-1).amax(dim=-1)
        return torch.where(shown, right, 1 - self.present).prod(dim=1)


class InstructionReader(nn.Module):
    """Sequence labelling: to which step each token of a sentence belongs, and what it names.

    The step is told from the whole sentence, by a transformer; the emotion from the embeddings of
    the step's own tokens, so that new words of a known meaning are understood wherever they stand.

    Args:
        text_width: D of the text encoder.
        width: Of the layers.
        heads: Of their attention.
        layers: Of the transformer.
        dropout: In the transformer.
        word_dropout: Before the emotion is told.
    """

    def __init__(
        self,
        text_width: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
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
        self.place = nn.Linear(width, 1 + MAX_STEPS)
        self.emotion = nn.Sequential(
            nn.LayerNorm(text_width),
            nn.Dropout(word_dropout),
            nn.Linear(text_width, width),
            nn.GELU(),
            nn.Dropout(word_dropout),
            nn.Linear(width, len(Emotion)),
        )
        self.intensity = nn.Sequential(
            nn.Linear(text_width + width, width), nn.GELU(), nn.Linear(width, 1)
        )

    def forward(
        self, tokens: Tensor, mask: Tensor, places: Tensor | None = None
    ) -> InstructionReading:
        """Read N sentences.

        Args:
            tokens: (N, T, D) embeddings, T at most 77.
            mask: (N, T) bool, true where there is a token.
            places: (N, T) the step to which each token belongs, 0 or below for none, where it is
                known; the emotions are told from these tokens.
        """
        words = self.enter(tokens) + self.positions[: tokens.shape[1]]
        words = self.encoder(words, src_key_padding_mask=~mask)
        logits = self.place(words)
        weights = logits.softmax(-1)[..., 1:] * mask[..., None]
        present = weights.amax(dim=1)
        if places is not None:
            weights = F.one_hot(places.clamp(min=0), 1 + MAX_STEPS)[..., 1:].to(weights)
        shares = (weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)).mT
        named = shares @ tokens
        context = torch.cat([named, shares @ words], dim=-1)
        return InstructionReading(
            logits, present, self.emotion(named), self.intensity(context).squeeze(-1)
        )
