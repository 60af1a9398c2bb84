"""The paper's own pipeline on tiny synthetic files: FLAME, DECA and CLIP, by real command lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from i2fet.cli import main
from i2fet.heads import ArkitHead, load_head
from tests.official_files import deca_network, write_clip, write_deca, write_flame

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "experiments/ckplus/i2fet_paper.yaml"
PERSONS, FRAMES, LABELS = 4, 4, (1, 5, 7)
"""Anger, happiness and surprise of each person, from a neutral frame on."""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, head: ArkitHead) -> Iterator[Path]:
    """Holds the three files, as they are published, and installs them."""
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("I2FET_ASSETS", str(folder / "store"))
        patch.setattr("i2fet.assets.LANDMARK_HEADS", 4)
        sources = {
            "flame": write_flame(folder / "generic_model.pkl", head),
            "deca": write_deca(folder / "deca_model.tar", deca_network()),
            "clip": write_clip(folder / "open_clip_model.safetensors"),
        }
        for name, path in sources.items():
            assert main(["assets", "add", name, str(path)]) == 0
        yield folder


@pytest.fixture(scope="module")
def ckplus(folder: Path, astronaut: np.ndarray) -> Path:
    """In CK+'s layout: one portrait under changing light."""
    root = folder / "ckplus"
    face = cv2.cvtColor(np.ascontiguousarray(astronaut[:256, 100:356]), cv2.COLOR_RGB2BGR)
    for person, (take, label) in ((p, t) for p in range(PERSONS) for t in enumerate(LABELS, 1)):
        name = f"S{person:03d}/{take:03d}"
        frames, labels = root / "cohn-kanade-images" / name, root / "Emotion" / name
        for place in (frames, labels):
            place.mkdir(parents=True)
        stem = name.replace("/", "_")
        for frame in range(1, FRAMES + 1):
            light = 0.6 + 0.05 * person + 0.03 * take * frame
            picture = np.clip(face * light, 0, 255).astype(np.uint8)
            cv2.imwrite(str(frames / f"{stem}_{frame:08d}.png"), picture)
        (labels / f"{stem}_{FRAMES:08d}_emotion.txt").write_text(f"   {label}.0000000e+00\n")
    return root


def data_options(ckplus: Path) -> list[str]:
    settings = {
        "root": ckplus,
        "head": "flame",
        "encoder": "deca",
        "cache_dir": ckplus.parent / "cache",
    }
    return [part for name, value in settings.items() for part in (f"--data.{name}", str(value))]


PAIRS = ("--data.text", "clip", "--data.samples", "60")
APEX_FRAMES = ("--data.apex_frames", str(FRAMES - 1))


def fit(config: Path, folder: Path, name: str, *options: str) -> Path:
    """Train for two steps and return the checkpoint."""
    extra = folder / f"{name}.yaml"
    extra.write_text(
        "trainer:\n  enable_progress_bar: false\n  max_epochs: 1\n  accelerator: cpu\n"
        "  limit_train_batches: 2\n  logger: false\n"
        f"  default_root_dir: {folder}\n  callbacks:\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        f"      init_args: {{dirpath: {folder}, filename: {name}}}\n"
    )
    assert main(["fit", "--config", str(config), "--config", str(extra), *options]) == 0
    return folder / f"{name}.ckpt"


@pytest.fixture(scope="module")
def checkpoint(folder: Path, ckplus: Path) -> Path:
    small = ("--model.init_args.hidden", "16")
    return fit(CONFIG, folder, "model", *data_options(ckplus), *PAIRS, *small)


def test_checkpoint_and_cache_state_their_parts(checkpoint: Path, folder: Path) -> None:
    provenance = torch.load(checkpoint, weights_only=True)["hyper_parameters"]["provenance"]
    assert provenance["head"] == load_head("flame").name
    assert provenance["head"].startswith("flame-")
    assert provenance["encoder"] == "deca"
    assert provenance["text"].startswith("clip-")
    assert provenance["text_width"] == 64
    (cache,) = folder.glob("cache/ckplus-*/*.safetensors")
    assert cache.name == f"{provenance['head']}-deca.safetensors"


def test_is_tested(checkpoint: Path, ckplus: Path, tmp_path: Path) -> None:
    here = ["--trainer.default_root_dir", str(tmp_path)]
    options = ["--trainer.logger", "false", "--trainer.accelerator", "cpu", *here]
    command = ["test", "--config", str(CONFIG), *data_options(ckplus), *PAIRS, *options]
    assert main([*command, "--ckpt_path", str(checkpoint)]) == 0


def test_is_evaluated(checkpoint: Path, folder: Path, ckplus: Path, tmp_path: Path) -> None:
    config = ROOT / "experiments/ckplus/classifier.yaml"
    perceived = ("--data.coefficients", "perceived", *APEX_FRAMES)
    small = ("--model.init_args.image_size", "32")
    judge = fit(config, folder, "judge", *data_options(ckplus), *perceived, *small)
    command = ["evaluate", str(checkpoint), "--judge", str(judge), "--config", str(CONFIG)]
    options = ["--seeds", "2", "-o", str(tmp_path / "report")]
    assert main([*command, *data_options(ckplus), *PAIRS, *options]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"]["provenance"]["head"] == load_head("flame").name


def test_animates_a_photo_with_its_mesh(
    checkpoint: Path, ckplus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next(ckplus.rglob("*.png"))
    files = [tmp_path / name for name in ("clip.mp4", "clip.glb", "clip.obj")]
    command = ["animate", str(photo), "Turn this face from anger to surprise."]
    options = ["--renderer", "mesh", "--size", "96", "--frames", "8", "-o", str(files[0])]
    exports = [part for path in files[1:] for part in ("--export", str(path))]
    assert main([*command, "--checkpoint", str(checkpoint), *options, *exports]) == 0
    assert all(path.stat().st_size > 0 for path in files)
    assert "anger, then surprise" in capsys.readouterr().out


def test_data_of_another_head_are_refused(
    checkpoint: Path, ckplus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--trainer.default_root_dir", str(tmp_path)]
    command = ["test", "--config", str(CONFIG), *data_options(ckplus), *PAIRS, *here]
    other = ["--data.head", "arkit", "--data.encoder", "landmarks", "--trainer.logger", "false"]
    assert main([*command, *other, "--ckpt_path", str(checkpoint)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "trained for head 'flame-" in last
    assert "has 'arkit'" in last


def test_an_encoder_of_another_head_is_refused(
    checkpoint: Path, ckplus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next(ckplus.rglob("*.png"))
    command = ["animate", str(photo), "from anger to surprise", "--checkpoint", str(checkpoint)]
    assert main([*command, "--encoder", "learned", "-o", str(tmp_path / "clip.mp4")]) == 2
    assert "'learned' is not for the head 'flame-" in capsys.readouterr().err
