from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from datamodules.ckplus import read_ckplus, read_truth
from datamodules.corpus import CKPLUS_COUNTS, plan_takes, write_ckplus_corpus
from datamodules.records import MARKER
from i2fet.emotions import Emotion
from i2fet.errors import DatasetError, I2fetError, OutputError

SMALL: dict[str, Any] = {"subjects": 3, "size": 32, "frames": 4, "workers": 1}


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ckplus_corpus(tmp_path_factory.mktemp("corpus") / "ckplus", **SMALL)


def test_counts_of_the_full_corpus() -> None:
    takes = plan_takes(117, seed=0)
    assert Counter(take.emotion for take in takes) == CKPLUS_COUNTS
    assert len(takes) == 327
    assert len({(take.subject, take.emotion) for take in takes}) == 327
    assert {take.subject for take in takes} == set(range(117))


@pytest.mark.parametrize("subjects", [3, 20, 1000])
def test_counts_scale_with_the_subjects(subjects: int) -> None:
    counts = Counter(take.emotion for take in plan_takes(subjects, seed=1))
    for emotion, count in CKPLUS_COUNTS.items():
        assert counts[emotion] == max(3, round(count * subjects / 117))


def test_sequences_are_numbered_without_gaps() -> None:
    numbers: dict[int, list[int]] = {}
    for take in plan_takes(50, seed=2):
        numbers.setdefault(take.subject, []).append(take.number)
    assert all(found == list(range(len(found))) for found in numbers.values())


def test_reader_finds_what_was_written(corpus: Path) -> None:
    faces = read_ckplus(corpus)
    assert faces.synthetic
    assert not faces.skipped
    takes = plan_takes(3, seed=0)
    found = Counter(r.emotion for r in faces.records)
    assert found == Counter(
        {emotion: 3 * n for emotion, n in Counter(t.emotion for t in takes).items()}
    ) + Counter({Emotion.NEUTRAL: len(takes)})
    assert all(cv2.imread(str(corpus / r.frame)).shape == (32, 32, 3) for r in faces.records)


def test_truth_belongs_to_the_pictures(corpus: Path) -> None:
    faces = read_ckplus(corpus)
    truth = read_truth(faces)
    assert truth.expression.amin() >= 0
    assert truth.expression.amax() <= 1
    activity = truth.expression.sum(1)
    neutral = torch.tensor([r.emotion is Emotion.NEUTRAL for r in faces.records])
    assert activity[neutral].max() < activity[~neutral].min()
    for subject in {r.subject for r in faces.records}:
        rows = [row for row, r in enumerate(faces.records) if r.subject == subject]
        assert truth.shape[rows].std(0).max() == 0


def test_seed_alone_decides(corpus: Path, tmp_path: Path) -> None:
    again = contents(write_ckplus_corpus(tmp_path / "again", **SMALL))
    assert again == contents(corpus)
    other = contents(write_ckplus_corpus(tmp_path / "other", seed=1, pictures=False, **SMALL))
    assert other["truth/S001/001.safetensors"] != again["truth/S001/001.safetensors"]


@pytest.mark.slow
def test_processes_do_not_matter(corpus: Path, tmp_path: Path) -> None:
    parallel = write_ckplus_corpus(tmp_path / "parallel", **{**SMALL, "workers": 2})
    assert contents(parallel) == contents(corpus)


def test_truth_without_pictures(corpus: Path, tmp_path: Path) -> None:
    bare = write_ckplus_corpus(tmp_path / "bare", pictures=False, **SMALL)
    with_pictures, without = read_ckplus(corpus), read_ckplus(bare)
    assert without.records == with_pictures.records
    assert read_truth(without).expression.equal(read_truth(with_pictures).expression)
    assert not list(bare.rglob("*.png"))
    with pytest.raises(DatasetError, match="true"):
        without.fingerprint()


def test_resumes_where_it_was_interrupted(corpus: Path, tmp_path: Path) -> None:
    root = shutil.copytree(corpus, tmp_path / "partial")
    whole = contents(root)
    (root / "truth/S002/001.safetensors").unlink()
    (root / "cohn-kanade-images/S002/001/S002_001_00000002.png").unlink()
    untouched = root / "cohn-kanade-images/S001/001/S001_001_00000001.png"
    before = untouched.stat().st_mtime_ns
    write_ckplus_corpus(root, **SMALL)
    assert contents(root) == whole == contents(corpus)
    assert untouched.stat().st_mtime_ns == before


def test_interrupted_corpus_is_not_read(tmp_path: Path) -> None:
    root = write_ckplus_corpus(tmp_path / "partial", pictures=False, **SMALL)
    (root / "truth/S002/001.safetensors").unlink()
    with pytest.raises(DatasetError, match="run the command"):
        read_ckplus(root)


def test_broken_truth(corpus: Path, tmp_path: Path) -> None:
    root = shutil.copytree(corpus, tmp_path / "broken")
    (root / "truth/S002/001.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(DatasetError, match=r"S002.001\.safetensors is not readable"):
        read_truth(read_ckplus(root))


def test_marker(corpus: Path) -> None:
    marker = json.loads((corpus / MARKER).read_text())
    assert marker["settings"]["seed"] == 0
    assert marker["settings"]["head"] == "arkit"
    assert marker["sequences"] == len(plan_takes(3, seed=0))


def test_other_settings_are_refused(corpus: Path) -> None:
    with pytest.raises(OutputError, match="size 32, frames 4"):
        write_ckplus_corpus(corpus, **{**SMALL, "size": 64, "frames": 5})


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "below"):
        with pytest.raises(OutputError, match="choose another folder"):
            write_ckplus_corpus(out, **SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value"), [("subjects", 2), ("frames", 3), ("size", 8), ("seed", -1)]
)
def test_options_out_of_range(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(I2fetError, match=f"{option} is {value}"):
        write_ckplus_corpus(tmp_path / "x", **{**SMALL, option: value})
    assert not (tmp_path / "x").exists()
