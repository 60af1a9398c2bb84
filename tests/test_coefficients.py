from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation

from i2fet.coefficients import FaceCoefficients


def turned(*rotations: Rotation) -> FaceCoefficients:
    faces = FaceCoefficients.zeros(len(rotations))
    for row, rotation in enumerate(rotations):
        faces.pose[row, :3] = torch.from_numpy(rotation.as_rotvec())
    return faces


def test_head_angles_are_read_one_by_one() -> None:
    """Yaw moves the nose to the picture's right, pitch down, and roll the crown to the left."""
    yaw, pitch, roll = (Rotation.from_euler(axis, 20, degrees=True) for axis in "yxz")
    assert yaw.apply([0, 0, 1])[0] > 0 > pitch.apply([0, 0, 1])[1]
    assert roll.apply([0, 1, 0])[0] < 0
    angles = turned(yaw, pitch, roll).head_angles
    torch.testing.assert_close(angles, 20 * torch.eye(3), atol=1e-4, rtol=0)


def test_head_angles_are_those_of_a_head_that_rolls_nods_and_turns() -> None:
    yaw, pitch, roll = (
        Rotation.from_euler(axis, degrees, degrees=True)
        for axis, degrees in (("y", 30), ("x", -10), ("z", 5))
    )
    faces = turned(yaw * pitch * roll).map(lambda values: values.expand(2, 3, -1))
    expected = torch.tensor([30.0, -10.0, 5.0]).expand(2, 3, -1)
    torch.testing.assert_close(faces.head_angles, expected)
