from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from i2fet.metrics import FrechetDistance


def reference(first: Tensor, second: Tensor) -> float:
    """The textbook formula with scipy's matrix square root."""
    samples = [each.double().numpy() for each in (first, second)]
    covariances = [np.cov(each, rowvar=False) for each in samples]
    root = sqrtm(covariances[0] @ covariances[1])
    shift = samples[0].mean(axis=0) - samples[1].mean(axis=0)
    return float(shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


def distance(generated: Tensor, real: Tensor) -> float:
    metric = FrechetDistance(real.shape[-1])
    for start in range(0, max(len(generated), len(real)), 70):
        metric.update(generated[start : start + 70], real=False)
        metric.update(real[start : start + 70], real=True)
    return float(metric.compute())


@pytest.fixture
def real(generator: torch.Generator) -> Tensor:
    mixing = torch.randn(12, 12, generator=generator)
    return torch.randn(200, 12, generator=generator) @ mixing + 3


@pytest.fixture
def generated(generator: torch.Generator) -> Tensor:
    mixing = torch.randn(12, 12, generator=generator)
    return torch.randn(150, 12, generator=generator) @ mixing + 2.5


def test_it_is_scipys(generated: Tensor, real: Tensor) -> None:
    assert distance(generated, real) == pytest.approx(reference(generated, real), rel=1e-6)


def test_it_is_symmetric_and_0_for_equals(generated: Tensor, real: Tensor) -> None:
    assert distance(generated, real) == pytest.approx(distance(real, generated), rel=1e-9)
    assert distance(real, real) == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_as_its_square(real: Tensor) -> None:
    assert distance(real + 2, real) == pytest.approx(12 * 4, rel=1e-6)


def test_singular_covariances_are_fine(real: Tensor) -> None:
    collapsed = real.mean(dim=0).expand(len(real), -1)
    spread = float(real.double().var(dim=0).sum())
    assert distance(collapsed, real) == pytest.approx(spread, rel=1e-6)
    assert distance(real[:5], real) >= 0


def test_a_mean_far_from_zero_changes_nothing(generated: Tensor, real: Tensor) -> None:
    far = distance(generated.double() + 1e5, real.double() + 1e5)
    assert far == pytest.approx(distance(generated, real), rel=1e-4)


def test_pairs_count_as_single_vectors(real: Tensor) -> None:
    metric = FrechetDistance(12)
    metric.update(real.unflatten(0, (-1, 2)), real=True)
    metric.update(real + 1, real=False)
    assert float(metric.compute()) == pytest.approx(12, rel=1e-6)


def test_one_kind_alone_is_nan(real: Tensor) -> None:
    metric = FrechetDistance(12)
    metric.update(real, real=True)
    assert metric.compute().isnan()
