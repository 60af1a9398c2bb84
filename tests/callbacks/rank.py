"""One process of a distributed run, as torchrun would start it: rank.py CORPUS OUT.

Every task is validated, then trained for an epoch with all callbacks; `OUT/TASK-RANK.json` says how
it went. At last rank 1 dies in the midst of an epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

import datamodules.expression
import i2fet.tasks
from callbacks import ConfusionMatrices, LatentMaps, MetricCurves, RenderedTransitions, RunIdentity
from i2fet.tasks import BaseTask
from i2fet.text import TokenEmbeddings

SMALL: dict[str, dict[str, Any]] = {
    "I2FETTask": {"hidden": 32, "latent": 4, "vertex_weight": 0.0},
    "WithoutIfed": {"hidden": 32, "latent": 4, "vertex_weight": 0.0, "use_ifed": False},
    "ExpressionClassifierTask": {"backbone": "resnet18", "small_images": True, "image_size": 32},
    "NEDTask": {"hidden": 32},
    "MotionClipTask": {"width": 32, "layers": 1, "feedforward": 32, "vertex_weight": 0.0},
}


class FakeText:
    """Embeds a sentence as its letters."""

    name, width = "fake", 6

    def encode(self, sentences: Sequence[str]) -> TokenEmbeddings:
        tokens = torch.zeros(len(sentences), 77, self.width)
        for row, sentence in enumerate(sentences):
            for place, letter in enumerate(sentence[:77]):
                tokens[row, place, ord(letter) % self.width] = 1
        return TokenEmbeddings(tokens, tokens.any(dim=2))


class Death(Callback):
    """Kills rank 1."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def make_task(name: str) -> BaseTask:
    seed_everything(0, verbose=False)
    kind = "I2FETTask" if name == "WithoutIfed" else name
    return getattr(i2fet.tasks, kind)(**SMALL[name])


def run(name: str, corpus: Path, out: Path, ranks: int, *more: Callback) -> dict[str, Any]:
    task = make_task(name)
    data = datamodules.expression.ExpressionDataModule(
        str(corpus),
        view=task.view,
        coefficients="true",
        samples=301,
        batch_size=13,
        cache_dir=str(out / "cache"),
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=1,
        limit_train_batches=3,
        logger=CSVLogger(out, name, version="run"),
        callbacks=[
            LatentMaps(points=60),
            ConfusionMatrices(),
            RenderedTransitions(panel=1, frames=3, size=48),
            MetricCurves(),
            RunIdentity(),
            *more,
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    (validated,) = trainer.validate(task, datamodule=data, verbose=False)
    task = make_task(name)
    trainer.fit(task, datamodule=data)
    weights = torch.cat([value.detach().flatten().double() for value in task.parameters()])
    return {
        "validated": validated,
        "split": hashlib.sha256(repr(data.subjects).encode()).hexdigest(),
        "batches": len(data.val_dataloader()),
        "weights": float(weights.sum()),
        "loss": float(trainer.callback_metrics["val/loss"]),
    }


def run_all(corpus: Path, out: Path, rank: int, ranks: int) -> None:
    for name in SMALL:
        result = run(name, corpus, out, ranks)
        (out / f"{name}-{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    torch.set_num_threads(1)
    datamodules.expression.load_text_encoder = lambda name: FakeText()  # type: ignore
    corpus, out = map(Path, sys.argv[1:])
    run_all(corpus, out, int(os.environ["RANK"]), 2)
    run("I2FETTask", corpus, out / "death", 2, Death())
