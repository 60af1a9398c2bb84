from __future__ import annotations

import pytest
import torch

from i2fet.nn.matching import contrastive_loss, draw_candidates


def test_candidates_are_the_own_row_and_others_of_different_labels() -> None:
    label = torch.tensor([4, 4, 9, 1, 7, 7, 7, 2, 9])
    chance = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(30):
        rows = draw_candidates(label, 4, chance)
        assert rows[:, 0].tolist() == list(range(9))
        assert all(len(set(row)) == 4 for row in label[rows].tolist())
        seen |= {(int(row[0]), int(other)) for row in rows for other in row[1:]}
    expected = {(a, b) for a in range(9) for b in range(9) if label[a] != label[b]}
    assert seen == expected


def test_candidates_may_be_all_labels() -> None:
    label = torch.tensor([0, 1, 2, 2])
    rows = draw_candidates(label, 3, torch.Generator().manual_seed(0))
    assert [sorted(row) for row in label[rows].tolist()] == [[0, 1, 2]] * 4


def test_contrastive_loss_is_the_cross_entropy_of_both_ways() -> None:
    faces, texts = torch.randn(2, 5, 3).unbind()
    logits = faces @ texts.T / 0.5
    expected = -(logits.log_softmax(dim=1) + logits.log_softmax(dim=0)).diagonal().mean() / 2
    result = contrastive_loss(faces, texts, torch.arange(5), 0.5)
    assert float(result) == pytest.approx(float(expected), rel=1e-6)


def test_rows_of_one_label_attract_each_other() -> None:
    label = torch.tensor([0, 0, 1, 2])
    apart, together = torch.eye(4), torch.eye(3)[label]
    loss = float(contrastive_loss(together, together, label, 0.1))
    assert loss == pytest.approx(float(torch.tensor(2.0).log()) / 2, abs=1e-3)
    assert contrastive_loss(apart, apart, label, 0.1) > loss + 1
    assert contrastive_loss(apart, apart, torch.arange(4), 0.1) < loss
