"""Training from the command line: wrong options, runs that end early, and those that go on."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
import torch
import yaml

from i2fet.cli import main

TASKS = Path(__file__).parent / "tasks"
GPU_LAYER = Path(__file__).parents[1] / "experiments/gpu.yaml"
EPOCHS, BATCHES = 4, 5
pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore:The number of tr")


def write_config(folder: Path) -> list[str]:
    """A small run whose checkpoint is `last.ckpt` of a folder, as arguments."""
    callbacks = "lightning.pytorch.callbacks"
    checkpoint = {"dirpath": str(folder), "filename": "last", "enable_version_counter": False}
    config = {
        "seed_everything": 1,
        "model": {
            "class_path": "i2fet.tasks.I2FETTask",
            "init_args": {"hidden": 32, "latent": 4, "vertex_weight": 0.0},
        },
        "data": {"class_path": "fake_pairs.FakePairs"},
        "trainer": {
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder), "name": "run"},
            },
            "callbacks": [
                {"class_path": f"{callbacks}.ModelCheckpoint", "init_args": checkpoint},
                {
                    "class_path": "callbacks.TerminationCheckpoint",
                    "init_args": {"path": str(folder / "last.ckpt")},
                },
            ],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


def stop(signal: int) -> list[str]:
    options = {"signal": int(signal), "epoch": 2, "batch": 2}
    return ["--trainer.callbacks+=stopping.Stop"] + [
        f"--trainer.callbacks.{name}={value}" for name, value in options.items()
    ]


def load(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "elsewhere")
        assert main(write_config(folder)) == 0
    return folder


def assert_same_end(folder: Path, undisturbed: Path) -> None:
    ended, expected = load(folder), load(undisturbed)
    assert ended["global_step"] == expected["global_step"] == EPOCHS * BATCHES
    for name, value in expected["state_dict"].items():
        torch.testing.assert_close(ended["state_dict"][name], value, msg=name)


def last_loss(folder: Path, run: int) -> float:
    with (folder / f"run/version_{run}/metrics.csv").open(newline="") as file:
        return [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]][-1]


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_epoch(undisturbed: Path, tmp_path: Path) -> None:
    arguments = write_config(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(TASKS), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "i2fet", *arguments, *stop(SIGKILL)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -SIGKILL, done.stderr[-2000:]
    assert load(tmp_path)["global_step"] == 2 * BATCHES
    assert main([*arguments, "--ckpt_path", str(tmp_path / "last.ckpt")]) == 0
    assert_same_end(tmp_path, undisturbed)


def test_a_terminated_run_goes_on_in_the_midst_of_an_epoch(
    undisturbed: Path, tmp_path: Path
) -> None:
    arguments = write_config(tmp_path)
    assert main([*arguments, *stop(SIGTERM)]) == 128 + SIGTERM
    assert load(tmp_path)["global_step"] == 2 * BATCHES + 3
    assert main([*arguments, "--ckpt_path", str(tmp_path / "last.ckpt")]) == 0
    assert load(tmp_path)["global_step"] == EPOCHS * BATCHES
    # The epoch begins with its first batches again, since loaders do not keep their place.
    losses = [last_loss(folder, run) for folder, run in ((tmp_path, 1), (undisturbed, 0))]
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


def test_options_that_a_checkpoint_overrides_are_named(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = [*write_config(tmp_path), "--ckpt_path", str(undisturbed / "last.ckpt")]
    changed = ["--model.latent=8", "--model.kl_factor=0.25", "--model.optimizer.lr=0.1"]
    assert main([*arguments, *changed, "--trainer.max_epochs=5"]) == 0
    said = " ".join(record.getMessage() for record in caplog.records)
    for words in ("latent 4", "8", "kl_factor 0.5", "0.25", "lr 0.0008", "0.1"):
        assert words in said
    assert "hidden" not in said


def test_progress_is_told_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--trainer.callbacks+=callbacks.JsonProgress", "--trainer.max_epochs=2"]
    arguments = [*write_config(tmp_path), *options, "--trainer.enable_progress_bar=true"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in printed if line.startswith("{")]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["step"] for line in lines] == [BATCHES, 2 * BATCHES]
    assert lines[0]["seconds_left"] > lines[1]["seconds_left"] == 0
    assert {"train/loss", "val/loss", "batches_per_second"} <= lines[1].keys()


def test_the_layer_for_gpus_trains_on_other_devices_too(tmp_path: Path) -> None:
    places = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto"]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    assert main([*write_config(tmp_path), "--config", str(GPU_LAYER), *places, *short]) == 0
    trained = load(tmp_path)
    averaged, current = trained["state_dict"], trained["current_model_state"]
    assert averaged.keys() == current.keys()
    assert not all(torch.equal(averaged[name], current[name]) for name in averaged)


def test_apples_gpus_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    options = ["--trainer.accelerator=auto", "--trainer.max_epochs=1"]
    assert main([*write_config(tmp_path), *options]) == 0
    saved = yaml.safe_load((tmp_path / "run/version_0/config.yaml").read_text())
    assert saved["trainer"]["accelerator"] == "cpu"


def test_the_configuration_lies_in_the_runs_own_folder(undisturbed: Path) -> None:
    assert not list((undisturbed / "elsewhere").iterdir())
    saved = yaml.safe_load((undisturbed / "run/version_0/config.yaml").read_text())
    assert saved["model"]["init_args"]["latent"] == 4
    assert saved["trainer"]["max_epochs"] == EPOCHS


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--trainer.epochs=3", "--trainer.epochs; did you mean --trainer.min_epochs or"),
        ("--ckpt_pth=x", "--ckpt_pth; did you mean --ckpt_path"),
        ("--model.lattent=3", "--model.lattent; did you mean --model.latent"),
        ("--model.optimizer.lrr=1", "--model.optimizer.lrr; did you mean --model.optimizer.lr"),
        ("--data.bachtes=3", "--data.bachtes; did you mean --data.batches"),
        ("--trainer.max_epochs=abc", "--trainer.max_epochs: expected int; got abc"),
        ("--model.scale=metric", "--model.scale: expected one of ['standard', 'raw']"),
        ("--model=Foo", "--model: "),
        ("--config=/nowhere.yaml", "'/nowhere.yaml'"),
    ],
)
def test_wrong_options_are_told_in_one_sentence(
    option: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*write_config(tmp_path), option])
    error = capsys.readouterr().err.strip()
    assert error.startswith("i2fet fit: ")
    assert words in error
    assert "\n" not in error


def test_options_that_contradict_each_other_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*write_config(tmp_path), "--trainer.enable_checkpointing=false"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("i2fet: ")
    assert "ModelCheckpoint" in error


def test_sizes_that_a_model_refuses_are_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = ["--model=i2fet.tasks.FaceEncoderTask", "--data=datamodules.album.AlbumDataModule"]
    assert main(["fit", *parts, "--model.features=0"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "i2fet: features is 0; give a number from 1 on"
