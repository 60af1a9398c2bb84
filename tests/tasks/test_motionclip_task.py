from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_pairs import FakePairs
from lightning import Trainer, seed_everything

from i2fet.errors import CheckpointError, OptionError
from i2fet.nn import MotionClipGenerator, load_generator
from i2fet.tasks import MotionClipTask
from tests.quiet_trainer import make_trainer

SMALL: dict[str, Any] = {
    "frames": 4,
    "width": 32,
    "layers": 1,
    "feedforward": 32,
    "dropout": 0.0,
    "latent_scale": "unit",
    "text_weight": 100.0,
}


def fit(folder: Path, epochs: int, **options: Any) -> Trainer:
    seed_everything(1, verbose=False)
    task = MotionClipTask(**SMALL | options, optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3))
    trainer = make_trainer(folder, epochs)
    trainer.fit(task, datamodule=FakePairs())
    return trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    folder = tmp_path_factory.mktemp("motionclip")
    trainer = fit(folder, 40, vertex_weight=0.0)
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer, folder / "last.ckpt"


def test_it_learns_to_show_the_named_expressions(trained: tuple[Trainer, Path]) -> None:
    assert trained[0].callback_metrics["val/acc1_nearest_mean"] > 0.6


def test_weights_make_the_total(tmp_path: Path) -> None:
    trainer = fit(tmp_path, 1, vertex_weight=5.0, velocity_weight=7.0, motion_weight=3.0)
    m = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = 3 * m["val/motion"] + 7 * m["val/velocity"] + 5 * m["val/vertices"]
    assert m["val/loss"] == pytest.approx(expected + 100 * m["val/text"], rel=1e-4)


def test_the_same_sentence_gives_the_same_faces(trained: tuple[Trainer, Path]) -> None:
    generator = load_generator(trained[1])
    assert isinstance(generator, MotionClipGenerator)
    batch = FakePairs().batches[0]
    text = batch["tokens"], batch["token_mask"]
    expression, pose = generator.generate(*text, 3, torch.Generator().manual_seed(0))
    assert expression.shape == (len(text[0]), 3, 2, 50)
    assert pose.shape == (len(text[0]), 3, 2, 6)
    assert torch.equal(expression[:, 0], expression[:, 2])
    assert expression.min() >= 0
    assert expression.max() <= 1
    task = trained[0].lightning_module
    assert isinstance(task, MotionClipTask)
    predicted = task.predict_step(batch, 0)
    torch.testing.assert_close(predicted["expression"], expression[batch["instruction"], 0])
    assert torch.equal(task.key_faces(batch).expression, predicted["expression"])


def test_it_has_no_temperature(trained: tuple[Trainer, Path]) -> None:
    assert load_generator(trained[1]).temperature is None
    with pytest.raises(OptionError, match="MotionCLIP draws no noise"):
        load_generator(trained[1], temperature=0.5)


def test_a_checkpoint_of_no_generator_is_told(tmp_path: Path) -> None:
    torch.save({"state_dict": {"judge.x": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of I2FETTask or MotionClipTask"):
        load_generator(tmp_path / "other.ckpt")
