from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.ckplus import read_ckplus, read_truth
from datamodules.extraction import read_picture
from datamodules.records import FORBIDDEN, MARKER, FaceRecords, Skipped
from i2fet.emotions import Emotion
from i2fet.errors import DatasetError, OptionError


def write_sequence(root: Path, name: str, frames: int, label: str | None) -> None:
    subject, number = name.split("/")
    images = root / "cohn-kanade-images" / name
    images.mkdir(parents=True)
    for index in range(1, frames + 1):
        picture = np.full((4, 4, 3), index, np.uint8)
        cv2.imwrite(str(images / f"{subject}_{number}_{index:08d}.png"), picture)
    if label is not None:
        labels = root / "Emotion" / name
        labels.mkdir(parents=True)
        (labels / f"{subject}_{number}_{frames:08d}_emotion.txt").write_text(label)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """CK+ in its official layout, with every oddity met in copies of it."""
    write_sequence(tmp_path, "S005/001", 5, "   3.0000000e+00\n")
    write_sequence(tmp_path, "S005/002", 4, None)
    write_sequence(tmp_path, "S010/001", 3, "   7.0000000e+00\n")
    write_sequence(tmp_path, "S010/002", 5, "   8.0000000e+00\n")
    write_sequence(tmp_path, "S010/003", 5, "   2.5000000e+00\n")
    write_sequence(tmp_path, "S010/004", 5, "surprise\n")
    write_sequence(tmp_path, "S010/005", 1, "   1.0000000e+00\n")
    write_sequence(tmp_path, "S010/006", 5, "nan")
    write_sequence(tmp_path, "S011/001", 4, "   1.0000000e+00\n")
    (tmp_path / "Emotion/S005/002").mkdir()
    (tmp_path / "cohn-kanade-images/S012/001").mkdir(parents=True)
    (tmp_path / "cohn-kanade-images/S013").mkdir()
    (tmp_path / "Emotion/S999/001").mkdir(parents=True)
    (tmp_path / "Emotion/S999/001/S999_001_00000009_emotion.txt").write_text("   5.0000000e+00\n")
    (tmp_path / "cohn-kanade-images/.DS_Store").write_bytes(b"x")
    (tmp_path / "cohn-kanade-images/S005/.DS_Store").write_bytes(b"x")
    (tmp_path / "cohn-kanade-images/S005/001/._S005_001_00000001.png").write_bytes(b"x")
    (tmp_path / "cohn-kanade-images/S011/001/S011_001_00000003.png").write_bytes(b"")
    (tmp_path / "Emotion/S005/001/._S005_001_00000005_emotion.txt").write_bytes(b"x")
    return tmp_path


def frames_of(faces: FaceRecords, subject: str) -> list[tuple[str, Emotion]]:
    return [(Path(r.frame).stem, r.emotion) for r in faces.records if r.subject == subject]


def test_labels_and_apex_frames(root: Path) -> None:
    faces = read_ckplus(root, apex_frames=2)
    assert not faces.synthetic
    assert frames_of(faces, "S005") == [
        ("S005_001_00000001", Emotion.NEUTRAL),
        ("S005_001_00000004", Emotion.DISGUST),
        ("S005_001_00000005", Emotion.DISGUST),
    ]
    assert {record.sequence for record in faces.records} == {"001"}


def test_neutral_frame_is_never_apex(root: Path) -> None:
    faces = frames_of(read_ckplus(root, apex_frames=10), "S010")
    assert faces == [
        ("S010_001_00000001", Emotion.NEUTRAL),
        ("S010_001_00000002", Emotion.SURPRISE),
        ("S010_001_00000003", Emotion.SURPRISE),
    ]


def test_empty_picture_is_no_frame(root: Path) -> None:
    stems = [stem for stem, _ in frames_of(read_ckplus(root), "S011")]
    assert stems == ["S011_001_00000001", "S011_001_00000002", "S011_001_00000004"]


def test_every_skip_is_reported(root: Path) -> None:
    faces = read_ckplus(root)
    assert {item.path: item.reason for item in faces.skipped} == {
        "S005/002": "no label",
        "S010/002": "label 8 out of range",
        "S010/003": "label 2.5 out of range",
        "S010/004": "unreadable label",
        "S010/005": "fewer than two frames",
        "S010/006": "label nan out of range",
        "S012/001": "no label",
        "cohn-kanade-images/S013": "empty folder",
        "S999/001": "fewer than two frames",
    }
    summary = faces.summary()
    assert "3 sequences of 3 subjects" in summary
    assert "2 x fewer than two frames" in summary


def test_unlabelled_sequences_lend_their_neutral_frame(root: Path) -> None:
    faces = read_ckplus(root, unlabelled=True)
    labelled = read_ckplus(root).records
    added = [record for record in faces.records if record not in labelled]
    assert [(record.frame, record.emotion) for record in added] == [
        ("cohn-kanade-images/S005/002/S005_002_00000001.png", Emotion.NEUTRAL)
    ]
    reasons = {item.path: item.reason for item in faces.skipped}
    assert reasons["S012/001"] == "fewer than two frames"
    assert "S005/002" not in reasons


def test_no_frames_wanted(root: Path) -> None:
    with pytest.raises(OptionError, match="apex_frames is 0"):
        read_ckplus(root, apex_frames=0)


forbidding = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")


@forbidding
@pytest.mark.parametrize(
    ("place", "skipped"),
    [
        ("cohn-kanade-images/S005", "cohn-kanade-images/S005"),
        ("cohn-kanade-images/S005/001", "S005/001"),
        ("Emotion/S005/001", "S005/001"),
        ("Emotion/S005/001/S005_001_00000005_emotion.txt", "S005/001"),
    ],
)
def test_forbidden_places_are_reported(root: Path, place: str, skipped: str) -> None:
    mode = (root / place).stat().st_mode
    (root / place).chmod(0)
    try:
        faces = read_ckplus(root)
    finally:
        (root / place).chmod(mode)
    assert {record.subject for record in faces.records} == {"S010", "S011"}
    assert Skipped(skipped, FORBIDDEN) in faces.skipped


@forbidding
@pytest.mark.parametrize("place", ["", "cohn-kanade-images", "Emotion"])
def test_forbidden_dataset(root: Path, place: str) -> None:
    (root / place).chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot be read; ask its owner") as raised:
            read_ckplus(root)
    finally:
        (root / place).chmod(0o700)
    assert str(raised.value).startswith(f"{root / place} ")


@forbidding
def test_forbidden_picture(root: Path) -> None:
    picture = root / "cohn-kanade-images/S005/001/S005_001_00000005.png"
    assert read_picture(picture) is not None
    picture.chmod(0)
    assert read_picture(picture) is None


def test_fingerprint_follows_the_pictures(root: Path) -> None:
    before = read_ckplus(root).fingerprint()
    assert read_ckplus(root).fingerprint() == before
    picture = root / "cohn-kanade-images/S005/001/S005_001_00000005.png"
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert read_ckplus(root).fingerprint() != before


def test_labels_do_not_change_the_fingerprint(root: Path) -> None:
    before = read_ckplus(root).fingerprint()
    (root / "Emotion/S005/001/S005_001_00000005_emotion.txt").write_text("4")
    faces = read_ckplus(root)
    assert Counter(r.emotion for r in faces.records)[Emotion.FEAR] == 3
    assert faces.fingerprint() == before


def test_real_people_have_no_truth(root: Path) -> None:
    with pytest.raises(DatasetError, match="perceived"):
        read_truth(read_ckplus(root))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ((), "is not a folder"),
        (("Emotion",), "has no folder cohn-kanade-images"),
        (("cohn-kanade-images",), "has no folder Emotion"),
        (("cohn-kanade-images", "Emotion"), "no labelled sequence"),
    ],
)
def test_not_ckplus(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    root = tmp_path / "data"
    for folder in folders:
        (root / folder).mkdir(parents=True)
    with pytest.raises(DatasetError, match=message) as raised:
        read_ckplus(root)
    assert str(root) in str(raised.value)


def test_broken_marker(root: Path) -> None:
    (root / MARKER).write_text("{")
    with pytest.raises(DatasetError, match="not readable"):
        read_ckplus(root)


def test_unfinished_corpus(root: Path) -> None:
    (root / "truth").mkdir()
    (root / MARKER).write_text(json.dumps({"sequences": 40}))
    with pytest.raises(DatasetError, match="holds 3 of its 40 sequences"):
        read_ckplus(root)
