from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from i2fet.nn.half_bytes import GROUP, LEVELS, pack, unpack


@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([1e-9, 0.01, 1.0, 300.0]))
def test_weights_come_back_within_half_a_step(seed: int, groups: int, size: float) -> None:
    source = torch.Generator().manual_seed(seed)
    weights = size * torch.randn(2, 3, groups * GROUP, generator=source)
    numbers, steps = pack(weights)
    assert numbers.dtype == torch.uint8
    assert numbers.shape == (2, 3, groups * GROUP // 2)
    assert steps.shape == (2, 3, groups)
    largest = weights.unflatten(-1, (-1, GROUP)).abs().amax(-1, keepdim=True)
    error = (unpack(numbers, steps) - weights).unflatten(-1, (-1, GROUP)).abs()
    # Half precision rounds the steps by up to a thousandth, and the least to nothing.
    assert (error <= largest / LEVELS * 0.51 + 1e-7).all()


def test_multiples_of_the_step_come_back_as_they_are() -> None:
    weights = torch.arange(GROUP).remainder(2 * LEVELS + 1).sub(LEVELS).float()[None] / 4
    torch.testing.assert_close(unpack(*pack(weights)), weights, atol=0, rtol=0)
    nothing = torch.zeros(1, GROUP)
    assert (unpack(*pack(nothing)) == 0).all()
