from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from i2fet.nn.moments import ClassMoments, nearest_class, relative_spread


@pytest.fixture
def labelled() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (90, 2), generator=generator)
    return torch.randn(90, 2, 5, generator=generator) + labels[..., None], labels


def test_moments_over_batches_equal_numpys(labelled: tuple[torch.Tensor, torch.Tensor]) -> None:
    vectors, labels = labelled
    moments = ClassMoments(4, 5)
    for part in range(0, 90, 40):
        moments.update(vectors[part : part + 40], labels[part : part + 40])
    mean, variance = moments.compute()
    for label in range(3):
        members = vectors[labels == label].numpy()
        np.testing.assert_allclose(mean[label], members.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance[label], members.var(axis=0), rtol=1e-4)
    assert mean[3].isnan().all()


def test_nearest_class_equals_scikit_learns(labelled: tuple[torch.Tensor, torch.Tensor]) -> None:
    vectors, labels = labelled
    moments = ClassMoments(4, 5)
    moments.update(vectors, labels)
    reference = NearestCentroid().fit(vectors.flatten(0, 1).numpy(), labels.flatten().numpy())
    queries = torch.randn(50, 5)
    result = nearest_class(queries, moments.compute()[0])
    assert result.tolist() == reference.predict(queries.numpy()).tolist()


def test_relative_spread_is_0_for_copies_and_1_for_equals(
    labelled: tuple[torch.Tensor, torch.Tensor],
) -> None:
    vectors, labels = labelled
    real, same, half = (ClassMoments(4, 5) for _ in range(3))
    real.update(vectors, labels)
    means = real.compute()[0][labels]
    same.update(means, labels)
    half.update(means + (vectors - means) / 2, labels)
    variance = real.compute()[1]
    assert relative_spread(variance, variance) == 1
    assert relative_spread(same.compute()[1], variance) == pytest.approx(0, abs=1e-3)
    assert relative_spread(half.compute()[1], variance) == pytest.approx(0.5, rel=1e-3)
