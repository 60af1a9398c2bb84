"""How right, how varied and how real generated expressions are (Section IV-C)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from i2fet.coefficients import CAMERA_SIZE, FaceCoefficients
from i2fet.errors import DatasetError
from i2fet.face_spaces import FaceSpace
from i2fet.judge import ExpressionJudge
from i2fet.metrics import (
    DiversityRatio,
    FrechetDistance,
    GeometricMean,
    PairAccuracy,
    SingleAccuracy,
    geometric_mean,
)
from i2fet.nn.pair_generator import PairGenerator

CONFIDENCE = 0.95
RESAMPLES = 1000
JUDGED_AT_ONCE = 256
COMPARED_AT_ONCE = 2048

NamesExpressions = Callable[[FaceCoefficients], Tensor]
"""(B,) faces to (B,) int64 indices into the label set."""


@dataclass(frozen=True)
class LabelledFaces:
    """Faces and the expressions that they show, or should.

    Attributes:
        faces: (...,) of them.
        emotion: (...) int64 labels.
    """

    faces: FaceCoefficients
    emotion: Tensor


@dataclass(frozen=True)
class SubjectFaces(LabelledFaces):
    """The same, with the people who show them.

    Attributes:
        subject: (...) int64 numbers of the people.
    """

    subject: Tensor


@dataclass(frozen=True)
class HeldOutPairs:
    """M samples of the test part: what is asked for, of whom, and what they really show.

    Attributes:
        real: (N,) different faces.
        rows: (M, 2) int64 rows of `real`, the first and the second expression.
        subject: (M,) int64, numbers of the people.
        tokens: (U, T, D) token embeddings of the instructions.
        mask: (U, T) bool, true where there is a token.
        instruction: (M,) int64 rows of `tokens`.
    """

    real: LabelledFaces
    rows: Tensor
    subject: Tensor
    tokens: Tensor
    mask: Tensor
    instruction: Tensor

    @property
    def emotion(self) -> Tensor:
        """(M, 2) int64 labels of the pairs."""
        return self.real.emotion[self.rows]


@dataclass(frozen=True)
class Score:
    """One measure over several seeds.

    Attributes:
        values: Of each seed.
        mean: Their mean.
        std: Their standard deviation; None for a single one.
        interval: Lower and upper bound at 95 % confidence; None where it is not known.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Verdict:
    """What one judge says.

    The intervals say what other people of the same kind would give: bootstrap over the subjects.

    Attributes:
        acc1: Share of single expressions that are named right.
        acc2: Share of pairs of which both are.
        gmean: Geometric mean of the labels' recalls.
        confusion: (C, C) counts over all seeds, labels asked for in rows.
    """

    acc1: Score
    acc2: Score
    gmean: Score
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Judgement:
    """What all judges say about the same faces.

    Attributes:
        verdicts: By the judges' names.
        agreement: Share of the expressions to which all judges give the same name.
    """

    verdicts: dict[str, Verdict]
    agreement: float


@dataclass(frozen=True)
class Resemblance:
    """How generated faces are spread, beside real ones, in a space of vectors.

    The intervals are those of the mean over seeds (Student's t).

    Attributes:
        diversity: Spread within a label over that of real faces.
        frechet: Frechet distance to the real faces, in the space's units squared.
        training_diversity: The same of real faces of other people, those of the training part.
        training_frechet: Likewise; 0 is out of reach where the test part is small.
    """

    diversity: Score
    frechet: Score
    training_diversity: float
    training_frechet: float


@dataclass(frozen=True)
class Evaluation:
    """Generated faces beside the real ones of the same people.

    Attributes:
        labels: The label set.
        pairs: M.
        subjects: People who show them.
        generated: Of faces made from instructions.
        real: Of the real faces: the ceiling.
        resemblance: By the name of the space.
    """

    labels: tuple[str, ...]
    pairs: int
    subjects: int
    generated: Judgement
    real: Judgement
    resemblance: dict[str, Resemblance]


def evaluate(
    generator: PairGenerator,
    judges: Mapping[str, NamesExpressions],
    pairs: HeldOutPairs,
    training: LabelledFaces,
    spaces: Mapping[str, FaceSpace],
    labels: Sequence[str],
    seeds: Iterable[int],
) -> Evaluation:
    """Judge what a model generates for the test part.

    Args:
        generator: The model.
        judges: By name.
        pairs: What it is asked for.
        training: (K, 2) faces of the training part's pairs.
        spaces: Where diversity and distance are measured, by name.
        labels: The label set.
        seeds: Of the noise, at least one; each serves all pairs once.

    Raises:
        DatasetError: If a label is shown by a single face, of which there is no spread.
    """
    _check_spread(pairs, labels)
    real = LabelledFaces(pairs.real.faces[pairs.rows], pairs.emotion)
    named: dict[str, list[Tensor]] = {name: [] for name in judges}
    compared: dict[str, list[tuple[float, float]]] = {name: [] for name in spaces}
    for seed in seeds:
        faces = generate_pairs(generator, pairs, seed)
        for name, judge in judges.items():
            named[name].append(judge(faces.map(_flat)).unflatten(0, (-1, 2)))
        generated = LabelledFaces(faces, pairs.emotion)
        for name, space in spaces.items():
            compared[name].append(_compare(space, generated, real, len(labels)))
    ceiling = {name: judge(pairs.real.faces)[pairs.rows][None] for name, judge in judges.items()}
    return Evaluation(
        labels=tuple(labels),
        pairs=len(pairs.rows),
        subjects=len(pairs.subject.unique()),
        generated=weigh({name: torch.stack(each) for name, each in named.items()}, pairs, labels),
        real=weigh(ceiling, pairs, labels),
        resemblance={
            name: _resemblance(values, _compare(spaces[name], training, real, len(labels)))
            for name, values in compared.items()
        },
    )


@torch.no_grad()
def generate_pairs(generator: PairGenerator, pairs: HeldOutPairs, seed: int) -> FaceCoefficients:
    """(M, 2) faces with the instructed expressions and the identity of the first real face."""
    source = torch.Generator().manual_seed(seed)
    expression, pose = generator.sample(pairs.tokens, pairs.mask, pairs.instruction, source)
    shape = pairs.real.faces.shape[pairs.rows[:, :1]].expand(-1, 2, -1)
    return FaceCoefficients(shape, expression, pose, pose.new_zeros(*shape.shape[:2], CAMERA_SIZE))


def name_expressions(
    judge: ExpressionJudge, labels: Sequence[str], faces: FaceCoefficients
) -> Tensor:
    """(B,) int64 indices into `labels` that a judge of images gives to (B,) faces.

    Raises:
        CheckpointError: If the judge does not know one of the labels.
    """
    position = {label: index for index, label in enumerate(labels)}
    index = torch.tensor([position.get(label, -1) for label in judge.provenance.emotions])
    batches = torch.arange(len(faces)).split(JUDGED_AT_ONCE)
    return index[torch.cat([judge.judge(faces[batch], among=labels) for batch in batches])]


def weigh(named: Mapping[str, Tensor], pairs: HeldOutPairs, labels: Sequence[str]) -> Judgement:
    """Compare what the judges said with what was asked for.

    Args:
        named: (S, M, 2) int64 labels of S seeds, by judge.
        pairs: What was asked for.
        labels: The label set.
    """
    stacked = torch.stack([*named.values()])
    same = (stacked == stacked[0]).all(dim=0)
    verdicts = {name: _verdict(each, pairs, len(labels)) for name, each in named.items()}
    return Judgement(verdicts, float(same.float().mean()))


def score(values: Sequence[float], interval: tuple[float, float] | None) -> Score:
    """Sum up the values of all seeds."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Score(tuple(values), float(np.mean(values)), std, interval)


def seed_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Confidence interval of the mean over seeds; None for a single one."""
    if len(values) < 2:
        return None
    error = stats.sem(values)
    if not error:
        return values[0], values[0]
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, np.mean(values), error)
    return float(low), float(high)


def confusion_by_subject(named: Tensor, target: Tensor, person: Tensor, classes: int) -> Tensor:
    """(P, C, C) counts of each person, labels asked for in rows.

    Args:
        named: (...) int64 labels given.
        target: (...) int64 labels asked for.
        person: (...) int64 numbers of the people from 0 to P - 1.
        classes: C.
    """
    cell = (person * classes + target) * classes + named
    people = int(person.max()) + 1
    return cell.flatten().bincount(minlength=people * classes**2).view(people, classes, classes)


def share_interval(hits: Tensor, count: Tensor) -> tuple[float, float]:
    """Confidence interval of a share by bootstrap over P people.

    Args:
        hits: (P,) of each.
        count: (P,) all their attempts.
    """
    times = _resampled(len(count))
    return _interval((times @ hits.double()) / (times @ count.double()))


def gmean_interval(confusion: Tensor) -> tuple[float, float]:
    """Confidence interval of the G-mean by bootstrap over P people, of (P, C, C) counts."""
    drawn = torch.tensordot(_resampled(len(confusion)), confusion.double(), dims=1)
    return _interval(torch.stack([geometric_mean(each) for each in drawn]))


def _check_spread(pairs: HeldOutPairs, labels: Sequence[str]) -> None:
    used = pairs.real.emotion[pairs.rows.unique()].bincount(minlength=len(labels)).tolist()
    single = [label for label, count in zip(labels, used, strict=True) if count == 1]
    if single:
        raise DatasetError(
            f"the test part shows {', '.join(single)} by a single face, of which diversity cannot "
            "be measured; add subjects"
        )


def _verdict(named: Tensor, pairs: HeldOutPairs, classes: int) -> Verdict:
    target = pairs.emotion.expand_as(named)
    metrics = (SingleAccuracy(classes), PairAccuracy(classes), GeometricMean(classes))
    values = [
        [float(metric(*seed)) for seed in zip(named, target, strict=True)] for metric in metrics
    ]
    _, person = pairs.subject.unique(return_inverse=True)
    confusion = confusion_by_subject(named, target, person[:, None], classes)
    both = (named == target).all(dim=-1).long().sum(dim=0)
    right = torch.zeros(len(confusion), dtype=torch.long).index_add_(0, person, both)
    intervals = (
        share_interval(confusion.diagonal(dim1=1, dim2=2).sum(dim=1), confusion.sum(dim=(1, 2))),
        share_interval(right, person.bincount() * len(named)),
        gmean_interval(confusion),
    )
    acc1, acc2, gmean = (score(*each) for each in zip(values, intervals, strict=True))
    total = confusion.sum(dim=0).tolist()
    return Verdict(acc1, acc2, gmean, tuple(tuple(row) for row in total))


def _resampled(people: int) -> Tensor:
    """(RESAMPLES, P) how often each person is drawn."""
    drawn = np.random.default_rng(0).multinomial(people, np.full(people, 1 / people), RESAMPLES)
    return torch.from_numpy(drawn).double()


def _interval(values: Tensor) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    return float(values.quantile(tail)), float(values.quantile(1 - tail))


def _compare(
    space: FaceSpace, some: LabelledFaces, real: LabelledFaces, classes: int
) -> tuple[float, float]:
    """Diversity ratio and Frechet distance."""
    size = space(real.faces[:1]).shape[-1]
    diversity, distance = DiversityRatio(classes, size), FrechetDistance(size)
    for faces, is_real in ((real, True), (some, False)):
        for batch in torch.arange(len(faces.emotion)).split(COMPARED_AT_ONCE):
            vectors = space(faces.faces[batch])
            diversity.update(vectors, faces.emotion[batch], real=is_real)
            distance.update(vectors, real=is_real)
    return float(diversity.compute()), float(distance.compute())


def _resemblance(
    values: Sequence[tuple[float, float]], training: tuple[float, float]
) -> Resemblance:
    diversity, frechet = (score(each, seed_interval(each)) for each in zip(*values, strict=True))
    return Resemblance(diversity, frechet, *training)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.flatten(0, 1)
