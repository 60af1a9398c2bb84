"""Training of MotionCLIP, the baseline of Tables II and III."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from i2fet.nn.motionclip import LatentScale, MotionClipGenerator, split_motion
from i2fet.nn.scaler import CoefficientScaler
from i2fet.tasks.base import Evaluated, Values
from i2fet.tasks.pairs import Batch, PairTask
from i2fet.transition import straight_path


class MotionClipTask(PairTask):
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

    @property
    def scaler(self) -> CoefficientScaler:
        """The generator's."""
        return self.motionclip.scaler

    def configure_models(self) -> None:
        """The generator, and what else is kept of the training set."""
        super().configure_models()
        self.motionclip = MotionClipGenerator(self.hparams)

    def configure_metrics(self) -> None:
        """None that keeps a state."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self._log_terms("train", batch)

    def sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The first and the last frame."""
        text = batch["tokens"], batch["token_mask"], batch["instruction"]
        return self.motionclip.sample(*text, torch.default_generator)

    def evaluate(self, stage: str, batch: Batch) -> Evaluated:
        """The losses, and how right generated faces are."""
        self._log_terms(stage, batch)
        faces, emotion = self.face_parameters(*self.sample(batch)), batch["emotion"]
        return {
            "emotion": emotion.flatten(),
            "named": {"generated": self.log_accuracy(stage, faces, emotion).flatten()},
            "latents": {"generated": faces.flatten(0, 1)},
        }

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        real = self.scaler.standardize(batch["expression"], batch["pose"])
        anchors = torch.cat(real, dim=-1)
        target = straight_path(anchors, self.hparams["frames"])
        output, latent = self.motionclip.model(target)
        text = self.motionclip.model.embed_text(batch["tokens"], batch["token_mask"])
        cosine = F.cosine_similarity(latent, text[batch["instruction"]])
        terms = {
            "motion": F.mse_loss(output, target),
            "velocity": F.mse_loss(output.diff(dim=1), target.diff(dim=1)),
            "text": 1 - cosine.mean(),
        }
        shown = split_motion(output[:, [0, -1]])
        return terms | self.vertex_error(batch, *shown)

    def _log_terms(self, stage: str, batch: Batch) -> Tensor:
        terms = self._terms(batch)
        weights = {
            "motion": self.hparams["motion_weight"],
            "velocity": self.hparams["velocity_weight"],
            "text": self.hparams["text_weight"],
            "vertices": self.hparams["vertex_weight"],
        }
        weighted = {name: weights[name] * term for name, term in terms.items()}
        return self.log_terms(stage, terms, weighted, len(batch["emotion"]))
