"""Confusion matrices."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Trainer
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from callbacks.drawing import Batch, EvaluationCallback, Stage, gather
from i2fet.confusion import draw_confusions
from i2fet.tasks.base import BaseTask

COLUMNS = ("faces", "shown", "named", "count")


class ConfusionMatrices(EvaluationCallback):
    """What each expression was taken for, as a picture and as a table: `confusion/...`.

    Args:
        every_n_epochs: As for `DrawingCallback`.
    """

    def __init__(self, every_n_epochs: int = 20) -> None:
        super().__init__(every_n_epochs)
        self._counts: dict[str, Tensor] = {}

    def collect(self, task: BaseTask, outputs: Any, batch: Batch) -> None:
        """Count, if the task has named anything."""
        classes = len(task.provenance.emotions)
        for kind, named in (outputs or {}).get("named", {}).items():
            counts = multiclass_confusion_matrix(named, outputs["emotion"], classes).cpu()
            self._counts[kind] = self._counts.get(kind, torch.zeros_like(counts)) + counts

    def draw(self, trainer: Trainer, task: BaseTask, stage: Stage) -> None:
        """Draw one matrix for each kind of faces, side by side."""
        parts = gather(self._counts)
        self._counts = {}
        kinds = sorted({kind for part in parts for kind in part})
        if not kinds or not trainer.is_global_zero:
            return
        counts = {
            kind: torch.stack([part[kind] for part in parts if kind in part]).sum(0).tolist()
            for kind in kinds
        }
        names = task.provenance.emotions
        matrices = [{f"{kind} faces": matrix for kind, matrix in counts.items()}]
        self.publish_picture(
            trainer, f"confusion/{stage}", lambda path: draw_confusions(matrices, names, path)
        )
        self.publish_table(
            trainer,
            f"confusion/{stage}_table",
            COLUMNS,
            [
                (kind, shown, named, count)
                for kind, matrix in counts.items()
                for shown, row in zip(names, matrix, strict=True)
                for named, count in zip(names, row, strict=True)
            ],
        )
