"""The text-to-motion field's measures, in an embedding in which faces lie near what asks for them.

Texts and faces are embedded by `i2fet.nn.matching.Matcher`; distances are Euclidean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

CHUNK = 1024


class RPrecision(Metric):
    """How often a face's own text is among the k that lie nearest to it.

    Args:
        tops: Values of k.
        kwargs: Of `torchmetrics.Metric`.
    """

    found: Tensor
    count: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(self, tops: Sequence[int] = (1, 2, 3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tops = tuple(tops)
        self.add_state("found", torch.zeros(len(self.tops)), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, faces: Tensor, texts: Tensor) -> None:
        """Add (B, E) embeddings and (B, P, E) those of texts, of which the first is the own one.

        A text that lies exactly as near as the own one counts as nearer.
        """
        distances = (faces[:, None] - texts).norm(dim=-1)
        rank = (distances[:, 1:] <= distances[:, :1]).sum(dim=1)
        self.found += torch.stack([(rank < top).sum() for top in self.tops])
        self.count += len(faces)

    def compute(self) -> Tensor:
        """(K,) shares in [0, 1]; NaN before the first update."""
        return self.found / self.count


class MultimodalDistance(Metric):
    """Mean distance between faces and their texts.

    Args:
        kwargs: Of `torchmetrics.Metric`.
    """

    total: Tensor
    count: Tensor
    full_state_update = False
    higher_is_better = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, faces: Tensor, texts: Tensor) -> None:
        """Add (B, E) embeddings of faces and (B, E) those of their texts."""
        self.total += (faces - texts).norm(dim=-1).sum()
        self.count += len(faces)

    def compute(self) -> Tensor:
        """Scalar; NaN before the first update."""
        return (self.total / self.count).float()


class EmbeddingDiversity(Metric):
    """Mean distance between two faces, whatever their texts.

    Exact: the mean over all pairs, of which the literature draws a few hundred by chance.

    Args:
        kwargs: Of `torchmetrics.Metric`.
    """

    faces: list[Tensor]
    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("faces", [], dist_reduce_fx="cat")

    def update(self, faces: Tensor) -> None:
        """Add (B, E) embeddings."""
        self.faces.append(faces.detach())

    def compute(self) -> Tensor:
        """Scalar; NaN for fewer than two faces."""
        return mean_distance(dim_zero_cat(self.faces))


class Multimodality(Metric):
    """Mean distance between two faces of the same text, over texts that have two or more.

    Exact, as `EmbeddingDiversity`; 0 for a model without chance.

    Args:
        kwargs: Of `torchmetrics.Metric`.
    """

    faces: list[Tensor]
    texts: list[Tensor]
    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("faces", [], dist_reduce_fx="cat")
        self.add_state("texts", [], dist_reduce_fx="cat")

    def update(self, faces: Tensor, texts: Tensor) -> None:
        """Add (B, E) embeddings and (B,) int64 numbers of their texts."""
        self.faces.append(faces.detach())
        self.texts.append(texts)

    def compute(self) -> Tensor:
        """Scalar; NaN if every text has a single face."""
        faces, texts = dim_zero_cat(self.faces), dim_zero_cat(self.texts)
        order = texts.argsort()
        sizes = texts.unique(return_counts=True)[1].tolist()
        return torch.stack([mean_distance(some) for some in faces[order].split(sizes)]).nanmean()


def mean_distance(vectors: Tensor) -> Tensor:
    """Mean Euclidean distance over all pairs of (N, E) vectors; NaN for fewer than two."""
    count = len(vectors)
    exact = "donot_use_mm_for_euclid_dist"  # its short cut sees distances between equals
    sums = [torch.cdist(some, vectors, compute_mode=exact).sum() for some in vectors.split(CHUNK)]
    pairs = vectors.new_tensor(count * (count - 1))
    return torch.stack(sums).sum() / pairs
