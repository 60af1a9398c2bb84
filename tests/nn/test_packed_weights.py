from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2fet.nn.packed_weights import BYTE, GROUP, HALF_BYTE, pack, unpack

SIZES = {HALF_BYTE: (torch.uint8, 2), BYTE: (torch.int8, 1)}


@given(
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.sampled_from([1e-9, 0.01, 1.0, 300.0]),
    st.sampled_from([HALF_BYTE, BYTE]),
)
def test_weights_come_back_within_half_a_step(
    seed: int, groups: int, size: float, levels: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    weights = size * torch.randn(2, 3, groups * GROUP, generator=source)
    numbers, steps = pack(weights, levels)
    dtype, shared = SIZES[levels]
    assert numbers.dtype == dtype
    assert numbers.shape == (2, 3, groups * GROUP // shared)
    assert steps.shape == (2, 3, groups)
    largest = weights.unflatten(-1, (-1, GROUP)).abs().amax(-1, keepdim=True)
    error = (unpack(numbers, steps) - weights).unflatten(-1, (-1, GROUP)).abs()
    # Half precision rounds the steps, by up to 1 in 2048 of all that they count, and the least to
    # nothing.
    assert (error <= largest * (0.51 / levels + 1 / 2048) + 1e-5).all()


@pytest.mark.parametrize("levels", [HALF_BYTE, BYTE])
def test_multiples_of_the_step_come_back_as_they_are(levels: int) -> None:
    weights = torch.linspace(-levels, levels, GROUP).round()[None] / 4
    torch.testing.assert_close(unpack(*pack(weights, levels)), weights, atol=0, rtol=0)
    nothing = torch.zeros(1, GROUP)
    assert (unpack(*pack(nothing, levels)) == 0).all()
