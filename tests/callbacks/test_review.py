"""What W&B is told, read back from an offline run with its own reader."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.internal.datastore import DataStore

from callbacks import ReviewLogger
from callbacks.identity import git_state
from experiments import workspace
from i2fet.cli import main

ROOT = Path(__file__).parents[2]
PICTURES = {"latents/val", "confusion/val", "transitions/val_sheet", "curves/all", "cache/faces"}
CLIPS = {"transitions/val"}
TABLES = {"confusion/val_table"}


def read(folder: Path) -> Iterator[Record]:
    """All records of an offline run."""
    (path,) = folder.glob("run-*.wandb")
    store = DataStore()
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        yield record


def wait_for_end(folder: Path) -> None:
    """W&B's own process may still be writing when a run has been finished."""
    give_up = time.monotonic() + 60
    while not any(record.HasField("exit") for record in read(folder)):
        assert time.monotonic() < give_up
        time.sleep(0.2)


def history(folder: Path) -> dict[str, Any]:
    """The last value under each key; media are dictionaries."""
    values: dict[str, Any] = {}
    for record in read(folder):
        for item in record.history.item:
            key, *parts = item.nested_key or [item.key]
            value = json.loads(item.value_json)
            if parts:
                values.setdefault(key, {})[parts[0]] = value
            else:
                values[key] = value
    return values


def fit(folder: Path) -> int:
    checkpoint = {"dirpath": str(folder), "monitor": "val/loss", "filename": "best"}
    config = {
        "model": {
            "class_path": "i2fet.tasks.I2FETTask",
            "init_args": {"hidden": 32, "latent": 4, "vertex_weight": 0.0},
        },
        "data": {
            "class_path": "fake_photos.FakePhotos",
            "init_args": {"cache": str(folder / "twin-1a2b" / "arkit-fake.safetensors")},
        },
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder), "name": "run"},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {**checkpoint, "auto_insert_metric_name": False},
                }
            ],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    layer = str(ROOT / "experiments/logging.yaml")
    place = f"--trainer.logger.save_dir={folder / 'review'}"
    return main(["fit", "--config", str(path), "--config", layer, place])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the same command in the same folder."""
    folder = tmp_path_factory.mktemp("review")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DATA_DIR", str(folder / "staging"))
        patch.setenv("WANDB_CACHE_DIR", str(folder / "cache"))
        (folder / "twin-1a2b").mkdir()
        (folder / "twin-1a2b" / "arkit-fake.safetensors").write_bytes(b"coefficients")
        assert [fit(folder), fit(folder)] == [0, 0]
    found = sorted((folder / "review/wandb").glob("offline-run-*"))
    assert {path.name for path in (folder / "run").iterdir()} == {"version_0", "version_1"}
    for run in found:
        wait_for_end(run)
    return found


def test_every_drawing_is_in_both_runs(runs: list[Path]) -> None:
    assert len(runs) == 2
    for run in runs:
        values = history(run)
        for key in PICTURES:
            assert values[key]["_type"] == "images/separated", key
            assert all((run / "files" / name).is_file() for name in values[key]["filenames"])
        for key in CLIPS:
            assert all((run / "files" / one["path"]).is_file() for one in values[key]["videos"])
        for key in TABLES:
            table = json.loads((run / "files" / values[key]["path"]).read_text())
            assert table["columns"] == ["faces", "shown", "named", "count"]
            assert sum(row[3] for row in table["data"]) == 2 * 64
        assert {"train/loss", "val/loss", "latents/val_silhouette_mu"} <= set(values)


def test_a_run_says_what_it_is(runs: list[Path]) -> None:
    started = [record.run for record in read(runs[0]) if record.HasField("run")]
    assert "synthetic" in started[-1].tags
    config: dict[str, Any] = {}
    for record in read(runs[0]):
        updates = [*record.config.update, *record.run.config.update]
        config |= {update.key: json.loads(update.value_json) for update in updates}
    assert config["config"]["trainer"]["max_epochs"] == 1
    assert config["run"]["data"]["description"] == "invented pairs"
    assert config["run"]["judge"] == "nearest class mean of the training part"
    assert len(config["run"]["git"]["commit"]) == 40


def test_the_best_checkpoint_is_an_artifact_that_names_its_cache(runs: list[Path]) -> None:
    artifacts = [record.artifact for record in read(runs[0]) if record.HasField("artifact")]
    (model,), (cache,) = ([one for one in artifacts if one.type == t] for t in ("model", "cache"))
    assert "best" in model.aliases
    assert [Path(one.path).suffix for one in model.manifest.contents] == [".ckpt"]
    metadata = json.loads(model.metadata)
    assert metadata["task"] == "I2FETTask"
    assert metadata["cache"] == {"name": "twin-1a2b-arkit-fake", "digest": cache.digest}
    # Coefficients of people stay where they are.
    (only,) = cache.manifest.contents
    assert only.ref.endswith("twin-1a2b/arkit-fake.safetensors")
    assert not only.local_path


def test_the_workspace_shows_all_that_is_drawn() -> None:
    for sections, drawn in ((workspace.MEDIA, PICTURES | CLIPS), (workspace.TABLES, TABLES)):
        shown = {key for keys in sections.values() for key in keys}
        assert {key for key in shown if "/test" not in key} == drawn
        assert all(key.startswith(f"{name}/") for name, keys in sections.items() for key in keys)


def test_git_is_named_only_where_it_is(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


@pytest.mark.parametrize(
    ("environment", "key", "expected"),
    [
        ({}, None, "offline"),
        ({}, "0" * 40, "online"),
        ({"WANDB_MODE": "disabled"}, None, "disabled"),
        ({"WANDB_MODE": "offline"}, "0" * 40, "offline"),
    ],
)
def test_the_mode_follows_the_account(
    environment: dict[str, str],
    key: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes: list[str] = []
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    logger = ReviewLogger(save_dir=str(tmp_path / "new"))
    monkeypatch.setattr(wandb, "init", lambda mode=None, **_: modes.append(effective(mode)))
    _ = logger.experiment
    assert modes == [expected]
    assert (tmp_path / "new").is_dir()


def effective(mode: str | None) -> str:
    """What W&B makes of a mode."""
    return mode or os.environ.get("WANDB_MODE", "online")
