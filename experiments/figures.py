"""The paper's figures, from the runs of `experiments.ablation`.

    python -m experiments.figures [-o FOLDER] [the options that made the tables]

A figure whose runs are missing is left out and named, with the command that makes them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from callbacks.latents import draw_maps, flatten, silhouette
from callbacks.transitions import first_distinct, render, sheet, with_neutral
from datamodules.expression import ExpressionDataModule
from datamodules.held_out import held_out_pairs, load_pairs
from datamodules.report import draw_report, report_samples
from experiments.ablation import (
    JUDGE,
    LAST,
    RunError,
    Setting,
    add_setting,
    load_grid,
    run_folder,
)
from experiments.script import run
from i2fet.coefficients import FaceCoefficients
from i2fet.confusion import draw_confusions
from i2fet.evaluation import HeldOutPairs, generate_pairs, name_expressions
from i2fet.files import replacing
from i2fet.heads import HeadModel, load_head
from i2fet.instructions import TEMPLATES
from i2fet.judge import ExpressionJudge
from i2fet.nn import load_generator
from i2fet.rendering.mesh import render_shape
from i2fet.rendering.shape_images import neutral_camera
from i2fet.rendering.video import write_image
from i2fet.text import load_text_encoder
from i2fet.transition import interpolate

OUT = Path("outputs/figures")
TILE = 224
SHOWN = 6
"""Rows of a sheet."""
ANGLES = (-30, -15, 0, 15, 30)
"""Degrees of yaw of Fig. 6."""
SNAPSHOTS = 7
"""Frames of Fig. 12."""
MAPPED = 1000
"""Faces in a t-SNE, which takes longer than in proportion."""

MOTIONCLIP = ("methods", "MotionCLIP")
OURS = ("methods", "I2FET, improved")
WITHOUT_IFED = ("components", "w/o IFED")
WITH_IFED = ("components", "w/ IFED")
WITHOUT_VERTICES = ("losses", "expression, pose")
WITH_VERTICES = ("losses", "expression, pose, vertices")

RunName = tuple[str, str]
"""A grid and the name of one of its rows."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Runs:
    """The first seed's runs of a setting, and the people on whom they are shown.

    Attributes:
        setting: Of the runs.
    """

    setting: Setting

    def folder(self, name: RunName) -> Path:
        """Of one run.

        Raises:
            RunError: It has not been made yet.
        """
        grid, row_name = name
        row = next(row for row in load_grid(grid).rows if row.name == row_name)
        folder = run_folder(self.setting, row, seed=0)
        if not (folder / "report.json").exists():
            raise RunError(f"the run {row_name!r} is missing; `make ablation-{grid}` makes it")
        return folder

    def evaluation(self, name: RunName) -> dict[str, Any]:
        """What was written about one run."""
        content = json.loads((self.folder(name) / "report.json").read_text())
        evaluation: dict[str, Any] = content["evaluation"]
        return evaluation

    def generate(self, name: RunName) -> FaceCoefficients:
        """(M, 2) faces that a run's model makes for the test pairs."""
        generator = load_generator(self.folder(name) / LAST)
        return generate_pairs(generator, self.pairs, seed=0)

    @cached_property
    def pairs(self) -> HeldOutPairs:
        """What the models are asked for."""
        return held_out_pairs(self.load(self.setting.test, split="test", samples=MAPPED))

    def load(self, people: Path, **options: Any) -> ExpressionDataModule:
        """Pairs of a folder's people."""
        config = Path(__file__).parent / self.setting.dataset / "i2fet_paper.yaml"
        given = {"root": str(people), "coefficients": self.setting.coefficients}
        return load_pairs(config, {**given, **options})

    @cached_property
    def shown(self) -> list[int]:
        """Rows of `pairs` that sheets show."""
        return first_distinct(self.pairs.emotion)[:SHOWN]

    @cached_property
    def judge(self) -> ExpressionJudge:
        return ExpressionJudge.from_checkpoint(self.setting.judge)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label set of the models."""
        return tuple(load_generator(self.folder(OURS) / LAST).provenance.emotions)

    @cached_property
    def head(self) -> HeadModel:
        return load_head("arkit")


def statistics(runs: Runs, path: Path) -> None:
    """Fig. 5: how often the pairs ask for each expression, and with which words."""
    draw_report(report_samples(runs.load(runs.setting.train)), path)


def poses(runs: Runs, path: Path) -> None:
    """Fig. 6: surprised and angry faces in several head poses."""
    real = runs.pairs.real
    rows, captions = [], []
    for label in ("surprise", "anger"):
        row = int((real.emotion == runs.labels.index(label)).nonzero()[0])
        face = real.faces[row : row + 1].map(lambda values: values.expand(len(ANGLES), -1))
        turned = torch.zeros_like(face.pose)
        turned[:, 1] = torch.deg2rad(torch.tensor(ANGLES))
        turned[:, 3:] = face.jaw
        face = FaceCoefficients(face.shape, face.expression, turned, face.camera)
        rows.append(render_shape(runs.head, face, TILE, neutral_camera(runs.head, face.shape[:1])))
        captions.append([f"{label}, {angle:+d}°" for angle in ANGLES])
    write_image(path, sheet(rows, captions))


def latents(runs: Runs, path: Path) -> None:
    """Fig. 7: t-SNE of what three models generate."""
    names = {"MotionCLIP": MOTIONCLIP, "I2FET w/o IFED": WITHOUT_IFED, "I2FET w/ IFED": WITH_IFED}
    labels = runs.pairs.emotion.flatten()[:MAPPED].numpy()
    values = {
        title: runs.generate(name).face_parameters.flatten(0, 1)[:MAPPED].numpy()
        for title, name in names.items()
    }
    scores = {title: silhouette(each, labels) for title, each in values.items()}
    maps = {title: flatten(each, seed=0) for title, each in values.items()}
    draw_maps(maps, scores, labels, runs.labels, path)


def methods(runs: Runs, path: Path) -> None:
    """Fig. 8 and 9: what faces of MotionCLIP and of ours are taken for."""
    _confusions(runs, {"MotionCLIP": MOTIONCLIP, "ours": OURS}, path)


def snapshots(runs: Runs, path: Path) -> None:
    """Fig. 12: from one expression to the other through a neutral face."""
    generated = runs.generate(OURS)
    through = torch.tensor([1, 0, 2])
    rows, captions = [], []
    for row in runs.shown:
        anchors = with_neutral(generated[row])[through]
        rows.append(render(runs.head, interpolate(anchors, SNAPSHOTS), TILE))
        first, second = (runs.labels[label] for label in runs.pairs.emotion[row])
        gap = [""] * (SNAPSHOTS // 2 - 1)
        captions.append([first, *gap, "neutral", *gap, second])
    write_image(path, sheet(rows, captions))


def vertex_loss(runs: Runs, path: Path) -> None:
    """Fig. 13 and 14: what faces are taken for without and with the vertex loss."""
    titles = {"without the vertex loss": WITHOUT_VERTICES, "with the vertex loss": WITH_VERTICES}
    _confusions(runs, titles, path)


def comparison(runs: Runs, path: Path) -> None:
    """Fig. 10: the same instructions by MotionCLIP and by ours."""
    _side_by_side(runs, {"MotionCLIP": MOTIONCLIP, "ours": OURS}, path)


def intensity(runs: Runs, path: Path) -> None:
    """Fig. 16: the same instructions without and with IFED."""
    _side_by_side(runs, {"w/o IFED": WITHOUT_IFED, "w/ IFED": WITH_IFED}, path)


def validation_loss(runs: Runs, path: Path) -> None:
    """Fig. 15: the validation loss without and with IFED."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for title, name in {"without IFED": WITHOUT_IFED, "with IFED": WITH_IFED}.items():
        curve = read_curve(runs.folder(name), "val/loss")
        axes.plot(list(curve), list(curve.values()), label=title)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation loss")
    axes.legend()
    figure.savefig(path, dpi=120)


def templates(runs: Runs, path: Path) -> None:
    """Fig. 18 (a): the same noise with every template sentence, for some pairs."""
    generator = load_generator(runs.folder(OURS) / LAST)
    encoder = load_text_encoder(generator.provenance.text)
    pairs = [[runs.labels[label] for label in runs.pairs.emotion[row]] for row in runs.shown[:3]]
    rows, captions = [], []
    for template in TEMPLATES:
        sentences = [template.format(first=first, second=second) for first, second in pairs]
        text = encoder.encode(sentences)
        chosen = torch.arange(len(pairs))
        noise = torch.Generator().manual_seed(0)
        expression, pose = generator.sample(text.tokens, text.mask, chosen, noise)
        zeros = FaceCoefficients.zeros(2 * len(pairs))
        faces = FaceCoefficients(
            zeros.shape, expression.flatten(0, 1), pose.flatten(0, 1), zeros.camera
        )
        rows.append(render(runs.head, faces, TILE))
        captions.append([f"{template.split()[0]}: {label}" for pair in pairs for label in pair])
    write_image(path, sheet(rows, captions))


def failures(runs: Runs, path: Path) -> None:
    """Fig. 18 (b): generated faces that the judge takes for something else."""
    asked, faces = runs.pairs.emotion.flatten(), runs.generate(OURS).map(lambda v: v.flatten(0, 1))
    named = name_expressions(runs.judge, runs.labels, faces)
    wrong = (named != asked).nonzero()[:, 0].tolist()[: 2 * SHOWN]
    stills = [render(runs.head, faces[row : row + 1], TILE)[0] for row in wrong]
    captions = [f"{runs.labels[asked[row]]}, taken for {runs.labels[named[row]]}" for row in wrong]
    blank = [np.full_like(stills[0], 255)] * (-len(stills) % SHOWN)
    stills, captions = stills + blank, captions + [""] * len(blank)
    rows = [slice(start, start + SHOWN) for start in range(0, len(stills), SHOWN)]
    write_image(path, sheet([np.stack(stills[row]) for row in rows], [captions[r] for r in rows]))


FIGURES: dict[str, Callable[[Runs, Path], None]] = {
    "fig05_statistics": statistics,
    "fig06_poses": poses,
    "fig07_latents": latents,
    "fig08_methods": methods,
    "fig10_comparison": comparison,
    "fig12_snapshots": snapshots,
    "fig13_vertex_loss": vertex_loss,
    "fig15_validation_loss": validation_loss,
    "fig16_intensity": intensity,
    "fig18a_templates": templates,
    "fig18b_failures": failures,
}


def read_curve(folder: Path, metric: str) -> dict[int, float]:
    """One metric of a run's last log, by epoch."""
    logs = sorted((folder / "log").glob("version_*/metrics.csv"), key=lambda p: p.stat().st_mtime)
    with logs[-1].open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(metric)]
    return {int(row["epoch"]): float(row[metric]) for row in rows}


def _confusions(runs: Runs, titles: Mapping[str, RunName], path: Path) -> None:
    verdicts = {
        title: runs.evaluation(name)["generated"]["verdicts"][JUDGE]
        for title, name in titles.items()
    }
    row = {title: verdict["confusion"] for title, verdict in verdicts.items()}
    draw_confusions([row], runs.labels, path)


def _side_by_side(runs: Runs, titles: Mapping[str, RunName], path: Path) -> None:
    """For some instructions, the neutral face and the two expressions of either model."""
    faces = {title: runs.generate(name) for title, name in titles.items()}
    pictures, captions = [], []
    for row in runs.shown:
        clips: list[Picture] = []
        words = ["source"]
        for place, (title, generated) in enumerate(faces.items()):
            drawn = render(runs.head, with_neutral(generated[row]), TILE)
            clips.append(drawn[1 if place else 0 :])
            words += [f"{title}: {runs.labels[label]}" for label in runs.pairs.emotion[row]]
        pictures.append(np.concatenate(clips))
        captions.append(words)
    write_image(path, sheet(pictures, captions))


def main(args: Sequence[str] | None = None) -> None:
    """Draw what can be drawn, and say what cannot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add_setting(parser)
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    options = vars(parser.parse_args(args))
    folder: Path = options.pop("output")
    folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(Setting(**options))
    for name, draw in FIGURES.items():
        path = folder / f"{name}-{runs.setting.data}.png"
        try:
            with replacing(path) as unfinished:
                draw(runs, unfinished)
        except RunError as error:
            print(f"{name}: left out, since {error}")
        else:
            print(f"{name}: {path}")


if __name__ == "__main__":
    run(main)
