"""What every parametric head offers, whatever it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2fet.coefficients import EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.heads.skinning import linear_blend_skinning, pose_head, rotation_matrices

JOINT_NAMES = ("neck", "head", "jaw", "left_eye", "right_eye")
JOINT_PARENTS = (-1, 0, 1, 1, 1)
JAW = JOINT_NAMES.index("jaw")


@dataclass(frozen=True)
class HeadData:
    """The arrays of a head; V vertices, F triangles, T texture coordinates, L landmarks.

    Attributes:
        template: (V, 3) mean neutral head, metres; x right in the picture (the subject's left),
            y up, z out of the face.
        shape_basis: (100, V, 3) metres per standard deviation.
        expression_basis: (50, V, 3) metres per unit of each expression coefficient.
        joints: (5, 3) mean joint positions, in the order of `JOINT_NAMES`.
        joint_shape_basis: (100, 5, 3) metres per standard deviation.
        skinning_weights: (V, 5).
        faces: (F, 3) vertex indices, counter-clockwise from outside.
        uv: (T, 2) texture coordinates in [0, 1], origin at the lower left.
        faces_uv: (F, 3) texture coordinate indices.
        landmark_faces: (L,) triangle of each MediaPipe landmark.
        landmark_barycentrics: (L, 3).
    """

    template: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    joints: Tensor
    joint_shape_basis: Tensor
    skinning_weights: Tensor
    faces: Tensor
    uv: Tensor
    faces_uv: Tensor
    landmark_faces: Tensor
    landmark_barycentrics: Tensor


class HeadModel(nn.Module):
    """Coefficients to vertices (eq. 13), for any head with linear shapes and five joints.

    Attributes:
        name: Recorded in checkpoints and caches; coefficients of different heads never mix.
        expression_names: Name of each of the 50 expression coefficients.
        expression_range: Lowest and highest valid expression coefficient.
        jaw_open_angle: Jaw rotation about x, radians, that ARKit's jawOpen at 1 stands for.
        region_names: Of `regions`.
    """

    def __init__(
        self,
        name: str,
        data: HeadData,
        expression_names: tuple[str, ...],
        expression_range: tuple[float, float],
        jaw_open_angle: float = math.radians(20),
        regions: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.expression_names = expression_names
        self.expression_range = expression_range
        self.jaw_open_angle = jaw_open_angle
        for key, value in vars(data).items():
            self.register_buffer(key, value, persistent=False)
        self.region_names = tuple(regions or ())
        for key, value in (regions or {}).items():
            self.register_buffer(f"region_{key}", value, persistent=False)

    template: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    joints: Tensor
    joint_shape_basis: Tensor
    skinning_weights: Tensor
    faces: Tensor
    uv: Tensor
    faces_uv: Tensor
    landmark_faces: Tensor
    landmark_barycentrics: Tensor

    @property
    def num_vertices(self) -> int:
        return self.template.shape[0]

    @property
    def regions(self) -> dict[str, Tensor]:
        """(V,) float masks in [0, 1] of the parts this head knows, by name."""
        return {name: self.get_buffer(f"region_{name}") for name in self.region_names}

    def effective_expression(self, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, 50) weights of `expression_basis`; heads with correctives override this."""
        return expression

    def rest_vertices(self, shape: Tensor, expression: Tensor) -> Tensor:
        """(B, V, 3) unposed vertices for (B, 100) shape and (B, 50) expression weights."""
        offsets = torch.addmm(
            shape @ self.shape_basis.flatten(1), expression, self.expression_basis.flatten(1)
        )
        return self.template + offsets.unflatten(-1, (-1, 3))

    def joint_positions(self, shape: Tensor) -> Tensor:
        """(B, 5, 3) joints in the rest pose for (B, 100) shape."""
        return self.joints + torch.einsum("bs,sjc->bjc", shape, self.joint_shape_basis)

    def forward(
        self,
        shape: Tensor,
        expression: Tensor,
        pose: Tensor,
        neck_pose: Tensor | None = None,
        eye_pose: Tensor | None = None,
    ) -> Tensor:
        """Vertices of a batch of heads.

        Args:
            shape: (B, 100).
            expression: (B, 50).
            pose: (B, 6) axis-angle radians, global rotation and jaw.
            neck_pose: (B, 3) rotation of the head on the neck; none by default.
            eye_pose: (B, 6) rotations of the left and right eye; none by default.

        Returns:
            (B, V, 3) metres.
        """
        rest = self.rest_vertices(shape, self.effective_expression(expression, pose))
        joints = self.joint_positions(shape)
        if neck_pose is None and eye_pose is None:
            jaw_weights = self.skinning_weights[:, JAW]
            return pose_head(rest, joints[:, 0], joints[:, JAW], jaw_weights, pose)
        still = torch.zeros_like(pose)
        local = torch.cat(
            [
                pose[:, :3],
                still[:, :3] if neck_pose is None else neck_pose,
                pose[:, 3:],
                still if eye_pose is None else eye_pose,
            ],
            dim=-1,
        )
        rotations = rotation_matrices(local.unflatten(-1, (5, 3)))
        return linear_blend_skinning(rest, joints, rotations, self.skinning_weights, JOINT_PARENTS)

    def vertices(self, coefficients: FaceCoefficients) -> Tensor:
        """(..., V, 3) for coefficients of any batch shape."""
        flat = self(
            coefficients.shape.reshape(-1, SHAPE_SIZE),
            coefficients.expression.reshape(-1, EXPRESSION_SIZE),
            coefficients.pose.reshape(-1, POSE_SIZE),
        )
        return flat.reshape(*coefficients.batch_shape, *flat.shape[1:])

    def landmarks(self, vertices: Tensor) -> Tensor:
        """(B, L, 3) MediaPipe landmarks on (B, V, 3) vertices."""
        corners = vertices[:, self.faces[self.landmark_faces]]
        return (corners * self.landmark_barycentrics[..., None]).sum(dim=2)
