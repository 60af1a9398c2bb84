from __future__ import annotations

import torch

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.perception.mirror import Mirror, other_sides


def test_every_action_swaps_sides_with_its_counterpart() -> None:
    names = ("browDownLeft", "browDownRight", "browInnerUp", "mouthLeft", "mouthRight")
    assert other_sides(names) == [1, 0, 2, 4, 3]


def test_the_mirrored_face_is_the_face_mirrored(head: ArkitHead) -> None:
    """No pixel of it lies further from the mirrored head than the head itself is uneven."""
    generator = torch.Generator().manual_seed(0)
    faces = FaceCoefficients.zeros(5)
    faces.shape[:] = torch.randn(5, 100, generator=generator)
    faces.expression[:] = torch.rand(5, 50, generator=generator) * 0.3
    faces.pose[:] = 0.2 * torch.randn(5, 6, generator=generator)
    faces.camera[:] = torch.tensor([6.0, 0.03, -0.1])

    def pixels(faces: FaceCoefficients) -> torch.Tensor:
        return project(head.vertices(faces), faces.camera, 400, 300)

    mirrored = pixels(Mirror(head)(faces)) - torch.tensor([300.0, 0.0, 0.0])
    distance = torch.cdist(pixels(faces) * torch.tensor([-1.0, 1.0, 1.0]), mirrored).amin(2)
    assert distance.mean() < 1.0
    assert torch.cdist(pixels(faces), mirrored + torch.tensor([300.0, 0, 0])).amin(2).mean() > 2.0


def test_twice_mirrored_is_as_before(head: ArkitHead) -> None:
    mirror = Mirror(head)
    faces = FaceCoefficients.zeros(3)
    faces.expression[:] = torch.rand(3, 50)
    faces.pose[:] = torch.randn(3, 6)
    faces.camera[:] = torch.randn(3, 3)
    again = mirror(mirror(faces))
    for name in ("expression", "pose", "camera"):
        torch.testing.assert_close(getattr(again, name), getattr(faces, name))
