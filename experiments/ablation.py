"""Train and judge models over a grid of options and seeds (Tables II, III and V to VIII).

    python -m experiments.ablation components --train CORPUS --test CORPUS --judge CHECKPOINT

Every run has a folder with its configuration, log, checkpoints and evaluation. What is there is
not done again: an interrupted grid goes on where it stopped, and tables share the runs they have
in common.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import track

from experiments import script
from i2fet.errors import I2fetError
from i2fet.evaluation import Score, score, seed_interval
from i2fet.face_spaces import COEFFICIENTS, MESH
from i2fet.files import replacing
from i2fet.markdown import markdown_table
from i2fet.matching import TOPS
from i2fet.perception import load_face_encoder
from i2fet.tasks import I2FETTask

EXPERIMENTS = Path(__file__).parent
GRIDS = EXPERIMENTS / "ablations"
OUT = Path("outputs/ablations")
MEASURES = {
    "acc1": "Acc1",
    "acc2": "Acc2",
    "gmean": "G-mean",
    "mesh_diversity": "diversity ratio",
    "mesh_frechet": "Frechet distance, mm²",
    "diversity": "diversity ratio of coefficients",
    "frechet": "Frechet distance of coefficients",
}
JUDGE = "judge of images"
LAST = Path("last.ckpt")
"""All rows are judged after the same number of epochs."""
SHARES = ("acc1", "acc2", "gmean")
"""Measures of a judge, in per cent; the paper has these alone."""

MATCHING = {
    "r_precision_1": "R-precision, top 1, %",
    "r_precision_2": "top 2",
    "r_precision_3": "top 3",
    "multimodal_distance": "multimodal distance",
    "embedding_diversity": "diversity",
    "multimodality": "multimodality",
}
"""What a matcher measures; see `i2fet.matching`."""

DIGITS = {measure: 1 for measure in (*SHARES, *(f"r_precision_{top}" for top in TOPS))}
DIGITS["mesh_frechet"] = 3
"""Shown after the point, where not two."""


class RunError(I2fetError):
    """A run of the grid failed."""


@dataclass(frozen=True)
class Size:
    """How much is spent on every row.

    Attributes:
        seeds: Trainings.
        epochs: Of each.
        samples: In all three parts.
        evaluations: Seeds of generation for each training.
    """

    seeds: int
    epochs: int
    samples: int | None
    evaluations: int


SIZES = {
    "quick": Size(seeds=1, epochs=4, samples=8000, evaluations=1),
    "default": Size(seeds=3, epochs=15, samples=None, evaluations=3),
    "paper": Size(seeds=10, epochs=200, samples=None, evaluations=10),
}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: As the table shows it.
        recipe: The configuration file from which it departs, without its ending.
        model: Options of the task in which it does.
        data: Options of `ExpressionDataModule` likewise.
        paper: The paper's figures, per cent, by dataset and measure.
    """

    name: str
    recipe: str = "i2fet_paper"
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """A table to be made.

    Attributes:
        table: Where the paper has it.
        title: What varies.
        rows: Its rows.
    """

    table: str
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Setting:
    """What all runs of a table have in common.

    Attributes:
        dataset: Layout of the data.
        size: Of the runs.
        coefficients: "true" or "perceived".
        train: The dataset's folder.
        test: That of the people on whom models are judged.
        judge: A checkpoint of `ExpressionClassifierTask`.
    """

    dataset: str
    size: str
    coefficients: str
    train: Path
    test: Path
    judge: Path

    @property
    def data(self) -> str:
        """Dataset and, unless they are the true ones, coefficients; for names of files."""
        read = "" if self.coefficients == "true" else f"-{self.coefficients}"
        return self.dataset + read


def load_grid(name: str) -> Grid:
    """Read one of `experiments/ablations`."""
    values = yaml.safe_load((GRIDS / f"{name}.yaml").read_text())
    return Grid(values["table"], values["title"], tuple(Row(**row) for row in values["rows"]))


def configuration(setting: Setting, row: Row, seed: int, folder: Path) -> dict[str, Any]:
    """What `i2fet fit` is to be told: the row's recipe, options and budget."""
    config = _recipe(setting, row)
    size = SIZES[setting.size]
    config["seed_everything"] = seed
    model = {**config["model"].get("init_args", {}), **_departures(row)}
    if "scheduler" in model:
        model["scheduler"]["init_args"]["T_max"] = size.epochs
    config["model"]["init_args"] = model
    config["data"]["init_args"] |= {
        "root": str(setting.train),
        "coefficients": setting.coefficients,
        **({} if size.samples is None else {"samples": size.samples}),
        **row.data,
    }
    config["trainer"] = {
        **config["trainer"],
        "max_epochs": size.epochs,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": _part("loggers.CSVLogger", save_dir=str(folder), name="log"),
        "callbacks": [
            _part(
                "callbacks.ModelCheckpoint",
                dirpath=str(folder),
                filename=LAST.stem,
                enable_version_counter=False,
            )
        ],
    }
    return config


@cache
def reader_hash() -> str:
    """Of the default face encoder: what another one reads is other data."""
    return load_face_encoder().fingerprint


def run_folder(setting: Setting, row: Row, seed: int) -> Path:
    """Where a run is kept: rows with the same recipe and options share it."""
    options: dict[str, Any] = {
        "setting": asdict(setting),
        "recipe": _recipe(setting, row),
        "model": _departures(row),
        "data": dict(row.data),
    }
    if setting.coefficients == "perceived":
        options["reader"] = reader_hash()
    text = json.dumps(options, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return OUT / "runs" / f"{setting.data}-{setting.size}-{digest}-{seed}"


def run(setting: Setting, row: Row, seed: int, threads: int, matcher: Path | None = None) -> Path:
    """Train and judge, as far as that is not done; the evaluation's file.

    Raises:
        RunError: Training or evaluation failed.
    """
    folder = run_folder(setting, row, seed)
    report, config = folder / "report.json", folder / "config.yaml"
    if report.exists() and _is_complete(_report(report), matcher):
        return report
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(config) as unfinished:
        unfinished.write_text(yaml.safe_dump(configuration(setting, row, seed, folder)))
    last = folder / LAST
    resume = ["--ckpt_path", str(last)] if last.exists() else []
    _i2fet(folder, threads, "fit", "--config", str(config), *resume)
    evaluations = str(SIZES[setting.size].evaluations)
    people = ["--judge", str(setting.judge), "--test", str(setting.test)]
    options = ["--config", str(config), "--seeds", evaluations, "-o", str(folder)]
    measures = [] if matcher is None else ["--matcher", str(matcher)]
    _i2fet(folder, threads, "evaluate", str(last), *people, *options, *measures)
    return report


def read_scores(reports: Sequence[Path], kind: str = "generated") -> dict[str, Score]:
    """Every measure over the runs of one row; `kind` "real" is the ceiling."""
    contents = list(map(_report, reports))
    results = [content["evaluation"] for content in contents]
    values = {
        name: [100 * result[kind]["verdicts"][JUDGE][name]["mean"] for result in results]
        for name in SHARES
    }
    if kind == "generated":
        for prefix, space in (("mesh_", MESH), ("", COEFFICIENTS)):
            for name in ("diversity", "frechet"):
                found = [result["resemblance"][space][name]["mean"] for result in results]
                values[prefix + name] = found
    if all(content["matching"] for content in contents):
        matched = [_matching(content["matching"][kind]) for content in contents]
        known = [name for name in MATCHING if all(name in each for each in matched)]
        values |= {name: [each[name] for each in matched] for name in known}
    return {name: score(each, seed_interval(each)) for name, each in values.items()}


def _is_complete(report: Mapping[str, Any], matcher: Path | None) -> bool:
    """Whether a report has all that is measured today, by this very matcher."""
    if "resemblance" not in report["evaluation"]:
        return False
    if matcher is None:
        return True
    used = report["matcher"]
    return used is not None and used["sha256"] == hashlib.sha256(matcher.read_bytes()).hexdigest()


def _matched(scores: Sequence[Mapping[str, Score]]) -> bool:
    return all("multimodal_distance" in values for values in scores)


def _report(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _matching(measured: Mapping[str, Any]) -> dict[str, float]:
    """The values of `MATCHING`; without multimodality where no text is used twice."""
    tops = zip(TOPS, measured["r_precision"], strict=True)
    others = {
        "multimodal_distance": measured["multimodal_distance"],
        "embedding_diversity": measured["diversity"],
        "multimodality": measured["multimodality"],
    }
    return {
        **{f"r_precision_{top}": 100 * share["mean"] for top, share in tops},
        **{name: each["mean"] for name, each in others.items() if each},
    }


def write_table(
    grid: Grid, setting: Setting, scores: Sequence[Mapping[str, Score]], name: str
) -> Path:
    """Write Markdown, CSV and JSON; the last row is the ceiling.

    Args:
        grid: The table.
        setting: Of its runs.
        scores: Of each row, then of real faces.
        name: Of the grid.

    Returns:
        The Markdown file.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    rows = (*grid.rows, Row("real faces (the ceiling)"))
    records = [
        {
            "row": row.name,
            "options": {**row.model, **row.data},
            "ours": {measure: asdict(each) for measure, each in values.items()},
            "paper": dict(row.paper.get(setting.dataset, {})),
        }
        for row, values in zip(rows, scores, strict=True)
    ]
    stem = OUT / f"{name}-{setting.data}-{setting.size}"
    content = {"table": grid.table, "setting": asdict(setting), "rows": records}
    with replacing(stem.with_suffix(".json")) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, default=str))
    with replacing(stem.with_suffix(".csv")) as unfinished, unfinished.open("w", newline="") as out:
        table = csv.writer(out)
        measures = [*MEASURES, *(MATCHING if _matched(scores) else ())]
        table.writerow(["row", *measures, *(f"paper_{measure}" for measure in SHARES)])
        for row, values in zip(rows, scores, strict=True):
            ours = [values[m].mean if m in values else "" for m in measures]
            paper = row.paper.get(setting.dataset, {})
            table.writerow([row.name, *ours, *(paper.get(m, "") for m in SHARES)])
    page = stem.with_suffix(".md")
    with replacing(page) as unfinished:
        unfinished.write_text(describe_table(grid, setting, rows, scores))
    return page


def describe_table(
    grid: Grid, setting: Setting, rows: Sequence[Row], scores: Sequence[Mapping[str, Score]]
) -> str:
    """The table in Markdown, the paper's figures beside ours."""
    size = SIZES[setting.size]
    header = ["", *MEASURES.values(), *(f"paper: {MEASURES[m]}" for m in SHARES)]
    lines = []
    for row, values in zip(rows, scores, strict=True):
        paper = row.paper.get(setting.dataset, {})
        ours = [_shown(values[m], m) if m in values else "" for m in MEASURES]
        lines.append([row.name, *ours, *(f"{paper[m]:.2f}" if m in paper else "" for m in SHARES)])
    table = markdown_table(header, lines)
    if _matched(scores):
        table += f"\n\n{describe_matches(rows, scores)}"
    quick = ", a quick look and no result" if setting.size == "quick" else ""
    return (
        f"# {grid.title} ({grid.table}), {setting.dataset}\n\n{table}\n\n"
        f"Ours: {size.seeds} trainings of {size.epochs} epochs{quick}, {setting.coefficients} "
        f"coefficients of {setting.train}, judged on {setting.test} by {setting.judge}; "
        "mean ± standard deviation over the trainings. The paper's: its own data and judge.\n"
    )


def describe_matches(rows: Sequence[Row], scores: Sequence[Mapping[str, Score]]) -> str:
    """What the matcher measured, in Markdown."""
    lines = [
        [row.name, *(_shown(values[m], m) if m in values else "" for m in MATCHING)]
        for row, values in zip(rows, scores, strict=True)
    ]
    return markdown_table(["", *MATCHING.values()], lines)


def make_table(name: str, setting: Setting, workers: int, matcher: Path | None = None) -> Path:
    """Run what is missing of a grid and write its table; the Markdown file.

    Args:
        name: Of the grid.
        setting: Of its runs.
        workers: Runs at a time.
        matcher: A checkpoint of `MatchingTask` that measures all rows as well, if given.
    """
    grid = load_grid(name)
    seeds = range(SIZES[setting.size].seeds)
    jobs = [(row, seed) for row in grid.rows for seed in seeds]
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ThreadPoolExecutor(workers) as pool:
        reports = list(
            track(
                pool.map(lambda job: run(setting, job[0], job[1], threads, matcher), jobs),
                grid.table,
                total=len(jobs),
                console=Console(stderr=True),
            )
        )
    rows = [reports[start : start + len(seeds)] for start in range(0, len(jobs), len(seeds))]
    scores = [read_scores(each) for each in rows] + [read_scores(reports[:1], "real")]
    return write_table(grid, setting, scores, name)


def _recipe(setting: Setting, row: Row) -> dict[str, Any]:
    file = EXPERIMENTS / setting.dataset / f"{row.recipe}.yaml"
    recipe: dict[str, Any] = yaml.safe_load(file.read_text())
    return recipe


def _departures(row: Row) -> dict[str, Any]:
    """The row's model options that are not I2FET's defaults anyway."""
    defaults = inspect.signature(I2FETTask).parameters
    return {
        key: value
        for key, value in row.model.items()
        if key not in defaults or value != defaults[key].default
    }


def _part(name: str, /, **options: Any) -> dict[str, Any]:
    return {"class_path": f"lightning.pytorch.{name}", "init_args": options}


def _i2fet(folder: Path, threads: int, *arguments: str) -> None:
    log = folder / "log.txt"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "i2fet", *arguments]
    with log.open("a") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if code:
        raise RunError(f"`i2fet {arguments[0]}` failed in {folder}; its last words are in {log}")


def _shown(value: Score, measure: str) -> str:
    digits = DIGITS.get(measure, 2)
    spread = "" if value.std is None else f" ± {value.std:.{digits}f}"
    return f"{value.mean:.{digits}f}{spread}"


def add_setting(parser: argparse.ArgumentParser) -> None:
    """The options that make a `Setting`."""
    parser.add_argument("--dataset", choices=("ckplus", "celebvhq"), default="ckplus")
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--coefficients", choices=("true", "perceived"), default="true")
    parser.add_argument("--train", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--test", type=Path, required=True, help="people on whom to judge")
    parser.add_argument("--judge", type=Path, required=True, help="a trained classifier")


def main(args: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("grid", choices=sorted(path.stem for path in GRIDS.glob("*.yaml")))
    add_setting(parser)
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--matcher", type=Path, help="for the text-to-motion measures as well")
    options = vars(parser.parse_args(args))
    name, workers, matcher = (options.pop(key) for key in ("grid", "workers", "matcher"))
    page = make_table(name, Setting(**options), workers, matcher)
    print(page.read_text())
    print(f"table   {page}")


if __name__ == "__main__":
    script.run(main)
