"""Training of the face encoder's network, on synthetic people only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.regression import PearsonCorrCoef
from typing_extensions import Self

from i2fet.checkpoint import reading_checkpoint
from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.heads.arkit import load_arkit_head
from i2fet.heads.skinning import rotation_matrices
from i2fet.nn.face_network import ACTIONS, FaceNetwork, Reading, SecondLook
from i2fet.perception.close_ups import POINTS
from i2fet.perception.crop import CROP_SIZE
from i2fet.perception.fitting import EYE_CORNERS, LandmarkBasis
from i2fet.perception.network import build_face_network
from i2fet.precision import full_precision
from i2fet.tasks.optimizers import one_cycle

Batch = dict[str, Tensor]

READINGS = ("", "_neutral")
"""Suffixes of what is logged of a reading without and with the person's face at rest."""


class FaceEncoderTask(LightningModule, ABC):
    """Coefficients of described crops, with and without the person's face at rest beside it.

    Batches are those of `datamodules.album`. The loss sums, over both readings: the squared
    error of actions and jaw in units of their spread; the same of shape, head rotation and camera;
    the mean distance of the projected landmarks in % of that between the eyes; and the negative
    log likelihood of the actions' errors under the sigma that the network expects, by which only
    sigma learns. Logged besides: `val/r` and `val/r_neutral`, the median correlation over
    those of the 51 actions that anyone shows, and `val/landmarks`.

    Args:
        network: To be trained.
        learning_rate: Highest, of AdamW and a one-cycle schedule.
        weight_decay: Of AdamW.
        warmup: Share of the training in which the learning rate rises.
        shape_weight: Of the shape's squared error.
        pose_weight: Of that of rotation and camera.
        landmark_weight: Of the landmarks' distance.
        sigma_weight: Of the likelihood.
    """

    config: dict[str, dict[str, Any]]
    """Arguments of `build_face_network`."""

    def __init__(
        self,
        network: FaceNetwork,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.02,
        warmup: float = 0.1,
        shape_weight: float = 0.1,
        pose_weight: float = 0.5,
        landmark_weight: float = 0.1,
        sigma_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="network")
        self.network = network
        head = load_arkit_head()
        self.head, self.basis = head, LandmarkBasis(head)
        self.correlations = nn.ModuleList(PearsonCorrCoef(ACTIONS) for _ in READINGS)
        self.distances = nn.ModuleList(MeanMetric() for _ in READINGS)

    def on_fit_start(self) -> None:
        """Learn the units, unless a checkpoint has told them."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        descriptors, faces = data.typical()
        self.adopt(descriptors.to(self.device), faces.to(self.device))

    @abstractmethod
    def adopt(self, descriptors: Tensor, faces: FaceCoefficients) -> None:
        """Take over the units of what is trained from N typical crops, once."""

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
        """AdamW under a one-cycle schedule over the whole training."""
        hparams = self.hparams
        return one_cycle(self, hparams["learning_rate"], hparams["weight_decay"], hparams["warmup"])

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


class FirstLookTask(FaceEncoderTask):
    """The first look, at whole crops.

    Args:
        units: See `FirstLook`, as the next four.
        widths: Of the layers between patches and features.
        features: Kept of a crop.
        hidden: Width of the head.
        dropout: Before each of these layers.
        **training: See `FaceEncoderTask`.
    """

    def __init__(
        self,
        units: int = 24,
        widths: Sequence[int] = (512,),
        features: int = 256,
        hidden: int = 384,
        dropout: float = 0.0,
        **training: Any,
    ) -> None:
        look = {
            "units": units,
            "widths": list(widths),
            "features": features,
            "hidden": hidden,
            "dropout": dropout,
        }
        super().__init__(build_face_network(look), **training)
        self.config = {"first": look}

    def adopt(self, descriptors: Tensor, faces: FaceCoefficients) -> None:
        """Units of inputs and outputs."""
        if not self.network.mean.any():
            self.network.adopt(faces)
            self.network.first.adopt(descriptors)


class SecondLookTask(FaceEncoderTask):
    """The second look, around the landmarks that a trained first look sees.

    It learns to read by itself; in validation and use its reading and the first look's are
    averaged. Its loss has one more part, the distance of the located landmarks from the true
    ones, pixels of the crop.

    Args:
        first: Checkpoint of a `FirstLookTask`, which is not trained further.
        units: See `SecondLook`, as the next four.
        width: Of the layers between surroundings and features.
        features: Kept of a crop.
        hidden: Width of the head.
        dropout: Before each of these layers.
        jitter: Standard deviation, pixels of the crop, of where training looks: of all landmarks
            together, and half of it of each by itself. The first look has seen the same people,
            and locates theirs better than others'.
        place_weight: Of the located landmarks' distance.
        **training: See `FaceEncoderTask`.

    Raises:
        CheckpointError: If the first look's checkpoint is missing or broken.
    """

    def __init__(
        self,
        first: str,
        units: int = 32,
        width: int = 640,
        features: int = 256,
        hidden: int = 384,
        dropout: float = 0.0,
        jitter: float = 0.7,
        place_weight: float = 0.1,
        **training: Any,
    ) -> None:
        look = {
            "units": units,
            "width": width,
            "features": features,
            "hidden": hidden,
            "dropout": dropout,
        }
        with reading_checkpoint(first, FirstLookTask.__name__):
            glance = FirstLookTask.load_from_checkpoint(
                first, map_location="cpu", weights_only=True
            )
        config = {**glance.config, "second": look}
        network = build_face_network(**config)
        network.load_state_dict(glance.network.state_dict(), strict=False)
        network.first.requires_grad_(False).eval()
        super().__init__(network, **training)
        self.config = config

    def train(self, mode: bool = True) -> Self:
        """As a module's, but the first look stays as it is."""
        super().train(mode)
        self.network.first.eval()
        return self

    def adopt(self, descriptors: Tensor, faces: FaceCoefficients) -> None:
        """Units of places."""
        second = self._second
        if not second.middle.any():
            second.adopt(self._places(faces))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The second look's loss of one batch."""
        truth, second = _truth(batch), self._second
        located = second.locate(self.network.first(batch["descriptors"]))
        distance = (located - self._places(truth)).norm(dim=-1).mean()
        self.log("train/places", distance)
        astray = torch.randn_like(located[:, :1]) + 0.5 * torch.randn_like(located)
        around = located.detach() + self.hparams["jitter"] * astray
        features = second(batch["descriptors"], around)
        readings = [
            self.network.decode(*second.head(features, neutral))
            for neutral in (None, features[batch["neutral"]])
        ]
        return self.sum_losses(readings, truth) + self.hparams["place_weight"] * distance

    @property
    def _second(self) -> SecondLook:
        assert self.network.second is not None
        return self.network.second

    def _places(self, faces: FaceCoefficients) -> Tensor:
        """(N, Q, 2) pixels of the crop."""
        middle = torch.tensor(CROP_SIZE[::-1], device=self.device) / 2
        flip = torch.tensor([1.0, -1.0], device=self.device)
        return middle + max(CROP_SIZE) / 2 * flip * self.landmarks(faces)[:, list(POINTS)]


def _truth(batch: Batch) -> FaceCoefficients:
    return FaceCoefficients(**{field.name: batch[field.name] for field in fields(FaceCoefficients)})


def _parts(faces: FaceCoefficients) -> tuple[Tensor, ...]:
    return faces.shape, faces.expression, faces.global_rotation, faces.jaw, faces.camera
