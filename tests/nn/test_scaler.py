from __future__ import annotations

import torch

from i2fet.nn.scaler import SMALLEST_SPREAD, CoefficientScaler


def statistics(expression: torch.Tensor, pose: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "expression_mean": expression.mean(dim=0),
        "expression_std": expression.std(dim=0),
        "pose_mean": pose.mean(dim=0),
        "pose_std": pose.std(dim=0),
    }


def test_standardised_coefficients_have_zero_mean_and_unit_spread() -> None:
    expression, pose = torch.rand(500, 50) * 0.3, torch.randn(500, 6) + 2
    scaler = CoefficientScaler()
    scaler.adopt(statistics(expression, pose))
    for values in scaler.standardize(expression, pose):
        torch.testing.assert_close(values.mean(dim=0), torch.zeros(values.shape[1]))
        torch.testing.assert_close(values.std(dim=0), torch.ones(values.shape[1]))


def test_restore_undoes_standardize_on_any_batch_shape() -> None:
    scaler = CoefficientScaler()
    scaler.adopt(statistics(torch.rand(20, 50), torch.randn(20, 6)))
    values = torch.rand(3, 4, 2, 50), torch.randn(3, 4, 2, 6)
    torch.testing.assert_close(scaler.restore(*scaler.standardize(*values)), values)


def test_a_new_scaler_changes_nothing() -> None:
    values = torch.rand(2, 50), torch.randn(2, 6)
    torch.testing.assert_close(CoefficientScaler().standardize(*values), values)


def test_a_coefficient_that_never_moves_stays_harmless() -> None:
    scaler = CoefficientScaler()
    scaler.adopt(statistics(torch.full((9, 50), 0.25), torch.randn(9, 6)))
    standard, _ = scaler.standardize(torch.full((1, 50), 0.25), torch.zeros(1, 6))
    assert not standard.any()
    restored, _ = scaler.restore(torch.ones(1, 50), torch.zeros(1, 6))
    torch.testing.assert_close(restored, torch.full((1, 50), 0.25 + SMALLEST_SPREAD))


def test_statistics_travel_with_the_state() -> None:
    scaler, other = CoefficientScaler(), CoefficientScaler()
    scaler.adopt(statistics(torch.rand(20, 50), torch.randn(20, 6)))
    other.load_state_dict(scaler.state_dict())
    assert torch.equal(other.pose_std, scaler.pose_std)
    assert not torch.equal(other.pose_std, torch.ones(6))
