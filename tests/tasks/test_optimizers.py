from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import AdamW, Muon
from torch.optim.lr_scheduler import LambdaLR

from i2fet.tasks.optimizers import MuonAndAdamW, trapezoid


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def steps(model: nn.Module, *optimizers: torch.optim.Optimizer, count: int = 3) -> None:
    source = torch.Generator().manual_seed(1)
    for _ in range(count):
        loss = F.mse_loss(
            model(torch.randn(16, 4, generator=source)), torch.randn(16, 2, generator=source)
        )
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_matrices_are_muons_and_the_rest_is_adamws() -> None:
    ours, theirs = network(), network()
    steps(ours, MuonAndAdamW(ours.parameters(), 1e-2, 0.1))
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    others = [p for p in theirs.parameters() if p.ndim != 2]
    assert len(matrices) == 2 < len(others)
    steps(
        theirs,
        Muon(matrices, 1e-2, 0.1, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, 1e-2, betas=(0.9, 0.99), weight_decay=0),
    )
    assert_equal(ours, theirs)


def test_a_scheduler_sets_the_rate_of_both_also_after_resuming() -> None:
    model = network()
    optimizer = MuonAndAdamW(model.parameters(), 1e-2, 0.1)
    optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    LambdaLR(optimizer, lambda step: 0.5)
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == [5e-3, 5e-3]


def test_a_resumed_run_equals_an_uninterrupted_one() -> None:
    whole, resumed = network(), network()
    optimizer = MuonAndAdamW(whole.parameters(), 1e-2, 0.1)
    steps(whole, optimizer)
    resumed.load_state_dict(deepcopy(whole.state_dict()))
    again = MuonAndAdamW(resumed.parameters(), 1e-2, 0.1)
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    steps(whole, optimizer)
    steps(resumed, again)
    assert_equal(whole, resumed)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_rate_rises_and_falls(share: float) -> None:
    model = network()
    optimizer = MuonAndAdamW(model.parameters(), 1.0, 0.0)
    trainer = SimpleNamespace(estimated_stepping_batches=10)
    _, [schedule] = trapezoid(SimpleNamespace(trainer=trainer), optimizer, share, share)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    longest = max(10 * share, 1)
    expected = [min(1, (step + 1) / longest, (10 - step) / longest) for step in range(10)]
    assert rates == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == 0
