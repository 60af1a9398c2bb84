from __future__ import annotations

import csv
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.expression import ExpressionDataModule
from experiments import ablation
from experiments.ablation import GRIDS, SIZES, Setting, load_grid, make_table, run_folder
from i2fet.tasks import I2FETTask

ROOT = Path(ablation.__file__).parent
NAMES = sorted(path.stem for path in GRIDS.glob("*.yaml"))
Arguments = tuple[str, ...]


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(ablation, "OUT", tmp_path / "ablations")
    return Setting("ckplus", "default", "true", Path("train"), Path("test"), Path("judge.ckpt"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Arguments]:
    """What `i2fet` was asked to do, in place of doing it; evaluations depend on the seed."""
    made: list[Arguments] = []

    def pretend(folder: Path, threads: int, *arguments: str) -> None:
        made.append(arguments)
        if arguments[0] == "fit":
            (folder / "last.ckpt").touch()
            return
        seed = yaml.safe_load((folder / "config.yaml").read_text())["seed_everything"]
        verdict = {name: {"mean": 0.9 + 0.01 * seed} for name in ablation.SHARES}
        judged = {"verdicts": {ablation.JUDGE: verdict}}
        mesh = {"diversity": {"mean": 0.8}, "frechet": {"mean": 3.0}}
        coefficients = {"diversity": {"mean": 0.7}, "frechet": {"mean": 9.0}}
        spread = {"mesh": mesh, "coefficients": coefficients}
        content = {"evaluation": {"generated": judged, "real": judged, "resemblance": spread}}
        content |= {"matching": None, "matcher": None}
        if "--matcher" in arguments:
            matcher = Path(arguments[arguments.index("--matcher") + 1])
            content["matching"] = matching(seed)
            content["matcher"] = {"sha256": hashlib.sha256(matcher.read_bytes()).hexdigest()}
        (folder / "report.json").write_text(json.dumps(content))

    monkeypatch.setattr(ablation, "_i2fet", pretend)
    return made


@pytest.fixture
def matcher(tmp_path: Path) -> Path:
    path = tmp_path / "matcher.ckpt"
    path.write_text("one")
    return path


def matching(seed: int) -> dict[str, Any]:
    """A matcher's part of a report."""
    generated = {
        "r_precision": [{"mean": 0.5 + 0.1 * top + 0.01 * seed} for top in range(3)],
        "multimodal_distance": {"mean": 0.7},
        "diversity": {"mean": 1.3},
        "multimodality": {"mean": 0.4},
    }
    return {"generated": generated, "real": {**generated, "multimodality": None}}


def of(command: str, calls: list[Arguments]) -> list[Arguments]:
    return [arguments for arguments in calls if arguments[0] == command]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_names_options_that_exist(name: str) -> None:
    data_options = inspect.signature(ExpressionDataModule).parameters
    for row in load_grid(name).rows:
        if row.model:
            I2FETTask(**row.model)
        assert (ROOT / "ckplus" / f"{row.recipe}.yaml").exists()
        assert set(row.data) <= set(data_options)
        assert all(set(figures) == set(ablation.SHARES) for figures in row.paper.values())


def test_a_table_has_ours_beside_the_papers(setting: Setting, calls: list[Arguments]) -> None:
    page = make_table("components", setting, workers=2)
    seeds = SIZES["default"].seeds
    assert len(of("fit", calls)) == len(of("evaluate", calls)) == 3 * seeds
    text = page.read_text()
    assert "| w/o IFED | 91.0 ± 1.0 | 91.0 ± 1.0 | 91.0 ± 1.0 | 0.80 ± 0.00 | 3.000" in text
    assert "| 76.89 | 63.23 | 63.59 |" in text
    assert "real faces" in text
    with page.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["acc1"]) == pytest.approx(91)
    assert rows[0]["paper_acc1"] == "76.89"
    content = json.loads(page.with_suffix(".json").read_text())
    assert content["rows"][0]["options"] == {"use_ifed": False, "vertex_weight": 0.0}


def test_tables_of_true_and_of_perceived_coefficients_do_not_replace_each_other(
    setting: Setting, calls: list[Arguments]
) -> None:
    true = make_table("caft", setting, workers=1)
    perceived = make_table("caft", replace(setting, coefficients="perceived"), workers=1)
    assert true.name == "caft-ckplus-default.md"
    assert perceived.name == "caft-ckplus-perceived-default.md"
    assert "perceived coefficients of train" in perceived.read_text()
    assert len(of("fit", calls)) == 2 * 2 * SIZES["default"].seeds


def test_what_was_run_is_not_run_again(setting: Setting, calls: list[Arguments]) -> None:
    make_table("components", setting, workers=1)
    before = len(calls)
    make_table("components", setting, workers=1)
    assert len(calls) == before
    make_table("losses", setting, workers=1)
    new = of("fit", calls[before:])
    assert len(new) == SIZES["default"].seeds, "only the row without the pose loss is new"


def test_what_another_face_encoder_read_is_run_again(
    setting: Setting, calls: list[Arguments], monkeypatch: pytest.MonkeyPatch
) -> None:
    perceived = replace(setting, coefficients="perceived")
    for made, encoder in enumerate(("one", "one", "another")):
        monkeypatch.setattr(ablation, "reader_hash", lambda encoder=encoder: encoder)
        make_table("caft", setting, workers=1)
        make_table("caft", perceived, workers=1)
        trainings = 2 * SIZES["default"].seeds
        assert len(of("fit", calls)) == trainings * (3 if made == 2 else 2)


def test_an_interrupted_training_goes_on(setting: Setting, calls: list[Arguments]) -> None:
    row = load_grid("caft").rows[0]
    folder = run_folder(setting, row, 0)
    folder.mkdir(parents=True)
    (folder / "last.ckpt").touch()
    ablation.run(setting, row, 0, threads=1)
    assert of("fit", calls)[0][-2:] == ("--ckpt_path", str(folder / "last.ckpt"))


def test_a_failed_run_names_its_log(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing: Callable[..., Any] = lambda *_, **__: type("Done", (), {"returncode": 1})()  # noqa: E731
    monkeypatch.setattr(ablation.subprocess, "run", failing)
    with pytest.raises(ablation.RunError, match=r"log\.txt"):
        ablation.run(setting, load_grid("caft").rows[0], 0, threads=1)


def test_a_matcher_measures_all_rows(
    setting: Setting, calls: list[Arguments], matcher: Path
) -> None:
    assert "R-precision" not in make_table("methods", setting, workers=1).read_text()
    page = make_table("methods", setting, workers=1, matcher=matcher)
    for arguments in of("evaluate", calls)[9:]:
        assert arguments[-2:] == ("--matcher", str(matcher))
    text = page.read_text()
    assert "| MotionCLIP | 51.0 ± 1.0 | 61.0 ± 1.0 | 71.0 ± 1.0 | 0.70 ± 0.00 |" in text
    assert "| real faces (the ceiling) | 50.0 | 60.0 | 70.0 | 0.70 | 1.30 |  |" in text
    with page.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["r_precision_3"]) == pytest.approx(71)
    assert rows[-1]["multimodality"] == ""


def test_a_report_without_this_matcher_is_made_again(
    setting: Setting, calls: list[Arguments], matcher: Path
) -> None:
    row = load_grid("methods").rows[0]
    ablation.run(setting, row, 0, threads=1)
    ablation.run(setting, row, 0, threads=1, matcher=matcher)
    ablation.run(setting, row, 0, threads=1, matcher=matcher)
    assert len(of("evaluate", calls)) == 2
    matcher.write_text("another, in the same place")
    ablation.run(setting, row, 0, threads=1, matcher=matcher)
    assert len(of("evaluate", calls)) == 3


def test_a_report_of_an_older_version_is_made_again(
    setting: Setting, calls: list[Arguments]
) -> None:
    report = ablation.run(setting, load_grid("methods").rows[0], 0, threads=1)
    content = json.loads(report.read_text())
    del content["evaluation"]["resemblance"]
    report.write_text(json.dumps(content))
    ablation.run(setting, load_grid("methods").rows[0], 0, threads=1)
    assert len(of("evaluate", calls)) == 2
