"""The schedule of tasks whose length of training is known beforehand."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule


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
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
