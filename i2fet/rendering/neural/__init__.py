"""Neural renderers: photos of people moved by trained networks, on files that users obtain."""

from __future__ import annotations

import torch

from i2fet.errors import OptionError
from i2fet.heads.base import HeadModel
from i2fet.rendering.neural.cvthead import CvtHeadRenderer
from i2fet.rendering.neural.rome import RomeRenderer

__all__ = ["NEURAL_RENDERERS", "CvtHeadRenderer", "RomeRenderer", "load_neural_renderer"]

NEURAL_RENDERERS: dict[str, type[RomeRenderer] | type[CvtHeadRenderer]] = {
    "rome": RomeRenderer,
    "cvthead": CvtHeadRenderer,
}


def load_neural_renderer(
    name: str, head: HeadModel, device: torch.device | str | None = None
) -> RomeRenderer | CvtHeadRenderer:
    """Load a renderer with its installed files.

    Args:
        name: "rome" or "cvthead".
        head: FLAME.
        device: That the networks run on; a GPU where there is one, by default.

    Raises:
        OptionError: If there is no such renderer.
        AssetError: If a file of it is missing or broken, or made for another head.
    """
    if name not in NEURAL_RENDERERS:
        known = " and ".join(map(repr, NEURAL_RENDERERS))
        raise OptionError(f"there is no neural renderer {name!r}; the known ones are {known}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return NEURAL_RENDERERS[name].load(head, device)
