"""Instructions to token embeddings."""

from __future__ import annotations

from pathlib import Path

from i2fet.errors import AssetError
from i2fet.text.base import MAX_TOKENS, TextEncoder, TokenEmbeddings
from i2fet.text.minilm import MiniLMTextEncoder, MiniLMWordEncoder

__all__ = ["MAX_TOKENS", "MiniLMTextEncoder", "TextEncoder", "TokenEmbeddings", "load_text_encoder"]

TEXT_ENCODERS = {encoder.name: encoder for encoder in (MiniLMTextEncoder, MiniLMWordEncoder)}


def load_text_encoder(name: str = "minilm", folder: Path | None = None) -> TextEncoder:
    """The text encoder of a name; its files are read at first use.

    Args:
        name: As recorded in checkpoints.
        folder: Where its files are, if not where they are installed.

    Raises:
        AssetError: If there is no such encoder.
    """
    if name not in TEXT_ENCODERS:
        known = ", ".join(TEXT_ENCODERS)
        raise AssetError(f"there is no text encoder named {name!r}; the known ones are: {known}")
    return TEXT_ENCODERS[name](folder)
