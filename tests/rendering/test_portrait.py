from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.perception.landmark_embedding import paint
from i2fet.rendering.mesh import render_vertices
from i2fet.rendering.portrait import (
    LIP_RIM,
    MOUTH,
    MOUTH_COLOR,
    PortraitRenderer,
    continue_beyond,
    fit_light,
    landmark_operator,
    resample,
    shade,
)

HEIGHT, WIDTH, SIZE = 400, 480, 128


def head_in_photo(jaw=0.0):
    coefficients = FaceCoefficients.zeros(1)
    coefficients.camera[:] = torch.tensor([3.0, 0.02, -0.1])
    coefficients.pose[:, 3] = jaw
    return coefficients


@pytest.fixture(scope="module")
def photo(head):
    """A rendered head before a chequered background."""
    source = head_in_photo()
    vertices = head.vertices(source)
    pixels = project(vertices, source.camera, HEIGHT, WIDTH)
    checks = np.indices((HEIGHT, WIDTH)).sum(0) // 20 % 2 * 120 + 60
    background = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    return render_vertices(
        pixels, vertices, head.faces, paint(head.regions), HEIGHT, WIDTH, background=background
    )[0]


@pytest.fixture(scope="module")
def renderer(head):
    return PortraitRenderer(head)


def difference(a, b):
    return np.abs(a.astype(float) - b.astype(float)).mean()


def test_the_sources_own_expression_gives_the_photo_back(renderer, photo):
    source = head_in_photo()
    portrait = renderer.prepare(photo, source, size=SIZE)
    assert difference(renderer.render(portrait, source)[0], portrait.crop.image) < 0.5


def test_the_crop_shows_the_same_place_as_its_camera(renderer, head, photo):
    source = head_in_photo()
    portrait = renderer.prepare(photo, source, size=SIZE)
    in_photo = project(head.vertices(source), source.camera, HEIGHT, WIDTH)[0, :, :2]
    mapped = in_photo @ torch.tensor(portrait.crop.matrix)[:, :2].T
    mapped = mapped + torch.tensor(portrait.crop.matrix)[:, 2]
    torch.testing.assert_close(portrait.seen_at[:, :2], mapped, atol=1e-3, rtol=0)
    assert mapped.min() > 0
    assert mapped.max() < SIZE


def test_an_opening_mouth_is_dark_inside_and_the_background_stays(renderer, head, photo):
    portrait = renderer.prepare(photo, head_in_photo(), size=SIZE)
    opened = head_in_photo(jaw=head.jaw_open_angle)
    frame = renderer.render(portrait, opened)[0]
    lips = project(head.landmarks(head.vertices(opened)), portrait.crop.camera, SIZE, SIZE)[0]
    x, y = lips[[13, 14], :2].mean(0).int().tolist()
    assert np.abs(frame[y, x].astype(float) - MOUTH_COLOR).max() < 40
    assert difference(frame[:10], portrait.crop.image[:10]) < 1
    assert difference(frame, portrait.crop.image) > 1, "something must move"


def test_parted_lips_that_close_meet_in_a_dark_line(renderer, head, photo):
    closed = head_in_photo()
    assert not renderer.prepare(photo, closed, size=SIZE).parted
    portrait = renderer.prepare(photo, head_in_photo(jaw=head.jaw_open_angle), size=SIZE)
    assert portrait.parted
    x, y = next(iter(renderer._views(portrait, closed))).lips[5].astype(int)
    column = renderer.render(portrait, closed)[0][y - 4 : y + 5, x].mean(axis=1)
    assert abs(int(column.argmin()) - 4) <= 1
    assert column.min() < 0.8 * np.median(column)


def test_only_what_lies_between_the_lips_is_mouth(renderer, head, photo):
    portrait = renderer.prepare(photo, head_in_photo(), size=SIZE)
    opened = head_in_photo(jaw=head.jaw_open_angle)
    labels = next(iter(renderer._views(portrait, opened))).labels
    mouth = np.flatnonzero(renderer.face_layers == MOUTH)[0]
    lips = renderer._lips(project(head.vertices(opened), portrait.crop.camera, SIZE, SIZE)[0])
    everywhere = np.full((SIZE, SIZE), mouth)
    between = renderer._labels(everywhere, lips, portrait.metre) == MOUTH
    assert (labels == MOUTH).sum() > 20
    assert not ((labels == MOUTH) & ~between).any()
    low, high = lips.min(axis=(0, 1)), lips.max(axis=(0, 1))
    rows, columns = np.nonzero(between)
    reach = LIP_RIM * portrait.metre + 2
    assert low[0] - reach < columns.min() < columns.max() < high[0] + reach
    assert low[1] - reach < rows.min() < rows.max() < high[1] + reach


def test_closing_lids_cover_the_eyes_with_skin(renderer, head, photo):
    portrait = renderer.prepare(photo, head_in_photo(), size=SIZE)
    closed = head_in_photo()
    for side in ("Left", "Right"):
        closed.expression[0, head.expression_names.index(f"eyeBlink{side}")] = 1
    frame = renderer.render(portrait, closed)[0]
    eyes = head.regions["pupil"] > 0.5
    centres = portrait.seen_at[eyes, :2].int()
    cheek = portrait.crop.image[
        tuple(portrait.seen_at[head.faces[head.landmark_faces[50], 0], [1, 0]].int())
    ]
    before = portrait.crop.image[centres[:, 1], centres[:, 0]]
    after = frame[centres[:, 1], centres[:, 0]]
    assert difference(after, cheek) < 0.5 * difference(before, cheek)


def test_light_is_found_again(generator):
    light = torch.tensor([0.4, 0.1, 0.2, -0.1])
    normals = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=1)
    pixels = torch.rand(500, 2, generator=generator) * 500
    image = np.zeros((500, 500, 3), np.uint8)
    for (x, y), value in zip(pixels.int().tolist(), shade(normals, light).tolist(), strict=True):
        image[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = round(255 * value)
    torch.testing.assert_close(fit_light(image, pixels, normals), light, atol=0.02, rtol=0)


def test_skin_that_turns_to_the_light_brightens(renderer, head, photo):
    portrait = renderer.prepare(photo, head_in_photo(), size=SIZE)
    sides = []
    for angle in (-0.4, 0.4):
        turned = head_in_photo()
        turned.pose[:, 1] = angle
        view = next(iter(renderer._views(portrait, turned)))
        sides.append(view.relief[view.labels == 0].mean())
    towards_left = float(portrait.light[1]) < 0
    assert (sides[0] > sides[1]) == towards_left
    assert min(sides) < 1 < max(sides)


def test_landmarks_pull_the_mesh_onto_the_photo(renderer, head, photo):
    source = head_in_photo()
    exact = head.landmarks(project(head.vertices(source), source.camera, HEIGHT, WIDTH))[0, :, :2]
    shifted = exact + torch.tensor([2.0, -1.0])
    portrait = renderer.prepare(photo, source, shifted, size=SIZE)
    scale = float(portrait.crop.matrix[0, 0])
    moved = head.landmarks(portrait.offset[None])[0, :, :2] / scale
    torch.testing.assert_close(moved.mean(0), torch.tensor([2.0, -1.0]), atol=0.1, rtol=0)
    ear = head.template[:, 0].argmax()
    assert portrait.offset[ear].norm() < 0.3 * scale


def test_landmarks_pull_touching_lips_apart(head):
    up, down = [80, 81, 82, 13, 312, 311, 310], [88, 178, 87, 14, 317, 402, 318]
    offsets = torch.zeros(468, 2)
    offsets[up, 1], offsets[down, 1] = -1, 1
    moved = head.landmarks((landmark_operator(head) @ offsets)[None])[0, :, 1]
    assert moved[up].mean() < -0.3
    assert moved[down].mean() > 0.3


def test_landmark_operator_is_linear_and_local(head):
    operator = landmark_operator(head)
    assert operator.shape == (head.num_vertices, 468)
    back_of_head = head.template[:, 2].argmin()
    assert operator[back_of_head].abs().max() < 1e-3


def test_continue_beyond_keeps_what_is_known_and_extends_it(generator):
    y, x = np.indices((32, 32), dtype=np.float32)
    values = np.dstack([x, y])
    known = ((x - 16) ** 2 + (y - 16) ** 2 < 64).astype(np.float32)
    filled = continue_beyond(values * known[..., None], known)
    np.testing.assert_allclose(filled[known > 0], values[known > 0], rtol=1e-5)
    assert np.isfinite(filled).all()
    assert filled.min() > 5
    assert filled.max() < 27
    constant = continue_beyond(np.full((32, 32, 2), 7, np.float32) * known[..., None], known)
    np.testing.assert_allclose(constant, 7, rtol=1e-4)


@pytest.mark.parametrize("size", [40, 100, 333])
def test_resample_keeps_positions(size):
    ramp = np.tile(np.linspace(0, 255, 400, dtype=np.float32), (400, 1))
    photo = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    scale = size / 200
    square = resample(
        photo, np.array([[scale, 0, -100 * scale], [0, scale, -100 * scale]], np.float32), size
    )
    expected = cv2.resize(photo[100:300, 100:300], (size, size), interpolation=cv2.INTER_AREA)
    inner = slice(size // 10, -size // 10)
    assert difference(square[:, inner], expected[:, inner]) < 2
