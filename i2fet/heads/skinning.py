"""Linear blend skinning of a head with five joints."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, differentiable at zero.

    Args:
        axis_angle: (..., 3) radians.

    Returns:
        (..., 3, 3) rotation matrices.
    """
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    squared = axis_angle.square().sum(-1)[..., None, None]
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    identity = torch.eye(3, dtype=cross.dtype, device=cross.device)
    return identity + sine * cross + cosine * cross @ cross


def linear_blend_skinning(
    rest: Tensor, joints: Tensor, rotations: Tensor, weights: Tensor, parents: tuple[int, ...]
) -> Tensor:
    """Pose a mesh by a chain of joints (eq. 13's W).

    Args:
        rest: (B, V, 3) vertices in the rest pose.
        joints: (B, J, 3) joint positions in the rest pose.
        rotations: (B, J, 3, 3) local rotations; the root's turns the whole mesh.
        weights: (V, J) skinning weights, each row summing to one.
        parents: Index of each joint's parent, smaller than its own; -1 for the root.

    Returns:
        (B, V, 3) posed vertices.
    """
    world_rotations = [rotations[:, 0]]
    world_positions = [joints[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        offset = joints[:, joint] - joints[:, parent]
        world_positions.append(
            world_positions[parent] + torch.einsum("bij,bj->bi", world_rotations[parent], offset)
        )
        world_rotations.append(world_rotations[parent] @ rotations[:, joint])
    turn = torch.stack(world_rotations, dim=1)
    move = torch.stack(world_positions, dim=1) - torch.einsum("bkij,bkj->bki", turn, joints)
    coordinates, shares = rest.mT, weights.mT.contiguous()

    def blend(values: Tensor) -> Tensor:
        """(B, 3, V) of (B, J, 3), as one product."""
        return (values.mT.flatten(0, 1) @ shares).unflatten(0, (-1, 3))

    posed = blend(move)
    for axis in range(3):
        posed = torch.addcmul(posed, blend(turn[..., axis]), coordinates[:, None, axis])
    return posed.mT


def pose_head(
    rest: Tensor, root: Tensor, jaw_joint: Tensor, jaw_weights: Tensor, pose: Tensor
) -> Tensor:
    """Linear blend skinning when only the root and the jaw turn, in closed form.

    Equal to `linear_blend_skinning` with identity neck and eyes, without a matrix per vertex.

    Args:
        rest: (B, V, 3) vertices in the rest pose.
        root: (B, 3) root joint in the rest pose.
        jaw_joint: (B, 3) jaw joint in the rest pose.
        jaw_weights: (V,) skinning weight of the jaw.
        pose: (B, 6) axis-angle, global rotation then jaw.

    Returns:
        (B, V, 3) posed vertices.
    """
    turn_head, turn_jaw = rotation_matrices(pose.unflatten(-1, (2, 3))).unbind(1)
    open_jaw = turn_head @ turn_jaw - turn_head
    move_head = root - (turn_head @ root[..., None])[..., 0]
    move_jaw = -(open_jaw @ jaw_joint[..., None])[..., 0]
    turn, move = torch.cat([turn_head, open_jaw], dim=1), torch.cat([move_head, move_jaw], dim=1)
    turned, opened = torch.baddbmm(move[..., None], turn, rest.mT).chunk(2, dim=1)
    return torch.addcmul(turned, jaw_weights, opened).mT
