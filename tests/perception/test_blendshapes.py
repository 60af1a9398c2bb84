from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from mediapipe.tasks.python.components.containers.category import Category
from mediapipe.tasks.python.vision import FaceLandmarkerResult
from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

from i2fet.assets import add_asset
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import AssetError, NoFaceError, OptionError
from i2fet.export.weights import blendshape_weights
from i2fet.perception import encode_photo, load_face_encoder
from i2fet.perception.blendshapes import BLENDSHAPES, BlendshapeFaceEncoder, read_scores
from i2fet.perception.encoder import FITTED, to_picture_frame


class Landmarker:
    """Answers as MediaPipe's own does."""

    def __init__(self, scores):
        self.scores = scores

    def detect(self, image):
        assert image.numpy_view().shape == (384, 384, 3)
        return FaceLandmarkerResult([], [self.scores] if self.scores else [], [])


def camel_case(name):
    first, *others = name.lower().split("_")
    return first + "".join(map(str.capitalize, others))


@pytest.fixture
def scores():
    """All 52, in MediaPipe's order."""
    values = np.random.default_rng(0).uniform(0, 0.25, len(Blendshapes))
    names = ["_neutral", *(camel_case(shape.name) for shape in list(Blendshapes)[1:])]
    return [
        Category(index=i, score=value, display_name="", category_name=name)
        for i, (name, value) in enumerate(zip(names, values, strict=True))
    ]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Something that looks like the file, which cannot be had here."""
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path / "assets"))
    with zipfile.ZipFile(tmp_path / "face_landmarker.task", "w") as bundle:
        bundle.writestr(BLENDSHAPES, "a model")
    return add_asset("mediapipe_tasks", tmp_path / "face_landmarker.task")


def test_scores_become_coefficients_that_export_as_the_same_scores(head, scores):
    expression, jaw = read_scores(scores, head)
    faces = FaceCoefficients.zeros(1)
    faces.expression[0], faces.pose[0, 3] = expression, jaw
    exported = dict(
        zip(head.action_names, blendshape_weights(head, faces)[0].tolist(), strict=True)
    )
    expected = {score.category_name: score.score for score in scores}
    del expected["_neutral"]
    # The export scales this corrective by the jaw's opening.
    expected["mouthClose"] *= expected["jawOpen"]
    assert exported == pytest.approx(expected, abs=1e-6)


def test_identity_pose_and_camera_are_fitted_around_the_scores(head, scores, installed, astronaut):
    encoder = load_face_encoder("mediapipe", head)
    assert isinstance(encoder, BlendshapeFaceEncoder)
    encoder.landmarker = Landmarker(scores)
    read = encoder.encode([astronaut, np.zeros((64, 64, 3), np.uint8)])
    assert read.found.tolist() == [True, False]
    expression, jaw = read_scores(scores, head)
    face = read.coefficients[:1]
    torch.testing.assert_close(face.expression[0], expression)
    torch.testing.assert_close(face.jaw[0], torch.tensor([jaw, 0, 0]))
    targets = to_picture_frame(read.landmarks[:1], torch.tensor([astronaut.shape[:2]]))[:, FITTED]
    plain = encoder.fitter(targets)[0]
    torch.testing.assert_close(face.global_rotation, plain.global_rotation, rtol=0, atol=0.3)
    torch.testing.assert_close(face.camera[:, :1], plain.camera[:, :1], rtol=0.25, atol=0)
    assert read.residual_percent[0] < 4
    assert read.coefficients.expression[1].eq(0).all()


def test_a_face_that_the_landmarker_does_not_find_is_not_there(head, installed, astronaut):
    encoder = BlendshapeFaceEncoder(head)
    encoder.landmarker = Landmarker([])
    with pytest.raises(NoFaceError):
        encode_photo(astronaut, encoder)


def test_another_file_reads_otherwise(head, installed):
    before = BlendshapeFaceEncoder(head).fingerprint
    with zipfile.ZipFile(installed, "w") as bundle:
        bundle.writestr(BLENDSHAPES, "another model")
    assert BlendshapeFaceEncoder(head).fingerprint != before


def test_a_neutral_photo_is_refused(head, installed, astronaut):
    with pytest.raises(OptionError, match="no use for a neutral photo"):
        BlendshapeFaceEncoder(head).encode([astronaut], astronaut)


def test_a_missing_file_is_named_with_the_way_to_get_it(head, tmp_path, monkeypatch):
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(AssetError, match=r"face_landmarker\.task.*i2fet assets add"):
        load_face_encoder("mediapipe", head)


@pytest.mark.parametrize("content", [b"no zip", b"<!DOCTYPE html>", b"", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_landmarker_is_refused(tmp_path, content):
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(content)
    with pytest.raises(AssetError):
        add_asset("mediapipe_tasks", path, tmp_path / "assets")


def test_a_file_that_mediapipe_cannot_open_is_named(head, installed):
    with pytest.raises(AssetError, match=r"face_landmarker\.task is broken"):
        BlendshapeFaceEncoder(head).landmarker  # noqa: B018
