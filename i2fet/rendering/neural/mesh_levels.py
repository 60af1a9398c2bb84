"""A head's mesh at coarser levels, and spirals over it, as CVTHead's decoder wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.neighbors import KDTree
from torch import Tensor, nn

from i2fet.assets import reading_asset
from i2fet.heads.flame_pickle import as_array, read_pickle

SPIRAL_LENGTH = 9
PARTS = ("vertices", "weights")


class Resampling(nn.Module):
    """Carries values from the vertices of one mesh to those of another.

    Args:
        vertices: (V, K) those of the old mesh that each of the V new ones takes.
        weights: (V, K) of them.
    """

    vertices: Tensor
    weights: Tensor

    def __init__(self, vertices: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("vertices", vertices)
        self.register_buffer("weights", weights)

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.float32]) -> Resampling:
        """Of a (new, old) matrix, nearly all of it zero."""
        rows = csr_matrix(matrix)
        entries = np.diff(rows.indptr)
        vertices = np.zeros((len(entries), entries.max()), np.int64)
        weights = np.zeros(vertices.shape, np.float32)
        taken = np.arange(entries.max()) < entries[:, None]
        vertices[taken], weights[taken] = rows.indices, rows.data
        return cls(torch.from_numpy(vertices), torch.from_numpy(weights))

    def forward(self, values: Tensor) -> Tensor:
        """(B, old, C) to (B, new, C)."""
        return (values[:, self.vertices] * self.weights[..., None]).sum(dim=2)


class MeshLevels(nn.Module):
    """Three levels of a mesh, the finest first.

    Args:
        down: To the second level, and from there to the third.
        up: From the second level to the first, and from the third to the second.
        spirals: (V, 9) vertices around each vertex of the first level, and of the second.
    """

    fine_spirals: Tensor
    middle_spirals: Tensor

    def __init__(
        self, down: Sequence[Resampling], up: Sequence[Resampling], spirals: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.down, self.up = nn.Sequential(*down), nn.ModuleList(up)
        self.register_buffer("fine_spirals", spirals[0])
        self.register_buffer("middle_spirals", spirals[1])

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> MeshLevels:
        """What `state_dict` gave."""
        down, up = (
            [Resampling(*(tensors[f"{way}.{i}.{part}"] for part in PARTS)) for i in range(2)]
            for way in ("down", "up")
        )
        return cls(down, up, [tensors["fine_spirals"], tensors["middle_spirals"]])

    @property
    def sizes(self) -> tuple[int, int]:
        """Vertices of the finest and of the coarsest level."""
        return len(self.fine_spirals), len(self.get_buffer("down.1.vertices"))


def read_levels(path: Path) -> MeshLevels:
    """Read CVTHead's `transform.pkl`.

    Raises:
        AssetError: If the file is missing, broken or hostile.
    """
    with reading_asset(path, "CVTHead's transform.pkl"):
        content = read_pickle(path)
        down, up = (
            [Resampling.from_matrix(as_array(matrix)) for matrix in content[way][:2]]
            for way in ("down_transform", "up_transform")
        )
        meshes = zip(content["vertices"], content["face"], strict=True)
        return MeshLevels(down, up, [spirals(*mesh) for mesh in islice(meshes, 2)])


def one_rings(faces: NDArray[np.integer], vertices: int) -> list[list[int]]:
    """The neighbours of each vertex in the order in which OpenMesh walks around it.

    That is clockwise seen from outside. It starts at the open edge of a vertex on the border, at
    the last face of any other vertex.

    Raises:
        ValueError: If the mesh is not manifold.
    """
    after: list[dict[int, int]] = [{} for _ in range(vertices)]
    for a, b, c in faces.tolist():
        for before, vertex, behind in ((a, b, c), (b, c, a), (c, a, b)):
            after[vertex][before] = behind
    return [_walk(links) for links in after]


def _walk(links: dict[int, int]) -> list[int]:
    """Once around a vertex, from neighbour to neighbour."""
    starts = set(links) - set(links.values())
    ring = list(starts) or list(links.values())[-1:]
    while len(ring) <= len(links) and ring and ring[-1] in links:
        ring.append(links[ring[-1]])
    whole = ring if starts else ring[:-1]
    if len(starts) > 1 or len(set(whole)) != len(set(links) | set(links.values())):
        raise ValueError("the faces around a vertex are no single fan")
    return whole


def spirals(points: NDArray[np.float64], faces: NDArray[np.integer]) -> Tensor:
    """(V, 9) vertices on a spiral out of each vertex; the nearest ones where the mesh ends early.

    Args:
        points: (V, 3).
        faces: (F, 3) vertex indices.
    """
    rings = one_rings(faces, len(points))
    tree = KDTree(points)
    rows = [_spiral(vertex, rings) for vertex in range(len(points))]
    for vertex, row in enumerate(rows):
        if not row:
            nearest = tree.query(points[vertex : vertex + 1], SPIRAL_LENGTH, return_distance=False)
            rows[vertex] = nearest[0].tolist()
    return torch.tensor(rows)


def _spiral(vertex: int, rings: Sequence[Sequence[int]]) -> list[int]:
    """Empty where the mesh ends before the spiral does."""
    spiral, ring = [vertex], list(rings[vertex])
    following = _next_ring(ring, spiral, rings)
    spiral += ring
    while following and len(spiral) + len(following) < SPIRAL_LENGTH:
        ring, following = following, _next_ring(following, spiral, rings)
        spiral += ring
    return (spiral + following)[:SPIRAL_LENGTH] if following else []


def _next_ring(
    ring: Sequence[int], inside: Sequence[int], rings: Sequence[Sequence[int]]
) -> list[int]:
    found: list[int] = []
    for vertex in ring:
        around = list(rings[vertex])
        start = next((i for i, other in enumerate(around) if other in ring), len(around))
        for other in around[start + 1 :] + around[:start]:
            if other not in ring and other not in inside and other not in found:
                found.append(other)
    return found
