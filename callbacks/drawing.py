"""What all callbacks share that draw: when, where, and for which loggers."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed

from i2fet.files import replacing
from i2fet.runs import run_folder
from i2fet.tasks.base import BaseTask

PICTURES = "pictures"
"""Folder of all that is drawn, in that of the run."""

Batch = dict[str, Tensor]
Stage = Literal["val", "test"]
Value = TypeVar("Value")
Writer = Callable[[Path], None]


def gather(value: Value) -> list[Value]:
    """The values of all processes on each of them, whatever their sizes."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


class DrawingCallback(Callback):
    """Draws every few epochs of training and whenever a model is evaluated, on rank zero.

    The key `SECTION/NAME` of a drawing is its panel in W&B, if that is among the loggers, and in
    any case its file in `pictures` of the run's folder: `SECTION/NAME/epoch-NNNN.png` in training,
    `SECTION/NAME.png` else. Sanity checks are not drawn.

    Args:
        every_n_epochs: How often to draw in training; the last of `max_epochs` is always drawn.
    """

    folder: Path | None = None

    def __init__(self, every_n_epochs: int = 20) -> None:
        self.every_n_epochs = every_n_epochs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder."""
        self.folder = run_folder(trainer)

    def is_due(self, trainer: Trainer) -> bool:
        """Whether to draw now; the same on every rank."""
        if self.folder is None or trainer.sanity_checking:
            return False
        epoch = trainer.current_epoch + 1
        last = trainer.state.fn != TrainerFn.FITTING or epoch == trainer.max_epochs
        return last or epoch % self.every_n_epochs == 0

    def publish_picture(self, trainer: Trainer, key: str, write: Writer) -> None:
        """Write a PNG and log it; on rank zero."""
        path = self._write(trainer, key, ".png", write)
        for logger in wandb_loggers(trainer):
            logger.log_image(key, [str(path)])

    def publish_clip(self, trainer: Trainer, key: str, write: Writer) -> None:
        """Write an MP4 and log it; on rank zero."""
        path = self._write(trainer, key, ".mp4", write)
        for logger in wandb_loggers(trainer):
            logger.log_video(key, [str(path)], format=["mp4"])

    def publish_table(
        self, trainer: Trainer, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Write a CSV and log it as a table; on rank zero."""

        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([columns, *rows])

        self._write(trainer, key, ".csv", write)
        for logger in wandb_loggers(trainer):
            logger.log_table(key, list(columns), [list(row) for row in rows])

    def _write(self, trainer: Trainer, key: str, ending: str, write: Writer) -> Path:
        assert self.folder is not None
        if trainer.state.fn == TrainerFn.FITTING:
            name = f"{key}/epoch-{trainer.current_epoch + 1:04d}{ending}"
        else:
            name = f"{key}{ending}"
        path = self.folder / PICTURES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            write(unfinished)
        return path


class EvaluationCallback(DrawingCallback, ABC):
    """Draws what steps of validation or testing return, after the last of them."""

    @abstractmethod
    def collect(self, task: BaseTask, outputs: Any, batch: Batch) -> None:
        """Keep what is needed of one batch; on every rank."""

    @abstractmethod
    def draw(self, trainer: Trainer, task: BaseTask, stage: Stage) -> None:
        """Draw what was collected, and forget it; on every rank."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.is_due(trainer):
            self.collect(cast(BaseTask, pl_module), outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_due(trainer):
            stage: Stage = "test" if trainer.testing else "val"
            self.draw(trainer, cast(BaseTask, pl_module), stage)

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


def wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    """Those of W&B among a trainer's loggers."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
