"""Training of MotionCLIP, the baseline of Tables II and III."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from i2fet.coefficients import FACE_PARAMETER_SIZE, FaceCoefficients
from i2fet.heads import load_head
from i2fet.metrics import nearest_class
from i2fet.nn.i2fet import face_parameters
from i2fet.nn.losses import VertexLoss
from i2fet.nn.motionclip import LatentScale, MotionClipGenerator, split_motion
from i2fet.tasks.base import BaseTask, DataSource, Evaluated, Values, seen_from_front
from i2fet.transition import straight_path

Batch = dict[str, Tensor]


class MotionClipTask(BaseTask):
    """MotionCLIP on trajectories of eq. 16 between the two expressions of a pair.

    Logged besides the losses: `val/acc1_nearest_mean` and `val/acc2_nearest_mean`, how many single
    expressions and pairs generated from the instruction alone lie nearest to the training mean of
    their class. Generated anchors are all that is used of a trajectory.

    Args:
        frames: T, of a trajectory.
        width: Of the transformers.
        layers: Of encoder and decoder.
        heads: Of their attention.
        feedforward: Width of their hidden layers.
        dropout: In both of them.
        latent_scale: "free", as in the original, or "unit"; see `scale_latent`.
        motion_weight: Of the mean squared error of the coefficients.
        velocity_weight: Of that of the steps from frame to frame.
        vertex_weight: Of that of the anchors' vertices, in units of the training set's spread.
        text_weight: Of one minus the cosine between the latent and the text's embedding.
        optimizer: Parameters to optimiser.
        scheduler: Optimiser to a scheduler that steps once an epoch.
        provenance: Set by training, not by the user.
    """

    motionclip: MotionClipGenerator
    vertex_loss: VertexLoss | None
    class_means: Tensor
    vertex_scale: Tensor

    def __init__(
        self,
        frames: int = 16,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 256,
        dropout: float = 0.1,
        latent_scale: LatentScale = "free",
        motion_weight: float = 100.0,
        velocity_weight: float = 100.0,
        vertex_weight: float = 100.0,
        text_weight: float = 1.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=1e-4, fused=True),
        scheduler: LRSchedulerCallable | None = None,
        provenance: Values | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, provenance)

    def configure_models(self) -> None:
        """The generator, and what else is kept of the training set."""
        self.motionclip = MotionClipGenerator(self.hparams)
        labels = len(self.provenance.emotions)
        self.register_buffer("class_means", torch.zeros(labels, FACE_PARAMETER_SIZE))
        self.register_buffer("vertex_scale", torch.ones(()))

    def configure_losses(self) -> None:
        """The vertex loss, which alone needs the head."""
        self.vertex_loss = None
        if self.hparams["vertex_weight"]:
            self.vertex_loss = VertexLoss(load_head(self.provenance.head))

    def configure_metrics(self) -> None:
        """None that keeps a state."""

    def adopt(self, data: DataSource) -> None:
        """Keep the training set's statistics, class means and vertex spread."""
        self.motionclip.scaler.adopt(data.statistics)
        self.class_means.copy_(self._faces(**data.class_means))
        if self.hparams["vertex_weight"]:
            self.vertex_scale.fill_(data.vertex_scale)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self._log_terms("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> Evaluated:
        """The loss, and faces generated from the instructions alone."""
        return self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Evaluated:
        """As `validation_step`."""
        return self._evaluate("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        """One generated pair, expression (B, 2, 50) and pose (B, 2, 6), for each row."""
        expression, pose = self._generate(batch)
        return {"expression": expression, "pose": pose}

    def key_faces(self, batch: Batch) -> FaceCoefficients:
        """The generated pair of each sample, on its own head seen from the front."""
        return seen_from_front(batch["shape"], *self._generate(batch))

    def _generate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        text = batch["tokens"], batch["token_mask"], batch["instruction"]
        return self.motionclip.sample(*text, torch.default_generator)

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        real = batch["expression"], batch["pose"]
        anchors = torch.cat(self.motionclip.scaler.standardize(*real), dim=-1)
        target = straight_path(anchors, self.hparams["frames"])
        output, latent = self.motionclip.model(target)
        text = self.motionclip.model.embed_text(batch["tokens"], batch["token_mask"])
        cosine = F.cosine_similarity(latent, text[batch["instruction"]])
        terms = {
            "motion": F.mse_loss(output, target),
            "velocity": F.mse_loss(output.diff(dim=1), target.diff(dim=1)),
            "text": 1 - cosine.mean(),
        }
        if self.vertex_loss is not None:
            shown = self.motionclip.scaler.restore(*split_motion(output[:, [0, -1]]))
            error = self.vertex_loss(batch["shape"], real, shown)
            terms["vertex"] = error / self.vertex_scale.square()
        return terms

    def _log_terms(self, stage: str, batch: Batch) -> Tensor:
        terms = self._terms(batch)
        weighted = [self.hparams[f"{name}_weight"] * term for name, term in terms.items()]
        loss = torch.stack(weighted).sum()
        values = {f"{stage}/{name}": value for name, value in {"loss": loss, **terms}.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch["emotion"]))
        return loss

    def _evaluate(self, stage: str, batch: Batch) -> Evaluated:
        self._log_terms(stage, batch)
        faces = self._faces(*self._generate(batch))
        named = nearest_class(faces, self.class_means)
        right = named == batch["emotion"]
        values = {
            f"{stage}/acc1_nearest_mean": right.float().mean(),
            f"{stage}/acc2_nearest_mean": right.all(dim=1).float().mean(),
        }
        self.log_dict(values, batch_size=len(right))
        return {
            "emotion": batch["emotion"].flatten(),
            "named": {"generated": named.flatten()},
            "latents": {"generated": faces.flatten(0, 1)},
        }

    def _faces(self, expression: Tensor, pose: Tensor) -> Tensor:
        return face_parameters(*self.motionclip.scaler.standardize(expression, pose))
