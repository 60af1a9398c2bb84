from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.corpus import write_ckplus_corpus
from datamodules.expression import ExpressionDataModule, View
from datamodules.pairs import Batch, FaceTable, neutral_pairs, split_sizes
from i2fet.cli import main
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.errors import DatasetError

pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "twin"
    return write_ckplus_corpus(out, subjects=12, seed=4, pictures=False)


@pytest.fixture
def module(corpus: Path, tmp_path: Path) -> ExpressionDataModule:
    return make(corpus, tmp_path, "faces", batch_size=64)


def make(corpus: Path, cache: Path, view: View, **options: Any) -> ExpressionDataModule:
    module = ExpressionDataModule(
        str(corpus), view=view, coefficients="true", cache_dir=str(cache), **options
    )
    module.prepare_data()
    module.setup("fit")
    return module


def loaders(module: ExpressionDataModule) -> list[DataLoader[Batch]]:
    return [module.train_dataloader(), module.val_dataloader(), module.test_dataloader()]


def test_neutral_is_the_eighth_label(module: ExpressionDataModule) -> None:
    assert module.emotions == tuple(Emotion)
    first = [record.frame.endswith("_00000001.png") for record in module.records.records]
    assert (module.faces.emotion == 7).tolist() == first


def test_batches_hold_single_faces(module: ExpressionDataModule) -> None:
    batch = next(iter(module.train_dataloader()))
    sizes = {"shape": 100, "expression": 50, "pose": 6, "camera": 3}
    assert {name: batch[name].shape for name in sizes} == {
        name: (64, size) for name, size in sizes.items()
    }
    coefficients = module.faces.coefficients[batch["row"]]
    assert torch.equal(batch["expression"], coefficients.expression)
    assert torch.equal(batch["emotion"], module.faces.emotion[batch["row"]])


def test_every_face_is_in_one_part(module: ExpressionDataModule) -> None:
    rows = [batch["row"] for loader in loaders(module) for batch in loader]
    assert torch.cat(rows).sort().values.tolist() == list(range(len(module.faces.subject)))


def test_subjects_are_those_of_the_pairs(module: ExpressionDataModule, corpus: Path) -> None:
    pairs = make(corpus, module.cache_dir, "pairs", samples=100)
    neutral = make(corpus, module.cache_dir, "neutral")
    assert module.subjects == pairs.subjects == neutral.subjects
    assert module.population == pairs.population == "synthetic ckplus of seed 4"
    assert not set(module.subjects["train"]) & set(module.subjects["test"])


def test_class_counts_are_of_the_training_part(module: ExpressionDataModule) -> None:
    emotion = torch.cat([batch["emotion"] for batch in module.train_dataloader()])
    assert module.class_counts.tolist() == [int((emotion == label).sum()) for label in range(8)]


def test_no_text_is_needed(module: ExpressionDataModule) -> None:
    assert (module.text_name, module.text_width) == ("none", 0)
    assert not list(module.cache_dir.iterdir())
    assert f"{len(module.faces.subject)} faces split by subject" in module.description


def test_expressions_meet_every_neutral_face_of_their_subject(corpus: Path, tmp_path: Path) -> None:
    module = make(corpus, tmp_path, "neutral")
    assert (module.text_name, module.text_width) == ("none", 0)
    faces, found = module.faces, []
    for batch in (batch for loader in loaders(module) for batch in loader):
        assert {name: value.shape[1:] for name, value in batch.items()} == {
            "shape": (100,),
            "expression": (2, 50),
            "pose": (2, 6),
            "emotion": (2,),
        }
        assert batch["emotion"][:, 1].eq(7).all()
        assert batch["emotion"][:, 0].lt(7).all()
        found += batch["expression"].flatten(1).tolist()
    expected = [
        (faces.coefficients.expression[first], faces.coefficients.expression[second])
        for first, second in itertools.product(range(len(faces.subject)), repeat=2)
        if faces.subject[first] == faces.subject[second]
        and faces.emotion[first] < 7
        and faces.emotion[second] == 7
    ]
    assert sorted(found) == sorted(torch.cat(pair).tolist() for pair in expected)


def test_only_training_pairs_are_mirrored(corpus: Path, tmp_path: Path) -> None:
    plain, mirrored = (
        make(corpus, tmp_path, "pairs", samples=300, mirror=mirror) for mirror in (False, True)
    )
    for part, same in {"train": False, "val": True, "test": True}.items():
        sides = [
            torch.cat([batch["expression"] for batch in DataLoader(data._datasets[part], None)])
            for data in (plain, mirrored)
        ]
        assert torch.equal(*sides) is same


def test_neutral_needs_neutral_faces(tmp_path: Path) -> None:
    labels = torch.tensor([0, 1, 0, 1])
    faces = FaceTable(FaceCoefficients.zeros(4), torch.tensor([0, 0, 1, 1]), labels)
    with pytest.raises(DatasetError, match="shows a neutral and another face"):
        neutral_pairs(faces, torch.arange(4), neutral=7)


@pytest.mark.parametrize("view", ["faces", "neutral"])
def test_split_by_sample(corpus: Path, tmp_path: Path, view: View) -> None:
    module = make(corpus, tmp_path, view, split="sample")
    whole = make(corpus, tmp_path, view)
    sizes = [len(loader.dataset) for loader in loaders(module)]  # type: ignore[arg-type]
    total = sum(len(loader.dataset) for loader in loaders(whole))  # type: ignore[arg-type]
    assert sizes == list(split_sizes(total).values())
    assert set(module.subjects["train"]) & set(module.subjects["test"])
    samples = [tuple(row) for loader in loaders(module) for row in as_rows(loader)]
    assert len(set(samples)) == total


def as_rows(loader: DataLoader[Batch]) -> list[list[int]]:
    rows: Tensor = loader.dataset.rows  # type: ignore[attr-defined]
    return rows.reshape(len(rows), -1).tolist()


@pytest.mark.parametrize(
    ("task", "wanted", "view"),
    [
        ("ExpressionClassifierTask", "faces", "pairs"),
        ("ExpressionClassifierTask", "faces", "neutral"),
        ("I2FETTask", "pairs", "faces"),
    ],
)
def test_tasks_refuse_other_views(
    corpus: Path,
    tmp_path: Path,
    task: str,
    wanted: str,
    view: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(
        [
            "fit",
            f"--model=i2fet.tasks.{task}",
            "--data=datamodules.expression.ExpressionDataModule",
            f"--data.root={corpus}",
            "--data.coefficients=true",
            f"--data.view={view}",
            "--data.samples=100",
            f"--data.cache_dir={tmp_path}",
            "--trainer.logger=false",
            "--trainer.accelerator=cpu",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    assert status == 2
    sentence = f"i2fet: {task} learns from {wanted}, not {view}; use --data.view {wanted}"
    assert capsys.readouterr().err.splitlines()[-1] == sentence
