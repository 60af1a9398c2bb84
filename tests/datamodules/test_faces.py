from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datamodules.corpus import write_ckplus_corpus
from datamodules.expression import ExpressionDataModule
from datamodules.faces import FaceDataModule
from i2fet.emotions import Emotion

pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "twin"
    return write_ckplus_corpus(out, subjects=12, seed=4, pictures=False)


@pytest.fixture
def module(corpus: Path, tmp_path: Path) -> FaceDataModule:
    module = FaceDataModule(str(corpus), coefficients="true", cache_dir=str(tmp_path))
    module.prepare_data()
    module.setup("fit")
    return module


def test_neutral_is_the_eighth_label(module: FaceDataModule) -> None:
    assert module.emotions == tuple(Emotion)
    first = [record.frame.endswith("_00000001.png") for record in module.records.records]
    assert (module.faces.emotion == 7).tolist() == first


def test_batches_hold_single_faces(module: FaceDataModule) -> None:
    batch = next(iter(module.train_dataloader()))
    sizes = {"shape": 100, "expression": 50, "pose": 6, "camera": 3}
    assert {name: batch[name].shape for name in sizes} == {
        name: (64, size) for name, size in sizes.items()
    }
    coefficients = module.faces.coefficients[batch["row"]]
    assert torch.equal(batch["expression"], coefficients.expression)
    assert torch.equal(batch["emotion"], module.faces.emotion[batch["row"]])


def test_every_face_is_in_one_part(module: FaceDataModule) -> None:
    loaders = (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    rows = [batch["row"] for loader in loaders for batch in loader]
    assert torch.cat(rows).sort().values.tolist() == list(range(len(module.faces.subject)))


def test_subjects_are_those_of_the_pairs(module: FaceDataModule, corpus: Path) -> None:
    pairs = ExpressionDataModule(
        str(corpus), coefficients="true", samples=100, cache_dir=str(module.cache_dir)
    )
    pairs.setup("fit")
    assert module.subjects == pairs.subjects
    assert module.population == pairs.population == "synthetic ckplus of seed 4"
    assert not set(module.subjects["train"]) & set(module.subjects["test"])


def test_class_counts_are_of_the_training_part(module: FaceDataModule) -> None:
    emotion = torch.cat([batch["emotion"] for batch in module.train_dataloader()])
    assert module.class_counts.tolist() == [int((emotion == label).sum()) for label in range(8)]


def test_no_text_is_needed(module: FaceDataModule) -> None:
    assert (module.text_name, module.text_width) == ("none", 0)
    assert not list(module.cache_dir.iterdir())
    assert "faces split by subject" in module.description
