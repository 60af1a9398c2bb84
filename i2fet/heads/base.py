"""What every parametric head offers, whatever it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2fet.coefficients import EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.heads.skinning import linear_blend_skinning, pose_head, rotation_matrices

JOINT_NAMES = ("neck", "head", "jaw", "left_eye", "right_eye")
JOINT_PARENTS = (-1, 0, 1, 1, 1)
JAW = JOINT_NAMES.index("jaw")
JAW_OPEN = "jawOpen"
"""ARKit's action that the jaw's rotation about x stands for."""

PLAIN = (
    "joints",
    "joint_shape_basis",
    "joint_expression_basis",
    "skinning_weights",
    "faces",
    "uv",
    "faces_uv",
    "landmark_faces",
    "landmark_barycentrics",
)
"""Arrays of `HeadData` that a model keeps as they are."""


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
        joint_expression_basis: (50, 5, 3) metres per unit of each expression coefficient; none
            where expressions leave the joints in place.
        corrective_basis: (C, V, 3) what the joints' rotations add to the unposed vertices, metres
            per unit of `HeadModel.corrective_weights`; none where they add nothing.
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
    joint_expression_basis: Tensor | None = None
    corrective_basis: Tensor | None = None


class HeadModel(nn.Module):
    """Coefficients to vertices (eq. 13), for any head with linear shapes and five joints.

    Attributes:
        name: Recorded in checkpoints and caches; coefficients of different heads never mix.
        expression_names: Name of each of the 50 expression coefficients.
        expression_range: Lowest and highest valid expression coefficient.
        jaw_open_angle: Jaw rotation about x, radians, that ARKit's jawOpen at 1 stands for.
        region_names: Of `regions`.
        jaw_correctives: Rows of `corrective_basis` that follow the jaw.
    """

    jaw_correctives = slice(9 * (JAW - 1), 9 * JAW)

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
        blend = torch.cat([data.template[None], data.shape_basis, data.expression_basis])
        # With the vertices last in memory, rotating them all is one large matrix product.
        self.register_buffer("blend", blend.mT.contiguous(), persistent=False)
        correctives = data.corrective_basis
        if correctives is not None:
            correctives = correctives.mT.contiguous()
        self.register_buffer("correctives", correctives, persistent=False)
        for key in PLAIN:
            self.register_buffer(key, getattr(data, key), persistent=False)
        self.region_names = tuple(regions or ())
        for key, value in (regions or {}).items():
            self.register_buffer(f"region_{key}", value, persistent=False)

    blend: Tensor
    correctives: Tensor | None
    joints: Tensor
    joint_shape_basis: Tensor
    joint_expression_basis: Tensor | None
    skinning_weights: Tensor
    faces: Tensor
    uv: Tensor
    faces_uv: Tensor
    landmark_faces: Tensor
    landmark_barycentrics: Tensor

    @property
    def template(self) -> Tensor:
        """As in `HeadData`."""
        return self.blend[0].mT

    @property
    def shape_basis(self) -> Tensor:
        """As in `HeadData`."""
        return self.blend[1 : 1 + SHAPE_SIZE].mT

    @property
    def expression_basis(self) -> Tensor:
        """As in `HeadData`."""
        return self.blend[1 + SHAPE_SIZE :].mT

    @property
    def corrective_basis(self) -> Tensor | None:
        """As in `HeadData`."""
        return None if self.correctives is None else self.correctives.mT

    @property
    def moving_basis(self) -> Tensor:
        """(M, V, 3) of all that moves with expression and jaw: `expression_basis`, correctives."""
        if self.correctives is None:
            return self.expression_basis
        return torch.cat([self.expression_basis, self.correctives[self.jaw_correctives].mT])

    @property
    def num_vertices(self) -> int:
        return self.blend.shape[-1]

    @property
    def regions(self) -> dict[str, Tensor]:
        """(V,) float masks in [0, 1] of the parts this head knows, by name."""
        return {name: self.get_buffer(f"region_{name}") for name in self.region_names}

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of `actions`."""
        return (*self.expression_names, JAW_OPEN)

    def actions(self, coefficients: FaceCoefficients) -> Tensor:
        """(..., 51) expression, and the jaw's opening as a share of jawOpen."""
        opening = coefficients.jaw[..., :1] / self.jaw_open_angle
        return torch.cat([coefficients.expression, opening], dim=-1)

    def effective_expression(self, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, 50) weights of `expression_basis`; heads with correctives override this."""
        return expression

    def moving_weights(self, expression: Tensor, pose: Tensor) -> Tensor:
        """(..., M) weights of `moving_basis` for (..., 50) expression and (..., 6) pose."""
        weights = self.effective_expression(expression, pose)
        if self.correctives is None:
            return weights
        turned = functional.pad(pose[..., None, 3:], (0, 0, JAW - 1, len(JOINT_NAMES) - 1 - JAW))
        return torch.cat([weights, self.corrective_weights(turned)[..., self.jaw_correctives]], -1)

    def corrective_weights(self, turned: Tensor) -> Tensor:
        """Weights of `corrective_basis`.

        Args:
            turned: (..., 4, 3) axis-angle of the local rotations R of all joints but the root.

        Returns:
            (..., 36) entries of R - I, row by row; heads with other correctives override this.
        """
        identity = torch.eye(3, dtype=turned.dtype, device=turned.device)
        return (rotation_matrices(turned) - identity).flatten(-3)

    def rest_vertices(self, shape: Tensor, expression: Tensor) -> Tensor:
        """(B, V, 3) unposed vertices for (B, 100) shape and (B, 50) expression weights."""
        mean, basis = self.blend[0].flatten(), self.blend[1:].flatten(1)
        codes = torch.cat([shape, expression], dim=1)
        return torch.addmm(mean, codes, basis).unflatten(-1, (3, -1)).mT

    def joint_positions(self, shape: Tensor, expression: Tensor | None = None) -> Tensor:
        """(B, 5, 3) joints in the rest pose for (B, 100) shape and (B, 50) expression weights."""
        joints = self.joints + torch.einsum("bs,sjc->bjc", shape, self.joint_shape_basis)
        if expression is None or self.joint_expression_basis is None:
            return joints
        return joints + torch.einsum("be,ejc->bjc", expression, self.joint_expression_basis)

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
        only_jaw = neck_pose is None and eye_pose is None
        expression = self.effective_expression(expression, pose)
        joints = self.joint_positions(shape, expression)
        still = torch.zeros_like(pose)
        local = torch.cat(
            [
                pose[:, :3],
                still[:, :3] if neck_pose is None else neck_pose,
                pose[:, 3:],
                still if eye_pose is None else eye_pose,
            ],
            dim=-1,
        ).unflatten(-1, (5, 3))
        rows = self.jaw_correctives if only_jaw else slice(None)
        rest = self._correct(self.rest_vertices(shape, expression), local[:, 1:], rows)
        if only_jaw:
            jaw_weights = self.skinning_weights[:, JAW]
            return pose_head(rest, joints[:, 0], joints[:, JAW], jaw_weights, pose)
        rotations = rotation_matrices(local)
        return linear_blend_skinning(rest, joints, rotations, self.skinning_weights, JOINT_PARENTS)

    def _correct(self, rest: Tensor, turned: Tensor, rows: slice) -> Tensor:
        """Add some of the correctives of (B, 4, 3) joint rotations to (B, V, 3) vertices."""
        if self.correctives is None:
            return rest
        weights, basis = self.corrective_weights(turned)[:, rows], self.correctives[rows]
        corrected = torch.addmm(rest.mT.flatten(1), weights, basis.flatten(1))
        return corrected.unflatten(-1, (3, -1)).mT

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
