"""How good a judge is itself: what it says of real faces of people whom it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from i2fet.coefficients import FaceCoefficients
from i2fet.evaluation import (
    JUDGED_AT_ONCE,
    Score,
    confusion_by_subject,
    gmean_interval,
    score,
    share_interval,
)
from i2fet.judge import ExpressionJudge
from i2fet.metrics import geometric_mean


@dataclass(frozen=True)
class JudgeQuality:
    """How a judge names faces, with all its labels to choose from.

    The intervals are bootstraps over the people.

    Attributes:
        faces: How many it was shown.
        subjects: How many people show them.
        accuracy: Share of the faces named right.
        gmean: Geometric mean of the recalls of the labels that are shown.
        ece: Expected calibration error of the probabilities, in 15 bins.
        confusion: (C, C) counts, labels shown in rows.
    """

    faces: int
    subjects: int
    accuracy: Score
    gmean: Score
    ece: float
    confusion: tuple[tuple[int, ...], ...]

    def recall(self, label: int) -> float:
        """Share of the faces with a label that are named so; NaN if there is none."""
        row = torch.tensor(self.confusion[label])
        return float(row[label] / row.sum())


@torch.no_grad()
def judge_images(judge: ExpressionJudge, images: Tensor) -> Tensor:
    """(N, C) logits of (N, 3, S, S) uint8 shape images, of which there may be many."""
    return torch.cat([judge(batch) for batch in images.split(JUDGED_AT_ONCE)])


def draw_all(judge: ExpressionJudge, faces: FaceCoefficients) -> Tensor:
    """(N, 3, S, S) uint8 shape images of (N,) faces, of which there may be many."""
    rows = torch.arange(len(faces)).split(JUDGED_AT_ONCE)
    return torch.cat([judge.draw(faces[batch]) for batch in rows])


def assess(logits: Tensor, emotion: Tensor, subject: Tensor) -> JudgeQuality:
    """Compare what a judge says with the truth.

    Args:
        logits: (N, C).
        emotion: (N,) int64 labels.
        subject: (N,) int64 numbers of the people.
    """
    people, person = subject.unique(return_inverse=True)
    classes = logits.shape[1]
    confusion = confusion_by_subject(logits.argmax(dim=1), emotion, person, classes)
    hits, total = confusion.diagonal(dim1=1, dim2=2).sum(dim=1), confusion.sum(dim=0)
    return JudgeQuality(
        faces=len(logits),
        subjects=len(people),
        accuracy=score([int(hits.sum()) / len(logits)], share_interval(hits, person.bincount())),
        gmean=score([float(geometric_mean(total))], gmean_interval(confusion)),
        ece=float(multiclass_calibration_error(logits, emotion, classes)),
        confusion=tuple(tuple(row) for row in total.tolist()),
    )
