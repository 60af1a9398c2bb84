from __future__ import annotations

from typing import Any

import pytest
import torch

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.heads import ArkitHead
from i2fet.perception.fitting import fitted_points
from i2fet.tasks import FaceEncoderTask


def test_landmarks_lie_where_the_head_is_drawn(head: ArkitHead) -> None:
    torch.manual_seed(0)
    faces = FaceCoefficients(
        shape=torch.randn(4, 100),
        expression=torch.rand(4, 50),
        pose=0.2 * torch.randn(4, 6),
        camera=torch.tensor([8.0, 0.0, -0.1]) * (1 + 0.1 * torch.randn(4, 3)),
    )
    pixels = project(fitted_points(head, head.vertices(faces)), faces.camera, 2, 2)[..., :2]
    expected = (pixels - 1) * torch.tensor([1.0, -1.0])
    task = FaceEncoderTask(crop=[(4, 1)], part=[(4, 1)], features=8, hidden=8)
    torch.testing.assert_close(task.landmarks(faces), expected, atol=1e-4, rtol=0)
    moved = FaceCoefficients(**{**vars(faces), "camera": faces.camera + torch.tensor([0, 0.01, 0])})
    assert (task.landmark_distance(moved, faces) > 5).all()
    assert (task.landmark_distance(faces, faces) == 0).all()


@pytest.mark.parametrize(
    "sizes", [{"crop": []}, {"part": [(8, 0)]}, {"crop": [(0, 1)]}, {"features": 0}]
)
def test_sizes_of_no_network_are_answered_in_one_sentence(sizes: dict[str, Any]) -> None:
    name, value = next(iter(sizes.items()))
    with pytest.raises(OptionError) as refused:
        FaceEncoderTask(**sizes)
    assert str(refused.value).startswith(f"{name} is {value}; give ")
