"""`i2fet evaluate` as people use it: a real command line on a tiny corpus and tiny models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from experiments import ned_report
from i2fet.cli import main

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "experiments/ckplus/i2fet.yaml"
FILES = {"report.json", "report.md", "confusion.png"}
LABELS = ["anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def corpus(folder):
    out = folder / "corpus"
    assert main(["corpus", "ckplus", str(out), "--subjects", "30", "--no-pictures"]) == 0
    return out


def data_options(corpus):
    settings = {"root": corpus, "coefficients": "true", "cache_dir": corpus.parent / "cache"}
    return [part for name, value in settings.items() for part in (f"--data.{name}", str(value))]


def fit(config, folder, name, *options):
    """Train for one epoch and return the checkpoint."""
    extra = folder / f"{name}.yaml"
    extra.write_text(
        "trainer:\n  enable_progress_bar: false\n  max_epochs: 1\n"
        "  accelerator: cpu\n  limit_train_batches: 2\n  limit_val_batches: 1\n"
        f"  logger: false\n  default_root_dir: {folder}\n  callbacks:\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        f"      init_args: {{dirpath: {folder}, filename: {name}}}\n"
    )
    assert main(["fit", "--config", str(config), "--config", str(extra), *options]) == 0
    return folder / f"{name}.ckpt"


@pytest.fixture(scope="module")
def checkpoint(folder, corpus):
    small = ["--data.samples", "200", "--model.init_args.hidden", "16"]
    fast = ["--model.init_args.vertex_weight", "0"]
    return fit(CONFIG, folder, "model", *data_options(corpus), *small, *fast)


@pytest.fixture(scope="module")
def judge(folder, corpus):
    size = ["--model.init_args.image_size", "32"]
    config = ROOT / "experiments/ckplus/classifier.yaml"
    return fit(config, folder, "judge", *data_options(corpus), *size)


def evaluate(checkpoint, judge, corpus, output, *options, config=CONFIG):
    files = [str(checkpoint), "--judge", str(judge), "--config", str(config), "-o", str(output)]
    small = ["--data.samples", "200", "--seeds", "2"]
    return main(["evaluate", *files, *data_options(corpus), *small, *options])


def edited(path, folder, change):
    """A copy of a checkpoint with other hyperparameters."""
    content = torch.load(path, weights_only=True)
    change(content["hyper_parameters"])
    torch.save(content, folder / "edited.ckpt")
    return folder / "edited.ckpt"


def assert_one_sentence(capsys, *words):
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("i2fet: ")
    for word in words:
        assert word in error


def test_the_report_holds_the_numbers_and_what_they_rest_on(
    checkpoint, judge, corpus, tmp_path, capsys
):
    out = tmp_path / "new" / "report"
    assert evaluate(checkpoint, judge, corpus, out) == 0
    assert {path.name for path in out.iterdir()} == FILES
    report = json.loads((out / "report.json").read_text())
    assert report["judge"]["sha256"] == hashlib.sha256(judge.read_bytes()).hexdigest()
    assert report["model"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    quality = report["judge"]["quality"]
    assert 0 <= quality["accuracy"]["mean"] <= 1
    assert 0 <= quality["ece"] <= 1
    assert sum(map(sum, quality["confusion"])) == quality["faces"]
    assert report["judge"]["image_size"] == 32
    assert report["judge"]["subjects"] + report["evaluation"]["subjects"] < 30
    result = report["evaluation"]
    assert result["labels"] == LABELS
    assert result["pairs"] == 20
    for kind, seeds in (("generated", 2), ("real", 1)):
        verdicts = result[kind]["verdicts"]
        assert list(verdicts) == ["judge of images", "judge of coefficients"]
        for verdict in verdicts.values():
            matrix = torch.tensor(verdict["confusion"])
            assert matrix.sum() == seeds * 20 * 2
            assert len(verdict["acc1"]["values"]) == seeds
            right = float(matrix.trace() / matrix.sum())
            assert verdict["acc1"]["mean"] == pytest.approx(right)
    for space in ("coefficients", "mesh"):
        assert len(result["resemblance"][space]["diversity"]["values"]) == 2
        assert result["resemblance"][space]["frechet"]["mean"] > 0
    page = (out / "report.md").read_text()
    assert "synthetic people" in page
    assert report["judge"]["sha256"] in page
    assert "| Frechet distance, mesh, mm² |" in page
    shown = torch.tensor(result["real"]["verdicts"]["judge of images"]["confusion"]).sum(dim=1)
    missing = [label for label, count in zip(LABELS, shown, strict=True) if not count]
    assert missing
    assert f"No test face shows {', '.join(missing)}." in page
    assert f"report  {out}" in capsys.readouterr().out
    with Image.open(out / "confusion.png") as picture:
        assert min(picture.size) > 500


def test_everybody_of_another_folder_is_judged(checkpoint, judge, corpus, folder, tmp_path):
    others = folder / "others"
    options = ["--subjects", "20", "--seed", "9", "--no-pictures"]
    assert main(["corpus", "ckplus", str(others), *options]) == 0
    there = ["--test", str(others), "--data.samples", "600", "--temperature", "0.5"]
    assert evaluate(checkpoint, judge, corpus, tmp_path / "out", *there) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert str(others) in report["data"]
    assert report["temperature"] == 0.5
    assert "temperature 0.5" in (tmp_path / "out" / "report.md").read_text()
    assert report["evaluation"]["pairs"] == 60, "as many as the test part has"
    assert report["evaluation"]["subjects"] > 5


def test_those_who_trained_the_model_are_no_strangers(checkpoint, judge, corpus, tmp_path, capsys):
    assert evaluate(checkpoint, judge, corpus, tmp_path, "--test", str(corpus)) == 2
    assert_one_sentence(capsys, str(corpus), "trained", "another seed")


def test_motionclip_is_evaluated_and_matched_with_its_texts(
    judge, corpus, folder, tmp_path, capsys
):
    small = ["--data.samples", "200", "--model.init_args.vertex_weight", "0"]
    configs = ROOT / "experiments/ckplus"
    options = data_options(corpus)
    model = fit(configs / "motionclip.yaml", folder, "motionclip", *options, *small)
    matcher = fit(configs / "matching.yaml", folder, "matching", *options, "--data.samples", "200")
    out = tmp_path / "out"
    assert evaluate(model, judge, corpus, out, "--matcher", str(matcher)) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["temperature"] is None
    assert report["evaluation"]["resemblance"]["mesh"]["frechet"]["std"] == 0
    assert report["matcher"]["sha256"] == hashlib.sha256(matcher.read_bytes()).hexdigest()
    matching = report["matching"]
    assert 2 <= matching["pool"] <= 32
    for kind, seeds in (("generated", 2), ("real", 1)):
        shares = [each["mean"] for each in matching[kind]["r_precision"]]
        assert shares == sorted(shares)
        assert len(matching[kind]["multimodal_distance"]["values"]) == seeds
    assert matching["generated"]["multimodality"]["mean"] == 0
    assert matching["real"]["multimodality"]["mean"] > 0
    line = f"R-precision, top 3 of {matching['pool']}"
    assert line in (out / "report.md").read_text()
    assert line in capsys.readouterr().out


def test_a_mistaken_matcher_is_told(checkpoint, judge, corpus, tmp_path, capsys):
    assert evaluate(checkpoint, judge, corpus, tmp_path / "a", "--matcher", str(judge)) == 2
    assert_one_sentence(capsys, str(judge), "not a checkpoint of MatchingTask")


def test_seeds_make_the_report(checkpoint, judge, corpus, tmp_path):
    for name in ("a", "b"):
        assert evaluate(checkpoint, judge, corpus, tmp_path / name) == 0
    reports = [(tmp_path / name / "report.json").read_text() for name in ("a", "b")]
    assert reports[0] == reports[1]


def test_a_judge_that_saw_the_people_is_refused(checkpoint, judge, corpus, tmp_path, capsys):
    assert evaluate(checkpoint, judge, corpus, tmp_path / "out", "--data.seed", "1") == 2
    assert_one_sentence(capsys, "the judge was trained on", "subjects it should judge")
    assert not (tmp_path / "out").exists()


def test_a_judge_of_another_head_is_refused(
    checkpoint, judge, corpus, tmp_path, capsys, monkeypatch
):
    from i2fet.heads import load_head

    monkeypatch.setattr("i2fet.judge.load_head", lambda name: load_head("arkit"))
    other = edited(judge, tmp_path, lambda h: h["provenance"].update(head="flame2020"))
    assert evaluate(checkpoint, other, corpus, tmp_path / "out") == 2
    assert_one_sentence(capsys, "flame2020", "arkit")


def test_a_judge_of_other_labels_is_refused(checkpoint, judge, corpus, tmp_path, capsys):
    names = ["joy", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    other = edited(judge, tmp_path, lambda h: h["provenance"].update(emotions=names))
    assert evaluate(checkpoint, other, corpus, tmp_path / "out") == 2
    assert_one_sentence(capsys, "the judge knows joy, contempt", "should judge anger, contempt")


def test_a_model_of_other_labels_is_refused(checkpoint, judge, corpus, tmp_path, capsys):
    other = edited(checkpoint, tmp_path, lambda h: h["provenance"].update(emotions=LABELS[1:]))
    assert evaluate(other, judge, corpus, tmp_path / "out") == 2
    assert_one_sentence(capsys, "the model was trained for emotions contempt")


def test_models_and_judges_are_not_mistaken_for_each_other(
    checkpoint, judge, corpus, tmp_path, capsys
):
    assert evaluate(judge, checkpoint, corpus, tmp_path / "out") == 2
    assert_one_sentence(capsys, str(judge), "not a checkpoint of I2FETTask")
    assert evaluate(checkpoint, checkpoint, corpus, tmp_path / "out") == 2
    assert_one_sentence(capsys, str(checkpoint), "not a checkpoint of ExpressionClassifierTask")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "No such file"),
        ("- a list", "under `data`"),
        ("data: [", "under `data`"),
        ("data: {init_args: {root: a, rooot: b}}", "rooot"),
        ("data: {init_args: {root: a, view: faces}}", "faces"),
    ],
)
def test_bad_configurations_are_told(content, word, checkpoint, judge, corpus, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    if content is not None:
        config.write_text(content)
    assert evaluate(checkpoint, judge, corpus, tmp_path / "out", config=config) == 2
    assert_one_sentence(capsys, str(config), word)


def test_an_output_that_is_a_file_is_told(checkpoint, judge, corpus, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert evaluate(checkpoint, judge, corpus, tmp_path / "file") == 2
    assert_one_sentence(capsys, str(tmp_path / "file"))


def test_ned_is_compared_with_the_subjects_own_neutral_face(folder, corpus, judge, tmp_path):
    config = ROOT / "experiments/ckplus/ned.yaml"
    ned = fit(config, folder, "ned", *data_options(corpus))
    files = [str(ned), "--judge", str(judge), "--config", str(config), "--root", str(corpus)]
    ned_report.main([*files, "--coefficients", "true", "--faces", "40", "--output", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["the subject's own"]["distance"] == 0 < rows["NED"]["distance"]
    for row in rows.values():
        for share in row["neutral"].values():
            assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
    assert Image.open(tmp_path / "neutral.png").size[0] > 0
