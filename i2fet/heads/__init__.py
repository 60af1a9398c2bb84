"""Parametric heads: coefficients to vertices."""

from __future__ import annotations

from i2fet.errors import AssetError
from i2fet.heads.arkit import ArkitHead, load_arkit_head
from i2fet.heads.base import HeadData, HeadModel

__all__ = ["ArkitHead", "HeadData", "HeadModel", "load_head"]


def load_head(name: str = "arkit") -> HeadModel:
    """Load a head by its name.

    Raises:
        AssetError: If there is no such head, or a file of it is missing.
    """
    if name == "arkit":
        return load_arkit_head()
    raise AssetError(f"there is no head named {name!r}; the available one is 'arkit'")
