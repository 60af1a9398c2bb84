"""Parametric heads: coefficients to vertices."""

from __future__ import annotations

from collections.abc import Callable

from i2fet.errors import AssetError
from i2fet.heads.arkit import ArkitHead, load_arkit_head
from i2fet.heads.base import HeadData, HeadModel
from i2fet.heads.flame import FlameHead, load_flame_head
from i2fet.heads.ict import IctHead, load_ict_head

__all__ = ["ArkitHead", "FlameHead", "HeadData", "HeadModel", "IctHead", "load_head"]

LOADERS: dict[str, Callable[[], HeadModel]] = {
    "arkit": load_arkit_head,
    "flame": load_flame_head,
    "ict": load_ict_head,
}


def load_head(name: str = "arkit") -> HeadModel:
    """Load a head by its name.

    Args:
        name: "arkit", "flame" or "ict"; or as recorded in checkpoints and caches.

    Raises:
        AssetError: If there is no such head, or a file of it is missing or of another release.
    """
    kind = name.partition("-")[0]
    if kind not in LOADERS:
        available = ", ".join(map(repr, LOADERS))
        raise AssetError(f"there is no head named {name!r}; the available ones are {available}")
    head = LOADERS[kind]()
    if name not in (kind, head.name):
        raise AssetError(
            f"the head {name!r} is another release than the installed {head.name!r}; install the "
            f"file that it was made from with `i2fet assets add {kind} PATH`"
        )
    return head
