from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from i2fet.perception.box_qp import solve_box_qp


@pytest.mark.parametrize("seed", range(5))
def test_matches_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrices, targets = rng.normal(size=(6, 80, 40)), rng.normal(size=(6, 80))
    low, high = np.full(40, -0.1), np.full(40, 0.05)
    low[30:], high[30:] = -np.inf, np.inf
    reference = [
        lsq_linear(a, b, (low, high), tol=1e-13).x for a, b in zip(matrices, targets, strict=True)
    ]
    a, b = torch.from_numpy(matrices), torch.from_numpy(targets)
    start = torch.zeros(6, 40, dtype=torch.float64)
    bounds = torch.from_numpy(low), torch.from_numpy(high)
    x = solve_box_qp(a.mT @ a, (a.mT @ b[..., None])[..., 0], *bounds, start)
    np.testing.assert_allclose(x, reference, atol=1e-6)
    held = (x[:, :30] == -0.1) | (x[:, :30] == 0.05)
    assert held.any()
    assert not held.all()


def test_without_active_bounds_it_is_a_linear_solve() -> None:
    hessian = torch.tensor([[[2.0, 0.5], [0.5, 1.0]]])
    gradient = torch.tensor([[1.0, -1.0]])
    wide = torch.full((2,), 100.0)
    x = solve_box_qp(hessian, gradient, -wide, wide, torch.zeros(1, 2))
    torch.testing.assert_close(x, torch.linalg.solve(hessian, gradient))


def test_a_stiff_problem_ends_no_worse_than_it_began() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(8, 60, 60, generator=generator) * torch.logspace(-3, 1, 60)
    hessian = root.mT @ root + 1e-3 * torch.eye(60)
    gradient = torch.randn(8, 60, generator=generator)
    bound = torch.full((60,), 0.01)
    start = bound * (2 * torch.rand(8, 60, generator=generator) - 1)
    x = solve_box_qp(hessian, gradient, -bound, bound, start)

    def value(x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nk,nkl,nl->n", x, hessian, x) / 2 - (gradient * x).sum(1)

    assert (x.abs() <= bound).all()
    assert (value(x) < value(start)).all()
