"""Quadratic programs with bounds, in batches."""

from __future__ import annotations

import torch
from torch import Tensor


def solve_box_qp(
    hessian: Tensor, gradient: Tensor, low: Tensor, high: Tensor, start: Tensor, rounds: int = 12
) -> Tensor:
    """Minimise f(x) = x H x / 2 - g x with low <= x <= high by the primal-dual active-set method.

    Each round guesses which bounds hold, solves for the other unknowns, and guesses again
    (Hintermueller, Ito and Kunisch, 2002); when the guess stays, that is the minimum. The method
    can cycle on stiff problems: the best x seen is given, which is never worse than the start.

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
    x = best = first = start.clamp(low, high)
    slope = _apply(hessian, first) - gradient
    lowest, held = torch.zeros_like(slope[:, 0]), torch.full_like(slope, 2, dtype=torch.int)
    for _ in range(rounds):
        step = x + (gradient - _apply(hessian, x)) / hessian.diagonal(dim1=1, dim2=2)
        guess = (step > high).int() - (step < low).int()
        settled = (guess == held).all(1)
        best = torch.where(settled[:, None], x.clamp(low, high), best)
        if settled.all():
            break
        held = guess
        x = _solve_free(hessian, gradient, low, high, held)
        move = x.clamp(low, high) - first
        gain = ((slope + _apply(hessian, move) / 2) * move).sum(1)
        best = torch.where((gain < lowest)[:, None], first + move, best)
        lowest = torch.minimum(gain, lowest)
    return best.clamp(low, high)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _solve_free(
    hessian: Tensor, gradient: Tensor, low: Tensor, high: Tensor, held: Tensor
) -> Tensor:
    """(N, K) the minimum with unknowns held at their low (-1) or high (1) bound."""
    free = (held == 0).to(gradient)
    bound = torch.where(held < 0, low, torch.where(held > 0, high, 0))
    right = free * (gradient - _apply(hessian, bound)) + bound
    system = free[:, :, None] * hessian * free[:, None] + torch.diag_embed(1 - free)
    return torch.cholesky_solve(right[..., None], torch.linalg.cholesky(system))[..., 0]
