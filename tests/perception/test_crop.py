from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.transform import estimate_transform

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.perception.crop import (
    CROP_SIZE,
    OTHER_SIDE,
    STEADY,
    Aligner,
    Alignment,
    cut,
    in_crop,
    in_picture,
)

SIZES = torch.tensor([[300, 400], [512, 512], [640, 360]])


@pytest.fixture(scope="module")
def aligner(head: ArkitHead) -> Aligner:
    return Aligner(head)


@pytest.fixture(scope="module")
def faces(head: ArkitHead) -> FaceCoefficients:
    generator = torch.Generator().manual_seed(0)
    faces = FaceCoefficients.zeros(3)
    faces.shape[:] = 0.7 * torch.randn(3, 100, generator=generator)
    faces.expression[:] = 0.3 * torch.rand(3, 50, generator=generator)
    faces.pose[:, :3] = 0.3 * torch.randn(3, 3, generator=generator)
    faces.pose[:, 3] = 0.2 * head.jaw_open_angle
    faces.camera[:] = torch.tensor([5.0, 0.02, -0.1])
    return faces


def see(head: ArkitHead, faces: FaceCoefficients, sizes: torch.Tensor) -> torch.Tensor:
    """(N, 468, 3) landmarks in pictures of these sizes."""
    vertices = head.landmarks(head.vertices(faces))
    rows = zip(vertices, faces.camera, sizes.tolist(), strict=True)
    return torch.stack([project(v[None], c[None], *size)[0] for v, c, size in rows])


def test_alignment_is_the_least_squares_similarity(
    head: ArkitHead, faces: FaceCoefficients, aligner: Aligner
) -> None:
    landmarks = see(head, faces, SIZES)
    alignment = aligner.align(landmarks)
    for row, points in enumerate(landmarks[:, list(STEADY), :2].numpy()):
        reference = estimate_transform("similarity", points, aligner.targets.numpy())
        turn, shift = reference.params[:2, :2], reference.params[:2, 2]
        np.testing.assert_allclose(alignment.turn[row], turn, atol=1e-4)
        np.testing.assert_allclose(alignment.shift[row], shift, atol=1e-2)


def test_targets_are_symmetric(aligner: Aligner) -> None:
    mirrored = aligner.targets[list(OTHER_SIDE)] * torch.tensor([-1.0, 1.0])
    mirrored = mirrored + torch.tensor([CROP_SIZE[1], 0])
    torch.testing.assert_close(aligner.targets, mirrored, atol=1e-4, rtol=0)


def test_coefficients_in_the_crop_project_where_the_crop_shows_them(
    head: ArkitHead, faces: FaceCoefficients, aligner: Aligner
) -> None:
    landmarks = see(head, faces, SIZES)
    alignment = aligner.align(landmarks)
    moved = in_crop(faces, alignment, SIZES, head)
    seen = see(head, moved, torch.tensor([CROP_SIZE] * 3))
    torch.testing.assert_close(seen[..., :2], alignment(landmarks[..., :2]), atol=0.02, rtol=0)
    eyes = seen[:, [33, 133, 362, 263], :2].mean(1)
    torch.testing.assert_close(eyes, torch.tensor([[64.0, 48.0]] * 3), atol=8, rtol=0)


def test_in_picture_undoes_in_crop(
    head: ArkitHead, faces: FaceCoefficients, aligner: Aligner
) -> None:
    alignment = aligner.align(see(head, faces, SIZES))
    back = in_picture(in_crop(faces, alignment, SIZES, head), alignment, SIZES, head)
    for name, values in vars(faces).items():
        torch.testing.assert_close(getattr(back, name), values, atol=1e-4, rtol=1e-4)


def test_inverse_leads_back() -> None:
    turn = torch.tensor([[[0.6, -0.3], [0.3, 0.6]]])
    alignment = Alignment(turn, torch.tensor([[5.0, -7.0]]))
    points = torch.rand(1, 9, 2) * 100
    back = alignment.inverse()(alignment(points))
    torch.testing.assert_close(back, points, atol=1e-4, rtol=0)


def test_alignments_follow_one_another() -> None:
    first = Alignment(torch.tensor([[[0.6, -0.3], [0.3, 0.6]]]), torch.tensor([[5.0, -7.0]]))
    second = Alignment(torch.tensor([[[1.0, 0.1], [-0.1, 1.0]]]), torch.tensor([[-2.0, 3.0]]))
    points = torch.rand(1, 9, 2) * 100
    both = second.after(first)
    torch.testing.assert_close(both(points), second(first(points)))


@pytest.mark.parametrize("zoom", [0.15, 0.4, 0.9, 2.0])
def test_crops_show_each_point_where_the_alignment_says(zoom: float) -> None:
    """A blob of light is found again, from large pictures and from small ones."""
    spot = np.array([330.0, 270.0])
    rows, columns = np.mgrid[:600, :700] + 0.5
    light = np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / 2 / (6 / zoom) ** 2)
    picture = np.repeat((255 * light).round().astype(np.uint8)[..., None], 3, axis=2)
    turn = zoom * torch.tensor([[[0.96, -0.28], [0.28, 0.96]]])
    goal = torch.tensor([60.0, 85.0])
    alignment = Alignment(turn, (goal - turn[0] @ torch.from_numpy(spot).float())[None])
    crop = cut(picture, alignment)
    assert crop.shape == (*CROP_SIZE, 3)
    moments = cv2.moments(crop[..., 0])
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
    np.testing.assert_allclose(centre, goal, atol=0.15)


def test_beyond_the_picture_its_edge_is_repeated() -> None:
    picture = np.full((20, 20, 3), 90, np.uint8)
    crop = cut(picture, Alignment(torch.eye(2)[None], torch.tensor([[-300.0, 40.0]])))
    assert (crop == 90).all()
