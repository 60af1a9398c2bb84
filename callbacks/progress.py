"""Progress for logs that programs read."""

from __future__ import annotations

import json
import time

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar


class JsonProgress(ProgressBar):
    """Prints a line of JSON after every epoch and after a test, in place of a progress bar.

    `epoch` of `epochs`, `step`, `seconds` of this epoch, `batches_per_second`, `seconds_left`, and
    all metrics by their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._began = time.monotonic()

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.monotonic() - self._began
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or -1
        self._say(
            trainer,
            epoch=epoch,
            epochs=epochs,
            step=trainer.global_step,
            seconds=round(seconds, 3),
            batches_per_second=round(trainer.num_training_batches / seconds, 2),
            seconds_left=round(max(epochs - epoch, 0) * seconds, 1),
        )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._say(trainer)

    def _say(self, trainer: Trainer, **progress: float) -> None:
        if self._enabled and trainer.is_global_zero:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            print(json.dumps({**progress, **metrics}), flush=True)
