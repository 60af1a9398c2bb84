"""A trained expression classifier as its users need it: coefficients in, expressions out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2fet.checkpoint import Provenance, load_part
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import CheckpointError
from i2fet.heads import load_head
from i2fet.nn.classifier import ExpressionClassifier
from i2fet.rendering.shape_images import draw_shape_images

PREFIX = "judge."
"""Of the judge's parameters in a checkpoint of `ExpressionClassifierTask`."""
LISTED = 3


@dataclass(frozen=True)
class TrainingPart:
    """Whom a judge was trained on.

    Attributes:
        population: Whose names the subjects' names are; see `DataSource`.
        subjects: Names of the subjects.
        counts: Faces of each label.
    """

    population: str
    subjects: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainingPart:
        """From a checkpoint's plain values."""
        return cls(values["population"], tuple(values["subjects"]), tuple(values["counts"]))

    def check_unseen(
        self, population: str, subjects: Collection[str], model: str = "judge"
    ) -> None:
        """Make sure that people are new to the judge, or to another model of that name.

        Raises:
            CheckpointError: If it was trained on any of them.
        """
        seen = sorted({*subjects} & {*self.subjects}) if population == self.population else []
        if seen:
            listed = ", ".join(seen[:LISTED]) + (", ..." if len(seen) > LISTED else "")
            raise CheckpointError(
                f"the {model} was trained on {len(seen)} of the {len(subjects)} subjects it should "
                f"judge ({listed} of {population}); use one of other people, or split both by "
                "subject and with one seed"
            )


class ExpressionJudge(nn.Module):
    """Names expressions by drawing shape images and classifying them (Section IV-C).

    Args:
        hparams: Hyperparameters of `ExpressionClassifierTask`, its provenance and training part
            among them.

    Attributes:
        provenance: Where the training data came from; its `emotions` are the classes.
        image_size: S of the shape images, pixels.
        classifier: The network.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.provenance = Provenance.from_values(hparams["provenance"])
        self._hparams = hparams
        self.image_size = int(hparams["image_size"])
        self.classifier = ExpressionClassifier(
            len(self.provenance.emotions),
            hparams["backbone"],
            self.image_size,
            hparams["small_images"],
        )
        self.head = load_head(self.provenance.head)

    @property
    def training_part(self) -> TrainingPart:
        """Whom it was trained on; known once training has begun."""
        return TrainingPart.from_values(self._hparams["training_part"])

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> ExpressionJudge:
        """Load a checkpoint of `ExpressionClassifierTask` on the CPU.

        Raises:
            CheckpointError: If the file is missing, broken or of another kind of task.
        """
        return load_part(cls, path, "ExpressionClassifierTask", PREFIX)

    def draw(self, faces: FaceCoefficients) -> Tensor:
        """(B, 3, S, S) uint8 shape images of (B,) faces."""
        return draw_shape_images(self.head, faces, self.image_size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits of (B, 3, S, S) uint8 shape images.

        Raises:
            CheckpointError: If the images have another size than those of the training.
        """
        if images.shape[-2:] != (self.image_size, self.image_size):
            found = " x ".join(str(side) for side in images.shape[-2:])
            raise CheckpointError(
                f"the judge was trained on images of {self.image_size} x {self.image_size} pixels "
                f"and now meets {found}; draw them with its own size"
            )
        return self.classifier(images)

    @torch.no_grad()
    def judge(self, faces: FaceCoefficients, among: Collection[str] | None = None) -> Tensor:
        """Name the expressions of faces.

        Args:
            faces: (B,) of the judge's head.
            among: The labels to choose from; all of the judge's by default.

        Returns:
            (B,) int64 indices into `provenance.emotions`.

        Raises:
            CheckpointError: If the judge does not know one of the labels.
        """
        logits = self(self.draw(faces))
        return (logits + self._mask(among).to(logits)).argmax(dim=1)

    def check(self, head: str, emotions: Collection[str]) -> None:
        """Make sure that the judge can judge certain faces.

        Raises:
            CheckpointError: If they belong to another head, or to a label that it does not know.
        """
        if head != self.provenance.head:
            raise CheckpointError(
                f"the judge was trained for head {self.provenance.head!r} but the faces belong to "
                f"{head!r}; train one for that head"
            )
        self._mask(emotions)

    def _mask(self, among: Collection[str] | None) -> Tensor:
        known = self.provenance.emotions
        labels = known if among is None else tuple(str(label) for label in among)
        if not set(labels) <= set(known):
            raise CheckpointError(
                f"the judge knows {', '.join(known)} but should judge {', '.join(labels)}; "
                "use a judge of the same label set"
            )
        return torch.tensor([0.0 if label in labels else -torch.inf for label in known])
