from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from i2fet.metrics import DiversityRatio

Labelled = tuple[Tensor, Tensor]


@pytest.fixture
def labelled(generator: torch.Generator) -> Labelled:
    labels = torch.randint(3, (90, 2), generator=generator)
    return torch.randn(90, 2, 5, generator=generator) + labels[..., None], labels


def ratio(generated: Labelled, real: Labelled, classes: int = 4) -> float:
    metric = DiversityRatio(classes, generated[0].shape[-1])
    for start in range(0, len(real[0]), 40):
        part = slice(start, start + 40)
        metric.update(generated[0][part], generated[1][part], real=False)
        metric.update(real[0][part], real[1][part], real=True)
    return float(metric.compute())


def class_means(vectors: Tensor, labels: Tensor) -> Tensor:
    means = torch.stack([vectors[labels == label].mean(dim=0) for label in range(3)])
    return means[labels]


def test_it_is_numpys_mean_of_the_classes_ratios(
    labelled: Labelled, generator: torch.Generator
) -> None:
    vectors, labels = labelled
    factor = torch.tensor([0.5, 1.0, 3.0])[labels][..., None]
    generated = torch.randn(90, 2, 5, generator=generator) * factor
    expected = np.mean(
        [
            np.sqrt(
                generated[labels == label].numpy().var(axis=0).mean()
                / vectors[labels == label].numpy().var(axis=0).mean()
            )
            for label in range(3)
        ]
    )
    assert ratio((generated, labels), labelled) == pytest.approx(expected, rel=1e-5)


def test_it_is_0_for_copies_and_1_for_equals(labelled: Labelled) -> None:
    vectors, labels = labelled
    means = class_means(vectors, labels)
    assert ratio(labelled, labelled) == 1
    assert ratio((means, labels), labelled) == pytest.approx(0, abs=1e-3)
    assert ratio(((vectors + means) / 2, labels), labelled) == pytest.approx(0.5, rel=1e-5)


def test_a_mean_far_from_zero_does_not_drown_the_spread(labelled: Labelled) -> None:
    vectors, labels = labelled
    means = class_means(vectors, labels)
    generated = (means + 0.3 * (vectors - means) + 1000, labels)
    assert ratio(generated, (vectors + 1000, labels)) == pytest.approx(0.3, rel=1e-3)


def test_it_is_nan_without_generated_vectors(labelled: Labelled) -> None:
    metric = DiversityRatio(3, 5)
    metric.update(*labelled, real=True)
    assert metric.compute().isnan()


def test_a_reset_in_inference_mode_does_no_harm() -> None:
    metric = DiversityRatio(2, 3)
    vectors, labels = torch.randn(20, 3), torch.arange(20) % 2
    with torch.inference_mode():
        metric.update(vectors, labels, real=True)
        metric.reset()
    metric.update(vectors, labels, real=True)
    metric.update(2 * vectors, labels, real=False)
    assert float(metric.compute()) == pytest.approx(2)
