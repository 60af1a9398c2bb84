"""Renderers that move the person of a photo, by their names."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.heads.base import HeadModel
from i2fet.rendering.portrait import Image, PortraitRenderer

PHOTO_RENDERERS = ("portrait", "rome", "cvthead")


class PhotoRenderer(Protocol):
    """Renders photos of heads with any expression.

    Attributes:
        head: The head whose coefficients move the photo.
    """

    head: HeadModel

    def prepare(self, photo: Image, source: FaceCoefficients, landmarks: Tensor, size: int) -> Any:
        """What `render` needs to know of a photo.

        Args:
            photo: (H, W, 3).
            source: (1,) coefficients of the head in the photo.
            landmarks: (468, 2 or more) pixels at which MediaPipe saw the face.
            size: Of the pictures to render, pixels.
        """

    def render(self, portrait: Any, trajectory: FaceCoefficients) -> Image:
        """(T, size, size, 3) pictures of (T,) coefficients."""


def load_photo_renderer(
    name: str, head: HeadModel, device: torch.device | str | None = None
) -> PhotoRenderer:
    """Load a renderer with its installed files.

    Args:
        name: "portrait"; with FLAME also "rome" or "cvthead".
        head: Whose coefficients are to move photos; on the CPU.
        device: That networks run on; a GPU where there is one, by default.

    Raises:
        OptionError: If there is no such renderer, or it is for another head.
        AssetError: If a file of it is missing or broken, or made for another head.
    """
    if name not in PHOTO_RENDERERS:
        known = ", ".join(map(repr, PHOTO_RENDERERS))
        raise OptionError(f"there is no renderer {name!r} of photos; the known ones are {known}")
    if name == "portrait":
        return PortraitRenderer(head)
    if not head.name.startswith("flame"):
        raise OptionError(
            f"the renderer {name!r} draws FLAME's heads, but the model's head is {head.name!r}; "
            "use the renderer 'portrait', or a model that was trained for FLAME"
        )
    # Imported here, since torchvision's models take a while.
    from i2fet.rendering.neural.cvthead import CvtHeadRenderer
    from i2fet.rendering.neural.rome import RomeRenderer

    kind = RomeRenderer if name == "rome" else CvtHeadRenderer
    return kind.load(head, device or ("cuda" if torch.cuda.is_available() else "cpu"))
