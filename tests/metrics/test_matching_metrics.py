from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from i2fet.metrics import EmbeddingDiversity, MultimodalDistance, Multimodality, RPrecision

SIZE, POOL = 6, 9


@pytest.fixture
def faces(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(40, SIZE, generator=generator)


@pytest.fixture
def candidates(faces: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    texts = torch.randn(40, POOL, SIZE, generator=generator)
    texts[:, 0] = 0.7 * texts[:, 0] + 0.3 * faces
    return texts


def test_r_precision_is_that_of_sorted_distances(
    faces: torch.Tensor, candidates: torch.Tensor
) -> None:
    metric = RPrecision()
    for start in range(0, 40, 16):
        metric.update(faces[start : start + 16], candidates[start : start + 16])
    ranks = np.array(
        [
            int(np.argsort(cdist(face[None], texts)[0]).tolist().index(0))
            for face, texts in zip(faces.numpy(), candidates.numpy(), strict=True)
        ]
    )
    expected = [float((ranks < top).mean()) for top in (1, 2, 3)]
    assert 0 < expected[0] < expected[1] < expected[2] < 1
    assert metric.compute().tolist() == pytest.approx(expected)


def test_texts_that_cannot_be_told_apart_are_no_success(faces: torch.Tensor) -> None:
    metric = RPrecision()
    metric.update(faces, torch.zeros(40, POOL, SIZE))
    assert metric.compute().tolist() == [0, 0, 0]


def test_multimodal_distance_is_numpys(faces: torch.Tensor, candidates: torch.Tensor) -> None:
    metric = MultimodalDistance()
    metric.update(faces[:25], candidates[:25, 0])
    metric.update(faces[25:], candidates[25:, 0])
    expected = np.linalg.norm(faces.numpy() - candidates[:, 0].numpy(), axis=1).mean()
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-6)


def test_diversity_is_scipys_mean_distance(
    faces: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2fet.metrics.matching.CHUNK", 7)
    metric = EmbeddingDiversity()
    metric.update(faces[:10])
    metric.update(faces[10:])
    assert float(metric.compute()) == pytest.approx(float(pdist(faces.numpy()).mean()), rel=1e-5)


def test_multimodality_is_scipys_mean_over_texts(faces: torch.Tensor) -> None:
    texts = torch.arange(40) % 7 * 3
    texts[0] = 100
    metric = Multimodality()
    metric.update(faces[:30], texts[:30])
    metric.update(faces[30:], texts[30:])
    expected = np.mean([pdist(faces[texts == t].numpy()).mean() for t in range(0, 21, 3)])
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-5)


def test_without_chance_there_is_no_multimodality(faces: torch.Tensor) -> None:
    metric = Multimodality()
    metric.update(faces.repeat_interleave(3, dim=0), torch.arange(40).repeat_interleave(3))
    assert float(metric.compute()) == 0


def test_too_few_faces_are_nan(faces: torch.Tensor) -> None:
    diversity, multimodality = EmbeddingDiversity(), Multimodality()
    diversity.update(faces[:1])
    multimodality.update(faces, torch.arange(40))
    assert diversity.compute().isnan()
    assert multimodality.compute().isnan()
