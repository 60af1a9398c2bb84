"""The coefficients of a face, batched: the one thing every part of the project passes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

SHAPE_SIZE = 100
EXPRESSION_SIZE = 50
POSE_SIZE = 6
CAMERA_SIZE = 3
FACE_PARAMETER_SIZE = EXPRESSION_SIZE + 3
"""Width of the face branch of the paper's CAFT: expression and jaw."""


@dataclass(frozen=True, repr=False)
class FaceCoefficients:
    """Coefficients of a parametric head, with any leading batch shape.

    The frame is that of the picture: x to the right, y up, z towards the viewer, in metres.

    Attributes:
        shape: (..., 100) identity, in standard deviations of the head's population.
        expression: (..., 50); ARKit actions in [0, 1] for the ARKit head, codes of about unit
            variance for FLAME.
        pose: (..., 6) axis-angle radians: global rotation 3, jaw rotation 3.
        camera: (..., 3) weak perspective (scale, tx, ty); see `i2fet.camera.project`.
    """

    shape: Tensor
    expression: Tensor
    pose: Tensor
    camera: Tensor

    def __post_init__(self) -> None:
        sizes = (SHAPE_SIZE, EXPRESSION_SIZE, POSE_SIZE, CAMERA_SIZE)
        for field, size in zip(fields(self), sizes, strict=True):
            value = getattr(self, field.name)
            if value.shape[-1] != size or value.shape[:-1] != self.shape.shape[:-1]:
                raise ValueError(
                    f"{field.name} has shape {tuple(value.shape)}, expected "
                    f"{(*self.shape.shape[:-1], size)}"
                )

    def __repr__(self) -> str:
        return f"FaceCoefficients(batch_shape={tuple(self.batch_shape)})"

    @classmethod
    def zeros(cls, *batch_shape: int, **kwargs: Any) -> FaceCoefficients:
        """Neutral mean faces seen from the front at unit scale; kwargs as in `torch.zeros`."""
        camera = torch.zeros(*batch_shape, CAMERA_SIZE, **kwargs)
        camera[..., 0] = 1
        return cls(
            torch.zeros(*batch_shape, SHAPE_SIZE, **kwargs),
            torch.zeros(*batch_shape, EXPRESSION_SIZE, **kwargs),
            torch.zeros(*batch_shape, POSE_SIZE, **kwargs),
            camera,
        )

    @classmethod
    def cat(cls, items: Sequence[FaceCoefficients]) -> FaceCoefficients:
        """Join along the first batch dimension."""
        return cls(*(torch.cat([getattr(i, f.name) for i in items]) for f in fields(cls)))

    @classmethod
    def stack(cls, items: Sequence[FaceCoefficients]) -> FaceCoefficients:
        """Join along a new first batch dimension."""
        return cls(*(torch.stack([getattr(i, f.name) for i in items]) for f in fields(cls)))

    @property
    def batch_shape(self) -> torch.Size:
        return self.shape.shape[:-1]

    @property
    def global_rotation(self) -> Tensor:
        """(..., 3) axis-angle of the whole head."""
        return self.pose[..., :3]

    @property
    def head_angles(self) -> Tensor:
        """(..., 3) yaw, pitch and roll of the whole head, degrees; the roll turns it first.

        Positive to the picture's right, downwards, and anticlockwise in the picture.
        """
        axis_angle = self.global_rotation.double().cpu().numpy()
        turns = Rotation.from_rotvec(axis_angle.reshape(-1, 3)).as_euler("YXZ", degrees=True)
        return torch.from_numpy(turns).to(self.pose).view_as(self.global_rotation)

    @property
    def jaw(self) -> Tensor:
        """(..., 3) axis-angle of the jaw; a positive first component opens the mouth."""
        return self.pose[..., 3:]

    @property
    def face_parameters(self) -> Tensor:
        """(..., 53) expression and jaw: x^f of the paper (Section III-B1)."""
        return torch.cat([self.expression, self.jaw], dim=-1)

    def map(self, function: Callable[[Tensor], Tensor]) -> FaceCoefficients:
        """Apply one function to each of the four tensors."""
        return FaceCoefficients(*(function(getattr(self, f.name)) for f in fields(self)))

    def to(self, *args: Any, **kwargs: Any) -> FaceCoefficients:
        """As `torch.Tensor.to`."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def __getitem__(self, index: Any) -> FaceCoefficients:
        """Index the leading batch dimensions with integers, slices or one integer tensor."""
        return self.map(lambda tensor: tensor[index])

    def __len__(self) -> int:
        return self.shape.shape[0]
