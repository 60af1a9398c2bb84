from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from datamodules.celebvhq import INFO, read_celebvhq, read_celebvhq_truth, read_true_emotions
from datamodules.celebvhq_corpus import SHARES, plan_clips, write_celebvhq_corpus
from datamodules.ckplus import read_ckplus, read_truth
from datamodules.clips import inspect_clip
from datamodules.corpus import write_ckplus_corpus
from datamodules.expression import ExpressionDataModule
from datamodules.extraction import read_frames
from datamodules.records import MARKER, FaceRecords
from datamodules.selection import select_faces
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import CELEBVHQ_EMOTIONS, Emotion
from i2fet.errors import DatasetError, I2fetError, OutputError

SMALL: dict[str, Any] = {"subjects": 3, "size": 32, "frames": 5, "workers": 1}


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celebvhq_corpus(tmp_path_factory.mktemp("corpus") / "celebvhq", **SMALL)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bare") / "celebvhq"
    return write_celebvhq_corpus(out, subjects=60, pictures=False)


def test_plan_of_the_full_corpus() -> None:
    takes = plan_clips(614, seed=0)
    shown: defaultdict[int, set[Emotion]] = defaultdict(set)
    for take in takes:
        shown[take.subject] |= set() if take.turned else set(take.emotions)
    assert len(shown) == 614
    assert min(map(len, shown.values())) >= 3
    counts = Counter(emotion for take in takes for emotion in take.emotions)
    assert [emotion for emotion, _ in counts.most_common(2)] == list(SHARES)[:2]
    assert counts[Emotion.NEUTRAL] > 5 * counts[Emotion.CONTEMPT] > 300


def test_three_in_a_hundred_labels_are_wrong() -> None:
    takes = plan_clips(2000, seed=1)
    pairs = [pair for take in takes for pair in zip(take.emotions, take.labels, strict=True)]
    wrong = np.mean([emotion is not label for emotion, label in pairs])
    assert 0.025 < wrong < 0.035


def test_reader_finds_what_was_written(corpus: Path) -> None:
    faces = read_celebvhq(corpus, frames_per_span=1, min_expressions=1)
    assert faces.synthetic
    takes = plan_clips(3, seed=0)
    labels = [label for take in takes for label in take.labels]
    assert [record.emotion for record in faces.records] == labels
    assert {item.reason for item in faces.skipped} <= {"frames without a label"}
    pictures = list(read_frames(faces))
    assert all(picture is not None and picture.shape == (32, 32, 3) for picture in pictures)


def test_the_synthetic_shortcut_reads_what_the_clips_say(corpus: Path, tmp_path: Path) -> None:
    real = shutil.copytree(corpus, tmp_path / "real")
    (real / MARKER).unlink()
    shutil.rmtree(real / "truth")
    assert read_celebvhq(real).records == read_celebvhq(corpus).records
    info = inspect_clip(next(corpus.glob("processed/*.mp4")))
    assert (info.frames, info.fps) == (5, 25)


def test_list_has_the_published_layout(corpus: Path) -> None:
    content = json.loads((corpus / INFO).read_text())
    assert set(content) == {"meta_info", "clips"}
    for name, clip in content["clips"].items():
        assert set(clip) == {"ytb_id", "duration", "bbox", "attributes", "version"}
        assert name.startswith(clip["ytb_id"] + "_")
        assert len(clip["ytb_id"]) == 11
        emotion = clip["attributes"]["emotion"]
        labels = emotion["labels"] if emotion["sep_flag"] else [{"emotion": emotion["labels"]}]
        words = {"happy" if e is Emotion.HAPPINESS else e.value for e in CELEBVHQ_EMOTIONS}
        assert {label["emotion"] for label in labels} <= words
        assert (corpus / "processed" / f"{name}.mp4").exists()


def test_truth_keeps_the_right_emotion(bare: Path) -> None:
    faces = read_celebvhq(bare, min_expressions=1)
    wrong = {
        (take.name, label)
        for take in plan_clips(60, seed=0)
        for emotion, label in zip(take.emotions, take.labels, strict=True)
        if emotion is not label
    }
    found = {
        (record.sequence, record.emotion)
        for record, emotion in zip(faces.records, read_true_emotions(faces), strict=True)
        if record.emotion is not emotion
    }
    assert found == wrong
    assert wrong


def test_truth_belongs_to_the_frames(bare: Path) -> None:
    faces = read_celebvhq(bare, frames_per_span=2)
    truth = read_celebvhq_truth(faces)
    for row in range(0, len(faces.records), 17):
        record = faces.records[row]
        table = load_file(bare / "truth" / f"{record.sequence}.safetensors")
        assert truth.pose[row].equal(table["pose"][record.index])
    assert truth.expression.amin() >= 0
    assert truth.expression.amax() <= 1


def test_filter_has_work_but_keeps_the_subjects(bare: Path) -> None:
    faces = read_celebvhq(bare)
    truth = read_celebvhq_truth(faces)
    angles = truth.head_angles.abs()
    assert 0.1 < (angles[:, 0] > 15).float().mean() < 0.35
    assert angles.amax() > 30
    everywhere = torch.ones(len(truth), dtype=torch.bool)
    tensors = {**vars(truth), "readable": everywhere, "found": everywhere}
    kept, _ = select_faces(faces, tensors, max_head_angle=15, min_expressions=3)
    assert len({record.subject for record in kept.records}) >= 57
    assert len(kept.records) < 0.9 * len(faces.records)


def test_expressions_are_harder_to_tell_than_posed_ones(bare: Path, tmp_path: Path) -> None:
    posed = read_ckplus(write_ckplus_corpus(tmp_path / "posed", subjects=60, pictures=False))
    wild = read_celebvhq(bare)
    posed_accuracy = accuracy(posed, read_truth(posed))
    wild_accuracy = accuracy(wild, read_celebvhq_truth(wild))
    assert 0.6 < wild_accuracy < posed_accuracy - 0.04


def accuracy(faces: FaceRecords, truth: FaceCoefficients) -> float:
    """Of a linear classifier on the truth of subjects it has not seen."""
    labels = [str(record.emotion) for record in faces.records]
    subjects = [record.subject for record in faces.records]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3))
    folds = GroupKFold(4).split(truth.expression, labels, subjects)
    scores = cross_val_score(model, truth.face_parameters.numpy(), labels, cv=folds)
    return float(scores.mean())


def test_mouths_move_while_talking(bare: Path) -> None:
    motion: defaultdict[bool, list[float]] = defaultdict(list)
    for take in plan_clips(60, seed=0):
        if len(take.emotions) == 1:
            jaw = load_file(bare / "truth" / f"{take.name}.safetensors")["pose"][:, 3]
            motion[take.talking].append(float(jaw.diff().abs().mean()))
    assert np.median(motion[True]) > 3 * np.median(motion[False])


def test_seed_alone_decides(corpus: Path, tmp_path: Path) -> None:
    again = contents(write_celebvhq_corpus(tmp_path / "again", **SMALL))
    assert again == contents(corpus)
    other = contents(write_celebvhq_corpus(tmp_path / "other", seed=1, pictures=False, **SMALL))
    first = "truth/synth000001_0.safetensors"
    assert other[first] != again[first]


@pytest.mark.slow
def test_processes_do_not_matter(corpus: Path, tmp_path: Path) -> None:
    parallel = write_celebvhq_corpus(tmp_path / "parallel", **{**SMALL, "workers": 2})
    assert contents(parallel) == contents(corpus)


def test_truth_without_pictures(corpus: Path, tmp_path: Path) -> None:
    bare = write_celebvhq_corpus(tmp_path / "bare", pictures=False, **SMALL)
    with_pictures, without = read_celebvhq(corpus), read_celebvhq(bare)
    assert without.records == with_pictures.records
    truths = read_celebvhq_truth(without), read_celebvhq_truth(with_pictures)
    assert truths[0].expression.equal(truths[1].expression)
    assert not list(bare.rglob("*.mp4"))
    with pytest.raises(DatasetError, match="true"):
        without.fingerprint()


def test_resumes_where_it_was_interrupted(corpus: Path, tmp_path: Path) -> None:
    root = shutil.copytree(corpus, tmp_path / "partial")
    (root / "truth/synth000002_0.safetensors").unlink()
    (root / "processed/synth000002_0.mp4").unlink()
    untouched = root / "processed/synth000001_0.mp4"
    before = untouched.stat().st_mtime_ns
    with pytest.raises(DatasetError, match="run the command"):
        read_celebvhq(root)
    write_celebvhq_corpus(root, **SMALL)
    assert contents(root) == contents(corpus)
    assert untouched.stat().st_mtime_ns == before


def test_broken_truth(corpus: Path, tmp_path: Path) -> None:
    root = shutil.copytree(corpus, tmp_path / "broken")
    faces = read_celebvhq(root)
    broken = root / "truth" / f"{faces.records[0].sequence}.safetensors"
    broken.write_bytes(b"x" * 100)
    with pytest.raises(DatasetError, match="is not readable"):
        read_celebvhq_truth(faces)
    reasons = [item.reason for item in read_celebvhq(root, min_expressions=1).skipped]
    assert "unreadable truth" in reasons


def test_other_corpora_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="size 32, frames 5"):
        write_celebvhq_corpus(corpus, **{**SMALL, "size": 64, "frames": 6})
    with pytest.raises(OutputError, match="layout celebvhq"):
        write_ckplus_corpus(corpus, **SMALL)
    with pytest.raises(I2fetError, match="subjects is 2"):
        write_celebvhq_corpus(tmp_path / "x", subjects=2)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_data_module(bare: Path, tmp_path: Path) -> None:
    module = ExpressionDataModule(
        str(bare), "celebvhq", coefficients="true", cache_dir=str(tmp_path / "cache")
    )
    module.prepare_data()
    module.setup("fit")
    assert module.num_samples == 28335
    assert module.emotions == CELEBVHQ_EMOTIONS
    assert sum(map(len, module.subjects.values())) >= 57
    assert module.faces.coefficients.head_angles.abs().max() <= 15
    reasons = Counter(item.reason for item in module.records.skipped)
    assert reasons["head turned by more than 15 degrees"] > 50
    batch = next(iter(module.train_dataloader()))
    assert (batch["emotion"][:, 0] != batch["emotion"][:, 1]).all()
    assert (batch["emotion"] == CELEBVHQ_EMOTIONS.index(Emotion.NEUTRAL)).any()
    assert "celebvhq: synthetic people" in module.description
