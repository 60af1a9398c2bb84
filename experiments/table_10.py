"""Table X: classifiers of turned shape images, and what the re-weighted focal loss is good for.

    python -m experiments.table_10 --config YAML ... --test FOLDER --perceived FOLDER -o FOLDER

Every classifier is trained with the settings of a configuration file but for its loss and how its
images are turned, and tested on people of other corpora. What was found of each is kept, so an
interrupted table goes on with the classifier it was at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from torch import Tensor

from datamodules.expression import ExpressionDataModule
from datamodules.held_out import labelled_faces
from experiments.script import run
from i2fet.confusion import draw_confusions
from i2fet.errors import OptionError
from i2fet.evaluation import Score, SubjectFaces, score, seed_interval
from i2fet.evaluation_report import show_share
from i2fet.files import replacing
from i2fet.judge import ExpressionJudge, TrainingPart
from i2fet.judge_quality import JudgeQuality, assess, draw_all, judge_images
from i2fet.markdown import markdown_table
from i2fet.rendering.shape_images import ShapeImageCache, rotate_images
from i2fet.tasks import ExpressionClassifierTask
from i2fet.tasks.base import training_part_of


@dataclass(frozen=True)
class Recipe:
    """How a classifier departs from its configuration file.

    Attributes:
        title: As the table names it; the gap is the backbone's.
        settings: For Lightning's command line.
    """

    title: str
    settings: Sequence[str]


def _recipe(title: str, **options: str) -> Recipe:
    return Recipe(title, [f"--model.init_args.{name}={value}" for name, value in options.items()])


RECIPES = {
    "mek": _recipe("{} with MEK", loss="mek"),
    "cross_entropy": _recipe("{}", loss="cross_entropy"),
    "focal": _recipe("{} with RFL", loss="focal"),
    "turned": _recipe("{} with RFL, trained on turned images", loss="focal", rotation="30"),
}

COMPARED = ("cross_entropy", "focal")
"""The recipes that are trained with several seeds, under the first configuration."""

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
    """

    description: str
    faces: SubjectFaces

    @property
    def digest(self) -> str:
        """Of the faces, which another reader of pictures would see otherwise."""
        tensors = vars(self.faces.faces).values()
        values = torch.cat([tensor.flatten() for tensor in tensors]).contiguous()
        return hashlib.sha256(values.numpy().tobytes()).hexdigest()

    def assess(self, judge: ExpressionJudge, images: Tensor, angle: int) -> JudgeQuality:
        """Test a classifier on (N, 3, S, S) images of them, turned by an angle once each way."""
        angles = (angle, -angle) if angle else (0,)
        logits = [judge_images(judge, rotate_images(images, each)) for each in angles]
        emotion, subject = self.faces.emotion, self.faces.subject
        return assess(torch.cat(logits), emotion.repeat(len(angles)), subject.repeat(len(angles)))


TestSets = Mapping[Coefficients, TestSet]


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        backbone: Of the classifier.
        recipe: Key of `RECIPES`.
        seed: Of the training.
        coefficients: Key of `ANGLES`.
        angle: Degrees.
        quality: What was found.
    """

    backbone: str
    recipe: str
    seed: int
    coefficients: Coefficients
    angle: int
    quality: JudgeQuality

    @property
    def title(self) -> str:
        """The classifier's."""
        return RECIPES[self.recipe].title.format(self.backbone)


@dataclass(frozen=True)
class Report:
    """All measurements and what they rest on.

    Attributes:
        training: The training data, one line for each kind.
        tests: The test data in one line, by keys of `ANGLES`.
        labels: The label set.
        rarest: Index of the label with the fewest faces in the training part.
        rows: The measurements.
    """

    training: tuple[str, ...]
    tests: dict[Coefficients, str]
    labels: tuple[str, ...]
    rarest: int
    rows: tuple[Row, ...]

    def titles(self, recipes: Collection[str] = RECIPES) -> list[str]:
        """Those of the classifiers, each once."""
        return list(dict.fromkeys(row.title for row in self.rows if row.recipe in recipes))

    def find(self, title: str, coefficients: Coefficients, angle: int = 0) -> list[JudgeQuality]:
        """Of every seed, in order."""
        wanted = (title, coefficients, angle)
        return [r.quality for r in self.rows if (r.title, r.coefficients, r.angle) == wanted]


class ShareImages(Callback):
    """Lets tasks that are trained on the same data share what they have drawn."""

    def __init__(self) -> None:
        self.images: ShapeImageCache | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ExpressionClassifierTask)
        self.images = pl_module.images = self.images or pl_module.images


class Bench:
    """Trains and tests the classifiers of one configuration file, on images that they share.

    Args:
        settings: For Lightning's command line.
        folder: Where the measurements of each classifier are kept.

    Attributes:
        backbone: Of the classifiers.
        data: What they are trained on, set up.
    """

    def __init__(self, settings: Sequence[str], folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._share = ShareImages()
        self._test_images: dict[Coefficients, Tensor] = {}
        configured = _read_configuration(settings)
        self.backbone: str = configured.model.hparams["backbone"]
        self.data: ExpressionDataModule = configured.datamodule
        self.data.prepare_data()
        self.data.setup("fit")

    def check_unseen(self, people: ExpressionDataModule) -> None:
        """Make sure that people to test on are new to the classifiers.

        Raises:
            CheckpointError: Some of them are not.
        """
        part = TrainingPart.from_values(training_part_of(self.data))
        part.check_unseen(people.population, people.subjects["test"], "classifier")

    def measure(self, recipe: str, seed: int, tests: TestSets) -> list[Row]:
        """Train and test a classifier, unless that is done; the first seed on turned images too."""
        chosen = [*RECIPES[recipe].settings, "--seed_everything", str(seed)]
        cli = _read_configuration([*self._settings, *chosen])
        rests_on = [cli.parser.dump(cli.config)]
        rests_on += [f"{test.description} {test.digest}" for test in tests.values()]
        digest = hashlib.sha256("\n".join(rests_on).encode()).hexdigest()[:12]
        kept = self._folder / f"{self.backbone}-{recipe}-{seed}-{digest}.json"
        if not kept.exists():
            judge = self._train(cli)
            rows = [
                Row(self.backbone, recipe, seed, name, angle, self._test(judge, tests, name, angle))
                for name in tests
                for angle in (ANGLES[name] if seed == 0 else (0,))
            ]
            with replacing(kept) as unfinished:
                unfinished.write_text(json.dumps([asdict(row) for row in rows], indent=1))
        return [_read_row(values) for values in json.loads(kept.read_text())]

    def _train(self, cli: LightningCLI) -> ExpressionJudge:
        cli.trainer.callbacks.append(self._share)  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, datamodule=self.data)
        assert isinstance(cli.model, ExpressionClassifierTask)
        return cli.model.eval().judge

    def _test(
        self, judge: ExpressionJudge, tests: TestSets, name: Coefficients, angle: int
    ) -> JudgeQuality:
        if name not in self._test_images:
            self._test_images[name] = draw_all(judge, tests[name].faces.faces)
        return tests[name].assess(judge, self._test_images[name], angle)


def main(args: Sequence[str] | None = None) -> None:
    """Train, test and write `table_10.json`, `table_10.md` and `table_10.png`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    options, overrides = _parse(args)
    kept = options.output / "classifiers"
    kept.mkdir(parents=True, exist_ok=True)
    benches = [Bench(["--config", config, *overrides], kept) for config in options.config]
    backbones = [bench.backbone for bench in benches]
    if len({*backbones}) < len(backbones):
        raise OptionError(
            f"the configurations train {', '.join(backbones)}; give one for each backbone"
        )
    tests = load_tests(options, benches)
    rows: list[Row] = []
    for bench in benches:
        for recipe in RECIPES:
            several = recipe in COMPARED and bench is benches[0]
            for seed in range(options.seeds if several else 1):
                measured = bench.measure(recipe, seed, tests)
                print(*map(_describe_row, measured), sep="\n", flush=True)
                rows += measured
    data = benches[0].data
    report = Report(
        training=tuple(dict.fromkeys(bench.data.description for bench in benches)),
        tests={name: test.description for name, test in tests.items()},
        labels=tuple(map(str, data.emotions)),
        rarest=int(data.class_counts.argmin()),
        rows=tuple(rows),
    )
    write_report(report, options.output)
    print(describe_report(report))


def load_tests(
    options: argparse.Namespace, benches: Sequence[Bench]
) -> dict[Coefficients, TestSet]:
    """The people to test on, by where their coefficients come from.

    Raises:
        CheckpointError: A classifier is to be trained on some of them.
    """
    data = benches[0].data
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
        for bench in benches:
            bench.check_unseen(people)
        faces = labelled_faces(people, "test", tuple(map(str, data.emotions)))
        tests[name] = TestSet(people.description, faces)
    return tests


def describe_report(report: Report) -> str:
    """The report as a page of Markdown."""
    return "\n".join(
        [
            "# Table X: classifiers of turned shape images",
            "",
            *(f"- trained on {text}" for text in report.training),
            *(f"- tested on {text}" for text in report.tests.values()),
            "",
            _table_of_angles(report),
            "",
            "In brackets 95 % intervals by bootstrap over the test people. Images are turned in "
            "their plane, once each way; ECE is the expected calibration error, upright.",
            "",
            _table_of_seeds(report),
            "",
        ]
    )


def write_report(report: Report, folder: Path) -> None:
    """Write `table_10.json`, `table_10.md` and `table_10.png`.

    Raises:
        OutputError: One of them cannot be written.
    """
    with replacing(folder / "table_10.json") as unfinished:
        unfinished.write_text(json.dumps(asdict(report), indent=1))
    with replacing(folder / "table_10.md") as unfinished:
        unfinished.write_text(describe_report(report))
    with replacing(folder / "table_10.png") as unfinished:
        _draw(report, unfinished)


def _parse(args: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the settings for Lightning's command line."""
    parser = argparse.ArgumentParser(
        description="Table X of the paper.", epilog="Anything else overrides the configurations."
    )
    parser.add_argument("--config", nargs="+", required=True, help="one for each backbone")
    parser.add_argument("--test", dest="true", type=Path, required=True, help="synthetic people")
    parser.add_argument("--perceived", type=Path, help="people to be read off pictures")
    parser.add_argument(
        "--seeds", type=int, default=3, help="of the first backbone's losses that are compared"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    return parser.parse_known_args(args)


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


def _read_row(values: dict[str, Any]) -> Row:
    quality = values["quality"]
    scores = {name: Score(**quality[name]) for name in MEASURES.values()}
    return Row(**{**values, "quality": JudgeQuality(**{**quality, **scores})})


def _describe_row(row: Row) -> str:
    shares = [f"{name} {show_share(getattr(row.quality, m))}" for name, m in MEASURES.items()]
    return f"{row.title}, seed {row.seed}, {row.coefficients}, {row.angle}°: {', '.join(shares)}"


def _table_of_angles(report: Report) -> str:
    cells = [(name, angle) for name in report.tests for angle in ANGLES[name]]
    header = [f"{m}, {angle}°, {name}" for name, angle in cells for m in MEASURES]
    lines = []
    for title in report.titles():
        found = [report.find(title, *cell)[0] for cell in cells]
        shares = [show_share(getattr(q, field)) for q in found for field in MEASURES.values()]
        errors = [f"{report.find(title, name)[0].ece:.1%}" for name in report.tests]
        lines.append([title, *shares, *errors])
    return markdown_table(["", *header, *(f"ECE, {name}" for name in report.tests)], lines)


def _table_of_seeds(report: Report) -> str:
    rarest, lines = report.labels[report.rarest], []
    for title in report.titles(COMPARED):
        for name in report.tests:
            found = report.find(title, name)
            recalls = [quality.recall(report.rarest) for quality in found]
            gmeans = [quality.gmean.mean for quality in found]
            summed = [show_share(score(each, seed_interval(each))) for each in (recalls, gmeans)]
            each_seed = ", ".join(f"{recall:.1%}" for recall in recalls)
            lines.append([title, name, each_seed, *summed])
    header = ["", "coefficients", "by seed", f"recall of {rarest} (the rarest label)", "G-mean"]
    return markdown_table(header, lines)


def _draw(report: Report, path: Path) -> None:
    """Confusion matrices of upright images, a row for each classifier."""
    rows = [
        {
            f"{title}, {name} coefficients": report.find(title, name)[0].confusion
            for name in report.tests
        }
        for title in report.titles()
    ]
    draw_confusions(rows, report.labels, path, truth="shown")


if __name__ == "__main__":
    run(main)
