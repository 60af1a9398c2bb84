"""Where a training run keeps its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import Trainer


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of this run alone.

    To be asked for on every rank, since rank zero decides.

    Returns:
        The first logger's; the default root without any logger; None if the logger keeps no files,
        as in a fast development run.
    """
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    if logger.save_dir is None:
        return None
    place = Path(logger.save_dir, str(logger.name), str(logger.version))
    return Path(trainer.strategy.broadcast(logger.log_dir or str(place)))
