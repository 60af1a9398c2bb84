"""What the tasks share of their optimisers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer


def allow_clipping(optimizer: Optimizer) -> Optimizer:
    """Have gradients unscaled before the step, so that they can be clipped in mixed precision.

    Fused optimisers offer to unscale them within the step, for which Lightning refuses to clip.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def one_cycle(task: LightningModule, rate: float, weight_decay: float, warmup: float) -> Any:
    """AdamW under a one-cycle schedule over the whole training, for `configure_optimizers`.

    Args:
        task: Whose parameters are trained.
        rate: The highest learning rate.
        weight_decay: Of AdamW.
        warmup: Share of the steps in which the learning rate rises.
    """
    optimizer = torch.optim.AdamW(task.parameters(), rate, weight_decay=weight_decay, fused=True)
    steps = int(task.trainer.estimated_stepping_batches)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=warmup
    )
    return [allow_clipping(optimizer)], [{"scheduler": scheduler, "interval": "step"}]


class MuonAndAdamW(Optimizer):
    """Muon for matrices, at AdamW's rates, and AdamW for all other parameters.

    Args:
        parameters: Of both kinds.
        rate: Learning rate of both.
        weight_decay: Of the matrices.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, weight_decay: float) -> None:
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for parameter in parameters:
            (matrices if parameter.ndim == 2 else others).append(parameter)
        self.parts = [
            Muon(matrices, rate, weight_decay, adjust_lr_fn="match_rms_adamw"),
            AdamW(others, rate, betas=(0.9, 0.99), weight_decay=0),
        ]
        super().__init__(self._groups(), {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step with each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Of each."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        """The parts' own, so that a scheduler of the whole sets their rates."""
        return [group for part in self.parts for group in part.param_groups]


def trapezoid(task: LightningModule, optimizer: Optimizer, warmup: float, cooldown: float) -> Any:
    """A rate that rises, stays and falls to zero over the training, for `configure_optimizers`.

    Args:
        task: Which is trained.
        optimizer: At its highest rate.
        warmup: Share of the steps in which the rate rises.
        cooldown: Share of the steps in which it falls.
    """
    steps = int(task.trainer.estimated_stepping_batches)

    def factor(step: int) -> float:
        rise, fall = max(warmup * steps, 1.0), max(cooldown * steps, 1.0)
        return min(1.0, (step + 1) / rise, (steps - step) / fall)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
