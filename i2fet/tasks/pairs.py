"""What the tasks share whose models turn instructions into pairs of expressions."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from i2fet.coefficients import FACE_PARAMETER_SIZE, FaceCoefficients
from i2fet.heads import load_head
from i2fet.metrics import nearest_class
from i2fet.nn.i2fet import face_parameters
from i2fet.nn.losses import VertexLoss
from i2fet.nn.scaler import CoefficientScaler
from i2fet.tasks.base import BaseTask, DataSource, Evaluated, seen_from_front

Batch = dict[str, Tensor]


class PairTask(BaseTask):
    """A model under training that turns instructions into pairs of expressions.

    Has the vertex loss, with the hyperparameter `vertex_weight`, and names faces by the nearest
    class mean of the training part.
    """

    vertex_loss: VertexLoss | None
    class_means: Tensor
    vertex_scale: Tensor

    @property
    @abstractmethod
    def scaler(self) -> CoefficientScaler:
        """The model's."""

    @abstractmethod
    def sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One generated pair for each row: expression (B, 2, 50) and pose (B, 2, 6)."""

    @abstractmethod
    def evaluate(self, stage: str, batch: Batch) -> Evaluated:
        """Log what is measured of a batch of the "val" or "test" part."""

    def configure_models(self) -> None:
        """What is kept of the training set besides the model's own."""
        labels = len(self.provenance.emotions)
        self.register_buffer("class_means", torch.zeros(labels, FACE_PARAMETER_SIZE))
        self.register_buffer("vertex_scale", torch.ones(()))

    def configure_losses(self) -> None:
        """The vertex loss, which alone needs the head."""
        self.vertex_loss = None
        if self.hparams["vertex_weight"]:
            self.vertex_loss = VertexLoss(load_head(self.provenance.head))

    def adopt(self, data: DataSource) -> None:
        """Keep the training set's statistics, class means and vertex spread."""
        self.adopt_scale(data)
        self.class_means.copy_(self.face_parameters(**data.class_means))
        if self.hparams["vertex_weight"]:
            self.vertex_scale.fill_(data.vertex_scale)

    def adopt_scale(self, data: DataSource) -> None:
        """Standardise coefficients by the training set."""
        self.scaler.adopt(data.statistics)

    def validation_step(self, batch: Batch, batch_idx: int) -> Evaluated:
        """Losses, and faces generated from the instructions alone."""
        return self.evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Evaluated:
        """As `validation_step`."""
        return self.evaluate("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        """As `sample`, by name."""
        expression, pose = self.sample(batch)
        return {"expression": expression, "pose": pose}

    def key_faces(self, batch: Batch) -> FaceCoefficients:
        """The generated pair of each sample, on its own head seen from the front."""
        return seen_from_front(batch["shape"], *self.sample(batch))

    def face_parameters(self, expression: Tensor, pose: Tensor) -> Tensor:
        """Standardised x^f, (..., 53), of coefficients in head units."""
        return face_parameters(*self.scaler.standardize(expression, pose))

    def vertex_error(self, batch: Batch, expression: Tensor, pose: Tensor) -> dict[str, Tensor]:
        """Eq. 14 in units of the training set's spread, as "vertices"; nothing if its weight is 0.

        Args:
            batch: Real faces.
            expression: (B, 2, 50) standardised.
            pose: (B, 2, 6) standardised.
        """
        if self.vertex_loss is None:
            return {}
        real = batch["expression"], batch["pose"]
        error = self.vertex_loss(batch["shape"], real, self.scaler.restore(expression, pose))
        return {"vertices": error / self.vertex_scale.square()}

    def log_terms(
        self, stage: str, terms: dict[str, Tensor], weighted: dict[str, Tensor], rows: int
    ) -> Tensor:
        """Log the terms of a loss and their weighted sum, which is returned."""
        loss = torch.stack(list(weighted.values())).sum()
        values = {f"{stage}/{name}": value for name, value in {"loss": loss, **terms}.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=rows)
        return loss

    def log_accuracy(self, stage: str, faces: Tensor, emotion: Tensor, suffix: str = "") -> Tensor:
        """Log how often the nearest class is the right one; the nearest, (B, 2), is returned."""
        named = nearest_class(faces, self.class_means)
        right = named == emotion
        values = {
            f"{stage}/acc1_nearest_mean{suffix}": right.float().mean(),
            f"{stage}/acc2_nearest_mean{suffix}": right.all(dim=1).float().mean(),
        }
        self.log_dict(values, batch_size=len(emotion))
        return named
