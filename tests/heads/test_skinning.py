from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation
from smplx.lbs import batch_rigid_transform

from i2fet.heads.base import JAW, JOINT_PARENTS
from i2fet.heads.skinning import linear_blend_skinning, pose_head, rotation_matrices


@pytest.mark.parametrize("magnitude", [0.0, 1e-7, 1e-3, 1.0, 3.0])
def test_rotation_matrices_agree_with_scipy(magnitude, generator):
    vectors = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    vectors = magnitude * torch.nn.functional.normalize(vectors, dim=-1)
    expected = torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix())
    torch.testing.assert_close(rotation_matrices(vectors), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("at_zero", [True, False])
def test_rotation_matrices_are_differentiable(at_zero, generator):
    vectors = torch.randn(2, 3, generator=generator, dtype=torch.float64) * (not at_zero)
    assert torch.autograd.gradcheck(rotation_matrices, vectors.requires_grad_())


def random_head(generator, batch=3, vertices=40):
    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = normal(vertices, 5).softmax(-1)
    return normal(batch, vertices, 3), normal(batch, 5, 3), normal(batch, 5, 3), weights


def test_linear_blend_skinning_agrees_with_smplx(generator):
    rest, joints, axis_angle, weights = random_head(generator)
    rotations = rotation_matrices(axis_angle)
    _, transforms = batch_rigid_transform(
        rotations, joints, torch.tensor(JOINT_PARENTS), dtype=torch.float64
    )
    blended = torch.einsum("vj,bjmn->bvmn", weights, transforms)
    expected = torch.einsum("bvij,bvj->bvi", blended[..., :3, :3], rest) + blended[..., :3, 3]
    posed = linear_blend_skinning(rest, joints, rotations, weights, JOINT_PARENTS)
    torch.testing.assert_close(posed, expected)


def test_closed_form_agrees_with_general_skinning(generator):
    rest, joints, axis_angle, weights = random_head(generator)
    axis_angle[:, [1, 3, 4]] = 0
    expected = linear_blend_skinning(
        rest, joints, rotation_matrices(axis_angle), weights, JOINT_PARENTS
    )
    pose = axis_angle[:, [0, JAW]].flatten(1)
    posed = pose_head(rest, joints[:, 0], joints[:, JAW], weights[:, JAW], pose)
    torch.testing.assert_close(posed, expected)
