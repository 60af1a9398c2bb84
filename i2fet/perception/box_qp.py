"""Quadratic programs with bounds, in batches."""

from __future__ import annotations

import torch
from torch import Tensor


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def solve_box_qp(
    hessian: Tensor, gradient: Tensor, low: Tensor, high: Tensor, start: Tensor, rounds: int = 12
) -> Tensor:
    """Minimise x H x / 2 - g x with low <= x <= high by the primal-dual active-set method.

    Each round guesses which bounds hold, solves for the other unknowns, and guesses again
    (Hintermueller, Ito and Kunisch, 2002); it ends when the guess stays, which is the optimum.

    Args:
        hessian: (N, K, K) positive definite H.
        gradient: (N, K) g.
        low: (K,) lower bounds, -inf where there is none.
        high: (K,) upper bounds, inf where there is none.
        start: (N, K) a first guess of x.
        rounds: At most so many guesses.

    Returns:
        (N, K), within the bounds.
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    x, previous = start, None
    for _ in range(rounds):
        step = x + (gradient - _apply(hessian, x)) / diagonal
        held = (step > high).int() - (step < low).int()
        if previous is not None and torch.equal(held, previous):
            break
        previous, free = held, (held == 0).to(x)
        bound = torch.where(held < 0, low, torch.where(held > 0, high, 0))
        right = free * (gradient - _apply(hessian, bound)) + bound
        system = free[:, :, None] * hessian * free[:, None] + torch.diag_embed(1 - free)
        x = torch.cholesky_solve(right[..., None], torch.linalg.cholesky(system))[..., 0]
    return x.clamp(low, high)
