"""Training of the embedding in which texts and faces are matched."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from i2fet.metrics import RPrecision
from i2fet.nn.matching import Matcher, contrastive_loss, draw_candidates
from i2fet.tasks.base import BaseTask, DataSource, Values, training_part_of

Batch = dict[str, Tensor]


class MatchingTask(BaseTask):
    """Two encoders trained on real faces, so that pairs lie near the texts that ask for them.

    Logged besides the loss: `val/r_precision_1`, how often a pair's own text is the nearest among
    texts that ask for other pairs, one for each of those in its batch.

    Args:
        size: E, of the embedding.
        hidden: Width of the encoders' hidden layers.
        temperature: Of the contrastive loss.
        optimizer: Parameters to optimiser.
        scheduler: Optimiser to a scheduler that steps once an epoch.
        provenance: Set by training, not by the user.
        training_part: Set by training, not by the user.
    """

    matcher: Matcher

    def __init__(
        self,
        size: int = 32,
        hidden: int = 128,
        temperature: float = 0.1,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(
            p, lr=1e-3, weight_decay=0.01, fused=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        provenance: Values | None = None,
        training_part: Values | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, provenance)

    def configure_models(self) -> None:
        """The matcher."""
        self.matcher = Matcher(self.hparams)

    def configure_losses(self) -> None:
        """None that keeps a state."""

    def configure_metrics(self) -> None:
        """R-precision."""
        self.r_precision = RPrecision(tops=(1,))

    def adopt(self, data: DataSource) -> None:
        """Keep the training set's statistics, and whom it holds."""
        self.matcher.scaler.adopt(data.statistics)
        self.hparams["training_part"] = training_part_of(data)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self._log_loss("train", *self._embed(batch))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss and R-precision."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As `validation_step`."""
        self._evaluate("test", batch)

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Faces and texts (B, E), and the number (B,) of the pair of expressions."""
        faces = self.matcher.embed_faces(batch["expression"], batch["pose"])
        texts = self.matcher.embed_text(batch["tokens"], batch["token_mask"])
        first, second = batch["emotion"].unbind(dim=1)
        return faces, texts[batch["instruction"]], first * len(self.provenance.emotions) + second

    def _log_loss(self, stage: str, faces: Tensor, texts: Tensor, label: Tensor) -> Tensor:
        loss = contrastive_loss(faces, texts, label, self.hparams["temperature"])
        self.log(f"{stage}/loss", loss, on_step=False, on_epoch=True, batch_size=len(label))
        return loss

    def _evaluate(self, stage: str, batch: Batch) -> None:
        faces, texts, label = self._embed(batch)
        self._log_loss(stage, faces, texts, label)
        chance = torch.Generator().manual_seed(len(label))
        rows = draw_candidates(label.cpu(), len(label.unique()), chance)
        self.r_precision.update(faces, texts[rows.to(texts.device)])
        self.log(f"{stage}/r_precision_1", self.r_precision, on_step=False, on_epoch=True)
