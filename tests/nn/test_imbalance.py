from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from i2fet.nn.imbalance import (
    ClassBalancedFocalLoss,
    CrossEntropyLoss,
    MekLoss,
    class_balanced_weights,
    inverse_frequency_weights,
    rebalanced_smooth_labels,
)

COUNTS = torch.tensor([83, 18, 45])


class Maps:
    """A classifier that returns its images as activation maps."""

    def activation_maps(self, images: Tensor) -> Tensor:
        return images


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(12, 3)


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 3


def as_maps(logits: Tensor) -> Tensor:
    """Maps of 2 x 2 whose means are the logits."""
    return logits[:, :, None, None] + torch.tensor([[1.0, -1.0], [2.0, -2.0]])


def test_weights_are_one_over_the_effective_number() -> None:
    expected = np.array([(1 - 0.99) / (1 - 0.99**n) for n in COUNTS.tolist()])
    weights = class_balanced_weights(COUNTS, 0.99)
    np.testing.assert_allclose(weights, expected * 3 / expected.sum(), rtol=1e-9)


def test_weights_between_equal_and_inverse_frequency() -> None:
    assert class_balanced_weights(COUNTS, 0.0).tolist() == [1, 1, 1]
    near_one = class_balanced_weights(COUNTS, 1 - 1e-7)
    torch.testing.assert_close(near_one, inverse_frequency_weights(COUNTS), rtol=1e-4, atol=0)


def test_inverse_frequency_is_proportional_to_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    weights = inverse_frequency_weights(COUNTS).numpy()
    np.testing.assert_allclose(weights / weights[0], expected / expected[0], rtol=1e-9)
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("beta", [0.0, 0.999])
def test_a_class_that_does_not_occur_weighs_nothing(beta: float) -> None:
    weights = class_balanced_weights(torch.tensor([5, 0, 9]), beta)
    assert weights[1] == 0
    assert weights.sum() == pytest.approx(2)


def test_smooth_labels_give_the_rare_more() -> None:
    weights = inverse_frequency_weights(COUNTS)
    soft = rebalanced_smooth_labels(torch.tensor([0, 1]), weights, 0.3)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(2, dtype=soft.dtype))
    assert soft[0, 0] == pytest.approx(0.7)
    assert soft[0, 1] / soft[0, 2] == pytest.approx(45 / 18)
    assert soft[1, 2] / soft[1, 0] == pytest.approx(83 / 45)


def test_cross_entropy_is_torchs(logits: Tensor, labels: Tensor) -> None:
    loss = CrossEntropyLoss()(Maps(), as_maps(logits), labels)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))


def test_focal_loss_is_its_formula(logits: Tensor, labels: Tensor) -> None:
    loss = ClassBalancedFocalLoss(COUNTS, beta=0.99, gamma=2.0)(Maps(), as_maps(logits), labels)
    probability = 1 / (1 + np.exp(-logits.double().numpy()))
    weights = class_balanced_weights(COUNTS, 0.99).numpy()
    total = 0.0
    for row, label in enumerate(labels.tolist()):
        for c in range(3):
            right = probability[row, c] if c == label else 1 - probability[row, c]
            total += weights[label] * (1 - right) ** 2 * -np.log(right)
    assert float(loss) == pytest.approx(total / 12, rel=1e-5)


def test_unfocused_unweighted_loss_is_binary_cross_entropy(logits: Tensor, labels: Tensor) -> None:
    loss = ClassBalancedFocalLoss(COUNTS, beta=0.0, gamma=0.0)(Maps(), as_maps(logits), labels)
    targets = functional.one_hot(labels, 3).float()
    expected = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / 12
    torch.testing.assert_close(loss, expected)


def test_focusing_plays_down_what_is_easy() -> None:
    easy, hard = torch.tensor([[5.0, -5.0, -5.0]]), torch.tensor([[-1.0, 1.0, -1.0]])
    label = torch.tensor([0])

    def ratio(gamma: float) -> float:
        loss = ClassBalancedFocalLoss(COUNTS, gamma=gamma)
        return float(loss.focal(easy, label) / loss.focal(hard, label))

    assert ratio(2.0) < 0.01 * ratio(0.0)


def test_focal_loss_has_the_right_gradient(labels: Tensor) -> None:
    loss = ClassBalancedFocalLoss(COUNTS).double()
    logits = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: loss.focal(values, labels), logits)


def test_mek_asks_nothing_of_attention_that_mirrors(logits: Tensor, labels: Tensor) -> None:
    maps = as_maps(logits)
    loss = MekLoss(COUNTS)(Maps(), maps, labels)
    targets = rebalanced_smooth_labels(labels, inverse_frequency_weights(COUNTS).float(), 0.3)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, targets))


def test_mek_weighs_inconsistent_attention_by_class() -> None:
    loss = MekLoss(COUNTS)
    maps = torch.zeros(2, 3, 4, 4)
    values = []
    for label in range(3):
        other = maps.clone()
        other[:, label, :, 0] = 1
        values.append(float(loss.inconsistency(maps, other)))
        assert loss.inconsistency(other, other.flip(-1)) == 0
    expected = inverse_frequency_weights(COUNTS) / 4 / 3
    assert values == pytest.approx(expected.tolist())


def test_mek_punishes_attention_that_does_not_mirror(logits: Tensor, labels: Tensor) -> None:
    class LeftOnly:
        def activation_maps(self, images: Tensor) -> Tensor:
            return images * torch.tensor([1.0, 0.0])

    maps = as_maps(logits)
    with_attention = MekLoss(COUNTS, consistency=0.1)(LeftOnly(), maps, labels)
    without = MekLoss(COUNTS, consistency=0.0)(LeftOnly(), maps, labels)
    assert with_attention > without
