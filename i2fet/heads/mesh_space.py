"""Coordinates of posed heads in which distances are those of their meshes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2fet.coefficients import SHAPE_SIZE
from i2fet.heads.base import JAW, HeadModel
from i2fet.heads.skinning import rotation_matrices

RANK_TOLERANCE = 1e-5
"""Directions of the vertex fields below this part of the largest are left out."""


class MeshSpace(nn.Module):
    """Poses heads without building their vertices.

    A posed vertex is R_g [r + w (R_j - I)(x - j)] with x the rest vertex, w its jaw weight, j the
    jaw joint and r = x minus the root; r and w (x - j) are fields over the mesh, linear in
    (1, shape, expression). Squared norms over the mesh survive an orthogonal change of basis, so
    the fields are kept as coordinates in the few hundred directions they span, and these are
    posed as if they were vertices.

    Args:
        head: Its rest shape, jaw and correctives.
        identities: Whether people may differ; without, all have the mean face and the coordinates
            are fewer.
    """

    fixed_basis: Tensor
    expression_basis: Tensor

    def __init__(self, head: HeadModel, identities: bool = True) -> None:
        super().__init__()
        self.head = head
        fields = vertex_fields(head)
        fixed = 1 + SHAPE_SIZE if identities else 1
        kept = torch.cat([fields[:fixed], fields[1 + SHAPE_SIZE :]])
        basis = compress_fields(kept).flatten(1)
        self.register_buffer("fixed_basis", basis[:fixed].contiguous(), persistent=False)
        self.register_buffer("expression_basis", basis[fixed:].contiguous(), persistent=False)

    @property
    def mean_identity(self) -> Tensor:
        """(F,) fields of the mean face at rest, for `forward`."""
        return self.fixed_basis[0]

    def identity(self, shape: Tensor) -> Tensor:
        """(B, F) fields of faces at rest, for `forward`, of (B, 100) shape."""
        return torch.addmm(self.fixed_basis[0], shape, self.fixed_basis[1:])

    def forward(self, identity: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """Pose heads.

        Args:
            identity: (..., F) as given by `identity` or `mean_identity`; broadcast with the others.
            expression: (..., 50).
            pose: (..., 6).

        Returns:
            (..., 3, R) coordinates in metres; the distance of two heads is the root of the sum of
            squares over all their vertices' coordinates.
        """
        weights = self.head.moving_weights(expression, pose)
        fields = (identity + weights @ self.expression_basis).unflatten(-1, (6, -1))
        turn_head, turn_jaw = rotation_matrices(pose.unflatten(-1, (2, 3))).unbind(-3)
        opened = turn_head @ turn_jaw - turn_head
        return torch.cat([turn_head, opened], dim=-1) @ fields


def vertex_fields(head: HeadModel) -> Tensor:
    """(101 + M, 6, V) fields r and w (x - j) of the template, shape and moving components."""
    basis = torch.cat([head.template[None], head.shape_basis, head.moving_basis]).double()
    joints = torch.cat([head.joints[None], head.joint_shape_basis]).double()
    if head.joint_expression_basis is not None:
        joints = torch.cat([joints, head.joint_expression_basis])
    still = joints.new_zeros(len(basis) - len(joints), *joints.shape[1:])
    joints = torch.cat([joints, still])
    relative = basis - joints[:, None, 0]
    swinging = head.skinning_weights[:, JAW, None] * (basis - joints[:, None, JAW])
    return torch.cat([relative, swinging], dim=-1).mT


def compress_fields(fields: Tensor) -> Tensor:
    """Coordinates of fields over V vertices in the few orthonormal directions they span.

    Args:
        fields: (K, C, V) float64.

    Returns:
        (K, C, R) float32, of which every linear combination has the norm it has over the mesh.
    """
    matrix = fields.flatten(0, 1)
    energy, directions = torch.linalg.eigh(matrix @ matrix.mT)
    kept = energy > energy[-1] * RANK_TOLERANCE**2
    coordinates = directions[:, kept] * energy[kept].sqrt()
    return coordinates.unflatten(0, fields.shape[:2]).float()
