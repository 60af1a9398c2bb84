"""Pictures of confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Counts = Sequence[Sequence[int]]
"""How often each true expression, by rows, was named so, by columns."""


def draw_confusions(
    rows: Sequence[Mapping[str, Counts]],
    labels: Sequence[str],
    path: Path,
    truth: str = "asked for",
) -> None:
    """Draw confusion matrices side by side.

    Args:
        rows: Of matrices, by their titles; all as long as the first one.
        labels: Of the K expressions, whose matrices are (K, K).
        path: Of the picture.
        truth: What the rows of a matrix are called.
    """
    from matplotlib.figure import Figure

    side = 1.5 + 0.75 * len(labels)
    figure = Figure(figsize=(len(rows[0]) * side, len(rows) * side), layout="constrained")
    panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, row in zip(panels, rows, strict=True):
        for axes, (title, counts) in zip(line, row.items(), strict=True):
            axes.set_title(title)
            axes.set_ylabel(truth)
            _draw_confusion(axes, counts, labels)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def _draw_confusion(axes: Axes, confusion: Counts, labels: Sequence[str]) -> None:
    counts = np.array(confusion)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column,
            row,
            f"{counts[row, column]}\n{share:.1%}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.5 else "black",
        )
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("named")
