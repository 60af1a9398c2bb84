from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from i2fet.nn.prior import FlowPrior

LATENT, WIDTH = 2, 3


def normal(rows: int) -> Tensor:
    return torch.randn(2, rows, 2, LATENT)


def instructed(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents in two heaps, 1 to either side of a centre that the text knows; text and centre."""
    word = torch.randint(2, (rows,))
    centre = 4.0 * word - 2
    text = torch.eye(2, WIDTH)[word][:, None].expand(-1, 2, -1)
    side = 2.0 * torch.randint(2, (1, rows, 1, 1)) - 1
    return centre[:, None, None] + side + 0.1 * normal(rows), text, centre


@pytest.fixture
def at_rest() -> FlowPrior:
    prior = FlowPrior(LATENT, WIDTH, hidden=16)
    nn.init.zeros_(prior.output.weight)
    nn.init.zeros_(prior.output.bias)
    return prior


def test_without_velocity_noise_stays_where_it_is(at_rest: FlowPrior) -> None:
    noise = normal(5)
    torch.testing.assert_close(at_rest(noise, torch.randn(5, 2, WIDTH)), noise)


def test_constant_velocity_moves_by_itself(at_rest: FlowPrior) -> None:
    nn.init.constant_(at_rest.output.bias, 2.0)
    noise = normal(5)
    torch.testing.assert_close(at_rest(noise, torch.randn(5, 2, WIDTH)), noise + 2)


def test_error_without_velocity_is_the_squared_way(at_rest: FlowPrior) -> None:
    latents, noise = normal(5), normal(5)
    error = at_rest.error(latents, torch.randn(5, 2, WIDTH), noise, torch.rand(5))
    torch.testing.assert_close(error, (latents - noise).square().sum() / 5)


def test_the_error_from_several_starts_is_their_mean() -> None:
    prior = FlowPrior(LATENT, WIDTH, hidden=16)
    latents, text, noise, time = normal(5), torch.randn(5, 2, WIDTH), normal(15), torch.rand(15)
    together = prior.error(latents, text, noise, time)
    each = [
        prior.error(latents, text, some, when)
        for some, when in zip(noise.split(5, dim=1), time.split(5), strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(each).mean())


def test_it_learns_a_distribution_that_the_text_moves() -> None:
    torch.manual_seed(0)
    prior = FlowPrior(LATENT, WIDTH, hidden=64)
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(400):
        latents, text, _ = instructed(256)
        error = prior.error(latents, text, normal(256), torch.rand(256))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    _, text, centre = instructed(2000)
    with torch.no_grad():
        latents = prior(normal(2000), text)
    offset = latents.mean(dim=(0, 2, 3)) - centre
    assert (offset.abs() - 1).abs().median() < 0.2
    assert 0.4 < (offset > 0).float().mean() < 0.6
