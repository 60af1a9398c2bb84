"""What callbacks draw of an evaluation, with a local logger."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from fake_faces import FakeFaces
from fake_pairs import FakePairs
from fake_photos import FakePhotos
from lightning import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from sklearn.metrics import silhouette_score

from callbacks import (
    CacheSamples,
    CallbackCost,
    ConfusionMatrices,
    LatentMaps,
    MetricCurves,
    RenderedTransitions,
    RunIdentity,
)
from callbacks.drawing import DrawingCallback
from callbacks.transitions import first_distinct
from i2fet.metrics import nearest_class
from i2fet.tasks import BaseTask, ExpressionClassifierTask, I2FETTask
from i2fet.tasks.base import Evaluated

SMALL: dict[str, Any] = {"hidden": 32, "latent": 4, "vertex_weight": 0.0}
CLIP, SHEET, MAP, MATRIX = (
    "transitions/val/epoch-0002.mp4",
    "transitions/val_sheet/epoch-0002.png",
    "latents/val/epoch-0002.png",
    "confusion/val/epoch-0002.png",
)
TABLE = "confusion/val_table/epoch-0002.csv"
CURVES = ["curves/all/epoch-0002.png"]


def all_callbacks(**options: Any) -> list[Any]:
    return [
        LatentMaps(points=40, **options),
        ConfusionMatrices(**options),
        RenderedTransitions(panel=2, frames=4, size=48, **options),
        MetricCurves(**options),
        RunIdentity(),
    ]


def fit(
    folder: Path, task: BaseTask, data: LightningDataModule, epochs: int = 2, **options: Any
) -> Trainer:
    seed_everything(1, verbose=False)
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": epochs,
        "logger": CSVLogger(folder, "run"),
        "callbacks": all_callbacks(),
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(**settings | options)
    trainer.fit(task, datamodule=data)
    return trainer


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    trainer = fit(folder, I2FETTask(**SMALL), FakePairs())
    return trainer, folder / "run" / "version_0" / "pictures"


def test_each_drawing_lies_under_its_key(trained: tuple[Trainer, Path]) -> None:
    assert files(trained[1]) == {CLIP, SHEET, MAP, MATRIX, TABLE, *CURVES}


def test_the_clip_plays_and_moves(trained: tuple[Trainer, Path]) -> None:
    with av.open(trained[1] / CLIP) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert len(frames) == 4
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.1
    with Image.open(trained[1] / SHEET) as sheet:
        assert sheet.width == 3 * (48 + 8) + 8


def test_the_table_counts_every_face_once(trained: tuple[Trainer, Path]) -> None:
    trainer, folder = trained
    with (folder / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    data, task = FakePairs(), trainer.lightning_module
    assert isinstance(task, I2FETTask)
    emotion = data.batches[0]["emotion"]
    real = {key: data.batches[0][key] for key in ("expression", "pose")}
    named = nearest_class(task.face_parameters(**real), task.class_means)
    for shown, label in enumerate(data.emotions):
        for taken, other in enumerate(data.emotions):
            expected = int(((emotion == shown) & (named == taken)).sum())
            counts = [
                int(row["count"])
                for row in rows
                if (row["faces"], row["shown"], row["named"]) == ("real", label, other)
            ]
            assert counts == [expected]
    assert sum(int(row["count"]) for row in rows) == 2 * emotion.numel()


class Spy(Callback):
    """Keeps what the last step of validation returned."""

    outputs: Evaluated

    def on_validation_batch_end(self, trainer: Any, task: Any, outputs: Any, *_: Any) -> None:
        self.outputs = outputs


def test_silhouettes_are_those_of_the_latents(trained: tuple[Trainer, Path]) -> None:
    trainer = trained[0]
    spy = Spy()
    Trainer(accelerator="cpu", logger=False, callbacks=[spy], enable_progress_bar=False).validate(
        trainer.lightning_module, datamodule=FakePairs(), verbose=False
    )
    rows = torch.linspace(0, 63, 40).round().long()
    mu = spy.outputs["latents"]["mu"][rows]
    expected = silhouette_score(mu.numpy(), spy.outputs["emotion"][rows].numpy())
    assert float(trainer.callback_metrics["latents/val_silhouette_mu"]) == pytest.approx(
        expected, abs=1e-4
    )


def test_a_classifier_has_no_transitions(tmp_path: Path) -> None:
    task = ExpressionClassifierTask(
        backbone="resnet18", small_images=True, image_size=32, loss="cross_entropy"
    )
    fit(tmp_path, task, FakeFaces())
    drawn = files(tmp_path / "run" / "version_0" / "pictures")
    assert drawn == {MAP, MATRIX, TABLE, *CURVES}


def test_tests_are_drawn_under_their_own_name(
    trained: tuple[Trainer, Path], tmp_path: Path
) -> None:
    task = trained[0].lightning_module
    trainer = Trainer(
        accelerator="cpu",
        logger=CSVLogger(tmp_path, "run"),
        callbacks=all_callbacks(),
        enable_progress_bar=False,
    )
    trainer.test(task, datamodule=FakePairs(), verbose=False)
    assert files(tmp_path / "run" / "version_0" / "pictures") == {
        "latents/test.png",
        "confusion/test.png",
        "confusion/test_table.csv",
        "transitions/test.mp4",
        "transitions/test_sheet.png",
    }


def test_pictures_lie_beside_their_meshes_where_there_are_any(tmp_path: Path) -> None:
    callbacks: list[Callback] = [CacheSamples(samples=4, size=64)]
    fit(tmp_path, I2FETTask(**SMALL), FakePhotos(), 1, callbacks=callbacks)
    path = "run/version_0/pictures/cache/faces/epoch-0001.png"
    with Image.open(tmp_path / path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[1] == 3 * (2 * 64 + 8) + 8
    corners = [pixels[10, 10 + tile * (2 * 64 + 8)].tolist() for tile in range(3)]
    assert corners == [[40 * row] * 3 for row in (0, 2, 3)]
    fit(tmp_path, I2FETTask(**SMALL), FakePhotos(pictures=False), 1, callbacks=callbacks)
    assert not (tmp_path / "run/version_1/pictures").exists()


class Slow(Callback):
    """Takes a tenth of a second an epoch, and as much once."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            time.sleep(0.1)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        time.sleep(0.1)


def test_the_cost_of_callbacks_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cost = CallbackCost()
    fit(tmp_path, I2FETTask(**SMALL), FakePairs(), 3, callbacks=[Slow()], profiler=cost)
    head, *shares = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("3 epochs of ")
    epoch = float(head.split()[3])
    told = dict(row.rstrip("%").rsplit(None, 1) for row in shares)
    assert float(told["Slow"]) == pytest.approx(100 * 0.4 / (3 * epoch), rel=0.1)
    assert float(told["all of them"]) >= float(told["Slow"])


class Due(DrawingCallback):
    """Notes the epochs that are due."""

    def __init__(self, every_n_epochs: int) -> None:
        super().__init__(every_n_epochs)
        self.epochs: list[int] = []

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.is_due(trainer):
            self.epochs.append(trainer.current_epoch + 1)


def test_drawings_are_due_every_few_epochs_and_last_but_not_for_sanity(tmp_path: Path) -> None:
    due = Due(2)
    fit(tmp_path, I2FETTask(**SMALL), FakePairs(), 5, callbacks=[due], logger=False)
    assert due.epochs == [2, 4, 5]


def test_a_fast_development_run_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(tmp_path, I2FETTask(**SMALL), FakePairs(), fast_dev_run=True)
    assert not files(tmp_path)


def test_without_a_logger_drawings_go_to_the_default_root(tmp_path: Path) -> None:
    fit(tmp_path, I2FETTask(**SMALL), FakePairs(), logger=False, default_root_dir=tmp_path)
    assert MATRIX in files(tmp_path / "pictures")


def test_the_panel_shows_different_transitions() -> None:
    emotion = torch.tensor([[0, 1], [0, 1], [2, 1], [0, 1], [1, 0]])
    assert first_distinct(emotion) == [0, 2, 4]
