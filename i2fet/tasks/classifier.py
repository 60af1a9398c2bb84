"""Training of the expression classifier that judges all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassCalibrationError

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import CheckpointError
from i2fet.judge import ExpressionJudge
from i2fet.metrics import GeometricMean, SingleAccuracy
from i2fet.nn.classifier import Backbone
from i2fet.nn.imbalance import ClassBalancedFocalLoss, CrossEntropyLoss, MekLoss
from i2fet.rendering.shape_images import ShapeImageCache, rotate_images
from i2fet.tasks.base import BaseTask, DataSource, Evaluated, Values, training_part_of

Batch = dict[str, Tensor]


class ExpressionClassifierTask(BaseTask):
    """A network that names the expression of shape images (Section IV-C, Table X).

    Batches are those of `datamodules.pairs.FaceDataset`. Logged besides the loss: `acc1`, `gmean`
    and `ece`, the expected calibration error of the logits' softmax; when testing also
    `acc1_rotated_A` and `gmean_rotated_A` for images turned in their plane by A degrees, once each
    way.

    Args:
        backbone: See `ExpressionClassifier`.
        small_images: For images of less than 100 pixels; see `ExpressionClassifier`.
        image_size: Side of the shape images, pixels.
        loss: "cross_entropy"; "focal", the re-weighted focal loss; or "mek".
        beta: Of the focal loss; see `class_balanced_weights`.
        gamma: Of the focal loss.
        smoothing: Of MEK's labels.
        consistency: Weight of MEK's attention consistency.
        identity: Whose faces show the expressions of the training part: the person's "own";
            "shuffled" once among a batch; or "reshuffled" in every epoch, which needs new images.
        flip: Train on mirror images half of the time.
        rotation: Turn training images by up to this in their plane, degrees.
        angles: By which images are turned for testing, degrees.
        optimizer: Parameters to optimiser.
        scheduler: Optimiser to a scheduler that steps once an epoch.
        provenance: Set by training, not by the user.
        training_part: Set by training, not by the user.
    """

    view: ClassVar[str] = "faces"
    judged_by: ClassVar[str | None] = "this classifier"
    judge: ExpressionJudge

    def __init__(
        self,
        backbone: Backbone = "resnet101",
        small_images: bool = False,
        image_size: int = 224,
        loss: Literal["cross_entropy", "focal", "mek"] = "focal",
        beta: float = 0.999,
        gamma: float = 1.0,
        smoothing: float = 0.3,
        consistency: float = 0.1,
        identity: Literal["own", "shuffled", "reshuffled"] = "own",
        flip: bool = False,
        rotation: float = 0.0,
        angles: Sequence[int] = (10, 15, 30),
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-4, fused=True),
        scheduler: LRSchedulerCallable | None = None,
        provenance: Values | None = None,
        training_part: Values | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, provenance)

    def configure_models(self) -> None:
        """The judge."""
        self.judge = ExpressionJudge(self.hparams)

    def configure_losses(self) -> None:
        """The loss, and images that are drawn once for all epochs."""
        self.loss = self._make_loss(torch.tensor(self.judge.training_part.counts))
        self.images = ShapeImageCache(self.judge.draw)

    def configure_metrics(self) -> None:
        """Accuracy, G-mean and calibration; the first two for each angle as well."""
        classes = len(self.provenance.emotions)
        accuracies = MetricCollection(
            {"acc1": SingleAccuracy(classes), "gmean": GeometricMean(classes)}
        )
        self.val_metrics = accuracies.clone(prefix="val/")
        self.val_metrics.add_metrics({"ece": MulticlassCalibrationError(classes)})
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        self.rotated_metrics = nn.ModuleList(
            accuracies.clone(prefix="test/", postfix=f"_rotated_{angle}")
            for angle in self.hparams["angles"]
        )

    def adopt(self, data: DataSource) -> None:
        """Keep whom the training part holds."""
        self.hparams["training_part"] = training_part_of(data)

    def setup(self, stage: str) -> None:
        """As the base class; and refuse to test on people of the training part."""
        super().setup(stage)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "test" and data is not None:
            self.judge.training_part.check_unseen(data.population, data.subjects["test"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images = self._augmented(batch)
        loss = self.loss(self.judge.classifier, images, batch["emotion"])
        self._log("train/loss", loss, batch)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Evaluated:
        """The loss and the metrics."""
        images = self._images(batch)
        self._log("val/loss", self.loss(self.judge.classifier, images, batch["emotion"]), batch)
        return self._evaluate(self.val_metrics, images, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Evaluated:
        """The metrics, of upright and of turned images."""
        images = self._images(batch)
        evaluated = self._evaluate(self.test_metrics, images, batch)
        for angle, metrics in zip(self.hparams["angles"], self.rotated_metrics, strict=True):
            for degrees in (angle, -angle):
                self._evaluate(metrics, rotate_images(images, degrees), batch)
        return evaluated

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        """The (B,) label and the (B, C) logits of each face."""
        logits = self.judge(self._images(batch))
        return {"emotion": logits.argmax(dim=1), "logits": logits}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another network or with images of another size."""
        super().on_load_checkpoint(checkpoint)
        stored = checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]
        for name in ("backbone", "image_size", "small_images"):
            if stored[name] != self.hparams[name]:
                raise CheckpointError(
                    f"the checkpoint was trained with {name} {stored[name]}, not "
                    f"{self.hparams[name]}; use --model.{name} {stored[name]}"
                )

    def _make_loss(self, counts: Tensor) -> nn.Module:
        hparams = self.hparams
        if hparams["loss"] == "focal":
            return ClassBalancedFocalLoss(counts, hparams["beta"], hparams["gamma"])
        if hparams["loss"] == "mek":
            return MekLoss(counts, hparams["smoothing"], hparams["consistency"])
        return CrossEntropyLoss()

    def _images(self, batch: Batch) -> Tensor:
        return self.images(batch["row"].tolist(), _faces(batch))

    def _augmented(self, batch: Batch) -> Tensor:
        if self.hparams["identity"] != "own":
            order = torch.randperm(len(batch["shape"]), device=batch["shape"].device)
            batch = {**batch, "shape": batch["shape"][order]}
        redraw = self.hparams["identity"] == "reshuffled"
        images = self.judge.draw(_faces(batch)) if redraw else self._images(batch)
        if self.hparams["flip"]:
            mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
            images = images.flip(-1).where(mirrored, images)
        if self.hparams["rotation"]:
            angles = (2 * torch.rand(len(images)) - 1) * self.hparams["rotation"]
            images = rotate_images(images, angles)
        return images

    def _evaluate(self, metrics: nn.Module, images: Tensor, batch: Batch) -> Evaluated:
        assert isinstance(metrics, MetricCollection)
        logits, emotion = self.judge(images), batch["emotion"]
        metrics.update(logits, emotion)
        self.log_dict(metrics, on_step=False, on_epoch=True)
        named = {"faces": logits.argmax(dim=1)}
        return {"emotion": emotion, "named": named, "latents": {"logits": logits}}

    def _log(self, name: str, value: Tensor, batch: Batch) -> None:
        self.log(name, value, on_step=False, on_epoch=True, batch_size=len(batch["emotion"]))


def _faces(batch: Batch) -> FaceCoefficients:
    return FaceCoefficients(**{f.name: batch[f.name] for f in fields(FaceCoefficients)})
