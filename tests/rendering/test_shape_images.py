from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.rendering.mesh import PAPER
from i2fet.rendering.shape_images import (
    MARGIN,
    ShapeImageCache,
    draw_shape_images,
    frontal,
    neutral_camera,
    rotate_images,
)

SIZE = 48


@pytest.fixture
def faces(generator: torch.Generator) -> FaceCoefficients:
    faces = FaceCoefficients.zeros(3)
    return replace(
        faces,
        shape=torch.randn(3, 100, generator=generator),
        expression=torch.rand(3, 50, generator=generator) * 0.4,
        pose=torch.randn(3, 6, generator=generator).abs() * 0.2,
    )


def test_neutral_landmarks_fill_the_frame(head: ArkitHead, faces: FaceCoefficients) -> None:
    neutral = head(faces.shape, torch.zeros(3, 50), torch.zeros(3, 6))
    camera = neutral_camera(head, faces.shape)
    pixels = project(head.landmarks(neutral), camera, SIZE, SIZE)[..., :2]
    low, high = pixels.amin(dim=1), pixels.amax(dim=1)
    torch.testing.assert_close(low + high, torch.full((3, 2), float(SIZE)), atol=1e-3, rtol=0)
    extent = torch.full((3,), SIZE * (1 - 2 * MARGIN))
    torch.testing.assert_close((high - low).amax(dim=1), extent)


def test_pictures_are_square_uint8_and_differ(head: ArkitHead, faces: FaceCoefficients) -> None:
    images = draw_shape_images(head, faces, SIZE)
    assert images.shape == (3, 3, SIZE, SIZE)
    assert images.dtype == torch.uint8
    assert not torch.equal(images[0], images[1])


def test_head_rotation_and_camera_do_not_show(head: ArkitHead, faces: FaceCoefficients) -> None:
    pose = torch.cat([torch.zeros(3, 3), faces.jaw], dim=1)
    other = replace(faces, pose=pose, camera=faces.camera + 1)
    images = draw_shape_images(head, faces, SIZE)
    assert torch.equal(images, draw_shape_images(head, other, SIZE))


def test_mixed_precision_draws_the_same(head: ArkitHead, faces: FaceCoefficients) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mixed = draw_shape_images(head, faces, SIZE)
    assert torch.equal(mixed, draw_shape_images(head, faces, SIZE))


def test_jaw_and_expression_show(head: ArkitHead, faces: FaceCoefficients) -> None:
    images = draw_shape_images(head, faces, SIZE).int()
    shut = replace(faces, pose=torch.zeros(3, 6))
    still = replace(faces, expression=torch.zeros(3, 50))
    for other in (shut, still):
        assert (images - draw_shape_images(head, other, SIZE).int()).abs().amax() > 20


def test_frontal_keeps_the_jaw(faces: FaceCoefficients) -> None:
    assert torch.equal(frontal(faces).jaw, faces.jaw)
    assert not frontal(faces).global_rotation.any()


def test_rotation_is_pillows_inside(head: ArkitHead, faces: FaceCoefficients) -> None:
    images = draw_shape_images(head, faces, SIZE)
    turned = rotate_images(images, 15)
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.rotate(15, Image.Resampling.BILINEAR)).astype(int)
    inside = slice(12, -12)
    result = turned[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(result - expected)[inside, inside].mean() < 1.5


def test_every_image_can_be_turned_by_its_own_angle(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    images = draw_shape_images(head, faces, SIZE)
    turned = rotate_images(images, torch.tensor([10.0, -20.0, 0.0]))
    assert torch.equal(turned[:1], rotate_images(images[:1], 10))
    assert torch.equal(turned[1:2], rotate_images(images[1:2], -20))
    assert torch.equal(turned[2], images[2])


def test_corners_of_turned_images_are_paper(head: ArkitHead) -> None:
    plain = (255 * torch.tensor(PAPER)).round().byte()
    images = plain[:, None, None].expand(1, 3, SIZE, SIZE)
    assert (rotate_images(images, 30).int() - images.int()).abs().max() <= 1
    assert torch.equal(rotate_images(images, 0), images)


def test_cache_draws_every_face_once(faces: FaceCoefficients) -> None:
    drawn: list[int] = []

    def draw(faces: FaceCoefficients) -> Tensor:
        drawn.append(len(faces))
        return faces.shape[:, :3, None, None].expand(-1, 3, 2, 2)

    cache = ShapeImageCache(draw)
    first = cache([5, 9], faces[:2])
    again = cache([9, 7, 5], faces[torch.tensor([1, 2, 0])])
    assert drawn == [2, 1]
    assert torch.equal(again[0], first[1])
    assert torch.equal(again[2], first[0])
    assert torch.equal(again[1], draw(faces)[2])
