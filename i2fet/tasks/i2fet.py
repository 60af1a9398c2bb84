"""Training of the instruction to facial expression transition model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from i2fet.coefficients import FACE_PARAMETER_SIZE
from i2fet.errors import OptionError
from i2fet.metrics import DiversityRatio
from i2fet.nn.caft import Exchange
from i2fet.nn.generator import ExpressionGenerator
from i2fet.nn.i2fet import Reconstruction
from i2fet.nn.losses import (
    Reduction,
    gradient_shares,
    kl_divergence,
    reconstruction_error,
)
from i2fet.nn.prior import Prior
from i2fet.nn.scaler import CoefficientScaler
from i2fet.tasks.base import DataSource, Evaluated, Values
from i2fet.tasks.pairs import Batch, PairTask

SIZES = ("latent", "hidden", "caft_layers", "face_encoders", "text_encoders", "flow_starts")
"""Hyperparameters of which there must be at least one."""


class I2FETTask(PairTask):
    """I2FET with the three losses of eq. 15.

    Logged besides the losses: `train/gradient_share_*`, each term's part in the gradient, at the
    first batch of an epoch; `val/acc1_nearest_mean` and `val/acc2_nearest_mean`, how many single
    expressions and pairs generated from the instruction alone lie nearest to the training mean of
    their class (`..._real` is the same for the data, the ceiling); `val/diversity`, the spread of
    generated faces within a class over that of real ones, 0 when the posterior has collapsed.

    Args:
        latent: Size of the latents, per expression.
        hidden: Width of the VAEs' hidden layers.
        caft_layers: Number of CAFT layers (Table VII).
        face_encoders: N of Table VIII.
        text_encoders: M of Table VIII.
        exchange: "paper" fuses the first expression's row only, "symmetric" both.
        use_ifed: Whether IFED makes the conditions (Table V).
        share_ifed: Whether one IFED serves encoder and decoder.
        scale: "standard" standardises coefficients by the training set; "raw" leaves them.
        reduction: Of the reconstruction error: "sum" over coefficients or their "mean".
        kl_factor: The factor before the bracket of eq. 11 and 12.
        kl_warmup: Epochs of training in which this factor rises from 0.
        free_bits: Nats that each latent may have for nothing.
        prior: "normal" generates from standard normal latents, as the paper does; "flow" learns
            where the posterior's latents lie, which a weak KL term leaves far from normal.
        flow_starts: From how many points of noise the flow is shown the way to each face in a
            step, at least 1. More take longer and bring generated faces nearer to real ones.
        temperature: Factor on the noise when faces are generated; above 1 they differ more.
        pose_weight: Of eq. 12; 0 leaves the pose untrained (Table VI).
        vertex_weight: Of eq. 14 in units of the training set's vertex spread, where 10 gives it
            about the pose's part in the gradient; 0 leaves it out.
        optimizer: Parameters to optimiser.
        scheduler: Optimiser to a scheduler that steps once an epoch.
        provenance: Set by training, not by the user.
    """

    judged_by: ClassVar[str | None] = "nearest class mean of the training part"
    generator: ExpressionGenerator
    diversity: DiversityRatio

    def __init__(
        self,
        latent: int = 16,
        hidden: int = 256,
        caft_layers: int = 1,
        face_encoders: int = 2,
        text_encoders: int = 1,
        exchange: Exchange = "paper",
        use_ifed: bool = True,
        share_ifed: bool = True,
        scale: Literal["standard", "raw"] = "standard",
        reduction: Reduction = "sum",
        kl_factor: float = 0.5,
        kl_warmup: int = 0,
        free_bits: float = 0.0,
        prior: Prior = "normal",
        flow_starts: int = 1,
        temperature: float = 1.0,
        pose_weight: float = 1.0,
        vertex_weight: float = 10.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=8e-4, fused=True),
        scheduler: LRSchedulerCallable | None = None,
        provenance: Values | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, provenance)

    def configure_models(self) -> None:
        """The generator, and what else is kept of the training set."""
        for name in SIZES:
            if self.hparams[name] < 1:
                raise OptionError(f"{name} is {self.hparams[name]}; give a number from 1 on")
        super().configure_models()
        self.generator = ExpressionGenerator(self.hparams)
        self.noise_seed = torch.initial_seed()

    @property
    def scaler(self) -> CoefficientScaler:
        """The generator's."""
        return self.generator.scaler

    def configure_metrics(self) -> None:
        """The diversity of generated faces."""
        self.diversity = DiversityRatio(len(self.provenance.emotions), FACE_PARAMETER_SIZE)

    def adopt_scale(self, data: DataSource) -> None:
        """As the base class, unless coefficients stay raw."""
        if self.hparams["scale"] == "standard":
            super().adopt_scale(data)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 15 for one batch."""
        sources = [self._step_source(batch_idx)]
        terms = self._terms(batch, self._reconstruct(batch, sources), sources)
        if batch_idx == 0:
            shares = gradient_shares(self._weighted(terms), self.generator.parameters())
            self.log_dict({f"train/gradient_share_{k}": v for k, v in shares.items()})
        return self._log_terms("train", terms, len(batch["emotion"]))

    def sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """With each sample's own noise, the same in every epoch."""
        noise = self._noise(batch, self._sample_sources(batch))
        expression, pose = self.generator(*_text(batch), noise)
        return expression, pose

    def evaluate(self, stage: str, batch: Batch) -> Evaluated:
        """The losses, and how right and how varied generated faces are."""
        emotion = batch["emotion"]
        sources = self._sample_sources(batch)
        output = self._reconstruct(batch, sources)
        self._log_terms(stage, self._terms(batch, output, sources), len(emotion))
        real = self.face_parameters(batch["expression"], batch["pose"])
        generated = self.face_parameters(*self.sample(batch))
        self.diversity.update(real, emotion, real=True)
        self.diversity.update(generated, emotion, real=False)
        latents = {
            "mu": output.expression_posterior.mean,
            "x_emb": output.expression_condition,
            "generated": generated,
        }
        return {
            "emotion": emotion.flatten(),
            "named": {
                "generated": self.log_accuracy(stage, generated, emotion).flatten(),
                "real": self.log_accuracy(stage, real, emotion, "_real").flatten(),
            },
            "latents": {name: values.flatten(0, 1) for name, values in latents.items()},
        }

    def on_validation_epoch_end(self) -> None:
        """Log the diversity."""
        self._log_diversity("val")

    def on_test_epoch_end(self) -> None:
        """Log the diversity."""
        self._log_diversity("test")

    def generate(
        self, tokens: Tensor, mask: Tensor, samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As `ExpressionGenerator.generate`."""
        return self.generator.generate(tokens, mask, samples, generator)

    def card(self) -> str:
        """What was trained on what, in one line."""
        return self.generator.card()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the noise's seed, so that a resumed run equals an uninterrupted one."""
        checkpoint["noise_seed"] = self.noise_seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the noise's seed."""
        super().on_load_checkpoint(checkpoint)
        self.noise_seed = checkpoint["noise_seed"]

    def _step_source(self, batch_idx: int) -> torch.Generator:
        """Of random numbers: its own for every step and process, whatever came before."""
        place = [self.noise_seed, self.current_epoch, batch_idx, self.global_rank]
        (seed,) = np.random.SeedSequence(place).generate_state(1)
        return torch.Generator().manual_seed(int(seed))

    def _sample_sources(self, batch: Batch) -> list[torch.Generator]:
        """Each sample's own, however samples are shared out over batches and processes."""
        return [torch.Generator().manual_seed(seed) for seed in batch["sample"].tolist()]

    def _noise(self, batch: Batch, sources: list[torch.Generator]) -> Tensor:
        rows = len(batch["instruction"]) // len(sources)
        return torch.cat([self.generator.noise(rows, source) for source in sources], dim=1)

    def _reconstruct(self, batch: Batch, sources: list[torch.Generator]) -> Reconstruction:
        target = self.scaler.standardize(batch["expression"], batch["pose"])
        return self.generator.model(*target, *_text(batch), self._noise(batch, sources))

    def _terms(
        self, batch: Batch, output: Reconstruction, sources: list[torch.Generator]
    ) -> dict[str, Tensor]:
        target = self.scaler.standardize(batch["expression"], batch["pose"])
        reduction, free_bits = self.hparams["reduction"], self.hparams["free_bits"]
        terms = {
            "expression": reconstruction_error(target[0], output.expression, reduction),
            "kl_expression": kl_divergence(output.expression_posterior, free_bits),
            "pose": reconstruction_error(target[1], output.pose, reduction),
            "kl_pose": kl_divergence(output.pose_posterior, free_bits),
        }
        terms |= self.vertex_error(batch, output.expression, output.pose)
        if self.generator.model.prior is not None:
            starts = range(self.hparams["flow_starts"])
            noise = torch.cat([self._noise(batch, sources) for _ in starts], dim=1)
            time = torch.cat([self._times(batch, sources) for _ in starts])
            # The posterior must not come to meet the flow, but the text may serve it.
            latents = output.latents.detach()
            terms["flow"] = self.generator.model.prior.error(latents, output.text, noise, time)
        return terms

    def _times(self, batch: Batch, sources: list[torch.Generator]) -> Tensor:
        rows = len(batch["instruction"]) // len(sources)
        times = torch.cat([torch.rand(rows, generator=source) for source in sources])
        return times.to(batch["instruction"].device)

    def _weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        hparams = self.hparams
        kl_weight = 2 * hparams["kl_factor"]
        if self.training and self.current_epoch < hparams["kl_warmup"]:
            kl_weight *= (self.current_epoch + 1) / (hparams["kl_warmup"] + 1)
        weights = {
            "expression": 1.0,
            "kl_expression": kl_weight,
            "pose": hparams["pose_weight"],
            "kl_pose": kl_weight * hparams["pose_weight"],
            "vertices": hparams["vertex_weight"],
            "flow": 1.0,
        }
        return {name: weights[name] * term for name, term in terms.items()}

    def _log_terms(self, stage: str, terms: dict[str, Tensor], rows: int) -> Tensor:
        return self.log_terms(stage, terms, self._weighted(terms), rows)

    def _log_diversity(self, stage: str) -> None:
        self.log(f"{stage}/diversity", self.diversity.compute())
        self.diversity.reset()


def _text(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch["tokens"], batch["token_mask"], batch["instruction"]
