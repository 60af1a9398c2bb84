"""Training of the word namer, on the vocabulary of a grammar."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from i2fet.emotions import Emotion
from i2fet.nn.word_namer import NOTHING
from i2fet.tasks.optimizers import one_cycle
from i2fet.text.listener import build_namer

Batch = dict[str, Tensor]

NEUTRAL = list(Emotion).index(Emotion.NEUTRAL)


class WordNamerTask(LightningModule):
    """Which expressions words name, and how strong they are, by MiniLM with low-rank changes.

    Batches are those of `datamodules.vocabulary`. The loss sums the cross entropy of the classes
    and the squared error of the logarithm of the intensities. Logged besides: `val/named`, the
    share of the words for an expression that are told right, and `val/refused`, of the others.

    Args:
        rank: See `WordNamer`, as the next two.
        hidden: Width between words and what they name.
        dropout: Before and after that.
        learning_rate: Highest, of AdamW and a one-cycle schedule.
        weight_decay: Of AdamW.
        smoothing: Of the labels.
    """

    def __init__(
        self,
        rank: int = 8,
        hidden: int = 256,
        dropout: float = 0.3,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.02,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = build_namer(rank=rank, hidden=hidden, dropout=dropout)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The losses and metrics."""
        size = len(batch["ids"])
        losses = {f"val/{name}": value for name, value in self.losses(batch).items()}
        self.log_dict(losses, batch_size=size, prog_bar=True)
        logits, _ = self.network(batch["ids"], batch["mask"])
        right, none = logits.argmax(-1) == batch["classes"], batch["classes"] == NOTHING
        for name, values in {"named": right[~none], "refused": right[none]}.items():
            if len(values):
                self.log(f"val/{name}", values.float().mean(), batch_size=len(values))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The parts of the loss."""
        logits, log_intensity = self.network(batch["ids"], batch["mask"])
        classes, smoothing = batch["classes"], self.hparams["smoothing"]
        graded = (classes != NOTHING) & (classes != NEUTRAL)
        errors = (log_intensity - batch["intensities"].log())[graded]
        return {
            "classes": F.cross_entropy(logits, classes, label_smoothing=smoothing),
            "intensity": errors.square().sum() / graded.sum().clamp(min=1),
        }

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over the whole training."""
        hparams = self.hparams
        return one_cycle(self, hparams["learning_rate"], hparams["weight_decay"], 0.1)
