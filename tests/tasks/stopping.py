"""Ends a training run in the midst of an epoch."""

from __future__ import annotations

import os
from typing import Any

from lightning import Callback, Trainer


class Stop(Callback):
    """Sends this process a signal after a batch.

    Args:
        signal: Its number.
        epoch: Counted from 0.
        batch: Counted from 0.
    """

    def __init__(self, signal: int, epoch: int, batch: int) -> None:
        self.signal = signal
        self.place = epoch, batch

    def on_train_batch_end(
        self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            os.kill(os.getpid(), self.signal)
