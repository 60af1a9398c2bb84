"""Extraction by processes that Lightning starts, one for each device of each machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from datamodules.extraction import PART, Part, missing_parts
from datamodules.records import FaceRecords
from i2fet.perception import FaceEncoder


class PartReader(LightningModule):
    """Reads parts of a dataset into their files; of several processes each reads its share.

    Args:
        parts: The parts.
        load: Loads what reads them.
    """

    encoder: FaceEncoder

    def __init__(self, parts: Sequence[Part], load: Callable[[], FaceEncoder]) -> None:
        super().__init__()
        self.parts = parts
        self.load = load
        # There may be fewer parts than processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def predict_dataloader(self) -> Sequence[int]:
        """Numbers of the parts that are this process's share."""
        return range(self.global_rank, len(self.parts), self.trainer.world_size)

    def on_predict_start(self) -> None:
        """Load the encoder, now that the process's own GPU is the one that torch takes."""
        self.encoder = self.load()

    def predict_step(self, number: int, batch_idx: int) -> int:
        """Read one part, and give its number back."""
        self.parts[number].read(lambda: self.encoder)
        return number


def read_on_devices(
    faces: FaceRecords,
    path: Path,
    load: Callable[[], FaceEncoder],
    part: int = PART,
    **options: Any,
) -> bool:
    """Have all parts of a dataset read, unless its cache is complete.

    All processes must see the folder of the cache. Landmarks are found on the CPU, and the learned
    encoder's network runs there as well; those of DECA and EMOCA run on the process's GPU.

    Args:
        faces: As for `load_perceived`, like the next three.
        path: The cached file.
        load: Loads the encoder.
        part: Size of a part, frames.
        **options: Of Lightning's trainer: which devices of how many machines.

    Returns:
        Whether this is the one process that is to join the parts, with `load_perceived`.
    """
    parts = missing_parts(faces, path, load(), part)
    trainer = Trainer(logger=False, enable_checkpointing=False, **options)
    if parts:
        trainer.predict(PartReader(parts, load), return_predictions=False)
    trainer.strategy.barrier()
    return trainer.is_global_zero
