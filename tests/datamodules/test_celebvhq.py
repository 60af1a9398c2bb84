from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.celebvhq import read_celebvhq, read_celebvhq_truth
from datamodules.extraction import divide, extract, read_frames
from datamodules.records import FORBIDDEN, FaceRecords, Skipped
from datamodules.selection import select_faces
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.errors import DatasetError, OptionError
from i2fet.rendering.video import write_video

FPS = 10


def entry(subject: str, labels: Any) -> dict[str, Any]:
    """One clip of the published list."""
    return {
        "ytb_id": subject,
        "duration": {"start_sec": 81.62, "end_sec": 82.62},
        "bbox": {"top": 0.0, "bottom": 0.8815, "left": 0.1964, "right": 0.6922},
        "attributes": {
            "appearance": [0, 1],
            "action": [1, 0],
            "emotion": {"sep_flag": not isinstance(labels, str), "labels": labels},
        },
        "version": "v0.1",
    }


def span(emotion: str, start: float, end: float) -> dict[str, Any]:
    return {"emotion": emotion, "start_sec": start, "end_sec": end}


def write_clip(path: Path, frames: int = 10) -> None:
    """A clip whose frames are ever brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [np.full((32, 32, 3), 40 + 10 * index, np.uint8) for index in range(frames)]
    write_video(path, pictures, FPS)


def write_info(root: Path, clips: dict[str, Any]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    content = {"meta_info": {"appearance_mapping": [], "action_mapping": []}, "clips": clips}
    (root / "celebvhq_info.json").write_text(json.dumps(content))


GOOD = {
    "M2Ohb0FAaJU_1": entry("M2Ohb0FAaJU", "neutral"),
    "M2Ohb0FAaJU_2": entry("M2Ohb0FAaJU", [span("happy", 0.2, 0.6), span("sadness", 0.8, 3.28)]),
    "_0tf2n3rlJU_0": entry("_0tf2n3rlJU", "anger"),
    "_0tf2n3rlJU_1_0": entry("_0tf2n3rlJU", [span("fear", 0, 0.5), span("disgust", 0.5, 1)]),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects with three expressions each, and nothing wrong."""
    root = tmp_path / "celebvhq"
    write_info(root, GOOD)
    for name in GOOD:
        write_clip(root / "processed" / f"{name}.mp4")
    return root


@pytest.fixture
def odd(root: Path) -> Path:
    """The same with every oddity met in copies of CelebV-HQ."""
    odd = {
        "M2Ohb0FAaJU_3": entry("M2Ohb0FAaJU", "surprise"),
        "M2Ohb0FAaJU_4": entry("M2Ohb0FAaJU", "surprise"),
        "M2Ohb0FAaJU_5": entry("M2Ohb0FAaJU", "surprise"),
        "M2Ohb0FAaJU_6": entry("M2Ohb0FAaJU", "uncertain"),
        "M2Ohb0FAaJU_7": {"ytb_id": "M2Ohb0FAaJU"},
        "M2Ohb0FAaJU_8": entry("M2Ohb0FAaJU", []),
        "M2Ohb0FAaJU_9": entry(
            "M2Ohb0FAaJU",
            [
                span("happy", 0.4, 0.4),
                span("fear", 0.5, -0.2),
                span("neutral", math.nan, 1),
                span("anger", 0, 0.8),
                span("contempt", 0.3, 0.9),
                span("disgust", 5, 6),
            ],
        ),
        "shy_0": entry("shy", "neutral"),
        "shy_1": entry("shy", "happy"),
        "dead_0": entry("dead", [span("neutral", 0, 0.5), span("fear", 0.5, 1)]),
        "dead_1": entry("dead", "happy"),
    }
    write_info(root, {**GOOD, **odd})
    folder = root / "processed"
    for name in ("M2Ohb0FAaJU_6", "M2Ohb0FAaJU_9", "shy_0", "shy_1", "dead_0"):
        write_clip(folder / f"{name}.mp4")
    whole = (folder / "shy_0.mp4").read_bytes()
    (folder / "M2Ohb0FAaJU_4.mp4").write_bytes(whole[:-100])
    (folder / "M2Ohb0FAaJU_5.mp4").write_bytes(b"<html>video unavailable</html>")
    (folder / "._M2Ohb0FAaJU_1.mp4").write_bytes(b"x")
    return root


def frames_of(faces: FaceRecords, sequence: str) -> list[tuple[int | None, str]]:
    return [(r.index, str(r.emotion)) for r in faces.records if r.sequence == sequence]


def test_whole_clips_and_spans(root: Path) -> None:
    faces = read_celebvhq(root, frames_per_span=2)
    assert not faces.synthetic
    assert frames_of(faces, "M2Ohb0FAaJU_1") == [(2, "neutral"), (7, "neutral")]
    assert frames_of(faces, "M2Ohb0FAaJU_2") == [
        (3, "happiness"),
        (5, "happiness"),
        (8, "sadness"),
        (9, "sadness"),
    ]
    assert {r.subject for r in faces.records} == {"M2Ohb0FAaJU", "_0tf2n3rlJU"}
    assert faces.records[0].name == "processed/M2Ohb0FAaJU_1.mp4#2"


@pytest.mark.parametrize("count", [1, 4, 5, 6])
def test_frames_stay_in_their_span(root: Path, count: int) -> None:
    faces = read_celebvhq(root, frames_per_span=count)
    found = frames_of(faces, "_0tf2n3rlJU_1_0")
    assert found == sorted(found)
    assert len(set(found)) == len(found) == 2 * min(count, 5)
    assert all(index is not None and (index < 5) == (name == "fear") for index, name in found)


def test_gaps_are_reported(root: Path) -> None:
    skipped = {item.path: item.reason for item in read_celebvhq(root).skipped}
    assert skipped == {
        "M2Ohb0FAaJU_2#0-1": "frames without a label",
        "M2Ohb0FAaJU_2#6-7": "frames without a label",
    }


def test_every_skip_is_reported(odd: Path) -> None:
    faces = read_celebvhq(odd)
    reasons = {item.path: item.reason for item in faces.skipped if "without" not in item.reason}
    assert reasons == {
        "M2Ohb0FAaJU_3": "no such clip",
        "M2Ohb0FAaJU_4": "truncated",
        "M2Ohb0FAaJU_5": "not a readable video",
        "M2Ohb0FAaJU_6": "unknown label 'uncertain'",
        "M2Ohb0FAaJU_7": "malformed entry",
        "M2Ohb0FAaJU_8": "no label",
        "M2Ohb0FAaJU_9, 0.4 s to 0.4 s": "span ends where it begins, or before",
        "M2Ohb0FAaJU_9, 0.5 s to -0.2 s": "span ends where it begins, or before",
        "M2Ohb0FAaJU_9, nan s to 1 s": "span ends where it begins, or before",
        "M2Ohb0FAaJU_9, 0.3 s to 0.9 s": "span overlaps another",
        "M2Ohb0FAaJU_9, 5 s to 6 s": "span holds no frame",
        "shy": "fewer than 3 expressions",
        "dead_1": "no such clip",
        "dead": "fewer than 3 expressions",
    }
    assert {r.subject for r in faces.records} == {"M2Ohb0FAaJU", "_0tf2n3rlJU"}
    assert "2 x fewer than 3 expressions" in faces.summary()


def test_number_of_expressions_is_an_option(odd: Path) -> None:
    subjects = {r.subject for r in read_celebvhq(odd, min_expressions=2).records}
    assert subjects == {"M2Ohb0FAaJU", "_0tf2n3rlJU", "shy", "dead"}


forbidding = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")


@forbidding
@pytest.mark.parametrize("place", ["", "celebvhq_info.json"])
def test_forbidden_dataset(root: Path, place: str) -> None:
    (root / place).chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot be read") as raised:
            read_celebvhq(root)
    finally:
        (root / place).chmod(0o700)
    assert str(raised.value).startswith(f"{root / place} ")


@forbidding
def test_forbidden_clip(root: Path) -> None:
    (root / "processed/M2Ohb0FAaJU_1.mp4").chmod(0)
    skipped = read_celebvhq(root).skipped
    assert "no permission to read" in {item.reason for item in skipped}


@forbidding
def test_forbidden_folder(root: Path) -> None:
    write_clip(root / "more" / "M2Ohb0FAaJU_2.mp4")
    (root / "processed/M2Ohb0FAaJU_2.mp4").unlink()
    (root / "more").chmod(0)
    try:
        skipped = read_celebvhq(root, min_expressions=1).skipped
    finally:
        (root / "more").chmod(0o700)
    assert Skipped("more", FORBIDDEN) in skipped
    assert Skipped("M2Ohb0FAaJU_2", "no such clip") in skipped


def test_clips_are_found_at_any_depth(root: Path) -> None:
    (root / "processed").rename(root / "35666")
    assert len(read_celebvhq(root).records) == 17


def test_frames_come_in_the_records_order(root: Path) -> None:
    faces = read_celebvhq(root)
    pictures = list(read_frames(faces))
    for record, picture in zip(faces.records, pictures, strict=True):
        assert picture is not None
        assert record.index is not None
        assert abs(picture.mean() - (40 + 10 * record.index)) < 4


class FakeEncoder:
    """Reads the brightness; sees no face in pictures darker than 65."""

    def encode(self, images: list[np.ndarray]) -> SimpleNamespace:
        coefficients = FaceCoefficients.zeros(len(images))
        coefficients.expression[:, 0] = torch.tensor([float(image.mean()) for image in images])
        return SimpleNamespace(coefficients=coefficients, found=coefficients.expression[:, 0] > 65)


def test_extraction(root: Path) -> None:
    faces = read_celebvhq(root)
    (root / "processed/M2Ohb0FAaJU_2.mp4").write_bytes(b"gone since")
    tensors = extract(FakeEncoder(), faces)  # type: ignore[arg-type]
    broken = torch.tensor([r.sequence == "M2Ohb0FAaJU_2" for r in faces.records])
    assert tensors["readable"].equal(~broken)
    expected = 40 + 10 * torch.tensor([float(r.index or 0) for r in faces.records])
    expected[broken | (expected < 65)] = 0
    torch.testing.assert_close(tensors["expression"][:, 0], expected, atol=4, rtol=0)
    assert tensors["found"].equal(expected > 0)


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_no_clip_is_in_two_parts(root: Path, size: int) -> None:
    faces = read_celebvhq(root)
    parts = divide(faces, root, {}, size)
    assert sum((part.faces.records for part in parts), ()) == faces.records
    clips = [{record.frame for record in part.faces.records} for part in parts]
    assert sum(map(len, clips)) == len(set().union(*clips))
    assert len({part.path for part in parts}) == len(parts)
    assert len(parts) == {1: 4, 4: 2, 7: 2, 100: 1}[size]


def test_fingerprint_follows_frames_and_clips(root: Path) -> None:
    before = read_celebvhq(root).fingerprint()
    assert read_celebvhq(root).fingerprint() == before
    assert read_celebvhq(root, frames_per_span=2).fingerprint() != before
    clip = root / "processed/M2Ohb0FAaJU_1.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    assert read_celebvhq(root).fingerprint() != before


def test_real_people_have_no_truth(root: Path) -> None:
    with pytest.raises(DatasetError, match="perceived"):
        read_celebvhq_truth(read_celebvhq(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"has no celebvhq_info\.json"),
        ("{", "no list of clips"),
        ("[1, 2]", "no list of clips"),
        ('{"clips": {}}', "no subject with 3 expressions"),
    ],
)
def test_not_celebvhq(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "celebvhq_info.json").write_text(content)
    with pytest.raises(DatasetError, match=message) as raised:
        read_celebvhq(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_no_frames_wanted(root: Path) -> None:
    with pytest.raises(OptionError, match="frames_per_span is 0"):
        read_celebvhq(root, frames_per_span=0)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        read_celebvhq(tmp_path / "nowhere")


def test_selection(root: Path) -> None:
    faces = read_celebvhq(root, frames_per_span=1)
    count = len(faces.records)
    tensors = {
        **vars(FaceCoefficients.zeros(count)),
        "readable": torch.ones(count, dtype=torch.bool),
        "found": torch.ones(count, dtype=torch.bool),
    }
    tensors["shape"][:, 0] = torch.arange(count)
    first = [row for row, r in enumerate(faces.records) if r.subject == "M2Ohb0FAaJU"]
    tensors["pose"][first[0], 1] = math.radians(15.5)
    tensors["pose"][first[0] + 3, 0] = math.radians(14.5)
    records, coefficients = select_faces(faces, tensors, max_head_angle=15, min_expressions=3)
    assert {r.subject for r in records.records} == {"_0tf2n3rlJU"}
    assert coefficients.shape[:, 0].tolist() == [3, 4, 5]
    reasons = Counter(item.reason for item in records.skipped[len(faces.skipped) :])
    assert reasons == {
        "head turned by more than 15 degrees": 1,
        "subject left with fewer than 3 expressions": 2,
    }
    everything, _ = select_faces(faces, tensors, max_head_angle=math.inf, min_expressions=1)
    assert everything == faces
    assert {r.emotion for r in records.records} == {Emotion.ANGER, Emotion.FEAR, Emotion.DISGUST}
