from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2fet.heads import ArkitHead
from i2fet.heads.mesh_space import MeshSpace, compress_fields


@pytest.fixture
def codes(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Shape, expression and pose of six faces."""
    return (
        torch.randn(6, 100, generator=generator),
        torch.rand(6, 50, generator=generator) * 0.5,
        torch.randn(6, 6, generator=generator) * 0.2,
    )


def test_distances_are_those_of_the_vertices(
    head: ArkitHead, codes: tuple[Tensor, Tensor, Tensor]
) -> None:
    shape, expression, pose = codes
    space = MeshSpace(head)
    placed = space(space.identity(shape), expression, pose).flatten(1)
    roots = head.joints[0] + torch.einsum("bk,kd->bd", shape, head.joint_shape_basis[:, 0])
    vertices = (head(*codes) - roots[:, None]).flatten(1)
    torch.testing.assert_close(
        torch.cdist(placed, placed), torch.cdist(vertices, vertices), rtol=1e-3, atol=1e-4
    )


def test_without_identities_all_have_the_mean_face_in_fewer_coordinates(
    head: ArkitHead, codes: tuple[Tensor, Tensor, Tensor]
) -> None:
    _, expression, pose = codes
    space = MeshSpace(head, identities=False)
    placed = space(space.mean_identity, expression, pose).flatten(1)
    vertices = (head(torch.zeros(6, 100), expression, pose) - head.joints[0]).flatten(1)
    torch.testing.assert_close(
        torch.cdist(placed, placed), torch.cdist(vertices, vertices), rtol=1e-3, atol=1e-4
    )
    assert placed.shape[1] < MeshSpace(head).fixed_basis.shape[1]


def test_compressed_fields_keep_every_norm_with_fewer_numbers() -> None:
    low_rank = torch.randn(8, 7, dtype=torch.double) @ torch.randn(7, 300, dtype=torch.double)
    fields = low_rank.view(4, 2, 300)
    compressed = compress_fields(fields)
    assert compressed.shape == (4, 2, 7)
    weights = torch.randn(4, 2)
    expected = torch.einsum("kcv,kc->v", fields, weights.double()).norm()
    result = torch.einsum("kcr,kc->r", compressed, weights).norm()
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=0)
