from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import random as random_sparse

from i2fet.rendering.neural.mesh_levels import Resampling, one_rings, spirals

SIDE = 4
POINTS = np.array([(x, y, 0.1 * x * y) for y in range(SIDE) for x in range(SIDE)], float)
CORNERS = [y * SIDE + x for y in range(SIDE - 1) for x in range(SIDE - 1)]
FACES = np.array(
    [face for a in CORNERS for face in ((a, a + 1, a + SIDE), (a + 1, a + SIDE + 1, a + SIDE))]
)
# Of openmesh 1.2.1, walked as CVTHead does at commit 8f75b22.
OPENMESH = [
    *([0, 4, 1, 8, 5, 2, 12, 9, 6], [1, 0, 4, 5, 2, 8, 9, 6, 3], [2, 1, 5, 6, 3, 0, 4, 8, 9]),
    *([3, 2, 6, 7, 1, 5, 9, 10, 11], [4, 8, 5, 1, 0, 12, 9, 6, 2], [5, 6, 2, 1, 4, 8, 9, 10, 7]),
    *(
        [6, 7, 3, 2, 5, 9, 10, 11, 1],
        [7, 3, 6, 10, 11, 2, 5, 9, 13],
        [8, 12, 9, 5, 4, 13, 10, 6, 2],
    ),
    *([9, 10, 6, 5, 8, 12, 13, 14, 11], [10, 11, 7, 6, 9, 13, 14, 15, 3]),
    *([11, 7, 10, 14, 15, 3, 6, 9, 13], [12, 13, 9, 8, 14, 10, 6, 5, 4]),
    *([13, 14, 10, 9, 12, 15, 11, 7, 6], [14, 15, 11, 10, 13, 7, 6, 9, 12]),
    [15, 11, 14, 7, 10, 13, 3, 6, 9],
]


def test_spirals_are_those_of_openmesh():
    assert spirals(POINTS, FACES).tolist() == OPENMESH


def test_where_the_mesh_ends_early_the_nearest_vertices_are_taken():
    alone = np.array([[10.0, 10, 10]])
    row = spirals(np.concatenate([POINTS, alone]), FACES)[-1]
    distance = np.linalg.norm(POINTS - alone, axis=1)
    assert row[0] == len(POINTS)
    np.testing.assert_allclose(distance[row[1:]], np.sort(distance)[:8])


def test_a_mesh_with_two_fans_at_a_vertex_is_refused():
    with pytest.raises(ValueError, match="no single fan"):
        one_rings(np.array([[0, 1, 2], [0, 3, 4]]), 5)


def test_a_mesh_with_three_faces_at_an_edge_is_refused():
    with pytest.raises(ValueError, match="no single fan"):
        one_rings(np.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]]), 5)


def test_resampling_is_the_sparse_matrix():
    matrix = random_sparse(6, 9, density=0.3, rng=np.random.default_rng(0)).toarray()
    values = torch.randn(2, 9, 3, dtype=torch.float64)
    resampled = Resampling.from_matrix(matrix)(values)
    torch.testing.assert_close(resampled, torch.from_numpy(matrix) @ values, rtol=1e-6, atol=1e-6)
