from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from colors import ColorFaces, write_sequences
from safetensors import safe_open

import datamodules.extraction
from datamodules.cache import Tensors, unfinished_folder
from datamodules.ckplus import read_ckplus
from datamodules.corpus import write_ckplus_corpus
from datamodules.extraction import PART, extract, load_perceived, read_picture
from datamodules.ranks import read_on_devices
from datamodules.records import FaceRecords
from i2fet.cli import main

FRAMES = 3 * 3 * 4
SMALL = 5


@pytest.fixture
def faces(tmp_path: Path) -> FaceRecords:
    return read_ckplus(write_sequences(tmp_path / "ckplus"))


@pytest.fixture
def encoder(tmp_path: Path) -> ColorFaces:
    return ColorFaces(tmp_path / "log")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "colors.safetensors"


def pictures_read(encoder: ColorFaces) -> int:
    return len(encoder.log.read_text()) if encoder.log.exists() else 0


def equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.fixture
def undisturbed(faces: FaceRecords, encoder: ColorFaces, tmp_path: Path) -> bytes:
    path = tmp_path / "undisturbed.safetensors"
    load_perceived(faces, path, encoder, workers=1)
    encoder.log.unlink()
    return path.read_bytes()


@pytest.mark.parametrize(("workers", "part"), [(1, SMALL), (1, 1), (1, PART), (2, SMALL)])
def test_parts_make_the_same_bytes(
    faces: FaceRecords,
    encoder: ColorFaces,
    path: Path,
    undisturbed: bytes,
    workers: int,
    part: int,
) -> None:
    tensors = load_perceived(faces, path, encoder, workers, part)
    assert path.read_bytes() == undisturbed
    assert pictures_read(encoder) == FRAMES
    assert not unfinished_folder(path).exists()
    assert equal(tensors, extract(encoder, faces))  # type: ignore[arg-type]
    assert equal(tensors, load_perceived(faces, path, encoder, workers, part))


@pytest.mark.parametrize(("devices", "part"), [(1, SMALL), (2, SMALL), (3, PART)])
def test_processes_of_lightning_make_the_same_bytes(
    faces: FaceRecords,
    encoder: ColorFaces,
    path: Path,
    undisturbed: bytes,
    devices: int,
    part: int,
) -> None:
    options = {"accelerator": "cpu", "enable_progress_bar": False}
    strategy = "ddp_fork" if devices > 1 else "auto"
    assert read_on_devices(
        faces, path, encoder, part, devices=devices, strategy=strategy, **options
    )
    assert not path.exists()
    assert pictures_read(encoder) == FRAMES
    load_perceived(faces, path, encoder, 1, part)
    assert path.read_bytes() == undisturbed
    assert read_on_devices(faces, path, encoder, part, **options)
    assert pictures_read(encoder) == FRAMES


def test_cache_is_what_its_description_says(
    faces: FaceRecords, encoder: ColorFaces, path: Path
) -> None:
    load_perceived(faces, path, encoder)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["cache"])
        found, expression = file.get_tensor("found"), file.get_tensor("expression")
    assert header["frames"][4] == "cohn-kanade-images/S001/002/S001_002_00000001.png"
    assert expression[4, :3].tolist() == [10, 20, 1]
    assert header["key"].keys() == {"encoder", "decoder", "dataset"}
    assert (found.dtype, found.shape) == (bool, (FRAMES,))
    with open("/proc/self/maps") as maps:
        tensors = load_perceived(faces, path, encoder)
        assert str(path) in maps.read()
    assert len(tensors["pose"]) == FRAMES


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Have the encoder be interrupted when it has read some pictures."""
    encode = ColorFaces.encode

    def stop(self: ColorFaces, images: list[np.ndarray]) -> SimpleNamespace:
        if pictures_read(self) >= after:
            raise KeyboardInterrupt
        return encode(self, images)

    monkeypatch.setattr(ColorFaces, "encode", stop)


@pytest.mark.parametrize("after", [0, SMALL, FRAMES - 1])
def test_interruption_loses_nothing(
    faces: FaceRecords,
    encoder: ColorFaces,
    path: Path,
    undisturbed: bytes,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            load_perceived(faces, path, encoder, 1, SMALL)
    assert not path.exists()
    load_perceived(faces, path, encoder, 1, SMALL)
    assert path.read_bytes() == undisturbed
    assert pictures_read(encoder) == FRAMES


@pytest.fixture
def half_done(
    faces: FaceRecords, encoder: ColorFaces, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of the parts, of which four hold twenty frames."""
    with monkeypatch.context() as patch:
        interrupt(patch, 4 * SMALL)
        with pytest.raises(KeyboardInterrupt):
            load_perceived(faces, path, encoder, 1, SMALL)
    assert pictures_read(encoder) == 4 * SMALL
    return unfinished_folder(path)


def flip(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[-9] ^= 0xFF
    part.write_bytes(content)


def truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_corrupt_part_is_read_again(
    faces: FaceRecords,
    encoder: ColorFaces,
    path: Path,
    undisturbed: bytes,
    half_done: Path,
    damage: Callable[[Path], None],
) -> None:
    damage(half_done / "00000005.safetensors")
    load_perceived(faces, path, encoder, 1, SMALL)
    assert path.read_bytes() == undisturbed
    assert pictures_read(encoder) == FRAMES + SMALL


def test_part_of_another_encoder_is_read_again(
    faces: FaceRecords, encoder: ColorFaces, path: Path, half_done: Path
) -> None:
    retrained = ColorFaces(encoder.log, fingerprint="2")
    load_perceived(faces, path, retrained, 1, SMALL)
    assert pictures_read(encoder) == FRAMES + 4 * SMALL


def test_parts_of_another_size_are_read_again(
    faces: FaceRecords, encoder: ColorFaces, path: Path, undisturbed: bytes, half_done: Path
) -> None:
    load_perceived(faces, path, encoder, 1, SMALL + 1)
    assert path.read_bytes() == undisturbed
    assert pictures_read(encoder) == FRAMES + 4 * SMALL


def children_of(process: int) -> list[int]:
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("workers", "kills"), [(1, 10), pytest.param(2, 2, marks=pytest.mark.slow)]
)
def test_killed_at_random_moments(
    faces: FaceRecords, path: Path, tmp_path: Path, undisturbed: bytes, workers: int, kills: int
) -> None:
    slow = ColorFaces(tmp_path / "log", seconds=0.02)
    context = multiprocessing.get_context("fork")
    chance = random.Random(workers)
    for _ in range(kills):
        begun = pictures_read(slow)
        process = context.Process(target=load_perceived, args=(faces, path, slow, workers, SMALL))
        process.start()
        assert process.pid is not None
        wait_until(lambda begun=begun: pictures_read(slow) > begun or path.exists())
        time.sleep(chance.uniform(0, 2 * SMALL * slow.seconds))
        family = [process.pid, *children_of(process.pid)]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        wait_until(lambda family=family: not any(map(is_running, family)))
    assert not path.exists() or path.read_bytes() == undisturbed
    load_perceived(faces, path, slow, workers, SMALL)
    assert path.read_bytes() == undisturbed
    assert FRAMES <= pictures_read(slow) <= FRAMES + kills * workers * SMALL
    assert not unfinished_folder(path).exists()


def test_forbidden_and_broken_pictures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    cv2.imwrite(str(broken), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = read_picture(broken)
    assert whole is not None
    assert whole.shape == (64, 64, 3)
    broken.write_bytes(broken.read_bytes()[:2000])
    assert read_picture(broken) is None
    assert read_picture(tmp_path / "missing.png") is None
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "twin"
    return write_ckplus_corpus(out, subjects=3, frames=4, size=128, workers=1)


def test_command(twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    black = next(twin.rglob("S001_001_00000003.png"))
    content = black.read_bytes()
    cv2.imwrite(str(black), np.zeros((128, 128, 3), np.uint8))
    options = ["--encoder", "landmarks", "--workers", "1", "--cache-dir", str(tmp_path)]
    try:
        assert main(["extract", str(twin), *options]) == 0
        printed = capsys.readouterr().out
        (cache,) = tmp_path.rglob("*.safetensors")
        written = cache.stat().st_mtime_ns
        report = json.loads((cache.with_suffix("") / "report.json").read_text())
        assert main(["extract", str(twin), "--pairs", *options]) == 0
        assert cache.stat().st_mtime_ns == written
    finally:
        black.write_bytes(content)
    assert "synthetic people" in printed
    assert "no face found" in printed
    assert "yaw, degrees" in printed
    assert str(cache) in printed.replace("\n", "")
    folder = cache.with_suffix("")
    assert {file.name for file in folder.iterdir()} == {
        *("report.json", "report.txt", "report.png", "truth.json", "truth.txt")
    }
    with_pairs = json.loads((folder / "report.json").read_text())
    assert sum(with_pairs.pop("samples").values()) == 2 * 26352
    assert with_pairs.pop("words")["face"] == 26352
    assert with_pairs == {k: v for k, v in report.items() if k not in ("samples", "words")}
    assert report["skipped"] == {"no face found": [black.relative_to(twin).as_posix()]}
    assert report["total"]["frames"] == len(read_ckplus(twin).records) - 1
    truth = json.loads((folder / "truth.json").read_text())
    assert sum(row["faces"] for row in truth["yaws"]) == len(read_ckplus(twin).records)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["empty"], "has no folder cohn-kanade-images"),
        (["empty", "--dataset", "celebvhq"], "has no celebvhq_info.json"),
        (["ckplus", "--encoder", "deca"], "'deca' is not for the head 'arkit'"),
        (["ckplus", "--encoder", "landmarks", "--cache-dir", "file"], "cannot be written"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("no folder")
    write_sequences(Path("ckplus"), 1, 1)
    assert main(["extract", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error


@pytest.mark.parametrize("places", [[], ["--devices", "1", "--accelerator", "cpu"]])
def test_no_face_anywhere_is_not_fatal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], places: list[str]
) -> None:
    root = write_sequences(tmp_path / "ckplus", 1, 1)
    options = ["--encoder", "landmarks", "--cache-dir", str(tmp_path / "cache"), *places]
    assert main(["extract", str(root), *options]) == 0
    assert "0 faces found in 4 frames" in capsys.readouterr().out


def test_extraction_uses_one_thread(
    faces: FaceRecords, encoder: ColorFaces, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    batch = datamodules.extraction._extract_batch

    def look(*arguments: object) -> Tensors:
        seen.append(torch.get_num_threads())
        return batch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(datamodules.extraction, "_extract_batch", look)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    load_perceived(faces, path, encoder, 1)
    assert (set(seen), torch.get_num_threads()) == ({1}, 3)
    torch.set_num_threads(threads)
