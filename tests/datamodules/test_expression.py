from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import CSVLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

import datamodules.expression
import i2fet.perception
from datamodules.ckplus import read_ckplus, read_truth
from datamodules.corpus import write_ckplus_corpus
from datamodules.expression import ExpressionDataModule
from datamodules.pairs import Batch
from datamodules.records import FaceRecords
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import CKPLUS_EMOTIONS
from i2fet.errors import AssetError, DatasetError, OptionError
from i2fet.heads import load_head
from i2fet.instructions import all_instructions
from i2fet.nn import vertex_spread
from i2fet.text import TokenEmbeddings
from tests.quiet_trainer import make_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:The least populated class", "ignore:The number of training batches"
)

SAMPLES = 400


class FakeText:
    """Embeds a sentence as its length and counts its calls."""

    name = "fake"
    width = 6
    calls = 0

    def encode(self, sentences: Sequence[str]) -> TokenEmbeddings:
        FakeText.calls += 1
        lengths = torch.tensor([float(len(sentence)) for sentence in sentences])
        tokens = lengths[:, None, None].expand(-1, 77, self.width).contiguous()
        return TokenEmbeddings(tokens, torch.arange(77) < lengths[:, None] / 8)


class FakeFaces:
    """Reads a picture's mean colour; sees no face in black pictures."""

    name = "fake"
    calls = 0

    def __init__(self, fingerprint: str = "1") -> None:
        self.fingerprint = fingerprint

    def encode(self, images: list[NDArray[np.uint8]]) -> SimpleNamespace:
        FakeFaces.calls += 1
        colors = torch.tensor(np.array([image.mean((0, 1)) for image in images])).float()
        coefficients = FaceCoefficients.zeros(len(images))
        coefficients.expression[:, :3] = colors
        return SimpleNamespace(coefficients=coefficients, found=colors.sum(1) > 0)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeText.calls = FakeFaces.calls = 0
    monkeypatch.setattr(datamodules.expression, "load_text_encoder", lambda name: FakeText())
    monkeypatch.setattr(
        i2fet.perception, "load_face_encoder", lambda *_: FakeFaces(), raising=False
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "twin"
    return write_ckplus_corpus(out, subjects=40, pictures=False)


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """Real CK+'s layout: six subjects with three emotions each, one colour per sequence."""
    root = tmp_path / "ckplus"
    for subject in range(1, 7):
        for number in range(1, 4):
            place = f"S{subject:03d}/{number:03d}"
            stem = place.replace("/", "_")
            (root / "cohn-kanade-images" / place).mkdir(parents=True)
            (root / "Emotion" / place).mkdir(parents=True)
            for frame in range(1, 4):
                picture = np.full((8, 8, 3), (10 * subject, 10 * number, frame), np.uint8)
                path = root / "cohn-kanade-images" / place / f"{stem}_{frame:08d}.png"
                cv2.imwrite(str(path), picture[..., ::-1])
            label = root / "Emotion" / place / f"{stem}_00000003_emotion.txt"
            label.write_text(f"   {1 + (subject + number) % 7:.7e}\n")
    return root


@pytest.fixture
def module(corpus: Path, tmp_path: Path) -> ExpressionDataModule:
    return make(corpus, tmp_path)


def make(root: Path, tmp_path: Path, **options: Any) -> ExpressionDataModule:
    options = {"coefficients": "true", "samples": SAMPLES, "batch_size": 32, **options}
    return ExpressionDataModule(str(root), cache_dir=str(tmp_path / "cache"), **options)


def set_up(module: ExpressionDataModule) -> ExpressionDataModule:
    module.prepare_data()
    module.setup("fit")
    return module


def loaders(module: ExpressionDataModule) -> dict[str, DataLoader[Batch]]:
    return {
        "train": module.train_dataloader(),
        "val": module.val_dataloader(),
        "test": module.test_dataloader(),
    }


def test_batches(module: ExpressionDataModule) -> None:
    set_up(module)
    batches = list(module.train_dataloader())
    assert sum(len(batch["instruction"]) for batch in batches) == 324
    sentences = all_instructions(CKPLUS_EMOTIONS)
    for batch in batches:
        assert {name: (value.dtype, value.shape[1:]) for name, value in batch.items()} == {
            "sample": (torch.int64, ()),
            "shape": (torch.float32, (100,)),
            "expression": (torch.float32, (2, 50)),
            "pose": (torch.float32, (2, 6)),
            "emotion": (torch.int64, (2,)),
            "tokens": (torch.float32, (77, 6)),
            "token_mask": (torch.bool, (77,)),
            "instruction": (torch.int64, ()),
        }
        lengths = batch["tokens"][batch["instruction"], 0, 0]
        for (first, second), length in zip(batch["emotion"].tolist(), lengths, strict=True):
            names = str(CKPLUS_EMOTIONS[first]), str(CKPLUS_EMOTIONS[second])
            fitting = {len(s) for s in sentences if f"from {names[0]} to {names[1]}" in s}
            assert int(length) in fitting


def test_coefficients_are_the_truth(module: ExpressionDataModule, corpus: Path) -> None:
    set_up(module)
    truth = {tuple(row) for row in read_truth(read_ckplus(corpus)).expression.tolist()}
    batch = next(iter(module.test_dataloader()))
    assert {tuple(row) for row in batch["expression"].flatten(0, 1).tolist()} <= truth


def test_subjects_do_not_leak(module: ExpressionDataModule) -> None:
    set_up(module)
    assert sum(map(len, module.subjects.values())) == 40
    assert len(set().union(*module.subjects.values())) == 40
    shapes = {
        part: {tuple(row) for batch in loader for row in batch["shape"][:, :4].tolist()}
        for part, loader in loaders(module).items()
    }
    assert not shapes["train"] & shapes["test"]
    assert not shapes["train"] & shapes["val"]
    assert not shapes["val"] & shapes["test"]


@pytest.mark.parametrize("split", ["subject", "sample"])
def test_sizes_and_order_of_the_parts(corpus: Path, tmp_path: Path, split: str) -> None:
    first, again = (set_up(make(corpus, tmp_path, split=split)) for _ in range(2))
    sizes = {part: len(loader.dataset) for part, loader in loaders(first).items()}  # type: ignore[arg-type]
    assert sizes == {"train": 324, "val": 36, "test": 40}
    for one, other in zip(first.test_dataloader(), again.test_dataloader(), strict=True):
        assert all(one[name].equal(other[name]) for name in one)


def test_sample_split_shares_subjects(corpus: Path, tmp_path: Path) -> None:
    module = set_up(make(corpus, tmp_path, split="sample"))
    assert set(module.subjects["train"]) & set(module.subjects["test"])


@pytest.mark.parametrize("view", ["pairs", "faces"])
def test_everybody_can_be_for_testing(corpus: Path, tmp_path: Path, view: str) -> None:
    module = make(corpus, tmp_path, split="test", view=view)
    module.setup("test")
    people = sorted({record.subject for record in module.records.records})
    assert module.subjects == {"train": [], "val": [], "test": people}
    assert len(module.rows["test"]) == len(module.faces.subject)
    judged = sum(len(batch["emotion"]) for batch in module.test_dataloader())
    assert judged == (SAMPLES if view == "pairs" else len(module.faces.subject))
    with pytest.raises(OptionError, match="split test leaves nobody to train on"):
        module.setup("fit")


def test_statistics_of_the_training_part(module: ExpressionDataModule, corpus: Path) -> None:
    set_up(module)
    faces = read_ckplus(corpus)
    truth = read_truth(faces)
    rows = [
        row
        for row, record in enumerate(faces.records)
        if record.subject in module.subjects["train"] and record.emotion in CKPLUS_EMOTIONS
    ]
    for name, values in (("expression", truth.expression), ("pose", truth.pose)):
        used = values[rows].double().numpy()
        means, spread = used.mean(0), used.std(0)
        torch.testing.assert_close(module.statistics[f"{name}_mean"].numpy(), np.float32(means))
        torch.testing.assert_close(module.statistics[f"{name}_std"].numpy(), np.float32(spread))
    happy = [row for row in rows if faces.records[row].emotion == "happiness"]
    label = [str(emotion) for emotion in module.emotions].index("happiness")
    torch.testing.assert_close(
        module.class_means["expression"][label], truth.expression[happy].mean(0)
    )
    some = truth[torch.tensor(rows)]
    expected = vertex_spread(load_head("arkit"), some.shape, some.expression, some.pose)
    assert module.vertex_scale == pytest.approx(expected)


def test_files_are_read_once(module: ExpressionDataModule) -> None:
    layout, calls = module.source.layout, []

    def read(*arguments: Any, **options: Any) -> FaceRecords:
        calls.append("frames")
        return layout.read(*arguments, **options)

    def read_truth(faces: FaceRecords) -> FaceCoefficients:
        calls.append("truth")
        return layout.read_truth(faces)

    module.source.layout = replace(layout, read=read, read_truth=read_truth)
    set_up(module)
    module.setup("test")
    assert calls == ["frames", "truth"]


def test_setup_alone_is_enough_on_other_ranks(corpus: Path, tmp_path: Path) -> None:
    first, other = make(corpus, tmp_path), make(corpus, tmp_path)
    set_up(first)
    other.setup("fit")
    for one, two in zip(first.val_dataloader(), other.val_dataloader(), strict=True):
        assert all(one[name].equal(two[name]) for name in one)


def test_unlabelled_sequences_add_neutral_faces(pictured: Path, tmp_path: Path) -> None:
    label = next(pictured.rglob("S001_001_*_emotion.txt"))
    label.unlink()
    options = {"coefficients": "perceived", "encoder": "fake", "view": "faces"}
    plain = set_up(make(pictured, tmp_path, **options))
    more = set_up(make(pictured, tmp_path, unlabelled=True, **options))
    assert len(more.faces.subject) == len(plain.faces.subject) + 1
    assert (more.faces.emotion == 7).sum() == (plain.faces.emotion == 7).sum() + 1


def test_truth_is_said_out_loud(
    module: ExpressionDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(module)
    assert module.synthetic
    assert module.encoder_name == "true"
    assert "synthetic people" in module.description
    assert "TRUE coefficients" in module.description
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert module.description in warnings


def test_sentences_are_embedded_once(corpus: Path, tmp_path: Path) -> None:
    set_up(make(corpus, tmp_path))
    set_up(make(corpus, tmp_path))
    assert FakeText.calls == 1
    open_wordings = set_up(make(corpus, tmp_path, instructions="open"))
    assert FakeText.calls == 2
    assert len(next(iter(open_wordings.train_dataloader()))["tokens"]) > 20


def test_pictures_go_through_the_encoder(pictured: Path, tmp_path: Path) -> None:
    module = set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    assert not module.synthetic
    assert "real people" in module.description
    calls = FakeFaces.calls
    set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    assert FakeFaces.calls == calls
    colors = {tuple(row) for row in module.faces.coefficients.expression[:, :3].tolist()}
    assert colors == {
        (10 * s, 10 * n, f) for s in range(1, 7) for n in (1, 2, 3) for f in (1, 2, 3)
    }


def test_changed_picture_is_extracted_again(pictured: Path, tmp_path: Path) -> None:
    set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    calls = FakeFaces.calls
    path = next(pictured.rglob("S001_001_00000003.png"))
    cv2.imwrite(str(path), np.full((9, 9, 3), 77, np.uint8))
    module = set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    assert FakeFaces.calls > calls
    assert [77.0] * 3 in module.faces.coefficients.expression[:, :3].tolist()


def test_retrained_encoder_is_asked_again(
    pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    calls = FakeFaces.calls
    monkeypatch.setattr(i2fet.perception, "load_face_encoder", lambda *_: FakeFaces("2"))
    set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    assert FakeFaces.calls > calls


def test_missing_faces_are_listed_and_left_out(
    pictured: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    black = next(pictured.rglob("S002_001_00000003.png"))
    cv2.imwrite(str(black), np.zeros((8, 8, 3), np.uint8))
    broken = next(pictured.rglob("S003_001_00000002.png"))
    broken.write_bytes(b"no picture")
    module = set_up(make(pictured, tmp_path, coefficients="perceived", encoder="fake"))
    skipped = {Path(item.path).name: item.reason for item in module.records.skipped}
    assert skipped == {black.name: "no face found", broken.name: "unreadable, or beyond a cut"}
    assert all(name in caplog.text for name in skipped)
    assert len(module.faces.subject) == 6 * 3 * 3 - 2
    assert module.faces.coefficients.expression[:, :3].sum(1).min() > 0


def test_real_people_have_no_truth(pictured: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nobody knows"):
        make(pictured, tmp_path).prepare_data()


def test_truth_of_another_head(corpus: Path, tmp_path: Path) -> None:
    other = shutil.copytree(corpus, tmp_path / "other")
    marker = other / "SYNTHETIC.json"
    marker.write_text(marker.read_text().replace('"arkit"', '"flame"'))
    with pytest.raises(DatasetError, match="'flame', not 'arkit'"):
        make(other, tmp_path).prepare_data()


def test_pictures_are_needed_to_perceive(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="write the corpus with pictures"):
        make(corpus, tmp_path, coefficients="perceived").prepare_data()


def test_unknown_text_encoder(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(AssetError, match="no text encoder"):
        make(corpus, tmp_path, text="word2vec").prepare_data()


def test_distributed_sampler_shares_the_samples(module: ExpressionDataModule) -> None:
    loader = set_up(module).val_dataloader()
    parts = []
    for rank in range(2):
        sampler: DistributedSampler[Batch] = DistributedSampler(
            loader.dataset, num_replicas=2, rank=rank, shuffle=False
        )
        part = DataLoader(
            loader.dataset, batch_size=8, sampler=sampler, collate_fn=loader.collate_fn
        )
        parts.append(torch.cat([batch["expression"] for batch in part]))
    together = torch.stack(parts, dim=1).flatten(0, 1)
    assert together.equal(torch.cat([batch["expression"] for batch in loader]))


class Counter(LightningModule):
    """Counts samples and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(50))
        self.seen = 0

    def training_step(self, batch: Batch, index: int) -> Tensor:
        self.seen += len(batch["instruction"])
        return (batch["expression"] @ self.weight).square().mean()

    def validation_step(self, batch: Batch, index: int) -> None:
        assert batch["expression"].shape[1:] == (2, 50)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_trains_twice(module: ExpressionDataModule, tmp_path: Path, workers: int) -> None:
    module.num_workers = workers
    for run in range(2):
        logger = CSVLogger(tmp_path, version=run)
        trainer = make_trainer(tmp_path, logger=logger)
        model = Counter()
        trainer.fit(model, module)
        assert model.seen == 324
    split = json.loads(Path(logger.log_dir, "split.json").read_text())
    assert split["samples"] == {"train": 324, "val": 36, "test": 40}
    assert split["subjects"] == module.subjects
    batch = next(iter(module.val_dataloader()))
    faces = torch.tensor(split["rows"]["val"])[: len(batch["emotion"])]
    assert module.faces.coefficients.expression[faces].equal(batch["expression"])
    assert split["frames"] == [record.frame for record in module.records.records]


def test_the_cache_is_where_artifacts_look_for_it(pictured: Path, tmp_path: Path) -> None:
    module = make(pictured, tmp_path, coefficients="perceived")
    assert not module.cache_path.exists()
    module.prepare_data()
    assert module.cache_path.is_file()
