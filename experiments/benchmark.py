"""Speeds of the parts that a user waits for, on this machine.

    python -m experiments.benchmark [CKPLUS]

CKPLUS is a synthetic corpus with pictures, which `i2fet corpus ckplus CKPLUS` writes.

Absolute times depend on the machine and on what else it does; compare rows of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer
from skimage.data import astronaut

from datamodules.ckplus import read_ckplus
from datamodules.expression import ExpressionDataModule
from datamodules.extraction import read_frames
from datamodules.parallel import one_thread
from experiments.script import run
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.files import replacing
from i2fet.heads import load_head
from i2fet.heads.arkit import load_arkit_head
from i2fet.perception import LearnedFaceEncoder
from i2fet.perception.descriptor import describe
from i2fet.perception.encoder import find_faces
from i2fet.perception.learned import cut_all
from i2fet.pipeline import TransitionPipeline
from i2fet.rendering.mesh import fit_camera
from i2fet.rendering.rasterizer import rasterize
from i2fet.tasks import I2FETTask

OUT = Path("outputs/benchmark.json")
INSTRUCTION = "Turn this face from surprise to anger."
SIZE = 256
EPOCH_SAMPLES = 25926
"""Of which 81 %, 21,000, are for training."""

STAGED = 64
"""Pictures by which the stages of reading are timed."""


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
    with one_thread():
        return best_of(lambda: rasterize(pixels, head.faces, SIZE, SIZE), 50)


def clip_seconds() -> dict[str, float]:
    """Photo to a 60-frame 256 x 256 mp4 with models loaded, and its parts."""
    pipeline = TransitionPipeline.from_checkpoint()
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


def training_seconds(corpus: Path) -> dict[str, float]:
    """One epoch over 21,000 pairs with all three losses, validation left out, and its parts."""
    data = ExpressionDataModule(str(corpus), coefficients="true", samples=EPOCH_SAMPLES)
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
    pictures = len(read_ckplus(corpus).records)
    with tempfile.TemporaryDirectory() as cache:
        command = ["extract", str(corpus), "--no-refine", "--cache-dir", cache]
        wall, processor = command_seconds(command)
        nothing_new, _ = command_seconds(command)

        def load() -> ExpressionDataModule:
            return ExpressionDataModule(str(corpus), refine=False, cache_dir=cache)

        load().prepare_data()
        first = _FirstBatch()
        start = time.perf_counter()
        _trainer(callbacks=[first], limit_train_batches=1).fit(I2FETTask(), load())
    return {
        f"i2fet extract, a picture of {pictures:,}": wall / pictures,
        f"the same, time of all {len(os.sched_getaffinity(0))} cores": processor / pictures,
        "i2fet extract, nothing new": nothing_new,
        "first batch on a warm cache, 26,352 pairs": first.time - start,
    }


def command_seconds(arguments: list[str]) -> tuple[float, float]:
    """Seconds that an `i2fet` command takes, and those of processor time in all its processes."""

    def processor_time() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, start = processor_time(), time.perf_counter()
    command = [sys.executable, "-m", "i2fet", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, processor_time() - before


def reading_seconds(corpus: Path) -> dict[str, float]:
    """What reading a picture costs on one core, stage by stage."""
    faces = read_ckplus(corpus)
    faces = replace(faces, records=faces.records[:STAGED])
    encoder = LearnedFaceEncoder(load_arkit_head(), refine=False)
    pictures = [picture for picture in read_frames(faces) if picture is not None]
    found = find_faces(encoder.detector, pictures)
    (rows,) = found.batches()
    seen = [pictures[row] for row in rows]
    alignment = encoder.aligner.align(found.landmarks[rows])
    crops = cut_all(seen, alignment)
    descriptors = torch.from_numpy(np.stack([describe(crop) for crop in crops]))
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: deque(read_frames(faces), maxlen=0),
        "find the face": lambda: find_faces(encoder.detector, pictures),
        "cut": lambda: cut_all(seen, alignment),
        "describe": lambda: [describe(crop) for crop in crops],
        "network": lambda: encoder.network(descriptors),
        "encode": lambda: encoder.encode(pictures),
    }
    with one_thread(), torch.no_grad():
        return {
            f"{name} a picture, one core": best_of(stage, 3) / len(pictures)
            for name, stage in stages.items()
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
    parser.add_argument("pictures", nargs="?", type=Path, default=Path("data/ckplus-synthetic"))
    arguments = parser.parse_args()
    faces = len(load_head().faces)
    rows = {f"rasterise {faces} triangles, one core": rasteriser_seconds()}
    rows |= clip_seconds()
    rows |= training_seconds(arguments.pictures)
    rows |= reading_seconds(arguments.pictures)
    rows |= data_seconds(arguments.pictures)
    for name, seconds in rows.items():
        print(f"{name:42s} {1000 * seconds:9.1f} ms")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with replacing(OUT) as unfinished:
        unfinished.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    run(main)
