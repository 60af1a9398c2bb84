from __future__ import annotations

import logging
import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from datamodules.cache import Tensors, default_cache_dir, load_or_build
from i2fet.errors import OutputError

KEY = {"head": "arkit", "dataset": "1"}


class Builder:
    def __init__(self, value: float = 1.0) -> None:
        self.calls = 0
        self.value = value

    def __call__(self) -> Tensors:
        self.calls += 1
        return {"a": torch.full((2, 3), self.value), "found": torch.tensor([True, False])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "x.safetensors"


def test_second_read_does_not_build(path: Path) -> None:
    builder = Builder()
    built, cached = (load_or_build(path, KEY, builder) for _ in range(2))
    assert builder.calls == 1
    assert built.keys() == cached.keys()
    assert all(torch.equal(built[name], cached[name]) for name in built)


def test_another_key_rebuilds_and_says_why(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    load_or_build(path, KEY, Builder(1))
    changed = load_or_build(path, {**KEY, "dataset": "2"}, Builder(2))
    assert changed["a"].eq(2).all()
    assert "made with another dataset" in caplog.text


@pytest.mark.parametrize("position", [0, 4, 60, -1])
def test_flipped_byte_is_never_read(path: Path, position: int) -> None:
    load_or_build(path, KEY, Builder(1))
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)
    builder = Builder(1)
    assert load_or_build(path, KEY, builder)["a"].eq(1).all()
    assert builder.calls == 1


@pytest.mark.parametrize("size", [0, 7, 100])
def test_truncated_file_is_never_read(path: Path, size: int) -> None:
    load_or_build(path, KEY, Builder())
    path.write_bytes(path.read_bytes()[:size])
    builder = Builder()
    load_or_build(path, KEY, builder)
    assert builder.calls == 1


def test_foreign_file_is_never_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path.parent.mkdir()
    save_file({"a": torch.zeros(2, 3)}, path)
    assert load_or_build(path, KEY, Builder(3))["a"].eq(3).all()
    assert "corrupt" in caplog.text


def test_failed_build_leaves_nothing(path: Path) -> None:
    def fail() -> Tensors:
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        load_or_build(path, KEY, fail)
    assert [item.suffix for item in path.parent.iterdir()] == [".lock"]
    assert load_or_build(path, KEY, Builder())["a"].eq(1).all()


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        load_or_build(tmp_path / "cache" / "x.safetensors", KEY, Builder())


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("I2FET_CACHE", raising=False)
    assert default_cache_dir() == Path("outputs/cache")
    monkeypatch.setenv("I2FET_CACHE", "/elsewhere")
    assert default_cache_dir() == Path("/elsewhere")


def build_slowly(path: Path, log: Path) -> None:
    def build() -> Tensors:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.5)
        return {"a": torch.ones(3)}

    assert load_or_build(path, KEY, build)["a"].eq(1).all()


def test_one_process_builds_and_the_other_waits(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build_slowly, args=(path, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "built\n"
    assert load_file(path)["a"].eq(1).all()
