"""Training of the face encoder's network, on synthetic people only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.regression import PearsonCorrCoef

from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.errors import OptionError
from i2fet.heads.arkit import load_arkit_head
from i2fet.heads.skinning import rotation_matrices
from i2fet.nn.face_network import ACTIONS, Reading, Stages
from i2fet.perception.fitting import EYE_CORNERS, LandmarkBasis
from i2fet.perception.network import build_face_network
from i2fet.precision import full_precision
from i2fet.tasks.optimizers import MuonAndAdamW, trapezoid

Batch = dict[str, Tensor]

STAGES, WIDTHS = ("crop", "part"), ("features", "hidden")
NETWORK = (*STAGES, *WIDTHS, "dropout")
"""Hyperparameters that are the network's."""

READINGS = ("", "_neutral")
"""Suffixes of what is logged of a reading without and with the person's face at rest."""


def check_sizes(config: Mapping[str, Any]) -> None:
    """Refuse sizes of which no network can be made.

    Raises:
        OptionError: If there are no stages, or a size is below 1.
    """
    for name in STAGES:
        if not config[name] or min(number for stage in config[name] for number in stage) < 1:
            raise OptionError(
                f"{name} is {config[name]}; give one or several stages, each as "
                "[channels, blocks], from 1 on"
            )
    for name in WIDTHS:
        if config[name] < 1:
            raise OptionError(f"{name} is {config[name]}; give a number from 1 on")


class FaceEncoderTask(LightningModule):
    """Coefficients of described crops, with and without the person's face at rest beside it.

    Batches are those of `datamodules.album`. The loss sums, over both readings: the squared
    error of actions and jaw in units of their spread; the same of shape, head rotation and camera;
    the mean distance of the projected landmarks in % of that between the eyes; and the negative
    log likelihood of the actions' errors under the sigma that the network expects, by which only
    sigma learns. Logged besides: `val/r` and `val/r_neutral`, the median correlation over
    those of the 51 actions that anyone shows, and `val/landmarks`.

    Args:
        crop: See `FaceNetwork`, as the next four.
        part: Stages of the convolutions of eyes and mouth.
        features: Width of what is kept of a crop.
        hidden: Width of the head.
        dropout: Share of the convolutions' outputs that training leaves out.
        learning_rate: Highest, of Muon for matrices and AdamW for the rest.
        weight_decay: Of the matrices.
        warmup: Share of the training in which the learning rate rises.
        cooldown: Share of the training in which it falls to zero.
        shape_weight: Of the shape's squared error.
        pose_weight: Of that of rotation and camera.
        landmark_weight: Of the landmarks' distance.
        sigma_weight: Of the likelihood.

    Raises:
        OptionError: If there are no stages, or one of the network's sizes is below 1.
    """

    def __init__(
        self,
        crop: Stages = ((64, 1), (160, 2), (256, 2)),
        part: Stages = ((64, 1), (96, 1)),
        features: int = 384,
        hidden: int = 512,
        dropout: float = 0.05,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.1,
        warmup: float = 0.03,
        cooldown: float = 0.7,
        shape_weight: float = 0.1,
        pose_weight: float = 0.5,
        landmark_weight: float = 0.1,
        sigma_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_sizes(self.config)
        self.network = build_face_network(**self.config)
        head = load_arkit_head()
        self.head, self.basis = head, LandmarkBasis(head)
        self.correlations = nn.ModuleList(PearsonCorrCoef(ACTIONS) for _ in READINGS)
        self.distances = nn.ModuleList(MeanMetric() for _ in READINGS)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of `build_face_network`."""
        return {name: self.hparams[name] for name in NETWORK}

    def on_fit_start(self) -> None:
        """Learn the units of the outputs, unless a checkpoint has told them."""
        if not self.network.mean.any():
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.network.adopt(data.typical().to(self.device))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self.sum_losses(self.readings(batch), _truth(batch))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The metrics."""
        truth = _truth(batch)
        readings = self.readings(batch)
        for reading, r, distance in zip(readings, self.correlations, self.distances, strict=True):
            assert isinstance(r, PearsonCorrCoef)
            assert isinstance(distance, MeanMetric)
            r.update(self.head.actions(reading.coefficients), self.head.actions(truth))
            distance.update(self.landmark_distance(reading.coefficients, truth))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics."""
        for suffix, r, distance in zip(READINGS, self.correlations, self.distances, strict=True):
            assert isinstance(r, PearsonCorrCoef)
            assert isinstance(distance, MeanMetric)
            self.log(f"val/r{suffix}", r.compute().nanmedian(), prog_bar=True)
            self.log(f"val/landmarks{suffix}", distance.compute())
            r.reset()
            distance.reset()

    def readings(self, batch: Batch) -> tuple[Reading, Reading]:
        """Of the faces alone, and with the same people at rest beside them."""
        features = self.network.features(batch["descriptors"])
        at_rest = features[batch["neutral"]]
        return self.network.read(features), self.network.read(features, at_rest)

    def configure_optimizers(self) -> Any:
        """Muon and AdamW, at a rate that rises, stays and falls."""
        hparams = self.hparams
        rate, decay = hparams["learning_rate"], hparams["weight_decay"]
        optimizer = MuonAndAdamW(self.network.parameters(), rate, decay)
        return trapezoid(self, optimizer, hparams["warmup"], hparams["cooldown"])

    def sum_losses(self, readings: Sequence[Reading], truth: FaceCoefficients) -> Tensor:
        """The loss of all readings; the mean of each part is logged."""
        losses = [self.losses(reading, truth) for reading in readings]
        for name in losses[0]:
            self.log(f"train/{name}", torch.stack([loss[name] for loss in losses]).mean())
        return torch.stack([value for loss in losses for value in loss.values()]).sum()

    def losses(self, reading: Reading, truth: FaceCoefficients) -> dict[str, Tensor]:
        """The weighted parts of the loss."""
        hparams, seen = self.hparams, reading.coefficients
        scales = self.network.std.split([SHAPE_SIZE, EXPRESSION_SIZE, 3, 3, 3])
        shape, expression, turn, jaw, camera = (
            ((a - b) / scale).square().mean()
            for a, b, scale in zip(_parts(seen), _parts(truth), scales, strict=True)
        )
        errors = self.head.actions(seen) - self.head.actions(truth)
        variance = reading.sigma.square()
        likelihood = (errors.detach().square() / variance + variance.log()).mean() / 2
        return {
            "actions": expression + jaw * 3 / EXPRESSION_SIZE,
            "shape": hparams["shape_weight"] * shape,
            "pose": hparams["pose_weight"] * (turn + camera),
            "landmarks": hparams["landmark_weight"] * self.landmark_distance(seen, truth).mean(),
            "sigma": hparams["sigma_weight"] * likelihood,
        }

    def landmark_distance(self, seen: FaceCoefficients, truth: FaceCoefficients) -> Tensor:
        """(N,) mean distance of the projected landmarks, % of that between the eyes."""
        with full_precision(truth.camera):
            points, expected = self.landmarks(seen), self.landmarks(truth)
        near, far = (expected[:, list(corners)].mean(1) for corners in EYE_CORNERS)
        # Between eyes seen from the side there is no distance; that of the head's size serves.
        unit = (near - far).norm(dim=-1).clamp(min=0.04 * truth.camera[:, 0])
        return 100 * (points - expected).norm(dim=-1).mean(1) / unit

    def landmarks(self, faces: FaceCoefficients) -> Tensor:
        """(N, 470, 2) landmarks and irises, half crop sides."""
        expression = self.head.effective_expression(faces.expression, faces.pose)
        points = self.basis(torch.cat([faces.shape, expression], dim=1))
        turn, jaw = rotation_matrices(faces.global_rotation), rotation_matrices(faces.jaw)
        hinge, seen = jaw.mT - torch.eye(3, device=jaw.device), turn.mT[..., :2]
        root = self.head.joint_positions(faces.shape)[:, :1]
        place = root[..., :2] - root @ seen + faces.camera[:, None, 1:]
        # One product from six coordinates to two: training spends a quarter of its time here.
        lift = torch.cat([seen, hinge @ seen], dim=1)
        return faces.camera[:, None, :1] * (points @ lift + place)


def _truth(batch: Batch) -> FaceCoefficients:
    return FaceCoefficients(**{field.name: batch[field.name] for field in fields(FaceCoefficients)})


def _parts(faces: FaceCoefficients) -> tuple[Tensor, ...]:
    return faces.shape, faces.expression, faces.global_rotation, faces.jaw, faces.camera
