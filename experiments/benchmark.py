"""Speeds of the parts that a user waits for, on this machine.

    python -m experiments.benchmark [FOLDER] [--pictures CKPLUS]

FOLDER is that of `make demo`, whose checkpoint and corpus are used; CKPLUS is a corpus with
pictures, which `i2fet corpus ckplus CKPLUS` writes.

Absolute times depend on the machine and on what else it does; compare rows of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer
from skimage.data import astronaut

from datamodules.expression import ExpressionDataModule, View
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import load_head
from i2fet.pipeline import TransitionPipeline
from i2fet.rendering.mesh import fit_camera
from i2fet.rendering.rasterizer import rasterize
from i2fet.tasks import I2FETTask

OUT = Path("outputs/benchmark.json")
INSTRUCTION = "Turn this face from surprise to anger."
SIZE = 256
EPOCH_SAMPLES = 25926
"""Of which 81 %, 21,000, are for training."""


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Least seconds of several calls, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def rasteriser_seconds() -> float:
    """One head at 256 x 256 on one core."""
    head = load_head()
    vertices = head.vertices(FaceCoefficients.zeros(1))
    pixels = project(vertices, fit_camera(vertices), SIZE, SIZE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = best_of(lambda: rasterize(pixels, head.faces, SIZE, SIZE), 50)
    torch.set_num_threads(threads)
    return seconds


def clip_seconds(checkpoint: Path) -> dict[str, float]:
    """Photo to a 60-frame 256 x 256 mp4 with models loaded, and its parts."""
    pipeline = TransitionPipeline.from_checkpoint(checkpoint)
    photo = astronaut()
    transition = pipeline(photo, INSTRUCTION, frames=60)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")

        def clip() -> None:
            pipeline(photo, INSTRUCTION, frames=60).write_video(path, "portrait", SIZE)

        return {
            "photo to clip": best_of(clip, 5),
            "photo to coefficients": best_of(lambda: pipeline.encoder.encode([photo]), 10),
            "instruction to expressions": best_of(lambda: pipeline.generate([INSTRUCTION]), 10),
            "60 portrait frames": best_of(lambda: transition.render("portrait", SIZE), 5),
            "60 mesh frames": best_of(lambda: transition.render("mesh", SIZE), 5),
        }


def training_seconds(corpus: Path, cache: Path) -> dict[str, float]:
    """One epoch over 21,000 pairs with all three losses, validation left out, and its parts."""
    data = ExpressionDataModule(
        str(corpus), coefficients="true", samples=EPOCH_SAMPLES, cache_dir=str(cache)
    )
    timer = Timer()
    _trainer(callbacks=[timer], limit_val_batches=0).fit(I2FETTask(), datamodule=data)
    loader = data.train_dataloader()
    epoch = timer.time_elapsed("train")
    return {
        "an epoch of 21,000 pairs": epoch,
        "a step of it": epoch / len(loader),
        "loading a step's batch": best_of(lambda: deque(loader, maxlen=0), 3) / len(loader),
    }


def data_seconds(corpus: Path) -> dict[str, float]:
    """Pictures to coefficients on all cores, and how soon training on them begins."""
    with tempfile.TemporaryDirectory() as cache:

        def load(view: View) -> ExpressionDataModule:
            return ExpressionDataModule(str(corpus), view=view, refine=False, cache_dir=cache)

        faces, start = load("faces"), time.perf_counter()
        faces.prepare_data()
        extraction = (time.perf_counter() - start) / len(faces.extracted[0].records)
        load("pairs").prepare_data()
        first = _FirstBatch()
        start = time.perf_counter()
        _trainer(callbacks=[first], limit_train_batches=1).fit(I2FETTask(), load("pairs"))
        return {
            f"extract a picture, {len(os.sched_getaffinity(0))} cores": extraction,
            "first batch on a warm cache, 26,352 pairs": first.time - start,
        }


class _FirstBatch(Callback):
    """Notes when training begins."""

    time: float

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.time = time.perf_counter()


def _trainer(**options: Any) -> Trainer:
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs/demo"))
    parser.add_argument("--pictures", type=Path, default=Path("data/ckplus-synthetic"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    faces = len(load_head().faces)
    rows = {f"rasterise {faces} triangles, one core": rasteriser_seconds()}
    rows |= clip_seconds(folder / "i2fet.ckpt")
    rows |= training_seconds(folder / "corpus", folder / "cache")
    rows |= data_seconds(arguments.pictures)
    for name, seconds in rows.items():
        print(f"{name:42s} {1000 * seconds:9.1f} ms")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
