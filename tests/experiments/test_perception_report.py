from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import linregress

from datamodules.people import sample_person
from experiments import synthetic_faces
from experiments.perception_report import Examiner, regress, to_table
from experiments.readers import LandmarkRegression, Reading, see_true_landmarks
from experiments.reliability import draw_reliability, measure_group
from experiments.robustness import measure_robustness
from experiments.synthetic_faces import SIZE, Photos, Sitting, cover_mouths, make_face
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.heads import ArkitHead
from i2fet.perception import EncodedFaces, Picture


def imagine_photos(head: ArkitHead, count: int, seed: int) -> Photos:
    """Grey pictures with the truth of people who might have been on them, half with emotions."""
    rng = np.random.default_rng(seed)
    emotions = np.where(np.arange(count) % 2, rng.integers(len(Emotion), size=count), -1)
    faces = []
    for emotion in emotions:
        person = sample_person(rng)
        values = synthetic_faces._sample_face(emotion, person.style, head, rng)
        turn = rng.uniform(-0.2, 0.2, 3)
        faces.append(make_face(person, values, turn, head, rng))
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    return Photos((grey,) * count, (), FaceCoefficients.cat(faces), emotions)


@pytest.fixture(scope="module")
def photos(head: ArkitHead) -> Photos:
    return imagine_photos(head, 120, 0)


@dataclass
class Informant:
    """Reads the truth, off by some noise and a turn of the head."""

    head: ArkitHead
    noise: float = 0.0
    degrees: float = 0.0
    name: str = "informant"
    timed: bool = False

    def read(self, photos: Photos) -> Reading:
        truth = self.head.actions(photos.truth)
        seen = truth + self.noise * torch.randn(truth.shape)
        pose = photos.truth.pose.clone()
        pose[:, :3] *= 1 + np.radians(self.degrees) / pose[:, :3].norm(dim=1, keepdim=True)
        faces = replace(photos.truth, pose=pose)
        return Reading(seen, torch.ones(len(photos), dtype=torch.bool), faces)


def test_the_truth_scores_best(head: ArkitHead, photos: Photos) -> None:
    examiner = Examiner(head, photos, seed=1)
    assert examiner.true_emotion > 85
    perfect, worse = examiner.score(Informant(head)), examiner.score(Informant(head, 0.3, 5))
    assert perfect.correlation == pytest.approx(1)
    assert perfect.slope == pytest.approx(1)
    assert (perfect.error, perfect.landmarks) == (0, pytest.approx(0, abs=1e-3))
    assert (perfect.emotion_share, perfect.milliseconds) == (pytest.approx(100), None)
    assert worse.correlation < 0.8
    assert worse.slope == pytest.approx(1, abs=0.15)
    assert worse.error == pytest.approx(0.3 * np.sqrt(2 / np.pi), rel=0.05)
    assert worse.emotion < perfect.emotion
    assert worse.pose == pytest.approx(5, abs=0.05)
    assert worse.landmarks is not None
    assert worse.landmarks > 1


def test_regress_matches_scipy() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(30, 3))
    seen = 0.4 * true + rng.normal(size=(30, 3))
    seen[:, 2] = 0.5
    r, slope = regress(torch.from_numpy(seen), torch.from_numpy(true))
    for column in range(2):
        reference = linregress(true[:, column], seen[:, column])
        assert r[column] == pytest.approx(reference.rvalue)
        assert slope[column] == pytest.approx(reference.slope)
    assert (r[2], slope[2]) == (0, 0)


def test_true_landmarks_tell_the_actions(head: ArkitHead, photos: Photos) -> None:
    others = imagine_photos(head, 600, 5)
    reader = LandmarkRegression("ridge", see_true_landmarks(head), head, others)
    assert Examiner(head, photos, seed=1).score(reader).correlation > 0.8


def test_photos_are_the_same_for_the_same_seed() -> None:
    sittings = [Sitting(3, 1, (0.5, 0.6), True)] * 2 + [Sitting(4, 1, (0.5, 0.6), False)]
    first, again, other = (synthetic_faces._take(sitting) for sitting in sittings)
    np.testing.assert_array_equal(first.pictures[0], again.pictures[0])
    assert np.abs(first.pictures[0].astype(int) - other.pictures[0]).mean() > 5
    assert first.pictures[0].shape == first.neutrals[0].shape == (SIZE, SIZE, 3)
    assert (len(other.neutrals), len(Photos.cat([first, other]))) == (0, 2)
    assert 0.5 <= abs(float(first.truth.pose[0, 1])) <= 0.6


def test_mouths_are_covered_and_nothing_else(head: ArkitHead, photos: Photos) -> None:
    covered = cover_mouths(photos, head, 0)
    landmarks = project(
        head.landmarks(head.vertices(photos.truth)), photos.truth.camera, SIZE, SIZE
    )[..., :2].long()
    changed = torch.from_numpy(np.stack(covered.pictures) != 128).all(-1)
    rows = torch.arange(len(photos))
    assert changed[rows, landmarks[:, 13, 1], landmarks[:, 13, 0]].float().mean() > 0.95
    assert not changed[rows, landmarks[:, 168, 1], landmarks[:, 168, 0]].any()
    assert 0.005 < changed.float().mean() < 0.1


def test_honest_confidence_has_little_calibration_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(20000)
    right = rng.random(20000) < confidence
    honest = measure_group(right, confidence)
    boastful = measure_group(right, np.sqrt(confidence))
    assert honest.calibration_error < 0.02
    assert boastful.calibration_error > 0.1
    assert honest.right == pytest.approx(0.5, abs=0.02)
    draw_reliability({"honest": honest}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


class HalvesEncoder:
    """Reads how bright the two halves of a picture are as the two halves of a smile."""

    name = "halves"
    fingerprint = "1"

    def __init__(self, head: ArkitHead) -> None:
        sides = ("Right", "Left")
        self.columns = [head.expression_names.index(f"mouthSmile{side}") for side in sides]

    def encode(self, images: list[Picture], neutral: Picture | None = None) -> EncodedFaces:
        faces = FaceCoefficients.zeros(1)
        for column, half in zip(self.columns, np.array_split(images[0], 2, axis=1), strict=True):
            faces.expression[0, column] = half.mean() / 255
        one, zero = torch.ones(1), torch.zeros(1)
        return EncodedFaces(
            faces, one.bool(), zero, one.long(), one, torch.zeros(1, 478, 3), torch.zeros(1, 51)
        )


def test_robustness_swaps_the_sides_of_a_mirrored_photo(head: ArkitHead) -> None:
    result = measure_robustness(HalvesEncoder(head), head)
    assert abs(result.read["mouthSmileLeft"] - result.read["mouthSmileRight"]) > 0.02
    assert result.disagreement["mirror"][1] < 1e-6
    assert result.disagreement["JPEG 40"][1] < 0.02
    name, difference = result.disagreement["close crop"]
    assert name.startswith("mouthSmile")
    assert difference > 0.02


def test_tables_leave_out_what_is_not_known() -> None:
    table = to_table(("reader", "r", "ms"), [["fit", 0.3333, None]])
    lines = ["| reader | r | ms |", "| --- | ---: | ---: |", "| fit | 0.33 |  |"]
    assert table.splitlines() == lines
