"""`i2fet perceive` as people use it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2fet.camera import project
from i2fet.cli import main
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.perception import learned
from i2fet.perception.network import build_face_network, save_face_network
from i2fet.rendering.video import write_video

CONFIG = {"crop": [[8, 1], [8, 1]], "part": [[8, 1]], "features": 32, "hidden": 48}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(astronaut).save(folder / "face.png")
    Image.fromarray(astronaut[:, ::-1]).save(folder / "mirror.png")
    Image.new("RGB", (400, 300), "green").save(folder / "green.png")
    (folder / "text.jpg").write_text("no photo")
    clip = [np.roll(astronaut, 2 * step, axis=1) for step in range(7)]
    write_video(folder / "clip.mp4", [*clip, np.zeros_like(astronaut)])
    return folder


@pytest.fixture
def network(
    head: ArkitHead, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained network in the place of the one that comes with the package."""
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    torch.manual_seed(0)
    network = build_face_network(**CONFIG)
    typical = FaceCoefficients.zeros(64)
    typical.expression[:] = 0.3 * torch.rand(64, 50)
    typical.pose[:] = 0.05 * torch.randn(64, 6)
    typical.camera[:] = torch.tensor([10.0, 0.0, -0.13]) * (1 + 0.02 * torch.randn(64, 1))
    network.adopt(typical)
    save_face_network(network, CONFIG, path, head)
    monkeypatch.setattr(learned, "NETWORK_FILE", path)


def test_landmarks_are_read_written_and_drawn(
    folder: Path, tmp_path: Path, head: ArkitHead, capsys: pytest.CaptureFixture[str]
) -> None:
    out, overlay = tmp_path / "new" / "faces.json", tmp_path / "overlay.png"
    photos = [str(folder / name) for name in ("face.png", "mirror.png")]
    options = ["--encoder", "landmarks", "--json", str(out), "--overlay", str(overlay)]
    assert main(["perceive", *photos, *options]) == 0
    printed = capsys.readouterr().out
    for words in (*photos, "mouthSmileLeft", "pixels wide", "yaw"):
        assert words in printed
    records = json.loads(out.read_text())
    assert [record["photo"] for record in records] == photos
    for record in records:
        assert tuple(record["expression"]) == head.expression_names
        sizes = {name: len(record[name]) for name in ("jaw", "head_pose", "camera", "shape")}
        assert sizes == {"jaw": 3, "head_pose": 3, "camera": 3, "shape": 100}
        assert set(record["confidence"]) == {*head.expression_names, "jawOpen"}
        assert set(record["confidence"].values()) == {None}
        assert 0 < record["residual_percent"] < 2
        assert "frame" not in record
    assert np.asarray(Image.open(overlay)).shape == (1024, 1024, 3)


def test_a_dash_prints_the_json_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [str(folder / name) for name in ("text.jpg", "face.png")]
    assert main(["perceive", *photos, "--encoder", "landmarks", "--json", "-"]) == 2
    (record,) = json.loads(capsys.readouterr().out)
    assert record["photo"] == photos[1]
    assert main(["perceive", photos[0], "--encoder", "landmarks", "--json", "-"]) == 2
    assert json.loads(capsys.readouterr().out) == []


def test_the_json_places_the_head_on_the_photo(
    folder: Path, tmp_path: Path, head: ArkitHead
) -> None:
    out = tmp_path / "faces.json"
    command = ["perceive", str(folder / "face.png"), "--encoder", "landmarks", "--json", str(out)]
    assert main(command) == 0
    record = json.loads(out.read_text())[0]
    face = FaceCoefficients(
        torch.tensor([record["shape"]]),
        torch.tensor([list(record["expression"].values())]),
        torch.tensor([[*record["head_pose"], *record["jaw"]]]),
        torch.tensor([record["camera"]]),
    )
    nose = project(head.landmarks(head.vertices(face)), face.camera, 512, 512)[0, 1, :2]
    torch.testing.assert_close(nose, torch.tensor([227.0, 130.0]), atol=8, rtol=0)


@pytest.mark.usefixtures("network")
def test_the_network_says_how_sure_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "faces.json"
    neutral = ["--neutral", str(folder / "mirror.png")]
    assert main(["perceive", str(folder / "face.png"), *neutral, "--json", str(out)]) == 0
    record = json.loads(out.read_text())[0]
    assert all(0 < value < 1 for value in record["confidence"].values())
    printed = capsys.readouterr().out
    assert "% sure" in printed
    assert "covered or unclear" in printed


@pytest.mark.usefixtures("network")
def test_refinement_brings_the_mesh_to_the_landmarks(folder: Path, tmp_path: Path) -> None:
    residuals = []
    for options in ([], ["--no-refine"]):
        out = tmp_path / "faces.json"
        assert main(["perceive", str(folder / "face.png"), "--json", str(out), *options]) == 0
        residuals.append(json.loads(out.read_text())[0]["residual_percent"])
    assert residuals[0] < residuals[1] / 2


def test_one_bad_photo_does_not_keep_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, overlay = tmp_path / "faces.json", tmp_path / "overlay.png"
    photos = [str(folder / name) for name in ("green.png", "face.png", "text.jpg")]
    options = ["--encoder", "landmarks", "--json", str(out), "--overlay", str(overlay)]
    assert main(["perceive", *photos, *options]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert photos[0] in errors[0]
    assert photos[2] in errors[1]
    assert [record["photo"] for record in json.loads(out.read_text())] == photos[1:2]
    assert np.asarray(Image.open(overlay)).shape == (512, 1024, 3)


def test_a_video_is_read_frame_by_frame(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, overlay = tmp_path / "faces.json", tmp_path / "overlay.jpg"
    options = ["--encoder", "landmarks", "--json", str(out), "--overlay", str(overlay)]
    assert main(["perceive", str(folder / "clip.mp4"), *options]) == 0
    assert "7 of 8 with a face" in capsys.readouterr().out
    records = json.loads(out.read_text())
    assert [record["frame"] for record in records] == list(range(7))
    places = [record["camera"][1] for record in records]
    assert np.all(np.diff(places) > 0)
    assert np.asarray(Image.open(overlay)).shape == (512, 1024, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json", "faces.txt"], "faces.txt"),
        (["--overlay", "faces.pdf"], "faces.pdf"),
        (["--neutral", "green.png"], "green.png"),
        (["--neutral", "face.png"], "--encoder"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(
    folder: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(["perceive", "face.png", "--encoder", "landmarks", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
    assert sorted(folder.iterdir()) == before
