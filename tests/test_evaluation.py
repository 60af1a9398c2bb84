from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from imblearn.metrics import geometric_mean_score
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix

from i2fet.coefficient_judge import CoefficientJudge
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import DatasetError
from i2fet.evaluation import (
    HeldOutPairs,
    LabelledFaces,
    Score,
    evaluate,
    generate_pairs,
    name_expressions,
    seed_interval,
    share_interval,
    weigh,
)
from i2fet.evaluation_report import draw_verdicts, show_share
from i2fet.face_spaces import coefficient_space

LABELS = ("anger", "fear", "sadness")
PEOPLE = 6
STATISTICS = {
    "expression_mean": torch.zeros(50),
    "expression_std": torch.ones(50),
    "pose_mean": torch.zeros(6),
    "pose_std": torch.ones(6),
}
SPACES = {"coefficients": coefficient_space(STATISTICS)}


@pytest.fixture
def faces(generator):
    """Three faces of each label and person, whose labels overlap."""
    emotion = torch.arange(len(LABELS)).repeat_interleave(3).repeat(PEOPLE)
    count = len(emotion)
    means = torch.randn(len(LABELS), 50, generator=generator) * 0.3
    coefficients = FaceCoefficients(
        torch.randn(count, 100, generator=generator),
        means[emotion] + torch.randn(count, 50, generator=generator),
        torch.randn(count, 6, generator=generator),
        torch.ones(count, 3),
    )
    return LabelledFaces(coefficients, emotion)


@pytest.fixture
def pairs(faces, generator):
    """Forty pairs, of which the first people have more than the last."""
    subject = (torch.rand(40, generator=generator).square() * PEOPLE).long()
    rows = subject[:, None] * 9 + torch.randint(9, (40, 2), generator=generator)
    instruction = torch.arange(40)
    return HeldOutPairs(faces, rows, subject, torch.ones(40, 2, 4), torch.ones(40, 2), instruction)


class FakeGenerator:
    """Generates given faces, whatever the noise."""

    def __init__(self, faces: FaceCoefficients) -> None:
        self.faces = faces

    def sample(self, tokens, mask, instruction, generator):
        return self.faces.expression[instruction], self.faces.pose[instruction]


def judge_pairs(generated, pairs, judges, seeds=2):
    training = LabelledFaces(pairs.real.faces[pairs.rows], pairs.emotion)
    model = FakeGenerator(generated)
    return evaluate(model, judges, pairs, training, SPACES, LABELS, range(seeds))


def test_the_second_judge_is_scikit_learns(faces):
    judge = CoefficientJudge(faces.faces, faces.emotion)
    vectors = torch.cat([faces.faces.expression, faces.faces.pose[:, 3:]], dim=1).double().numpy()
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(vectors, faces.emotion)
    named = judge.judge(faces.faces)
    assert named.tolist() == model.predict(vectors).tolist()
    assert named.dtype == torch.int64


def test_a_generator_that_repeats_the_real_faces_reaches_the_ceiling(faces, pairs):
    judge = CoefficientJudge(faces.faces[:27], faces.emotion[:27])
    result = judge_pairs(faces.faces[pairs.rows], pairs, {"one": judge.judge})
    generated, real = result.generated.verdicts["one"], result.real.verdicts["one"]
    for measure in ("acc1", "acc2", "gmean"):
        value, ceiling = getattr(generated, measure), getattr(real, measure)
        assert value.mean == pytest.approx(ceiling.mean)
        assert value.interval == pytest.approx(ceiling.interval)
        assert value.std == 0
        assert ceiling.std is None
    assert np.array_equal(generated.confusion, 2 * np.array(real.confusion))
    found = result.resemblance["coefficients"]
    assert found.diversity.mean == pytest.approx(1)
    assert found.frechet.mean == pytest.approx(0, abs=1e-6)
    assert found.training_diversity == pytest.approx(1)
    assert found.training_frechet == pytest.approx(0, abs=1e-6)
    assert result.subjects == len(pairs.subject.unique())


def test_a_generator_of_mean_faces_is_right_but_neither_varied_nor_real(faces, pairs):
    means = torch.stack([faces.faces.expression[faces.emotion == e].mean(0) for e in range(3)])
    poses = torch.zeros(3, 6)
    still = FaceCoefficients(
        torch.zeros(40, 2, 100),
        means[pairs.emotion],
        poses[pairs.emotion],
        torch.zeros(40, 2, 3),
    )
    judge = CoefficientJudge(faces.faces, faces.emotion)
    result = judge_pairs(still, pairs, {"one": judge.judge})
    assert result.generated.verdicts["one"].acc2.mean == 1
    found = result.resemblance["coefficients"]
    assert found.diversity.mean == pytest.approx(0, abs=1e-3)
    assert found.frechet.mean > 1
    assert found.training_frechet == pytest.approx(0, abs=1e-6)


def test_verdicts_are_those_of_scikit_learn(pairs, generator):
    target = pairs.emotion
    noise = torch.randint(3, (2, 5, 40, 2), generator=generator)
    keep = torch.rand(2, 5, 40, 2, generator=generator) < 0.7
    named = torch.where(keep, target, noise)
    judgement = weigh({"one": named[0], "other": named[1]}, pairs, LABELS)
    assert judgement.agreement == pytest.approx(float((named[0] == named[1]).double().mean()))
    for each, verdict in zip(named, judgement.verdicts.values(), strict=True):
        flat = [(target.flatten(), seed.flatten()) for seed in each]
        assert verdict.acc1.values == pytest.approx([accuracy_score(*seed) for seed in flat])
        assert verdict.gmean.values == pytest.approx([geometric_mean_score(*seed) for seed in flat])
        both = [float((seed == target).all(dim=1).double().mean()) for seed in each]
        assert verdict.acc2.values == pytest.approx(both)
        assert verdict.acc2.mean == pytest.approx(np.mean(both))
        assert verdict.acc2.std == pytest.approx(np.std(both, ddof=1))
        total = sum(confusion_matrix(*seed) for seed in flat)
        assert np.array_equal(verdict.confusion, total)


def test_intervals_over_people_are_scipys(generator):
    confusion = torch.randint(1, 9, (25, 3, 3), generator=generator)
    count = torch.randint(5, 9, (25,), generator=generator)
    right = (count * torch.rand(25, generator=generator)).long()
    hits, totals = confusion.diagonal(dim1=1, dim2=2).sum(1), confusion.sum((1, 2))
    for part, whole in ((hits, totals), (right, count)):
        found = share_interval(part, whole)
        expected = stats.bootstrap(
            (part.numpy(), whole.numpy()),
            lambda part, whole, axis: part.sum(axis) / whole.sum(axis),
            paired=True,
            vectorized=True,
            method="percentile",
            rng=0,
        ).confidence_interval
        width = expected.high - expected.low
        assert found == pytest.approx(tuple(expected), abs=0.15 * width)


def test_intervals_over_seeds_are_scipys():
    values = [0.4, 0.5, 0.7, 0.65]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert seed_interval(values) == pytest.approx((expected.low, expected.high))
    assert seed_interval([0.5, 0.5]) == (0.5, 0.5)
    assert seed_interval([0.5]) is None


def test_generated_faces_keep_the_first_faces_identity(faces, pairs):
    real = faces.faces[pairs.rows]
    generated = generate_pairs(FakeGenerator(real), pairs, 0)
    assert torch.equal(generated.shape[:, 0], real.shape[:, 0])
    assert torch.equal(generated.shape[:, 1], real.shape[:, 0])
    assert torch.equal(generated.expression, real.expression)


def test_names_are_translated_into_the_label_set(faces):
    asked = []

    def judge(some, among):
        asked.append(among)
        return torch.full((len(some),), 2)

    known = SimpleNamespace(emotions=("neutral", "sadness", "anger", "fear"))
    named = name_expressions(SimpleNamespace(judge=judge, provenance=known), LABELS, faces.faces)
    assert named.tolist() == [LABELS.index("anger")] * len(faces.emotion)
    assert asked == [LABELS]


def test_a_label_of_a_single_face_is_told(faces, pairs):
    emotion = faces.emotion.clone()
    emotion[emotion == 2] = 1
    emotion[pairs.rows[0, 0]] = 2
    lonely = replace(pairs, real=LabelledFaces(faces.faces, emotion))
    with pytest.raises(DatasetError, match="shows sadness by a single face"):
        judge_pairs(faces.faces[pairs.rows], lonely, {})


def test_confusions_show_counts_and_percentages(faces, pairs, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    written = []
    draw = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda axes, x, y, s, **o: written.append(s) or draw(axes, x, y, s, **o)
    )
    judge = CoefficientJudge(faces.faces, faces.emotion)
    result = judge_pairs(faces.faces[pairs.rows], pairs, {"one": judge.judge})
    draw_verdicts(result, tmp_path / "confusion.png")
    cells = [cell.split("\n") for cell in written]
    for judgement, part in ((result.generated, cells[:9]), (result.real, cells[9:])):
        matrix = np.array(judgement.verdicts["one"].confusion)
        assert [int(count) for count, _ in part] == matrix.flatten().tolist()
        shares = matrix / matrix.sum(axis=1, keepdims=True)
        assert [share for _, share in part] == [f"{share:.1%}" for share in shares.flatten()]


def test_intervals_of_shares_end_where_shares_do() -> None:
    assert show_share(Score((0.99, 0.999), 0.9945, 0.006, (0.94, 1.05))).endswith(
        "(94.0% to 100.0%)"
    )
    assert show_share(Score((0.0, 0.1), 0.05, 0.07, (-0.6, 0.7))).endswith("(0.0% to 70.0%)")
    assert show_share(Score((0.5,), 0.5, None, None)) == "50.0%"
