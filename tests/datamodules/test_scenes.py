from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from datamodules.scenes import COVERED, Scene, film, sample_scene

SIZE = 64


def scene(seed: int) -> Scene:
    return sample_scene(SIZE, np.random.default_rng(seed))


def plain() -> Scene:
    return replace(
        scene(0),
        covered=np.zeros((SIZE, SIZE, 1), np.float32),
        gamma=1,
        balance=np.ones(3, np.float32),
        grey=False,
        detail=1,
        blur=0,
        shake=(0, 0),
        noise=0,
        quality=100,
    )


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3), dtype=np.uint8)


def test_scenes_differ_and_follow_their_seed() -> None:
    backgrounds = [scene(seed).background for seed in range(20)]
    assert len({background.tobytes() for background in backgrounds}) == 20
    assert np.array_equal(scene(3).background, backgrounds[3])
    assert all(b.shape == (SIZE, SIZE, 3) and b.dtype == np.uint8 for b in backgrounds)
    assert np.mean([background.std((0, 1)).mean() for background in backgrounds]) > 15


def test_lamps_are_distant_and_not_negative() -> None:
    for seed in range(20):
        lighting = scene(seed).lighting
        assert lighting.directions.norm(dim=1).allclose(torch.ones(()))
        assert min(lighting.ambient.min(), lighting.colors.min()) >= 0


def test_some_faces_are_covered_from_below() -> None:
    covered = [scene(seed).covered for seed in range(200)]
    some = [mask for mask in covered if mask.any()]
    assert abs(len(some) / 200 - COVERED) < 0.1
    assert not any(mask[: SIZE // 2].any() for mask in some)


def test_a_perfect_camera_changes_nothing(pictures: np.ndarray) -> None:
    filmed = film(pictures, plain(), np.random.default_rng(0))
    assert abs(filmed.astype(int) - pictures).max() <= 1


def test_cover_hides_the_face(pictures: np.ndarray) -> None:
    mask = np.zeros((SIZE, SIZE, 1), np.float32)
    mask[40:] = 1
    cover = np.full((SIZE, SIZE, 3), (10, 20, 30), np.uint8)
    covered = replace(plain(), covered=mask, cover=cover)
    filmed = film(pictures, covered, np.random.default_rng(0))
    assert (filmed[:, 40:] == (10, 20, 30)).all()
    assert abs(filmed[:, :40].astype(int) - pictures[:, :40]).max() <= 1


@pytest.mark.parametrize(("gamma", "darker"), [(1.5, True), (0.7, False)])
def test_exposure(pictures: np.ndarray, gamma: float, darker: bool) -> None:
    filmed = film(pictures, replace(plain(), gamma=gamma), np.random.default_rng(0))
    assert (filmed.mean() < pictures.mean()) == darker


def test_noise_and_blur() -> None:
    grey = np.full((2, SIZE, SIZE, 3), 128, np.uint8)
    noisy = film(grey, replace(plain(), noise=6), np.random.default_rng(0))
    assert 5 < noisy.std() < 7
    blurred = film(noisy, replace(plain(), blur=2), np.random.default_rng(0))
    assert blurred.std() < 2
    assert not np.array_equal(noisy[0], noisy[1])


def test_colours_and_grey(pictures: np.ndarray) -> None:
    warm = replace(plain(), balance=np.array([1, 0.9, 0.7], np.float32))
    filmed = film(pictures, warm, np.random.default_rng(0)).astype(float)
    expected = pictures * warm.balance
    assert abs(filmed - expected).max() <= 1
    grey = film(pictures, replace(plain(), grey=True), np.random.default_rng(0))
    assert (grey.max(-1) == grey.min(-1)).all()


def test_a_shaken_camera_blurs_along_its_way() -> None:
    dot = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    dot[:, 32, 32] = 255
    filmed = film(dot, replace(plain(), shake=(9, 0)), np.random.default_rng(0))[0, ..., 0]
    rows, columns = np.nonzero(filmed > 8)
    assert np.ptp(columns) >= 7
    assert np.ptp(rows) <= 2
    mass = filmed.astype(float)
    assert abs((mass.sum(0) * np.arange(SIZE)).sum() / mass.sum() - 32) < 0.1


@pytest.mark.parametrize("change", [{"quality": 30}, {"detail": 0.4}])
def test_poor_recordings_keep_the_picture_in_place(change: dict[str, float]) -> None:
    smooth = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    picture = cv2.resize(smooth, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)[None]
    filmed = film(picture, replace(plain(), **change), np.random.default_rng(0)).astype(float)
    error = [abs(filmed - np.roll(picture, shift, 2)).mean() for shift in (-1, 0, 1)]
    assert 0 < error[1] < min(error[0], error[2])
