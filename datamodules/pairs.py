"""What tasks learn from: two expressions of one subject and a sentence between them, or less."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.utils.data import Dataset

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import DatasetError

Batch = dict[str, Tensor]

PARTS = ("train", "val", "test")
FOLDS = 10
"""One of ten parts is for testing, one of ten parts of the rest for validation (Section IV-B)."""


@dataclass(frozen=True)
class FaceTable:
    """N labelled faces in memory.

    Attributes:
        coefficients: (N,) faces.
        subject: (N,) int64, numbers of the subjects.
        emotion: (N,) int64, indices into the dataset's labels; neutral is past the last of CK+.
    """

    coefficients: FaceCoefficients
    subject: Tensor
    emotion: Tensor


@dataclass(frozen=True)
class Samples:
    """M training samples.

    Attributes:
        faces: (M, 2) int64 rows of a `FaceTable`: the first and the second expression.
        instruction: (M,) int64 rows of a table of sentences.
    """

    faces: Tensor
    instruction: Tensor

    def __len__(self) -> int:
        return len(self.instruction)

    def __getitem__(self, index: Tensor) -> Samples:
        return Samples(self.faces[index], self.instruction[index])


def all_pairs(subject: Tensor, emotion: Tensor) -> Tensor:
    """Every ordered pair of faces of one subject that show different emotions.

    Args:
        subject: (N,) int64.
        emotion: (N,) int64.

    Returns:
        (P, 2) int64 rows.
    """
    order = subject.argsort(stable=True)
    _, group, sizes = subject[order].unique_consecutive(return_inverse=True, return_counts=True)
    starts = sizes.cumsum(0) - sizes
    partners = sizes[group]
    first = torch.arange(len(order)).repeat_interleave(partners)
    begin = (partners.cumsum(0) - partners).repeat_interleave(partners)
    second = starts[group][first] + torch.arange(len(first)) - begin
    pairs = order[torch.stack([first, second], dim=1)]
    return pairs[emotion[pairs[:, 0]] != emotion[pairs[:, 1]]]


def neutral_pairs(faces: FaceTable, rows: Tensor, neutral: int) -> Tensor:
    """Every expression together with every neutral face of its subject.

    Args:
        faces: The faces.
        rows: (R,) int64 rows of `faces` to take.
        neutral: The label of neutral faces.

    Returns:
        (P, 2) int64 rows of `faces`, the neutral one second.

    Raises:
        DatasetError: No subject shows both.
    """
    pairs = rows[all_pairs(faces.subject[rows], faces.emotion[rows])]
    pairs = pairs[faces.emotion[pairs[:, 1]] == neutral]
    if not len(pairs):
        raise DatasetError(
            "no subject of one part of the split shows a neutral and another face; add subjects"
        )
    return pairs


def draw_samples(
    faces: FaceTable, rows: Tensor, count: int, num_emotions: int, templates: int, seed: int
) -> Samples:
    """Draw samples as the paper does: pairs in turn at random, each with one of its sentences.

    Args:
        faces: The faces.
        rows: (R,) int64 rows of `faces` to draw from.
        count: Number of samples; each pair serves equally often, give or take one.
        num_emotions: E, the labels to be paired; faces with others are left out.
        templates: K, sentences for each ordered pair of labels.
        seed: Source of the draws.

    Raises:
        DatasetError: No subject shows two emotions.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = rows[faces.emotion[rows] < num_emotions]
    pairs = rows[all_pairs(faces.subject[rows], faces.emotion[rows])]
    if count and not len(pairs):
        raise DatasetError("no subject of one part of the split shows two emotions; add subjects")
    rounds = -(-count // max(len(pairs), 1))
    orders = [torch.randperm(len(pairs), generator=generator) for _ in range(rounds)]
    chosen = pairs[torch.cat([*orders, torch.empty(0, dtype=torch.long)])[:count]]
    template = torch.randint(templates, (count,), generator=generator)
    first, second = faces.emotion[chosen].unbind(1)
    transition = transition_index(first, second, num_emotions)
    return Samples(chosen, transition * templates + template)


def transition_index(first: Tensor, second: Tensor, num_emotions: int) -> Tensor:
    """Position of each pair of different labels in `itertools.permutations(labels, 2)`."""
    return first * (num_emotions - 1) + second - (second > first).long()


def split_sizes(count: int) -> dict[str, int]:
    """How many of `count` samples go to each part (Section IV-B)."""
    test = round(count / FOLDS)
    val = round((count - test) / FOLDS)
    return {"train": count - test - val, "val": val, "test": test}


def split_samples(count: int, seed: int) -> dict[str, Tensor]:
    """Part samples at random, as the paper does.

    Returns:
        Positions of the samples in each of `PARTS`, (N_part,) int64.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + 1))
    pieces = order.split(list(split_sizes(count).values()))
    return dict(zip(PARTS, pieces, strict=True))


def split_subjects(subject: Tensor, emotion: Tensor, seed: int) -> dict[str, Tensor]:
    """Part the subjects so that every part has much the same share of each emotion.

    Args:
        subject: (N,) int64.
        emotion: (N,) int64.
        seed: Source of the draw.

    Returns:
        Rows of each of `PARTS`, (N_part,) int64.

    Raises:
        DatasetError: Fewer than three subjects.
    """
    count = len(subject.unique())
    if count < len(PARTS):
        raise DatasetError(f"{count} subjects cannot be split into three parts; add subjects")
    rows = np.arange(len(subject))
    parts = {}
    for part in ("test", "val"):
        folds = min(FOLDS, len(subject[rows].unique()))
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        rest, chosen = next(splitter.split(rows, emotion[rows], subject[rows]))
        parts[part] = torch.from_numpy(rows[chosen])
        rows = rows[rest]
    return {"train": torch.from_numpy(rows), **parts}


class FaceRows(Dataset[Batch], ABC):
    """Samples made of rows of a table of faces, delivered a whole batch at a time.

    Args:
        faces: The faces.
        rows: (M,) or (M, 2) int64 rows of them: the face or the faces of each sample.
    """

    def __init__(self, faces: FaceTable, rows: Tensor) -> None:
        self.faces = faces
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.batch(torch.as_tensor(indices))

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """The samples of (B,) indices."""


class PairDataset(FaceRows):
    """Two expressions of one subject and a sentence.

    A batch holds `sample` (B,) int64, the samples' numbers; `shape` (B, 100), `expression`
    (B, 2, 50), `pose` (B, 2, 6), `emotion` (B, 2) int64, and the sentences: `tokens` (U, 77, D) and
    `token_mask` (U, 77) of the U distinct ones, `instruction` (B,) int64 the row of each sample.

    Args:
        faces: The faces.
        samples: Rows of faces and of tokens.
        tokens: (S, 77, D) embedded sentences.
        mask: (S, 77) bool, where they have a token.
    """

    def __init__(self, faces: FaceTable, samples: Samples, tokens: Tensor, mask: Tensor) -> None:
        super().__init__(faces, samples.faces)
        self.samples = samples
        self.tokens = tokens
        self.mask = mask

    def batch(self, indices: Tensor) -> Batch:
        samples = self.samples[indices]
        sentences, instruction = samples.instruction.unique(return_inverse=True)
        return {
            "sample": indices,
            **_two_faces(self.faces, samples.faces),
            "tokens": self.tokens[sentences],
            "token_mask": self.mask[sentences],
            "instruction": instruction,
        }


class NeutralDataset(FaceRows):
    """Expressions and the neutral faces of the same subjects.

    A batch holds `shape` (B, 100), `expression` (B, 2, 50), `pose` (B, 2, 6) and `emotion` (B, 2)
    int64; the neutral face is the second.
    """

    def batch(self, indices: Tensor) -> Batch:
        return _two_faces(self.faces, self.rows[indices])


def _two_faces(faces: FaceTable, pairs: Tensor) -> Batch:
    return {
        "shape": faces.coefficients.shape[pairs[:, 0]],
        "expression": faces.coefficients.expression[pairs],
        "pose": faces.coefficients.pose[pairs],
        "emotion": faces.emotion[pairs],
    }


class FaceDataset(FaceRows):
    """Single faces.

    A batch holds `row` (B,) int64, the same for a face in every part; `shape` (B, 100),
    `expression` (B, 50), `pose` (B, 6), `camera` (B, 3) and `emotion` (B,) int64.
    """

    def batch(self, indices: Tensor) -> Batch:
        rows = self.rows[indices]
        coefficients = self.faces.coefficients[rows]
        return {"row": rows, **vars(coefficients), "emotion": self.faces.emotion[rows]}
