from __future__ import annotations

import numpy as np
import pytest
import torch
from imblearn.metrics import geometric_mean_score
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from i2fet.judge_quality import assess


@pytest.fixture
def answers(generator):
    emotion = torch.randint(3, (300,), generator=generator)
    logits = torch.randn(300, 3, generator=generator)
    logits[torch.arange(300), emotion] += 1
    subject = torch.randint(100, 130, (300,), generator=generator)
    return logits, emotion, subject


def test_measures_are_those_of_scikit_learn(answers):
    logits, emotion, subject = answers
    quality, named = assess(*answers), logits.argmax(dim=1)
    assert quality.accuracy.mean == pytest.approx(accuracy_score(emotion, named))
    assert quality.gmean.mean == pytest.approx(geometric_mean_score(emotion, named))
    assert np.array_equal(quality.confusion, confusion_matrix(emotion, named))
    recalls = [quality.recall(label) for label in range(3)]
    assert recalls == pytest.approx(recall_score(emotion, named, average=None))
    assert (quality.faces, quality.subjects) == (300, len(subject.unique()))


def test_calibration_error_is_the_gap_between_confidence_and_accuracy(answers):
    logits, emotion, _ = answers
    confidence, named = logits.softmax(dim=1).max(dim=1)
    gap = 0.0
    for low in np.arange(15) / 15:
        within = (confidence > low) & (confidence <= low + 1 / 15)
        if within.any():
            right = (named == emotion)[within].double().mean()
            gap += float(
                within.double().mean() * (right - confidence[within].double().mean()).abs()
            )
    assert assess(*answers).ece == pytest.approx(gap, abs=1e-4)


def test_intervals_grow_when_faces_of_one_person_stand_together(answers):
    logits, emotion, _ = answers
    alone = assess(logits, emotion, torch.arange(300))
    repeated = assess(logits.repeat(4, 1), emotion.repeat(4), torch.arange(300).repeat(4))
    independent = assess(logits.repeat(4, 1), emotion.repeat(4), torch.arange(1200))
    for measure in ("accuracy", "gmean"):
        low, high = getattr(alone, measure).interval
        assert low < getattr(alone, measure).mean < high
        assert getattr(repeated, measure).interval == pytest.approx((low, high))
        narrow = getattr(independent, measure).interval
        assert narrow[1] - narrow[0] < 0.7 * (high - low)
