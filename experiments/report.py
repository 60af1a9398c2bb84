"""One HTML page of local training runs, with everything in it: `make report`."""

from __future__ import annotations

import argparse
import base64
import csv
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, FileSystemLoader

from callbacks.curves import draw_curves
from callbacks.drawing import PICTURES
from callbacks.identity import IDENTITY
from experiments import script
from i2fet.errors import DatasetError
from i2fet.files import replacing
from i2fet.training import CONFIG

TEMPLATE = "report.html"
METRICS = "metrics.csv"
EVALUATION = "report.json"
MEDIA = {".png": "image/png", ".mp4": "video/mp4"}
SUMMARY = ("val/loss", "val/acc1", "val/acc1_nearest_mean", "val/acc2_nearest_mean")
"""Metrics that the list of runs shows where there are any."""

Curves = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Drawing:
    """A picture, clip or table of a run.

    Attributes:
        key: SECTION/NAME.
        file: Its name below the key, which tells the epoch.
        kind: "picture", "clip" or "table".
        source: Of a picture or clip, as a data URI.
        rows: Of a table, its columns' names first.
    """

    key: str
    file: str
    kind: str
    source: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Run:
    """A training run as its folder tells it.

    Attributes:
        name: Path of the folder below that of all runs.
        identity: `run.json`.
        config: `config.yaml`, empty if there is none.
        config_link: To that file, from the page.
        epochs: Epochs that were logged.
        last: The last value of each metric.
        curves: A picture of all metrics as a data URI; empty if nothing was logged.
        drawings: The newest of every key.
    """

    name: str
    identity: dict[str, Any]
    config: str
    config_link: str
    epochs: int
    last: dict[str, float]
    curves: str
    drawings: tuple[Drawing, ...]

    @property
    def synthetic(self) -> bool:
        """Whether its people never lived."""
        return bool(self.identity["data"].get("synthetic"))

    @property
    def summary(self) -> dict[str, float]:
        """What the list of runs shows."""
        return {name: self.last[name] for name in SUMMARY if name in self.last}


@dataclass(frozen=True)
class EvaluationReport:
    """What `i2fet evaluate` wrote.

    Attributes:
        name: Path of the folder below that of all runs.
        text: Its `report.md`.
        picture: The confusion matrices as a data URI.
    """

    name: str
    text: str
    picture: str


def find_runs(root: Path, newest: int) -> list[Path]:
    """Folders of the newest training runs below a folder, the newest first."""
    found = sorted(root.rglob(IDENTITY), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in found[:newest]]


def read_run(folder: Path, root: Path, page: Path) -> Run:
    """Read what a run has left."""
    config = folder / CONFIG
    curves = read_metrics(folder / METRICS)
    return Run(
        name=str(folder.relative_to(root)),
        identity=json.loads((folder / IDENTITY).read_text()),
        config=config.read_text() if config.exists() else "",
        config_link=relpath(config, page.parent),
        epochs=max((max(values) for values in curves.values()), default=0),
        last={name: values[max(values)] for name, values in curves.items()},
        curves=picture_of(curves) if curves else "",
        drawings=tuple(map(read_drawing, newest_drawings(folder / PICTURES))),
    )


def read_metrics(path: Path) -> Curves:
    """By name and epoch, from 1, what a CSV logger wrote of whole epochs."""
    curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if "/" in name and text and math.isfinite(float(text)):
                        curves[name][int(row["epoch"]) + 1] = float(text)
    return dict(curves)


def picture_of(curves: Curves) -> str:
    """All metrics over the epochs, as a data URI."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "curves.png")
        draw_curves(curves, path)
        return embed(path)


def newest_drawings(folder: Path) -> list[tuple[str, Path]]:
    """Keys and files: the last epoch's of training, and those of tests."""
    newest: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*.*") if path.is_file()):
        place = path.relative_to(folder)
        key = place.parent if path.stem.startswith("epoch-") else place.with_suffix("")
        newest[str(key)] = path
    return list(newest.items())


def read_drawing(found: tuple[str, Path]) -> Drawing:
    """Read one drawing into memory."""
    key, path = found
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return Drawing(key, path.stem, "table", rows=tuple(map(tuple, csv.reader(file))))
    kind = "clip" if path.suffix == ".mp4" else "picture"
    return Drawing(key, path.stem, kind, source=embed(path))


def embed(path: Path) -> str:
    """A file as a data URI."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{MEDIA[path.suffix]};base64,{content}"


def find_evaluations(root: Path) -> list[EvaluationReport]:
    """What `i2fet evaluate` wrote below a folder."""
    folders = sorted(path.parent for path in root.rglob(EVALUATION) if is_evaluation(path))
    return [
        EvaluationReport(
            name=str(folder.relative_to(root)),
            text=(folder / "report.md").read_text(),
            picture=embed(folder / "confusion.png"),
        )
        for folder in folders
    ]


def is_evaluation(path: Path) -> bool:
    """Whether a JSON file is of `i2fet evaluate`; datasets and readers have reports too."""
    content = json.loads(path.read_text())
    return isinstance(content, dict) and {"judge", "model", "evaluation"} <= content.keys()


def write_page(root: Path, page: Path, newest: int) -> int:
    """Write the page.

    Args:
        root: Folder of all runs.
        page: The HTML file.
        newest: How many runs to show.

    Returns:
        How many there were to show.

    Raises:
        DatasetError: No run is in the folder.
        OutputError: The page cannot be written.
    """
    folders = find_runs(root, newest)
    if not folders:
        raise DatasetError(f"no training run is in {root}; `make train-ckplus` makes one")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    text = environment.get_template(TEMPLATE).render(
        runs=[read_run(folder, root, page) for folder in folders],
        evaluations=find_evaluations(root),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(page) as unfinished:
        unfinished.write_text(text)
    return len(folders)


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("outputs"), help="folder of all runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/report.html"))
    parser.add_argument("--newest", type=int, default=12, help="how many runs to show")
    given = parser.parse_args(args)
    count = write_page(given.runs, given.output, given.newest)
    print(f"report  {given.output} ({count} runs)")


if __name__ == "__main__":
    script.run(main)
