"""Table X: classifiers of turned shape images, and what the re-weighted focal loss is good for.

    python -m experiments.table_10 --config YAML --test FOLDER --perceived FOLDER -o FOLDER

Every classifier is trained with the settings of a configuration file but for its loss, and tested
on people of other corpora. What they are trained and tested on is drawn once for all of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.expression import ExpressionDataModule
from datamodules.held_out import labelled_faces
from experiments.script import run
from i2fet.evaluation import SubjectFaces, score, seed_interval
from i2fet.evaluation_report import draw_confusion, show_share
from i2fet.files import replacing
from i2fet.judge import ExpressionJudge
from i2fet.judge_quality import JudgeQuality, assess, draw_all, judge_images
from i2fet.rendering.shape_images import ShapeImageCache, rotate_images
from i2fet.tasks import ExpressionClassifierTask

LOSSES = {"mek": "MEK", "cross_entropy": "{}", "focal": "{} with RFL"}
"""The paper's names of the rows; the gap is the backbone's."""

COMPARED = ("cross_entropy", "focal")
"""The losses that are trained with several seeds."""

Coefficients = Literal["true", "perceived"]

ANGLES: dict[Coefficients, tuple[int, ...]] = {"true": (0, 10, 15, 30), "perceived": (0,)}
"""By which images of people are turned, degrees, by where their coefficients come from."""

MEASURES = {"Acc1": "accuracy", "G-mean": "gmean"}


@dataclass(frozen=True)
class TestSet:
    """People whom no classifier was trained on.

    Attributes:
        description: One line for people.
        faces: (N,) of them.
        images: (N, 3, S, S) uint8 shape images.
    """

    description: str
    faces: SubjectFaces
    images: Tensor

    def assess(self, judge: ExpressionJudge, angle: int) -> JudgeQuality:
        """Test a classifier on images turned by an angle, once each way."""
        angles = (angle, -angle) if angle else (0,)
        logits = [judge_images(judge, rotate_images(self.images, each)) for each in angles]
        emotion, subject = self.faces.emotion, self.faces.subject
        return assess(torch.cat(logits), emotion.repeat(len(angles)), subject.repeat(len(angles)))


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        loss: Key of `LOSSES`.
        seed: Of the training.
        coefficients: Key of `ANGLES`.
        angle: Degrees.
        quality: What was found.
    """

    loss: str
    seed: int
    coefficients: Coefficients
    angle: int
    quality: JudgeQuality


@dataclass(frozen=True)
class Report:
    """All measurements and what they rest on.

    Attributes:
        backbone: Of the classifiers.
        training: The training data in one line.
        tests: The test data in one line, by keys of `ANGLES`.
        labels: The label set.
        rarest: Index of the label with the fewest faces in the training part.
        rows: The measurements.
    """

    backbone: str
    training: str
    tests: dict[Coefficients, str]
    labels: tuple[str, ...]
    rarest: int
    rows: tuple[Row, ...]

    def find(self, loss: str, coefficients: Coefficients, angle: int = 0) -> list[JudgeQuality]:
        """Of every seed, in order."""
        wanted = (loss, coefficients, angle)
        return [r.quality for r in self.rows if (r.loss, r.coefficients, r.angle) == wanted]


class ShareImages(Callback):
    """Lets tasks that are trained on the same data share what they have drawn."""

    def __init__(self) -> None:
        self.images: ShapeImageCache | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ExpressionClassifierTask)
        self.images = pl_module.images = self.images or pl_module.images


def main(args: Sequence[str] | None = None) -> None:
    """Train, test and write `table_10.json`, `table_10.md` and `table_10.png`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    options, settings = _parse(args)
    share = ShareImages()
    tests: dict[Coefficients, TestSet] = {}
    rows: list[Row] = []
    configured = _read_configuration(settings)
    data = configured.datamodule
    for loss in LOSSES:
        for seed in range(options.seeds if loss in COMPARED else 1):
            judge = train(settings, loss, seed, data, share)
            tests = tests or load_tests(options, data, judge)
            rows += measure(judge, tests, loss, seed)
    report = Report(
        backbone=configured.model.hparams["backbone"],
        training=judge.provenance.description,
        tests={name: test.description for name, test in tests.items()},
        labels=judge.provenance.emotions,
        rarest=int(torch.tensor(judge.training_part.counts).argmin()),
        rows=tuple(rows),
    )
    write_report(report, options.output)
    print(describe_report(report))


def train(
    settings: Sequence[str],
    loss: str,
    seed: int,
    data: ExpressionDataModule,
    share: ShareImages,
) -> ExpressionJudge:
    """A classifier trained with one loss and seed, ready for use."""
    chosen = ["--model.init_args.loss", loss, "--seed_everything", str(seed)]
    cli = _read_configuration([*settings, *chosen])
    cli.trainer.callbacks.append(share)  # type: ignore[attr-defined]
    cli.trainer.fit(cli.model, datamodule=data)
    assert isinstance(cli.model, ExpressionClassifierTask)
    return cli.model.eval().judge


def load_tests(
    options: argparse.Namespace, data: ExpressionDataModule, judge: ExpressionJudge
) -> dict[Coefficients, TestSet]:
    """The people to test on, by where their coefficients come from.

    Raises:
        CheckpointError: The judge was trained on some of them.
    """
    tests: dict[Coefficients, TestSet] = {}
    for name in ANGLES:
        root = getattr(options, name)
        if root is None:
            continue
        people = ExpressionDataModule(
            str(root),
            dataset=data.hparams["dataset"],
            view="faces",
            coefficients=name,
            split="test",
            apex_frames=data.hparams["apex_frames"],
        )
        people.prepare_data()
        people.setup("test")
        judge.training_part.check_unseen(people.population, people.subjects["test"])
        faces = labelled_faces(people, "test", judge.provenance.emotions)
        tests[name] = TestSet(people.description, faces, draw_all(judge, faces.faces))
    return tests


def measure(
    judge: ExpressionJudge, tests: Mapping[Coefficients, TestSet], loss: str, seed: int
) -> list[Row]:
    """Test a classifier; images are turned for the first seed alone."""
    rows = []
    for name, test in tests.items():
        for angle in ANGLES[name] if not seed else (0,):
            rows.append(Row(loss, seed, name, angle, test.assess(judge, angle)))
            quality = rows[-1].quality
            shares = ", ".join(
                f"{m} {show_share(getattr(quality, f))}" for m, f in MEASURES.items()
            )
            print(f"{loss}, seed {seed}, {name}, {angle}°: {shares}", flush=True)
    return rows


def describe_report(report: Report) -> str:
    """The report as a page of Markdown."""
    return "\n".join(
        [
            "# Table X: classifiers of turned shape images",
            "",
            f"- trained on {report.training}",
            *(f"- tested on {text}" for text in report.tests.values()),
            "",
            *_table_of_angles(report),
            "",
            "In brackets 95 % intervals by bootstrap over the test people. Images are turned in "
            "their plane, once each way; ECE is the expected calibration error, upright.",
            "",
            *_table_of_seeds(report),
            "",
        ]
    )


def write_report(report: Report, folder: Path) -> None:
    """Write `table_10.json`, `table_10.md` and `table_10.png`.

    Raises:
        OutputError: One of them cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "table_10.json") as unfinished:
        unfinished.write_text(json.dumps(asdict(report), indent=1))
    with replacing(folder / "table_10.md") as unfinished:
        unfinished.write_text(describe_report(report))
    with replacing(folder / "table_10.png") as unfinished:
        _draw(report, unfinished)


def _parse(args: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the settings for Lightning's command line."""
    parser = argparse.ArgumentParser(
        description="Table X of the paper.", epilog="Anything else overrides the configuration."
    )
    parser.add_argument("--config", required=True, help="trains the classifiers")
    parser.add_argument("--test", dest="true", type=Path, required=True, help="synthetic people")
    parser.add_argument("--perceived", type=Path, help="people to be read off pictures")
    parser.add_argument("--seeds", type=int, default=3, help="of the losses that are compared")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    options, overrides = parser.parse_known_args(args)
    return options, ["--config", options.config, *overrides]


def _read_configuration(settings: Sequence[str]) -> LightningCLI:
    return LightningCLI(
        ExpressionClassifierTask,
        ExpressionDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        trainer_defaults={
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
        run=False,
        args=[*settings, "--trainer.logger", "false", "--trainer.callbacks", "null"],
    )


def _table_of_angles(report: Report) -> list[str]:
    cells = [(name, angle) for name in report.tests for angle in ANGLES[name]]
    header = [f"{m}, {angle}°, {name}" for name, angle in cells for m in MEASURES]
    lines = []
    for loss, title in LOSSES.items():
        found = [report.find(loss, *cell)[0] for cell in cells]
        shares = [show_share(getattr(q, field)) for q in found for field in MEASURES.values()]
        errors = [f"{report.find(loss, name)[0].ece:.1%}" for name in report.tests]
        lines.append([title.format(report.backbone), *shares, *errors])
    return _table(["", *header, *(f"ECE, {name}" for name in report.tests)], lines)


def _table_of_seeds(report: Report) -> list[str]:
    rarest, lines = report.labels[report.rarest], []
    for loss in COMPARED:
        for name in report.tests:
            found = report.find(loss, name)
            recalls = [quality.recall(report.rarest) for quality in found]
            gmeans = [quality.gmean.mean for quality in found]
            summed = [show_share(score(each, seed_interval(each))) for each in (recalls, gmeans)]
            each_seed = ", ".join(f"{recall:.1%}" for recall in recalls)
            lines.append([LOSSES[loss].format(report.backbone), name, each_seed, *summed])
    header = ["", "coefficients", "by seed", f"recall of {rarest} (the rarest label)", "G-mean"]
    return _table(header, lines)


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines)]


def _draw(report: Report, path: Path) -> None:
    """Confusion matrices of upright images, a row for each classifier."""
    side = 1.5 + 0.75 * len(report.labels)
    figure = Figure(figsize=(len(report.tests) * side, len(LOSSES) * side), layout="constrained")
    panels = figure.subplots(len(LOSSES), len(report.tests), squeeze=False)
    for line, (loss, title) in zip(panels, LOSSES.items(), strict=True):
        for axes, name in zip(line, report.tests, strict=True):
            axes.set_title(f"{title.format(report.backbone)}, {name} coefficients")
            draw_confusion(axes, report.find(loss, name)[0].confusion, report.labels)
            axes.set_ylabel("shown")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    run(main)
