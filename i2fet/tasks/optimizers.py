"""What the tasks share of their optimisers."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch.optim import Optimizer


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
