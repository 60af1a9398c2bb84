"""Pictures of what a model generates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from numpy.typing import NDArray
from torch import Tensor

from callbacks.drawing import Batch, EvaluationCallback, Stage
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import HeadModel, load_head
from i2fet.rendering import contact_sheet, render_shape, write_image, write_video
from i2fet.rendering.shape_images import frontal, neutral_camera
from i2fet.tasks.base import BaseTask
from i2fet.transition import interpolate

Pictures = NDArray[np.uint8]
FPS = 12
COLUMNS = 3


class RenderedTransitions(EvaluationCallback):
    """A fixed panel of subjects who follow an instruction each: `transitions/...`.

    They are the first samples of the evaluated part whose expressions differ from those before,
    each on its own head, and go from the head's zero expression through the task's `key_faces`: as
    a clip and, in `..._sheet`, as still pictures.

    Args:
        panel: How many subjects.
        frames: Of the clip, which has 12 a second.
        size: Side of each subject's picture, pixels.
        every_n_epochs: As for `DrawingCallback`.
    """

    def __init__(
        self, panel: int = 6, frames: int = 24, size: int = 160, every_n_epochs: int = 20
    ) -> None:
        super().__init__(every_n_epochs)
        self.panel = panel
        self.frames = frames
        self.size = size
        self._faces: FaceCoefficients | None = None
        self._emotions: list[list[int]] = []

    def collect(self, task: BaseTask, outputs: Any, batch: Batch) -> None:
        """Keep the panel, which is in the first batch, if the task moves faces."""
        if self._faces is not None or task.global_rank != 0:
            return
        faces = task.key_faces(batch)
        if faces is not None:
            rows = first_distinct(batch["emotion"])[: self.panel]
            self._faces = faces[torch.tensor(rows)].to("cpu")
            self._emotions = batch["emotion"][rows].tolist()

    def draw(self, trainer: Trainer, task: BaseTask, stage: Stage) -> None:
        """Render the clip and the sheet."""
        faces, self._faces = self._faces, None
        if faces is None:
            return
        head = load_head(task.provenance.head)
        names = [[task.provenance.emotions[label] for label in row] for row in self._emotions]
        paths = [with_neutral(faces[row]) for row in range(len(faces))]
        moving = [render(head, interpolate(path, self.frames), self.size) for path in paths]
        still = [render(head, path, self.size) for path in paths]
        instructions = [" to ".join(row) for row in names]
        captions = [["neutral", *row] for row in names]
        self.publish_clip(
            trainer,
            f"transitions/{stage}",
            lambda path: write_video(path, tile(moving, instructions), FPS),
        )
        self.publish_picture(
            trainer,
            f"transitions/{stage}_sheet",
            lambda path: write_image(path, sheet(still, captions)),
        )


def first_distinct(emotion: Tensor) -> list[int]:
    """The first row of each combination of labels that occurs, in order."""
    rows: dict[tuple[int, ...], int] = {}
    for row, labels in enumerate(emotion.tolist()):
        rows.setdefault(tuple(labels), row)
    return list(rows.values())


def with_neutral(faces: FaceCoefficients) -> FaceCoefficients:
    """(K + 1,) faces of a person: neutral, and then (K,) given ones."""
    start = FaceCoefficients.zeros(1)
    start.shape.copy_(faces.shape[:1])
    return FaceCoefficients.cat([start, faces])


def render(head: HeadModel, faces: FaceCoefficients, size: int) -> Pictures:
    """(T, size, size, 3) shape images of (T,) faces of one person."""
    camera = neutral_camera(head, faces.shape[:1])
    return render_shape(head, frontal(faces), size, camera)


def tile(clips: Sequence[Pictures], captions: Sequence[str]) -> Iterator[Pictures]:
    """Frames that show (T, size, size, 3) clips at once."""
    for frames in zip(*clips, strict=True):
        yield contact_sheet(frames, captions, COLUMNS)


def sheet(rows: Sequence[Pictures], captions: Sequence[Sequence[str]]) -> Pictures:
    """One picture of (K, size, size, 3) stills of each subject, a row for each."""
    labels = [caption for row in captions for caption in row]
    return contact_sheet([picture for row in rows for picture in row], labels, len(rows[0]))
