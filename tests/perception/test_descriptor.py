from __future__ import annotations

import cv2
import numpy as np
import pytest

from i2fet.perception import descriptor
from i2fet.perception.crop import CROP_SIZE
from i2fet.perception.descriptor import (
    CELL,
    DIRECTIONS,
    _direction_strengths,
    describe,
    descriptor_size,
    mirrored_places,
)


@pytest.fixture
def crop(astronaut: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(astronaut[30:190, 160:288])


def test_numbers_of_a_crop(crop: np.ndarray) -> None:
    numbers = describe(crop)
    assert numbers.shape == (descriptor_size(),)
    assert numbers.dtype == np.uint8
    assert numbers.std() > 10


def test_a_mirrored_crop_is_described_by_the_mirrored_places(crop: np.ndarray) -> None:
    places = mirrored_places()
    np.testing.assert_array_equal(places[places], np.arange(descriptor_size()))
    mirrored = describe(np.ascontiguousarray(crop[:, ::-1])).astype(int)
    assert np.abs(mirrored - describe(crop)[places]).max() <= 1
    assert np.abs(mirrored - describe(crop)).max() > 50


def test_a_soft_picture_is_described_nearly_like_a_sharp_one(
    crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = cv2.GaussianBlur(crop, (0, 0), 1)

    def difference() -> float:
        return float(np.abs(describe(soft).astype(int) - describe(crop)).mean())

    softened = difference()
    monkeypatch.setattr(descriptor, "SOFTNESS", 0.01)
    assert 0 < softened < 0.7 * difference()


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_brightness_that_grows_one_way_counts_there(direction: int) -> None:
    rows, columns = np.mgrid[: CROP_SIZE[0], : CROP_SIZE[1]].astype(np.float32)
    angle = 2 * np.pi * direction / DIRECTIONS
    ramp = (np.cos(angle) * columns + np.sin(angle) * rows) / 100
    inner = _direction_strengths(ramp)[:, 2:-2, 2:-2]
    assert (inner.argmax(0) == direction).all()
    np.testing.assert_allclose(inner.max(0), 0.01, rtol=1e-3)


def test_exposure_hardly_matters(crop: np.ndarray) -> None:
    darker = (crop * 0.6).astype(np.uint8)
    one, other = describe(crop).astype(float), describe(darker).astype(float)
    assert np.corrcoef(one, other)[0, 1] > 0.97


def test_strengths_add_up_to_the_gradients_of_numpy(crop: np.ndarray) -> None:
    light = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    strengths = _direction_strengths(light).sum(0).reshape(40, CELL, 32, CELL).sum((1, 3))
    gradients = np.hypot(*np.gradient(light)).reshape(40, CELL, 32, CELL).sum((1, 3))
    assert np.corrcoef(strengths.ravel(), gradients.ravel())[0, 1] > 0.95
