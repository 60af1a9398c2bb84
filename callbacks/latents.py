"""Maps of latent spaces (Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from numpy.typing import NDArray

from callbacks.drawing import Batch, EvaluationCallback, Stage, gather
from i2fet.tasks.base import BaseTask, Evaluated

PERPLEXITY = 30


class LatentMaps(EvaluationCallback):
    """t-SNE of latents, coloured by emotion, and their silhouettes: `latents/...`.

    The silhouette is that of the latents themselves and not of the map: 1 where emotions lie far
    apart, 0 where they overlap.

    Args:
        points: How many of the samples to take, evenly.
        seed: Of the map.
        every_n_epochs: As for `DrawingCallback`.
    """

    def __init__(self, points: int = 500, seed: int = 0, every_n_epochs: int = 20) -> None:
        super().__init__(every_n_epochs)
        self.points = points
        self.seed = seed
        self._collected: list[Evaluated] = []

    def collect(self, task: BaseTask, outputs: Any, batch: Batch) -> None:
        """Keep the latents, if there are any."""
        if outputs and "latents" in outputs:
            latents = {name: values.float().cpu() for name, values in outputs["latents"].items()}
            self._collected.append({"emotion": outputs["emotion"].cpu(), "latents": latents})

    def draw(self, trainer: Trainer, task: BaseTask, stage: Stage) -> None:
        """Draw one map of each kind of latent, side by side."""
        parts = gather(self._collected)
        self._collected = []
        batches = [batch for part in parts for batch in part]
        if not batches or not trainer.is_global_zero:
            return
        emotion = torch.cat([batch["emotion"] for batch in batches])
        rows = torch.linspace(0, len(emotion) - 1, min(self.points, len(emotion))).round().long()
        labels = emotion[rows].numpy()
        latents = {
            name: torch.cat([batch["latents"][name] for batch in batches])[rows].numpy()
            for name in batches[0]["latents"]
        }
        scores = {name: silhouette(values, labels) for name, values in latents.items()}
        maps = {name: flatten(values, self.seed) for name, values in latents.items()}
        names = task.provenance.emotions
        self.publish_picture(
            trainer, f"latents/{stage}", lambda path: draw_maps(maps, scores, labels, names, path)
        )
        for name, score in scores.items():
            task.log(f"latents/{stage}_silhouette_{name}", score, rank_zero_only=True)


def silhouette(values: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean silhouette of (N, D) values; NaN where there are no two groups to compare."""
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(values, labels))


def flatten(values: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(N, 2) t-SNE of (N, D) values."""
    from sklearn.manifold import TSNE

    # Started at random, since principal components do not exist where a posterior has collapsed.
    tsne = TSNE(perplexity=min(PERPLEXITY, (len(values) - 1) / 3), init="random", random_state=seed)
    return tsne.fit_transform(values)


def draw_maps(
    maps: Mapping[str, NDArray[np.float32]],
    scores: Mapping[str, float],
    labels: NDArray[np.int64],
    names: Sequence[str],
    path: Path,
) -> None:
    """Draw (N, 2) maps beside each other, each point in the colour of its label."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(maps) + 1.2, 4.5), layout="constrained")
    colors = colormaps["tab10"]
    for column, (name, points) in enumerate(maps.items(), start=1):
        axes = figure.add_subplot(1, len(maps), column)
        for label in np.unique(labels):
            x, y = points[labels == label].T
            axes.scatter(x, y, s=10, color=colors(int(label)), label=names[label])
        axes.set_title(f"{name}, silhouette {scores[name]:.2f}")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path, dpi=100)
