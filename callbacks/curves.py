"""Curves of losses and metrics."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer

from callbacks.drawing import DrawingCallback

COLUMNS = 3


class MetricCurves(DrawingCallback):
    """Everything logged once an epoch, over the epochs: `curves/all`.

    Args:
        every_n_epochs: As for `DrawingCallback`.
    """

    def __init__(self, every_n_epochs: int = 20) -> None:
        super().__init__(every_n_epochs)
        self._values: dict[str, dict[int, float]] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            self._values.setdefault(name, {})[trainer.current_epoch + 1] = float(value)
        if self.is_due(trainer) and trainer.is_global_zero:
            self.publish_picture(
                trainer, "curves/all", lambda path: draw_curves(self._values, path)
            )

    def state_dict(self) -> dict[str, Any]:
        return {"values": self._values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._values = state_dict["values"]


def draw_curves(values: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """Draw a panel for each metric, the loss first, with a curve for each stage.

    Args:
        values: By `STAGE/METRIC` and epoch.
        path: Of a picture to write.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels: defaultdict[str, dict[str, Mapping[int, float]]] = defaultdict(dict)
    losses_first = sorted(values, key=lambda name: (not name.endswith("/loss"), name))
    for name in losses_first:
        stage, _, metric = name.partition("/")
        panels[metric][stage] = values[name]
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.6 * rows), layout="constrained")
    for place, (metric, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        axes.set_title(metric, fontsize=10)
        for stage, curve in curves.items():
            axes.plot(*_finite(curve), marker=".", label=stage)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def _finite(curve: Mapping[int, float]) -> tuple[Sequence[int], Sequence[float]]:
    points = {epoch: value for epoch, value in sorted(curve.items()) if math.isfinite(value)}
    return list(points), list(points.values())
