"""Pictures of what models learn from."""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from lightning import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from callbacks.drawing import DrawingCallback
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.heads import load_head
from i2fet.rendering import contact_sheet, write_image
from i2fet.rendering.overlay import draw_overlay

EMOTIONS = tuple(Emotion)

logger = logging.getLogger(__name__)


class LabelledTable(Protocol):
    """The labelled faces of a data module."""

    @property
    def coefficients(self) -> FaceCoefficients: ...

    @property
    def emotion(self) -> Tensor: ...


@runtime_checkable
class PictureSource(Protocol):
    """A data module that knows the pictures its faces were read from.

    Attributes:
        head_name: The head to which the coefficients belong.
        faces: The faces.
        rows: Those of each part.
    """

    head_name: str
    faces: LabelledTable
    rows: dict[str, Tensor]

    def picture(self, row: int) -> NDArray[np.uint8] | None:
        """(H, W, 3) RGB of a row of `faces`, if there is one."""


class CacheSamples(DrawingCallback):
    """Photos of the training part, each beside the mesh that was fitted to it: `cache/faces`.

    Drawn once, when training begins.

    Args:
        samples: How many, evenly taken.
        size: Height of each, pixels.
    """

    def __init__(self, samples: int = 8, size: int = 160) -> None:
        super().__init__()
        self.samples = samples
        self.size = size

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self.folder is None or not trainer.is_global_zero or not isinstance(data, PictureSource):
            return
        rows = data.rows["train"]
        places = torch.linspace(0, len(rows) - 1, min(self.samples, len(rows))).round().long()
        found = {row: data.picture(row) for row in rows[places].tolist()}
        photos = {row: photo for row, photo in found.items() if photo is not None}
        if not photos:
            logger.info("the dataset holds no pictures; none are drawn")
            return
        head = load_head(data.head_name)
        drawn = [
            draw_overlay(head, photo, data.faces.coefficients[row : row + 1], self.size)
            for row, photo in photos.items()
        ]
        captions = [str(EMOTIONS[data.faces.emotion[row]]) for row in photos]
        self.publish_picture(
            trainer,
            "cache/faces",
            lambda path: write_image(path, contact_sheet(drawn, captions), "synthetic heads"),
        )
