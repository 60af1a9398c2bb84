from __future__ import annotations

import pytest
import torch

from i2fet.coefficients import FaceCoefficients
from i2fet.face_spaces import coefficient_space, mesh_space
from i2fet.heads import ArkitHead


@pytest.fixture
def faces(generator: torch.Generator) -> FaceCoefficients:
    """(3, 2) of them."""
    return FaceCoefficients(
        torch.randn(3, 2, 100, generator=generator),
        torch.rand(3, 2, 50, generator=generator) * 0.5,
        torch.randn(3, 2, 6, generator=generator) * 0.1,
        torch.ones(3, 2, 3),
    )


def test_on_the_mesh_distances_are_millimetres_between_still_heads(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    vectors = mesh_space(head)(faces)
    first, second = vectors.unbind(1)
    still = faces.pose.clone()
    still[..., :3] = 0
    one, other = (head(torch.zeros(3, 100), faces.expression[:, i], still[:, i]) for i in range(2))
    expected = 1000 * (one - other).square().sum(dim=-1).mean(dim=-1).sqrt()
    torch.testing.assert_close((first - second).norm(dim=-1), expected, rtol=1e-3, atol=0)


def test_neither_identity_nor_head_rotation_counts(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    turned = faces.pose + torch.cat([torch.full((3,), 0.3), torch.zeros(3)])
    others = FaceCoefficients(faces.shape + 1, faces.expression, turned, faces.camera)
    statistics = {
        "expression_mean": torch.full((50,), 0.1),
        "expression_std": torch.full((50,), 0.2),
        "pose_mean": torch.zeros(6),
        "pose_std": torch.full((6,), 0.5),
    }
    for space in (mesh_space(head), coefficient_space(statistics)):
        torch.testing.assert_close(space(others), space(faces))
    vectors = coefficient_space(statistics)(faces)
    torch.testing.assert_close(vectors[..., :50], (faces.expression - 0.1) / 0.2)
    torch.testing.assert_close(vectors[..., 50:], faces.jaw / 0.5)
