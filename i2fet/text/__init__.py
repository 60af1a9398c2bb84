"""Instructions to token embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from i2fet.errors import AssetError
from i2fet.text.base import MAX_TOKENS, TextEncoder, TokenEmbeddings
from i2fet.text.clip import ClipTextEncoder
from i2fet.text.minilm import MiniLMTextEncoder, MiniLMWordEncoder

__all__ = [
    "MAX_TOKENS",
    "ClipTextEncoder",
    "MiniLMTextEncoder",
    "TextEncoder",
    "TokenEmbeddings",
    "load_text_encoder",
]

TEXT_ENCODERS: dict[str, Callable[[Path | None], TextEncoder]] = {
    MiniLMTextEncoder.name: MiniLMTextEncoder,
    MiniLMWordEncoder.name: MiniLMWordEncoder,
    "clip": ClipTextEncoder,
}


def load_text_encoder(name: str = "minilm", path: Path | None = None) -> TextEncoder:
    """The text encoder of a name; its files are read at first use.

    Args:
        name: "minilm", "minilm-words" or "clip"; or as recorded in checkpoints, with a hash of its
            parameters, which is warned about if others are installed.
        path: Where its files are, if not where they are installed.

    Raises:
        AssetError: If there is no such encoder, or its files are missing.
    """
    kind = name if name in TEXT_ENCODERS else name.rpartition("-")[0]
    if kind not in TEXT_ENCODERS:
        known = ", ".join(TEXT_ENCODERS)
        raise AssetError(f"there is no text encoder named {name!r}; the known ones are: {known}")
    encoder = TEXT_ENCODERS[kind](path)
    if name not in (kind, encoder.name):
        message = f"the text encoder was {name} and now is {encoder.name}"
        warnings.warn(message, stacklevel=2)
    return encoder
