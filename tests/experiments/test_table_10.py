"""Table X as people make it: one command on tiny corpora."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from PIL import Image

from datamodules.corpus import write_ckplus_corpus
from experiments.table_10 import ANGLES, RECIPES, TestSet, _read_configuration, main
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import CheckpointError, OptionError
from i2fet.evaluation import SubjectFaces

CONFIGS = Path(__file__).parents[2] / "experiments/ckplus"
HISTOGRAMS, RESNET = CONFIGS / "classifier.yaml", CONFIGS / "classifier_resnet.yaml"

pytestmark = pytest.mark.filterwarnings(
    "ignore:The least populated class", "ignore:The number of training batches"
)


SOME = {name: RECIPES[name] for name in ("cross_entropy", "turned")}
"""Of the recipes: each training costs seconds of reading its configuration."""


@pytest.fixture(scope="module", autouse=True)
def fewer_recipes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.table_10.RECIPES", SOME)
        yield


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table_10")
    for name, seed in (("training", 1), ("test", 2)):
        write_ckplus_corpus(folder / name, subjects=12, seed=seed, pictures=False)
    return folder


def make_table(corpora: Path, output: Path, *configs: Path, test: str = "test") -> None:
    settings = {
        "--test": corpora / test,
        "--seeds": 2,
        "-o": output,
        "--data.init_args.root": corpora / "training",
        "--model.init_args.image_size": 32,
        "--trainer.max_epochs": 1,
    }
    main(["--config", *map(str, configs), *(str(s) for pair in settings.items() for s in pair)])


def read_rows(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((output / "table_10.json").read_text())["rows"]
    return rows


@pytest.fixture(scope="module")
def results(corpora: Path) -> Path:
    make_table(corpora, corpora / "out", HISTOGRAMS, RESNET)
    return corpora / "out"


def test_every_classifier_is_tested_at_every_angle(results: Path) -> None:
    rows = read_rows(results)
    first = [(row["backbone"], row["recipe"], row["angle"]) for row in rows if row["seed"] == 0]
    assert first == [
        (backbone, recipe, angle)
        for backbone in ("histograms", "resnet18")
        for recipe in SOME
        for angle in ANGLES["true"]
    ]
    second = [(row["backbone"], row["recipe"]) for row in rows if row["seed"] == 1]
    assert second == [("histograms", "cross_entropy")]
    faces = {row["angle"]: row["quality"]["faces"] for row in rows}
    assert faces[10] == faces[30] == 2 * faces[0]


def test_classifiers_differ(results: Path) -> None:
    rows = read_rows(results)
    upright = [row["quality"]["ece"] for row in rows if row["angle"] == 0]
    assert len(set(upright)) == len(upright) == 5


def test_the_page_names_what_it_rests_on(results: Path) -> None:
    page = (results / "table_10.md").read_text()
    backbones = ("histograms", "resnet18")
    titles = [recipe.title.format(name) for name in backbones for recipe in SOME.values()]
    for text in ("synthetic people", "TRUE", *titles, "G-mean, 30°", "ECE"):
        assert text in page
    report = json.loads((results / "table_10.json").read_text())
    assert f"recall of {report['labels'][report['rarest']]}" in page
    assert Image.open(results / "table_10.png").height > 1000


def test_an_interrupted_table_goes_on_where_it_stopped(
    corpora: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(results / "classifiers", tmp_path / "classifiers")
    (lost,) = tmp_path.glob("classifiers/histograms-turned-0-*.json")
    lost.unlink()
    trained, fit = [], Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda *a, **k: trained.append(a) or fit(*a, **k))
    make_table(corpora, tmp_path, HISTOGRAMS)
    assert len(trained) == 1
    assert lost.exists()
    assert read_rows(tmp_path) == [r for r in read_rows(results) if r["backbone"] == "histograms"]


@pytest.mark.parametrize("loss", ["mek", "focal"])
def test_the_other_recipes_are_named_by_their_loss(loss: str) -> None:
    cli = _read_configuration(["--config", str(HISTOGRAMS), *RECIPES[loss].settings])
    assert cli.model.hparams["loss"] == loss


def test_measurements_hold_for_the_same_readings_alone() -> None:
    def people(smile: float) -> TestSet:
        faces = FaceCoefficients.zeros(3)
        faces.expression[1, 40] = smile
        return TestSet("people", SubjectFaces(faces, torch.zeros(3), torch.arange(3)))

    assert people(0.5).digest == people(0.5).digest != people(0.51).digest


@pytest.mark.parametrize(
    ("configs", "test", "error", "message"),
    [
        ([HISTOGRAMS, HISTOGRAMS], "test", OptionError, "histograms, histograms; give one for"),
        ([HISTOGRAMS], "training", CheckpointError, "classifier was trained on"),
    ],
)
def test_what_makes_no_table_is_told_before_training(
    corpora: Path,
    tmp_path: Path,
    configs: list[Path],
    test: str,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        make_table(corpora, tmp_path, *configs, test=test)
    assert not [*tmp_path.rglob("*.json")]
