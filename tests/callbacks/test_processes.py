"""Two processes on CPUs measure, draw and end as one does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rank

import datamodules.expression
from datamodules.corpus import write_ckplus_corpus

RANK = Path(rank.__file__)
TASKS = ["I2FETTask", "WithoutIfed", "ExpressionClassifierTask", "NEDTask", "MotionClipTask"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("processes") / "twin"
    return write_ckplus_corpus(out, subjects=20, pictures=False)


def start(corpus: Path, out: Path) -> list[subprocess.Popen[bytes]]:
    """Start two processes with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }
    processes = []
    for number in ("0", "1"):
        environment = {**os.environ, **shared, "RANK": number, "LOCAL_RANK": number}
        with (out / f"{number}.log").open("w") as log:
            command = [sys.executable, RANK, corpus, out]
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    return processes


@pytest.fixture(scope="module")
def outs(corpus: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of a run of one process and of a run of two, whose second is killed at last."""
    folders = corpus.parent / "one", corpus.parent / "two"
    for folder in folders:
        folder.mkdir()
    processes = start(corpus, folders[1])
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(datamodules.expression, "load_text_encoder", lambda name: rank.FakeText())
            rank.run_all(corpus, folders[0], 0, 1)
        code = processes[1].wait(timeout=600)
        assert code == -signal.SIGKILL, (folders[1] / "1.log").read_text()[-1500:]
        died = time.monotonic()
        assert processes[0].wait(timeout=60) > 0, (folders[1] / "0.log").read_text()[-1500:]
        (folders[1] / "survived").write_text(str(time.monotonic() - died))
        yield folders
    finally:
        for process in processes:
            process.kill()


def result(out: Path, task: str, number: int) -> dict[str, Any]:
    return json.loads((out / f"{task}-{number}.json").read_text())


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_measure_what_one_does(outs: tuple[Path, Path], task: str) -> None:
    alone = result(outs[0], task, 0)
    for number in (0, 1):
        shared = result(outs[1], task, number)
        assert shared["split"] == alone["split"]
        both = set(shared["validated"]) & set(alone["validated"])
        assert {"val/loss"} < both
        for name in both:
            expected = pytest.approx(alone["validated"][name], rel=1e-4, abs=1e-5, nan_ok=True)
            if not name.startswith("latents/"):  # of some points, of rank zero alone
                assert shared["validated"][name] == expected, name


def test_ranks_had_different_numbers_of_batches(outs: tuple[Path, Path]) -> None:
    batches = [result(outs[1], "I2FETTask", number)["batches"] for number in (0, 1)]
    assert batches[0] == batches[1] + 1


@pytest.mark.parametrize("task", TASKS)
def test_ranks_end_with_the_same_weights(outs: tuple[Path, Path], task: str) -> None:
    first, second = (result(outs[1], task, number) for number in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["loss"] == pytest.approx(second["loss"])


def test_there_is_one_set_of_pictures(outs: tuple[Path, Path]) -> None:
    for task in TASKS:
        drawn = [
            sorted(path.name for path in (out / task).rglob("*") if path.is_file()) for out in outs
        ]
        assert drawn[0] == drawn[1]
        assert "epoch-0001.png" in drawn[0]
        assert [path.name for path in (outs[1] / task).iterdir()] == ["run"]


def test_a_table_counts_the_faces_of_both(outs: tuple[Path, Path]) -> None:
    path = "I2FETTask/run/pictures/confusion/val_table.csv"
    assert (outs[0] / path).read_text() == (outs[1] / path).read_text()


def test_the_others_end_within_a_minute_when_one_dies(outs: tuple[Path, Path]) -> None:
    assert 0 < float((outs[1] / "survived").read_text()) < 60
    assert "Error" in (outs[1] / "0.log").read_text()
