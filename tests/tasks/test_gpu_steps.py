"""Steps of the tasks on a GPU that is not there: its tensors know their device, but no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from fake_faces import FakeFaces
from fake_pairs import FakePairs
from lightning import LightningDataModule
from test_ned_task import FakeNeutrals
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from i2fet.tasks import (
    BaseTask,
    ExpressionClassifierTask,
    I2FETTask,
    MatchingTask,
    MotionClipTask,
    NEDTask,
)

READ = ("sample", "row")
"""Tensors of a batch whose values are read on the CPU."""

Move = Callable[[Tensor], Tensor]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(Tensor, "__int__", lambda self: 5)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def prepare(
    task: BaseTask, data: LightningDataModule, move: Move, patch: pytest.MonkeyPatch
) -> None:
    """What a trainer does before the first step; nothing is logged."""
    task._meet(data)  # type: ignore[arg-type]
    task.configure_losses()
    task._apply(move)
    for name in ("log", "log_dict"):
        patch.setattr(task, name, lambda *_, **__: None)


@pytest.mark.parametrize(
    ("task", "data", "steps"),
    [
        (
            I2FETTask(hidden=16, latent=4, prior="flow", share_ifed=False, caft_layers=2),
            FakePairs(),
            ("training_step", "validation_step", "predict_step"),
        ),
        (I2FETTask(hidden=16, latent=4, use_ifed=False), FakePairs(), ("training_step",)),
        (
            MotionClipTask(width=16, layers=1, latent_scale="unit"),
            FakePairs(),
            ("training_step", "validation_step"),
        ),
        (MatchingTask(hidden=16), FakePairs(), ("training_step",)),
        (NEDTask(hidden=16), FakeNeutrals(), ("training_step", "validation_step")),
        *(
            (
                ExpressionClassifierTask(
                    "resnet18", image_size=32, loss=loss, rotation=9, flip=True
                ),
                FakeFaces(),
                ("training_step",),
            )
            for loss in ("focal", "mek")
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_steps_stay_on_the_gpu(
    task: BaseTask,
    data: Any,
    steps: tuple[str, ...],
    gpu: FakeTensorMode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def move(tensor: Tensor) -> Tensor:
        with gpu:
            return gpu.from_tensor(tensor).to("cuda")

    prepare(task, data, move, monkeypatch)
    monkeypatch.setattr(
        task,
        "images",
        lambda keys, _: move(torch.zeros(len(keys), 3, 32, 32).byte()),
        raising=False,
    )
    batch = {
        name: values if name in READ else move(values)
        for name, values in next(iter(data.train_dataloader())).items()
    }
    for step in steps:
        task.train(step == "training_step")
        with gpu:
            result = getattr(task, step)(batch, 1)
        assert step != "training_step" or result.device.type == "cuda"


def test_a_tensor_that_stays_behind_is_found(gpu: FakeTensorMode) -> None:
    with gpu, pytest.raises(RuntimeError, match="device"):
        torch.ones(2, device="cuda") + torch.ones(2)
