"""Table X as people make it: one command on tiny corpora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from datamodules.corpus import write_ckplus_corpus
from experiments.table_10 import ANGLES, LOSSES, main

CONFIG = Path(__file__).parents[2] / "experiments/ckplus/classifier.yaml"

pytestmark = pytest.mark.filterwarnings(
    "ignore:The least populated class", "ignore:The number of training batches"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table_10")
    for name, seed in (("training", 1), ("test", 2)):
        write_ckplus_corpus(folder / name, subjects=12, seed=seed, pictures=False)
    settings = {
        "--test": folder / "test",
        "--seeds": 2,
        "-o": folder / "out",
        "--config": CONFIG,
        "--data.init_args.root": folder / "training",
        "--model.init_args.image_size": 32,
        "--trainer.max_epochs": 1,
    }
    main([str(part) for setting in settings.items() for part in setting])
    return folder / "out"


def test_every_loss_is_tested_at_every_angle(results: Path) -> None:
    rows = json.loads((results / "table_10.json").read_text())["rows"]
    first = {(row["loss"], row["angle"]) for row in rows if row["seed"] == 0}
    assert first == {(loss, angle) for loss in LOSSES for angle in ANGLES["true"]}
    assert {row["loss"] for row in rows if row["seed"] == 1} == {"cross_entropy", "focal"}
    faces = {row["angle"]: row["quality"]["faces"] for row in rows}
    assert faces[10] == faces[30] == 2 * faces[0]


def test_classifiers_differ(results: Path) -> None:
    rows = json.loads((results / "table_10.json").read_text())["rows"]
    upright = [row["quality"]["ece"] for row in rows if row["angle"] == 0]
    assert len(set(upright)) == len(upright) == 5


def test_the_page_names_what_it_rests_on(results: Path) -> None:
    page = (results / "table_10.md").read_text()
    for text in ("synthetic people", "TRUE", "histograms with RFL", "MEK", "G-mean, 30°", "ECE"):
        assert text in page
    report = json.loads((results / "table_10.json").read_text())
    assert f"recall of {report['labels'][report['rarest']]}" in page
    assert Image.open(results / "table_10.png").height > 1000
