from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from imblearn.metrics import geometric_mean_score
from sklearn.metrics import accuracy_score
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from i2fet.metrics import GeometricMean, PairAccuracy, SingleAccuracy, nearest_class

CLASSES = 8
Labels = tuple[Tensor, Tensor]


@pytest.fixture
def labels(generator: torch.Generator) -> Labels:
    """Pairs of predictions, about two thirds of them right, and of targets."""
    target = torch.randint(CLASSES, (200, 2), generator=generator)
    noise = torch.randint(CLASSES, (200, 2), generator=generator)
    right = torch.rand(200, 2, generator=generator) < 0.6
    return torch.where(right, target, noise), target


def test_acc1_is_scikit_learns(labels: Labels) -> None:
    metric = SingleAccuracy(CLASSES)
    for part in range(0, 200, 64):
        metric.update(labels[0][part : part + 64], labels[1][part : part + 64])
    expected = accuracy_score(*(each.flatten().numpy() for each in labels))
    assert float(metric.compute()) == pytest.approx(expected)


def test_acc1_takes_logits(labels: Labels) -> None:
    prediction, target = labels[0][:, 0], labels[1][:, 0]
    logits = torch.nn.functional.one_hot(prediction, CLASSES).float()
    expected = accuracy_score(target.numpy(), prediction.numpy())
    assert float(SingleAccuracy(CLASSES)(logits, target)) == pytest.approx(expected)


def test_acc2_is_scikit_learns_over_pairs(labels: Labels) -> None:
    metric = PairAccuracy(CLASSES)
    for part in range(0, 200, 64):
        metric.update(labels[0][part : part + 64], labels[1][part : part + 64])
    pairs = [[f"{a} {b}" for a, b in each.tolist()] for each in labels]
    assert float(metric.compute()) == pytest.approx(accuracy_score(*pairs))
    assert metric.compute() < SingleAccuracy(CLASSES)(*labels)


def test_geometric_mean_is_imbalanced_learns(labels: Labels) -> None:
    metric = GeometricMean(CLASSES)
    for part in range(0, 200, 64):
        metric.update(labels[0][part : part + 64], labels[1][part : part + 64])
    expected = geometric_mean_score(labels[1].flatten().numpy(), labels[0].flatten().numpy())
    assert 0 < expected < 1
    assert float(metric.compute()) == pytest.approx(expected)


def test_geometric_mean_is_0_if_a_class_is_never_recognised(labels: Labels) -> None:
    prediction = labels[0].where(labels[1] != 3, 4)
    expected = geometric_mean_score(labels[1].flatten().numpy(), prediction.flatten().numpy())
    assert expected == 0
    assert GeometricMean(CLASSES)(prediction, labels[1]) == 0


def test_geometric_mean_leaves_out_classes_that_do_not_occur(labels: Labels) -> None:
    prediction, target = (each % (CLASSES - 1) for each in labels)
    expected = geometric_mean_score(target.flatten().numpy(), prediction.flatten().numpy())
    assert float(GeometricMean(CLASSES)(prediction, target)) == pytest.approx(expected)


def test_geometric_mean_of_nothing_is_nan() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert GeometricMean(CLASSES).compute().isnan()


def test_nearest_class_is_scikit_learns(generator: torch.Generator) -> None:
    labels = torch.randint(3, (180,), generator=generator)
    vectors = torch.randn(180, 5, generator=generator) + labels[:, None]
    means = torch.stack([vectors[labels == label].mean(dim=0) for label in range(3)])
    means = torch.cat([means, torch.full((1, 5), torch.nan)])
    reference = NearestCentroid().fit(vectors.numpy(), labels.numpy())
    queries = torch.randn(50, 5, generator=generator)
    assert nearest_class(queries, means).tolist() == reference.predict(queries.numpy()).tolist()
    assert np.unique(nearest_class(queries, means)).size > 1
