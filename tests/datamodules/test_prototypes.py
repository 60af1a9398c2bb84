from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from datamodules.corpus import plan_takes
from datamodules.prototypes import (
    ARKIT_ACTIONS,
    CONFUSABLE,
    PROTOTYPES,
    UNITS,
    ActionMap,
    Array,
    Variability,
    sample_expression,
    sample_style,
)
from i2fet.emotions import CKPLUS_EMOTIONS, Emotion
from i2fet.heads import ArkitHead

STILL = Variability(
    intensity=(1, 1), spread=0, omission=0, stray_units=0, blend=0, blend_share=(0, 0)
)


def units_of(**intensities: float) -> Array:
    units = np.zeros((1, len(UNITS), 2))
    for name, value in intensities.items():
        units[0, UNITS.index(int(name.removeprefix("au")))] = value
    return units


def named(head: ArkitHead, expression: Array) -> dict[str, float]:
    return {
        name: round(float(value), 3)
        for name, value in zip(head.expression_names, expression[0], strict=True)
        if value
    }


def test_prototypes_use_known_units() -> None:
    assert set(PROTOTYPES) == set(CONFUSABLE) == set(Emotion)
    used = {unit for variants in PROTOTYPES.values() for variant in variants for unit in variant}
    assert used <= set(ARKIT_ACTIONS)


def test_smile_is_both_sides_and_clipped(head: ArkitHead) -> None:
    actions = ActionMap(head.expression_names)
    expression, opening = actions(units_of(au12=0.5))
    assert named(head, expression) == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert opening == 0
    expression, _ = actions(units_of(au12=3.0))
    assert expression.max() == 1


def test_jaw_drop_opens_the_jaw_alone(head: ArkitHead) -> None:
    expression, opening = ActionMap(head.expression_names)(units_of(au27=1.0))
    assert named(head, expression) == {}
    assert opening == pytest.approx(0.9)


def test_gaze_moves_both_eyes_the_same_way(head: ArkitHead) -> None:
    expression, _ = ActionMap(head.expression_names)(units_of(au61=1.0))
    assert named(head, expression) == {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8}


def test_one_side_alone(head: ArkitHead) -> None:
    units = units_of(au14=1.0)
    units[..., 1] = 0
    expression, _ = ActionMap(head.expression_names)(units)
    assert set(named(head, expression)) == {"mouthDimpleLeft", "mouthPressLeft"}


@pytest.mark.parametrize("emotion", CKPLUS_EMOTIONS)
def test_without_variability_a_variant_shows_itself(emotion: Emotion) -> None:
    rng = np.random.default_rng(0)
    style = sample_style(rng)
    units = sample_expression(emotion, style, rng, STILL)
    shown = (units - style.rest) / style.gain
    variants = [np.array([v.get(u, 0.0) for u in UNITS]) for v in PROTOTYPES[emotion]]
    assert min(np.abs(shown.max(axis=1) - variant).max() for variant in variants) < 1e-9


def test_contempt_is_one_sided() -> None:
    rng = np.random.default_rng(0)
    style = sample_style(rng)
    units = [
        sample_expression(Emotion.CONTEMPT, style, rng, STILL) - style.rest for _ in range(200)
    ]
    dimples = np.array(units)[:, UNITS.index(14)] / style.gain[UNITS.index(14)]
    ratio = dimples.min(1) / dimples.max(1)
    assert ratio.max() < 0.61
    assert 0.3 < (dimples[:, 0] > dimples[:, 1]).mean() < 0.7


def test_styles_differ_more_between_people_than_within() -> None:
    first, second = (sample_style(np.random.default_rng(seed)) for seed in (0, 1))
    assert np.abs(first.gain / second.gain - 1).mean() > 0.1
    assert np.abs(first.gain[:, 0] / first.gain[:, 1] - 1).mean() > 0.03
    assert first.rest.min() >= 0


def test_classes_overlap_as_real_ones_do(head: ArkitHead) -> None:
    """A linear classifier of the true coefficients, tested on other subjects than it has seen."""
    takes = plan_takes(117, seed=0)
    actions = ActionMap(head.expression_names)
    styles = [sample_style(np.random.default_rng([0, subject])) for subject in range(117)]
    rng = np.random.default_rng(1)
    units = np.array(
        [sample_expression(t.emotion, styles[t.subject], rng, Variability()) for t in takes]
    )
    features = np.column_stack(actions(units))
    labels = np.array([CKPLUS_EMOTIONS.index(t.emotion) for t in takes])
    subjects = np.array([t.subject for t in takes])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
    predicted = cross_val_predict(model, features, labels, groups=subjects, cv=GroupKFold(10))
    assert 0.92 < (predicted == labels).mean() < 0.99
