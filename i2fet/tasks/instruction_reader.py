"""Training of the instruction reader, on sentences of a grammar."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from i2fet.emotions import Emotion
from i2fet.nn.instruction_reader import InstructionReader, InstructionReading
from i2fet.tasks.schedule import one_cycle

Batch = dict[str, Tensor]

NEUTRAL = list(Emotion).index(Emotion.NEUTRAL)


class InstructionReaderTask(LightningModule):
    """Which expressions a sentence asks for, and how strong each is.

    Batches are those of `datamodules.instructions`. The loss sums the cross entropy of the step to
    which each token belongs, that of the emotions of the tokens of a step, and the squared error of
    the logarithm of their intensities. Logged besides: `val/sequence`, the share of the sentences
    that are read right as a whole; `val/asking` and `val/silent`, that of the sentences that ask
    for an expression, and of the others, told as such.

    Args:
        text_width: D of the text encoder.
        width: See `InstructionReader`, as the next four.
        heads: Of the attention.
        layers: Of the transformer.
        dropout: In the transformer.
        word_dropout: Before the emotion is told.
        learning_rate: Highest, of AdamW and a one-cycle schedule.
        weight_decay: Of AdamW.
        intensity_weight: Of the intensities' error.
    """

    def __init__(
        self,
        text_width: int = 384,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        word_dropout: float = 0.3,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.02,
        intensity_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = InstructionReader(text_width, width, heads, layers, dropout, word_dropout)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The losses and metrics."""
        size = len(batch["emotions"])
        losses = self.losses(batch)
        self.log_dict({f"val/{name}": value for name, value in losses.items()}, batch_size=size)
        reading = self.network(batch["tokens"], batch["mask"])
        right, asks = self.right(reading, batch["emotions"]), batch["emotions"][:, 0] >= 0
        told = (reading.steps > 0) == asks
        for name, values in {
            "sequence": right,
            "asking": told[asks],
            "silent": told[~asks],
        }.items():
            if len(values):
                self.log(f"val/{name}", values.float().mean(), batch_size=len(values))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted parts of the loss."""
        reading = self.network(batch["tokens"], batch["mask"], batch["places"])
        emotions = batch["emotions"]
        graded = (emotions >= 0) & (emotions != NEUTRAL)
        errors = reading.log_intensity - batch["intensities"].log()
        return {
            "places": F.cross_entropy(reading.places.mT, batch["places"]),
            "emotions": F.cross_entropy(reading.emotions.mT, emotions),
            "intensity": self.hparams["intensity_weight"] * errors[graded].square().mean(),
        }

    @staticmethod
    def right(reading: InstructionReading, emotions: Tensor) -> Tensor:
        """(N,) bool, whether all of a sentence was read as (N, 6) emotions say."""
        shown = emotions >= 0
        same = (reading.emotions.argmax(-1) == emotions) | ~shown
        return same.all(dim=1) & (reading.steps == shown.sum(dim=1))

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over the whole training."""
        hparams = self.hparams
        return one_cycle(self, hparams["learning_rate"], hparams["weight_decay"], 0.1)
