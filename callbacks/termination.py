"""A checkpoint for runs that are asked to stop."""

from __future__ import annotations

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException


class TerminationCheckpoint(Callback):
    """Saves a checkpoint when the run gets SIGTERM, or Ctrl-C where it is one process.

    Other faults save nothing: several processes could not agree on when.

    Args:
        path: Of the checkpoint.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        alone = isinstance(exception, KeyboardInterrupt) and trainer.world_size == 1
        asked = alone or isinstance(exception, SIGTERMException)
        if asked and trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)
