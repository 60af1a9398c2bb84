"""The network that tells which expression words name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from i2fet.emotions import Emotion
from i2fet.nn.low_rank import adapt

NOTHING = len(Emotion)
"""Class of words that name no expression."""

CARRIER = "the feeling of {}"
"""Words are put into this phrase, in which the language model tells more of their meaning."""


class WordNamer(nn.Module):
    """Tells what words name by themselves, so that they mean the same wherever they stand.

    Args:
        language: A trained model from (K, T) token ids and their mask to (K, T, D) embeddings,
            whose layers are in `encoder`; they are frozen but for low-rank changes.
        width: D.
        rank: Of these changes.
        hidden: Width between the embedding and what is named.
        dropout: Before and after that.
    """

    def __init__(
        self,
        language: nn.Module,
        width: int,
        rank: int = 8,
        hidden: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.language = language.train().requires_grad_(False)
        adapt(language.get_submodule("encoder"), rank)
        self.meaning = nn.Sequential(
            nn.LayerNorm(width),
            nn.Dropout(dropout),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(Emotion) + 2),
        )

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What words name.

        Args:
            ids: (K, T) tokens.
            mask: (K, T) bool, true where there is one.

        Returns:
            (K, 9) logits of the emotions and `NOTHING`, and (K,) natural logarithms of intensities.
        """
        embedded = self.language(ids, mask)
        mean = (embedded * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        meaning = self.meaning(mean)
        return meaning[:, :-1], meaning[:, -1]

    def learned(self) -> dict[str, Tensor]:
        """The parameters that are trained, by name."""
        return {name: one.detach() for name, one in self.named_parameters() if one.requires_grad}

    def load_learned(self, state: Mapping[str, Tensor]) -> None:
        """Take over parameters that `learned` returned.

        Raises:
            RuntimeError: If they are those of another network.
        """
        if state.keys() != self.learned().keys():
            raise RuntimeError(f"parameters {sorted(state.keys() ^ self.learned().keys())} differ")
        self.load_state_dict({**self.state_dict(), **state})
