from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_pairs import FakePairs
from lightning import Trainer
from safetensors.torch import save_file

from experiments.ship_generator import main
from i2fet.errors import CheckpointError, OptionError
from i2fet.nn import ExpressionGenerator, load_generator
from i2fet.tasks import I2FETTask


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=folder, **options)
    task = I2FETTask(hidden=16, latent=4, vertex_weight=0.0, prior="flow", temperature=1.2)
    trainer.fit(task, datamodule=FakePairs())
    trainer.save_checkpoint(folder / "trained.ckpt")
    return folder / "trained.ckpt"


@pytest.fixture(scope="module")
def shipped(checkpoint: Path) -> Path:
    path = checkpoint.with_name("shipped.safetensors")
    main([str(checkpoint), "--output", str(path)])
    return path


def generate(generator: ExpressionGenerator) -> torch.Tensor:
    batch = FakePairs().batches[0]
    source = torch.Generator().manual_seed(0)
    return generator.generate(batch["tokens"], batch["token_mask"], 3, source)[0]


def test_it_generates_as_before(checkpoint: Path, shipped: Path) -> None:
    before, after = map(ExpressionGenerator.from_checkpoint, (checkpoint, shipped))
    torch.testing.assert_close(generate(after), generate(before), atol=5e-3, rtol=0)
    assert after.card() == before.card()
    assert after.temperature == 1.2
    assert isinstance(load_generator(shipped), ExpressionGenerator)


def test_another_temperature_can_be_had(shipped: Path) -> None:
    cold = load_generator(shipped, temperature=0.0)
    assert cold.temperature == 0
    batch = FakePairs().batches[0]
    source = torch.Generator().manual_seed(0)
    faces, _ = cold.generate(batch["tokens"], batch["token_mask"], 3, source)
    assert torch.equal(faces[:, 0], faces[:, 2])
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=f"temperature is {wrong}; give a number from 0"):
            load_generator(shipped, wrong)


def test_it_is_small(checkpoint: Path, shipped: Path) -> None:
    assert shipped.stat().st_size < checkpoint.stat().st_size / 4


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"<html></html>"])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.safetensors"):
        ExpressionGenerator.from_checkpoint(path)


def test_other_safetensors_are_no_checkpoints(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of I2FETTask"):
        ExpressionGenerator.from_checkpoint(tmp_path / "other.safetensors")
