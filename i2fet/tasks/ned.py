"""Training of the neutral encoder-decoder (Section IV-F)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.nn.i2fet import face_parameters
from i2fet.nn.ned import FINE, NeutralGenerator
from i2fet.tasks.base import BaseTask, DataSource, Values, seen_from_front

Batch = dict[str, Tensor]


class NEDTask(BaseTask):
    """NED on expressions and the neutral faces of the same subjects.

    Logged besides the losses, both of expression and jaw in standard deviations:
    `val/nearer_than_mean`, the share of faces whose generated neutral is nearer to the subject's
    own than the mean neutral face of the training part is; and `val/own_nearer`, the share whose
    generated neutral is nearer to the subject's own than to that mean.

    Args:
        hidden: Width of the hidden layers.
        latent: Size of what the encoder hands to the decoders.
        dropout: After each hidden layer.
        target: "neutral_of_subject" learns the neutral face of a subject from any expression of
            the same; "autoencoder" learns from neutral faces alone, as the paper may be read, and
            meets expressions only in use.
        augment: Train on every expression as another subject of the batch would show it: its
            distance from the one neutral face is added to the other.
        pose_weight: Of the pose's squared error beside the expression's.
        optimizer: Parameters to optimiser.
        scheduler: Optimiser to a scheduler that steps once an epoch.
        provenance: Set by training, not by the user.
    """

    view: ClassVar[str] = "neutral"
    ned: NeutralGenerator

    def __init__(
        self,
        hidden: int = 128,
        latent: int = 64,
        dropout: float = 0.0,
        target: Literal["neutral_of_subject", "autoencoder"] = "neutral_of_subject",
        augment: bool = True,
        pose_weight: float = 0.1,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(
            p, lr=1e-3, weight_decay=0.01, fused=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        provenance: Values | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, provenance)

    def configure_models(self) -> None:
        """The neutral generator."""
        self.ned = NeutralGenerator(self.hparams)

    def configure_losses(self) -> None:
        """None that keeps a state."""

    def configure_metrics(self) -> None:
        """None that keeps a state."""

    def adopt(self, data: DataSource) -> None:
        """Keep the training set's statistics and mean neutral face."""
        self.ned.scaler.adopt(data.statistics)
        neutral = data.emotions.index(Emotion.NEUTRAL)
        self.ned.mean_expression.copy_(data.class_means["expression"][neutral])
        self.ned.mean_pose.copy_(data.class_means["pose"][neutral])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        expression, pose = batch["expression"], batch["pose"]
        if self.hparams["target"] == "autoencoder":
            expression, pose = expression[:, [1, 1]], pose[:, [1, 1]]
        if self.hparams["augment"]:
            order = torch.randperm(len(pose), device=pose.device)
            expression = _exchange(expression, order).clamp(*self.ned.provenance.expression_range)
            pose = _exchange(pose, order)
        return self._log_terms("train", (expression, pose), self._neutral(expression, pose))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss and the shares."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As `validation_step`."""
        self._evaluate("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        """The neutral expression (B, 50) and pose (B, 6) of each row's subject."""
        expression, pose = self._neutral(batch["expression"], batch["pose"])
        return {"expression": expression, "pose": pose}

    def key_faces(self, batch: Batch) -> FaceCoefficients:
        """The face of each sample and the neutral one told from it, seen from the front."""
        pair = batch["expression"], batch["pose"]
        expression, pose = (
            torch.stack([given[:, 0], neutral], dim=1)
            for given, neutral in zip(pair, self._neutral(*pair), strict=True)
        )
        return seen_from_front(batch["shape"], expression, pose)

    def _neutral(self, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        neutral_expression, neutral_pose = self.ned(expression[:, 0], pose[:, 0])
        return neutral_expression, neutral_pose

    def _evaluate(self, stage: str, batch: Batch) -> None:
        pair = batch["expression"], batch["pose"]
        output = self._neutral(*pair)
        self._log_terms(stage, pair, output)
        made, own = self._faces(*output), self._faces(pair[0][:, 1], pair[1][:, 1])
        mean = self._faces(self.ned.mean_expression, self.ned.mean_pose)
        error = (made - own).norm(dim=1)
        values = {
            f"{stage}/nearer_than_mean": (error < (mean - own).norm(dim=1)).float().mean(),
            f"{stage}/own_nearer": (error < (mean - made).norm(dim=1)).float().mean(),
        }
        self.log_dict(values, batch_size=len(error))

    def _log_terms(
        self, stage: str, pair: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> Tensor:
        scaler = self.ned.scaler
        target = scaler.standardize(*(values[:, 1] for values in pair))
        made = scaler.standardize(*output)
        expression, pose = (F.mse_loss(m, t) / FINE**2 for m, t in zip(made, target, strict=True))
        loss = expression + self.hparams["pose_weight"] * pose
        values = {"loss": loss, "expression": expression, "pose": pose}
        self.log_dict(
            {f"{stage}/{name}": value for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(target[0]),
        )
        return loss

    def _faces(self, expression: Tensor, pose: Tensor) -> Tensor:
        return face_parameters(*self.ned.scaler.standardize(expression, pose))


def _exchange(pair: Tensor, order: Tensor) -> Tensor:
    """(B, 2, K) faces moved from their own neutral, the second, to that of another row."""
    return pair + (pair[order] - pair)[:, 1:]
