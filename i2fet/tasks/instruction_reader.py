"""Training of the instruction reader, on sentences of a grammar."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from i2fet.nn.instruction_reader import BEGIN, INSIDE, OUTSIDE, InstructionReader
from i2fet.tasks.optimizers import one_cycle

Batch = dict[str, Tensor]

IGNORED = -100
"""Label of what a loss ignores: padding."""


class InstructionReaderTask(LightningModule):
    """Which expressions a sentence asks for, and how strong each is.

    Batches are those of `datamodules.instructions`. The loss sums the cross entropy of the tokens'
    marks and the pairwise ranking loss of the steps' times. Logged besides, as shares of the
    sentences: `val/found`, whose words are found exactly; `val/ordered`, of those of several steps,
    put in order; `val/asking` and `val/silent`, told to ask for an expression, or not, as they do.

    Args:
        text_width: Size of a token's embedding.
        width: Of the transformer.
        heads: Of its attention.
        layers: Of it.
        dropout: In it.
        learning_rate: Highest, of AdamW and a one-cycle schedule.
        weight_decay: Of AdamW.
    """

    def __init__(
        self,
        text_width: int = 384,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.02,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = InstructionReader(text_width, width, heads, layers, dropout)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The losses and metrics."""
        losses = self.losses(batch)
        size = len(batch["places"])
        self.log_dict({f"val/{name}": value for name, value in losses.items()}, batch_size=size)
        for name, values in self.judge(batch).items():
            if len(values):
                self.log(f"val/{name}", values.float().mean(), batch_size=len(values))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The parts of the loss."""
        reading = self.network(batch["tokens"], batch["mask"])
        earlier, later = _pairs(reading.times, batch["places"])
        return {
            "marks": F.cross_entropy(reading.marks.mT, mark(batch["places"])),
            "times": F.softplus(earlier - later).mean() if len(earlier) else earlier.sum(),
        }

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Bools of what is right, by the names of the metrics."""
        reading = self.network(batch["tokens"], batch["mask"])
        meant, found = mark(batch["places"]), reading.marks.argmax(-1)
        asks = (meant > OUTSIDE).any(dim=1)
        told = ((found > OUTSIDE) & batch["mask"]).any(dim=1) == asks
        earlier, later = _pairs(reading.times, batch["places"])
        return {
            "found": ((found == meant) | ~batch["mask"]).all(dim=1),
            "ordered": earlier < later,
            "asking": told[asks],
            "silent": told[~asks],
        }

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over the whole training."""
        hparams = self.hparams
        return one_cycle(self, hparams["learning_rate"], hparams["weight_decay"], 0.1)


def mark(places: Tensor) -> Tensor:
    """(N, T) marks of tokens.

    Args:
        places: (N, T) the step to which each token belongs, from 1, or 0, or `IGNORED`.
    """
    before = F.pad(places, (1, 0))[:, :-1]
    inside = torch.where(places == before, INSIDE, BEGIN)
    return torch.where(places > 0, inside, places.clamp(max=OUTSIDE))


def _pairs(times: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Mean times of the tokens of two steps of a sentence, for all pairs: earlier and later."""
    steps = torch.arange(1, int(places.max().clamp(min=0)) + 1, device=places.device)
    own = (places[:, None] == steps[:, None]).to(times)
    means = (own * times[:, None]).sum(dim=-1) / own.sum(dim=-1).clamp(min=1)
    one, other = torch.triu_indices(len(steps), len(steps), 1, device=places.device)
    both = own.any(dim=-1)[:, one] & own.any(dim=-1)[:, other]
    return means[:, one][both], means[:, other][both]
