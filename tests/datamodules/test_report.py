from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import cv2
import pytest

from datamodules.celebvhq import read_celebvhq
from datamodules.celebvhq_corpus import write_celebvhq_corpus
from datamodules.expression import ExpressionDataModule
from datamodules.records import FaceRecord, FaceRecords, Skipped
from datamodules.report import report_faces, report_samples, write_report
from i2fet.emotions import Emotion
from i2fet.errors import OutputError

pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "twin"
    return write_celebvhq_corpus(out, subjects=30, pictures=False)


@pytest.fixture
def module(corpus: Path, tmp_path: Path) -> ExpressionDataModule:
    module = ExpressionDataModule(
        str(corpus), "celebvhq", coefficients="true", samples=300, cache_dir=str(tmp_path / "cache")
    )
    module.setup()
    return module


def test_counts() -> None:
    records = (
        FaceRecord("a", "1", "1.mp4", Emotion.FEAR, 0),
        FaceRecord("a", "1", "1.mp4", Emotion.FEAR, 5),
        FaceRecord("a", "2", "2.mp4", Emotion.FEAR, 0),
        FaceRecord("b", "1", "3.mp4", Emotion.ANGER, 0),
    )
    skipped = (Skipped("4", "truncated"), Skipped("5", "no label"), Skipped("6", "no label"))
    report = report_faces(FaceRecords(Path("data"), records, skipped, synthetic=False))
    assert vars(report.total) == {"subjects": 2, "sequences": 3, "frames": 4}
    assert list(report.expressions) == ["fear", "anger"]
    assert vars(report.expressions["fear"]) == {"subjects": 1, "sequences": 2, "frames": 3}
    assert list(report.skipped.items()) == [("no label", ["5", "6"]), ("truncated", ["4"])]
    rows = [re.findall(r"[\w ]+\w", line) for line in report.table().splitlines()]
    assert ["fear", "1", "2", "3"] in [[cell.strip() for cell in row] for row in rows]
    assert ["no label", "2", "5"] in [[cell.strip() for cell in row] for row in rows]
    assert "real people" in report.table()


def test_samples_and_words(module: ExpressionDataModule) -> None:
    report = report_samples(module)
    labels: Counter[str] = Counter()
    sentences = 0
    loaders = (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    for batch in (batch for loader in loaders for batch in loader):
        labels.update(str(module.emotions[label]) for label in batch["emotion"].flatten())
        sentences += len(batch["instruction"])
    assert dict(report.samples) == {str(e): labels[str(e)] for e in module.emotions}
    assert sum(report.samples.values()) == 2 * sentences == 600
    # Each of Table I's sentences says "face", "from" and "to" once, and each expression once.
    assert report.words["face"] == report.words["from"] == report.words["to"] == 300
    assert all(report.words[name] == count for name, count in report.samples.items() if count)
    turned = "head turned by more than 15 degrees"
    assert len(report.skipped[turned]) + report.total.frames <= len(
        read_celebvhq(module.root).records
    )


def test_files(module: ExpressionDataModule, tmp_path: Path) -> None:
    report = report_samples(module)
    folder = write_report(report, tmp_path / "new" / "report")
    content = json.loads((folder / "report.json").read_text())
    assert content["synthetic"] is True
    assert content["samples"] == dict(report.samples)
    assert (
        sum(held["frames"] for held in content["expressions"].values())
        == (content["total"]["frames"])
    )
    assert "synthetic people" in (folder / "report.txt").read_text()
    picture = cv2.imread(str(folder / "report.png"))
    assert picture.shape[1] > 1.5 * picture.shape[0]
    assert picture.std() > 10
    write_report(report_faces(module.records), folder)
    assert cv2.imread(str(folder / "report.png")).shape[1] < picture.shape[1]


def test_folder_in_use(module: ExpressionDataModule, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="choose another folder"):
        write_report(report_faces(module.records), tmp_path / "file")
