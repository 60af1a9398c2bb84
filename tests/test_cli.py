"""The command line as people use it: in this process, on a tiny corpus and model."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from i2fet.cli import main
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.pipeline import TransitionPipeline

INSTRUCTION = "Turn this face from surprise to anger."
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def corpus(folder):
    out = folder / "corpus"
    assert main(["corpus", "ckplus", str(out), "--subjects", "12", "--no-pictures"]) == 0
    return out


@pytest.fixture(scope="session")
def checkpoint(folder, corpus):
    run = ["fit", "--config", str(ROOT / "experiments/default.yaml"), "--data.root", str(corpus)]
    small = ["--data.samples", "400", "--trainer.max_epochs", "2", "--model.init_args.hidden", "32"]
    here = ["--data.cache_dir", str(folder / "cache"), "--trainer.logger.save_dir", str(folder)]
    callbacks = folder / "callbacks.yaml"
    callbacks.write_text(
        "trainer:\n  enable_progress_bar: false\n  callbacks:\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        f"      init_args: {{dirpath: {folder}, filename: i2fet}}\n"
    )
    assert main([*run, *small, *here, "--config", str(callbacks)]) == 0
    return folder / "i2fet.ckpt"


@pytest.fixture(scope="session")
def photo(folder, astronaut):
    path = folder / "photo.png"
    Image.fromarray(astronaut).save(path)
    return path


def animate(photo, checkpoint, out, *options, instruction=INSTRUCTION):
    options = ["--checkpoint", str(checkpoint), "-o", str(out), *map(str, options)]
    return main(["animate", str(photo), instruction, *options])


def test_long_clips_are_drawn_in_parts(pipeline, astronaut, monkeypatch):
    transition = pipeline(astronaut, INSTRUCTION, frames=7)
    for renderer in ("portrait", "mesh"):
        whole = transition.render(renderer, 64)
        monkeypatch.setattr("i2fet.pipeline.FRAMES_AT_ONCE", 3)
        parts = transition.render(renderer, 64)
        np.testing.assert_allclose(parts, whole.astype(float), atol=1)
        monkeypatch.undo()


def test_animate_writes_a_playable_clip_and_says_what_it_did(photo, checkpoint, tmp_path, capsys):
    out = tmp_path / "new" / "clip.mp4"
    exports = [tmp_path / name for name in ("a.glb", "a.csv", "a.obj", "sheet.png")]
    options = [part for path in exports for part in ("--export", path)]
    size = ("--size", 96, "--frames", 12, "--fps", 29.97)
    assert animate(photo, checkpoint, out, *size, *options) == 0
    printed = capsys.readouterr().out
    for words in ("surprise, then anger", "1 face", "synthetic people", str(out), str(exports[0])):
        assert words in printed
    with av.open(out) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
        assert clip.streams.video[0].codec_context.name == "h264"
        assert float(clip.streams.video[0].average_rate) == pytest.approx(29.97)
        assert "synthetic" in str(clip.metadata)
    assert np.shape(frames) == (12, 96, 96, 3)
    assert all(path.stat().st_size > 0 for path in exports)
    assert INSTRUCTION.encode() in exports[0].read_bytes()
    with open(exports[1], newline="") as file:
        assert len(list(csv.DictReader(file))) == 12


@pytest.mark.parametrize("renderer", ["mesh", "portrait"])
def test_same_seed_same_clip(photo, checkpoint, tmp_path, renderer):
    clips = [tmp_path / name for name in ("a.gif", "b.gif", "c.gif")]
    for clip, seed in zip(clips, (1, 1, 2), strict=True):
        small = ("--size", 64, "--frames", 4, "--renderer", renderer)
        assert animate(photo, checkpoint, clip, *small, "--seed", seed) == 0
    contents = [clip.read_bytes() for clip in clips]
    assert contents[0] == contents[1] != contents[2]


def test_the_neutral_photo_and_the_encoder_change_the_source(pipeline, checkpoint, astronaut):
    at_rest = np.ascontiguousarray(astronaut[:, ::-1])
    landmarks = TransitionPipeline.from_checkpoint(checkpoint, "landmarks")
    sources = [
        transition.anchors.expression[0]
        for transition in (
            pipeline(astronaut, INSTRUCTION),
            pipeline(astronaut, INSTRUCTION, neutral=at_rest),
            landmarks(astronaut, INSTRUCTION),
        )
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (sources[one] - sources[other]).abs().max() > 0.01


def test_a_neutral_photo_needs_an_encoder_that_uses_it(photo, checkpoint, tmp_path, capsys):
    options = ("--encoder", "landmarks", "--neutral", photo)
    assert animate(photo, checkpoint, tmp_path / "a.mp4", *options) == 2
    assert_one_sentence(capsys, "--encoder learned")


def test_a_bad_neutral_photo_is_told(photo, checkpoint, tmp_path, capsys):
    green = tmp_path / "green.png"
    Image.new("RGB", (400, 300), "green").save(green)
    options = ("--encoder", "landmarks", "--neutral", green)
    assert animate(photo, checkpoint, tmp_path / "a.mp4", *options) == 2
    assert_one_sentence(capsys, str(green))


def broken_files(folder, astronaut):
    whole = folder / "whole.jpg"
    Image.fromarray(astronaut).save(whole)
    files = {
        "text.jpg": b"this is a text file",
        "empty.png": b"",
        "truncated.jpg": whole.read_bytes()[:5000],
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    Image.new("RGB", (400, 300), "green").save(folder / "faceless.png")


@pytest.mark.parametrize(
    "name",
    ["text.jpg", "empty.png", "truncated.jpg", "pixel.png", "faceless.png", "missing.png", "."],
)
def test_bad_photos_are_told_in_one_sentence(
    name, checkpoint, tmp_path, astronaut, capsys, monkeypatch
):
    broken_files(tmp_path, astronaut)
    out = tmp_path / "clip.mp4"
    out.write_bytes(b"an older clip")
    assert animate(tmp_path / name, checkpoint, out) == 2
    assert_one_sentence(capsys, str(tmp_path / name))
    assert out.read_bytes() == b"an older clip"


def assert_one_sentence(capsys, *words):
    error = capsys.readouterr().err.strip()
    assert error.startswith("i2fet")
    assert "\n" not in error
    assert "Traceback" not in error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("instruction", "word"),
    [
        ("make it purple", "make it purple"),
        ("", "''"),
        ("not angry at all", "not angry at all"),
        ("from joy to her", "her"),
        ("turn the car from left to right", "turn the car"),
    ],
)
def test_bad_instructions_are_told(instruction, word, photo, checkpoint, tmp_path, capsys):
    assert animate(photo, checkpoint, tmp_path / "a.mp4", instruction=instruction) == 2
    assert_one_sentence(capsys, word)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("clip.avi", []),
        ("clip", []),
        ("clip.mp4", ["--export", "head.fbx"]),
        ("file/clip.mp4", []),
        ("clip.mp4", ["--export", "file/head.glb"]),
        ("clip.mp4", ["--frames", "2"]),
    ],
)
def test_bad_outputs_are_told_before_any_work(out, options, photo, checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    os.chdir(tmp_path)
    assert animate(photo, checkpoint, out, *options) == 2
    assert_one_sentence(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", "other"])
def test_bad_checkpoints_are_told(content, photo, tmp_path, capsys):
    path = tmp_path / "model.ckpt"
    if content == "other":
        torch.save({"state_dict": {}, "hyper_parameters": {}}, path)
    elif content is not None:
        path.write_bytes(content)
    assert animate(photo, path, tmp_path / "a.mp4") == 2
    assert_one_sentence(capsys, str(path))


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["animote"],
        ["animate"],
        ["animate", "a", "b", "-o", "c.mp4", "--frames", "0"],
        ["animate", "a", "b", "-o", "c.mp4", "--size", "8"],
        ["animate", "a", "b", "-o", "c.mp4", "--size", "99999"],
        ["animate", "a", "b", "-o", "c.mp4", "--fps", "0"],
        ["animate", "a", "b", "-o", "c.mp4", "--intensity", "nan"],
        ["animate", "a", "b", "-o", "c.mp4", "--temperature", "-1"],
    ],
)
def test_wrong_use_exits_with_2_and_one_sentence(args, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(args)
    assert_one_sentence(capsys)


def test_missing_dataset_is_told(tmp_path, capsys):
    config = str(ROOT / "experiments/default.yaml")
    assert main(["fit", "--config", config, "--data.root", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.fixture(scope="session")
def pipeline(checkpoint):
    return TransitionPipeline.from_checkpoint(checkpoint)


def test_transition_starts_with_the_photo_and_keeps_its_person(pipeline, astronaut):
    transition = pipeline(astronaut, INSTRUCTION, frames=21)
    assert transition.labels == ("photo", "surprise", "anger")
    assert transition.anchor_frames == (0, 10, 20)
    assert repr(transition) == "<Transition photo -> surprise -> anger in 21 frames>"
    source, moved = transition.face.coefficients, transition.coefficients
    torch.testing.assert_close(moved[:1], source)
    for name in ("shape", "camera", "global_rotation"):
        same = getattr(moved, name)
        torch.testing.assert_close(same, getattr(source, name).expand_as(same))
    anchors = transition.anchors.expression
    torch.testing.assert_close(moved.expression[[10, 20]], anchors[1:])
    torch.testing.assert_close(moved.expression[15], (anchors[1] + anchors[2]) / 2)


def test_through_neutral_passes_the_heads_neutral_face(pipeline, astronaut):
    transition = pipeline(astronaut, INSTRUCTION, frames=20, through_neutral=True)
    assert transition.labels == ("photo", "surprise", "neutral", "anger")
    assert not transition.anchors.expression[2].any()
    assert "the head's own zero expression" in transition.summary()


@pytest.fixture(scope="session")
def ned(folder, corpus):
    run = ["fit", "--config", str(ROOT / "experiments/ckplus/ned.yaml"), "--data.root", str(corpus)]
    small = [
        "--data.coefficients",
        "true",
        "--trainer.max_epochs",
        "2",
        "--trainer.logger",
        "false",
    ]
    callbacks = folder / "ned.yaml"
    callbacks.write_text(
        "trainer:\n  enable_progress_bar: false\n  callbacks:\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        f"      init_args: {{dirpath: {folder}, filename: ned}}\n"
    )
    assert main([*run, *small, "--config", str(callbacks)]) == 0
    return folder / "ned.ckpt"


@pytest.mark.parametrize("wording", [INSTRUCTION, "surprised, then neutral, then angry"])
def test_ned_tells_the_persons_own_neutral_face(checkpoint, ned, astronaut, wording):
    pipeline = TransitionPipeline.from_checkpoint(checkpoint, ned=ned)
    transition = pipeline(astronaut, wording, frames=20, through_neutral=True)
    assert transition.labels == ("photo", "surprise", "neutral", "anger")
    face = transition.face.coefficients
    expression, pose = pipeline.ned(face.expression, face.pose)
    torch.testing.assert_close(transition.anchors.expression[2:3], expression)
    torch.testing.assert_close(transition.anchors.jaw[2:3], pose[:, 3:])
    assert "neutral NED trained on ckplus: synthetic people" in transition.summary()


def test_without_a_neutral_step_nothing_is_said_of_it(pipeline, astronaut):
    assert "\nneutral" not in pipeline(astronaut, INSTRUCTION, frames=20).summary()


def test_a_missing_or_mistaken_ned_is_told(photo, checkpoint, tmp_path, capsys):
    options = ("--through-neutral", "--ned")
    assert animate(photo, checkpoint, tmp_path / "a.mp4", *options, tmp_path / "no.ckpt") == 2
    assert_one_sentence(capsys, str(tmp_path / "no.ckpt"))
    assert animate(photo, checkpoint, tmp_path / "a.mp4", *options, checkpoint) == 2
    assert_one_sentence(capsys, str(checkpoint), "NEDTask")


def test_a_ned_for_another_head_is_refused(photo, checkpoint, ned, tmp_path, capsys):
    content = torch.load(ned, weights_only=True)
    content["hyper_parameters"]["provenance"]["head"] = "flame2020"
    torch.save(content, tmp_path / "other.ckpt")
    options = ("--ned", tmp_path / "other.ckpt")
    assert animate(photo, checkpoint, tmp_path / "a.mp4", *options) == 2
    assert_one_sentence(capsys, "'flame2020'", "'arkit'")


def test_generated_head_pose_is_the_models(pipeline, astronaut):
    transition = pipeline(astronaut, INSTRUCTION, frames=9, head_pose="generated")
    rotation = transition.coefficients.global_rotation
    assert not torch.equal(rotation[0], rotation[-1])


@pytest.mark.parametrize("intensity", [-1, 9, float("nan")])
def test_intensity_has_bounds(pipeline, astronaut, intensity):
    with pytest.raises(OptionError, match=f"intensity is {intensity}"):
        pipeline(astronaut, INSTRUCTION, intensity=intensity)


def test_tiny_pictures_are_refused(pipeline, astronaut):
    with pytest.raises(OptionError, match="size of pictures is 0"):
        pipeline(astronaut, INSTRUCTION).render(size=0)


def test_generate_leads_with_instructions_samples_steps(pipeline):
    wordings = [INSTRUCTION, "from joy to fear", "first disgusted, then sad"]
    faces = pipeline.generate(wordings, samples=4, seed=3)
    assert isinstance(faces, FaceCoefficients)
    assert faces.batch_shape == (3, 4, 2)
    assert faces.expression.min() >= 0
    assert faces.expression.max() <= 1
    again = pipeline.generate(wordings, samples=4, seed=3)
    torch.testing.assert_close(faces.expression, again.expression)
    assert pipeline.generate(["make her happy"]).batch_shape == (1, 1, 1)
    assert pipeline.generate(["from joy to fear to anger"], 2).batch_shape == (1, 2, 3)


def test_generate_multiplies_expressions_by_the_intensity_heard(pipeline):
    plain = pipeline.generate(["Turn this face from anger to happiness."], seed=5)
    slight = pipeline.generate(["from slightly angry to happiness"], seed=5)
    factor = pipeline.listener("from slightly angry to happiness")[0].intensity
    assert factor < 1
    torch.testing.assert_close(slight.expression[:, :, 0], factor * plain.expression[:, :, 0])
    torch.testing.assert_close(slight.jaw[:, :, 0], factor * plain.jaw[:, :, 0])
    torch.testing.assert_close(slight.expression[:, :, 1], plain.expression[:, :, 1])


def test_one_expression_may_grow(pipeline):
    faces = pipeline.generate(["from slightly angry to totally furious"])
    assert faces.batch_shape == (1, 1, 2)
    assert faces.expression[0, 0, 0].sum() < faces.expression[0, 0, 1].sum()


def test_the_summary_names_intensities(pipeline, astronaut):
    summary = pipeline(astronaut, "from slightly angry to happiness", frames=4).summary()
    assert "heard   anger (slight), then happiness\n" in summary


def test_neutral_steps_are_the_heads_own_neutral(pipeline):
    faces = pipeline.generate(["from neutral to joy to neutral"])
    assert faces.expression[0, 0].any(dim=-1).tolist() == [False, True, False]


def test_generate_refuses_no_instruction_and_instructions_of_different_lengths(pipeline):
    from i2fet.errors import InstructionError

    with pytest.raises(InstructionError, match="2, 1"):
        pipeline.generate(["from joy to fear", "make her happy"])
    with pytest.raises(InstructionError, match="no instruction"):
        pipeline.generate([])


def test_a_reader_who_has_left_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "i2fet", "assets"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
