from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from i2fet.camera import project
from i2fet.errors import AssetError, FaceTooSmallError, NoFaceError
from i2fet.heads import ArkitHead, load_head
from i2fet.perception import (
    EncodedFaces,
    LandmarkFaceEncoder,
    load_face_encoder,
    perceive,
)
from i2fet.perception.fitting import FitSettings, load_bias
from i2fet.perception.landmarks import LandmarkDetector

QUIET_SCRIPT = """
import sys
import torch
from skimage import data
from i2fet.perception import load_face_encoder
torch.set_num_threads(4)
load_face_encoder("landmarks").encode([data.astronaut()] * 8)
print("still heard", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def encoder() -> LandmarkFaceEncoder:
    encoder = load_face_encoder("landmarks", "arkit")
    assert isinstance(encoder, LandmarkFaceEncoder)
    return encoder


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.asarray(data.astronaut())


@pytest.fixture(scope="module")
def encoded(encoder: LandmarkFaceEncoder, portrait: np.ndarray) -> EncodedFaces:
    return encoder.encode([portrait, np.zeros((64, 80, 3), np.uint8)])


def shrink(portrait: np.ndarray, face: int) -> np.ndarray:
    """The portrait with a face of about so many pixels."""
    share = face / 110
    return cv2.resize(portrait, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def test_a_real_photo_fits_within_the_bound(encoded: EncodedFaces) -> None:
    assert encoded.residual_percent[0] < 1.2
    assert encoded.faces.tolist() == [1, 0]


def test_a_smile_is_read_as_one(encoder: LandmarkFaceEncoder, encoded: EncodedFaces) -> None:
    names = encoder.fitter.head.expression_names
    smile = [names.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    frown = [names.index(f"mouthFrown{side}") for side in ("Left", "Right")]
    expression = encoded.coefficients.expression[0]
    assert expression[smile].min() > expression[frown].max() + 0.1


def test_rows_without_a_face_are_empty(encoded: EncodedFaces) -> None:
    assert encoded.found.tolist() == [True, False]
    assert encoded.residual_percent[1].isnan()
    assert encoded.landmarks[1].isnan().all()
    assert not encoded.coefficients.expression[1].any()


def test_coefficients_lie_on_the_detected_landmarks(
    encoder: LandmarkFaceEncoder, encoded: EncodedFaces
) -> None:
    head, face = encoder.fitter.head, encoded.coefficients[:1]
    pixels = project(head.landmarks(head.vertices(face)), face.camera, 512, 512)[0, :, :2]
    distance = (pixels - encoded.landmarks[0, :468, :2]).norm(dim=-1).mean()
    eyes = encoded.landmarks[0, [33, 263], :2]
    assert distance < 0.03 * (eyes[0] - eyes[1]).norm()


@pytest.mark.parametrize(("scale", "shift"), [(2.0, (0, 0)), (1.0, (37, 0)), (1.5, (0, 61))])
def test_landmarks_follow_the_pixels(
    portrait: np.ndarray, scale: float, shift: tuple[int, int]
) -> None:
    """Half a pixel of error in a convention would show as a constant offset."""
    detector = LandmarkDetector()
    base = detector(portrait)
    larger = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    moved = cv2.copyMakeBorder(larger, shift[1], 0, shift[0], 0, cv2.BORDER_REPLICATE)
    face = detector(moved)
    assert base is not None
    assert face is not None
    offset = (face.points[:, :2] - shift) / scale - base.points[:, :2]
    assert np.abs(offset.mean(0)).max() < 0.35
    assert np.abs(offset).mean() < 0.5


def test_a_face_in_a_large_photo_is_found(portrait: np.ndarray) -> None:
    photo = np.tile(np.linspace(60, 200, 2000, dtype=np.uint8)[None, :, None], (1600, 1, 3))
    small = shrink(portrait, 70)
    photo[800 : 800 + len(small), 900 : 900 + small.shape[1]] = small
    face = LandmarkDetector()(photo)
    assert face is not None
    x, y = face.points[1, :2]
    nose = np.array([437, 258]) / 1000 * 512 * 70 / 110 / 0.512
    assert abs(x - 900 - 0.512 * nose[0]) < 25
    assert abs(y - 800 - 0.512 * nose[1]) < 25


def test_a_face_that_fills_the_photo_is_found(
    encoder: LandmarkFaceEncoder, portrait: np.ndarray
) -> None:
    assert encoder.encode([portrait[70:170, 175:280]]).found.all()


@pytest.mark.parametrize("size", [1, 300])
def test_no_face(encoder: LandmarkFaceEncoder, size: int) -> None:
    with pytest.raises(NoFaceError, match=f"{size} x {size} pixels"):
        perceive(np.zeros((size, size, 3), np.uint8), encoder)


def test_a_small_face(encoder: LandmarkFaceEncoder, portrait: np.ndarray) -> None:
    with pytest.raises(FaceTooSmallError, match=r"2\d pixels wide"):
        perceive(shrink(portrait, 24), encoder)


def test_the_larger_of_two_faces_is_taken(
    encoder: LandmarkFaceEncoder, portrait: np.ndarray
) -> None:
    small = np.zeros_like(portrait)
    half = shrink(portrait, 70)
    small[: len(half), : half.shape[1]] = half
    face = perceive(np.concatenate([small, portrait], axis=1), encoder)
    assert face.faces == 2
    assert face.landmarks[:, 0].min() > portrait.shape[1]
    assert face.landmarks.shape == (468, 3)
    assert face.coefficients.batch_shape == (1,)


def test_threads_may_share_an_encoder(
    encoder: LandmarkFaceEncoder, portrait: np.ndarray, encoded: EncodedFaces
) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(encoder.encode, [[portrait]] * 8))
    for result in results:
        torch.testing.assert_close(result.landmarks[0], encoded.landmarks[0], atol=1e-3, rtol=0)


def test_fingerprint_depends_on_the_settings(encoder: LandmarkFaceEncoder) -> None:
    head = encoder.fitter.head
    assert encoder.fingerprint == LandmarkFaceEncoder(head).fingerprint
    other = LandmarkFaceEncoder(head, FitSettings(depth_weight=0.5))
    assert encoder.fingerprint != other.fingerprint


def test_the_shipped_bias_belongs_to_the_shipped_head() -> None:
    head = load_head("arkit")
    assert isinstance(head, ArkitHead)
    assert load_bias(head).shape == (470, 3)


def test_unknown_encoders_are_refused() -> None:
    with pytest.raises(AssetError, match="'telepathy'"):
        load_face_encoder("telepathy")


@pytest.mark.slow
def test_import_is_cheap_and_use_is_quiet() -> None:
    check = "import sys, i2fet.perception; assert 'mediapipe' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
    done = subprocess.run([sys.executable, "-c", QUIET_SCRIPT], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"still heard\n")
