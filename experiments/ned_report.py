"""NED's neutral faces beside the head's zero expression (Section IV-F3, Fig. 17).

    python -m experiments.ned_report NED --judge JUDGE --config YAML [--root FOLDER]
        [--coefficients perceived|true] [--faces N] [--output FOLDER]

NED and JUDGE are checkpoints of `NEDTask` and `ExpressionClassifierTask`, YAML is the file that
trained NED; the test part is used. Writes report.md, report.json and neutral.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from datamodules.expression import ALL_EMOTIONS, ExpressionDataModule
from datamodules.held_out import labelled_faces, load_data
from datamodules.pairs import NeutralDataset
from experiments.script import run
from i2fet.coefficient_judge import CoefficientJudge
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.evaluation import name_expressions, share_interval
from i2fet.files import replacing
from i2fet.heads import HeadModel, load_head
from i2fet.judge import ExpressionJudge
from i2fet.markdown import markdown_table
from i2fet.nn.ned import NeutralGenerator
from i2fet.rendering.mesh import fit_camera, render_shape
from i2fet.rendering.shape_images import frontal
from i2fet.rendering.video import contact_sheet, write_image
from i2fet.tasks.base import provenance_of

LABELS = [str(emotion) for emotion in ALL_EMOTIONS]
BATCH = 256
SHOWN = 5
TILE = 192
OWN, MEAN = "the subject's own", "the training part's mean"

Judge = Callable[[FaceCoefficients], Tensor]


@dataclass(frozen=True)
class Share:
    """A share of faces in [0, 1], with its 95 % interval by bootstrap over the subjects."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Row:
    """One way to a neutral face.

    Attributes:
        name: Of the way.
        neutral: Share that each judge calls neutral, of all eight expressions.
        distance: Mean distance of the vertices from the subject's own neutral face, mm.
        closer: Share that is nearer to the subject's own neutral face than the mean one is.
        own_nearer: Share that is nearer to the subject's own neutral face than to the mean one.
    """

    name: str
    neutral: dict[str, Share]
    distance: float
    closer: Share
    own_nearer: Share


@torch.no_grad()
def compare(
    ned: NeutralGenerator,
    judges: dict[str, Judge],
    head: HeadModel,
    data: ExpressionDataModule,
    count: int,
) -> list[Row]:
    """Each way to the neutral faces of the people of the test part.

    Args:
        ned: Trained on other people.
        judges: By name; they know all eight labels.
        head: Of the coefficients.
        data: Expressions and neutral faces of the same subjects, set up.
        count: Faces to take, by chance.
    """
    rows = _test_rows(data)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count]]
    faces, subject = data.faces.coefficients, data.faces.subject[rows[:, 0]]
    shown, own = faces[rows[:, 0]], faces[rows[:, 1]]
    mean = _with(shown, ned.mean_expression, ned.mean_pose)
    ways = {
        "NED": ned.relax(shown),
        "the head's zero expression": _with(shown, torch.zeros(50), torch.zeros(6)),
        MEAN: mean,
        OWN: own,
    }
    to_mean = vertex_distance(head, own, mean)
    result = []
    for name, made in ways.items():
        to_own = vertex_distance(head, made, own)
        neutral = {
            judge: share(name_it(made) == LABELS.index(Emotion.NEUTRAL), subject)
            for judge, name_it in judges.items()
        }
        closer = share(to_own < to_mean, subject)
        nearer = share(to_own < vertex_distance(head, made, mean), subject)
        result.append(Row(name, neutral, 1000 * float(to_own.mean()), closer, nearer))
    return result


def vertex_distance(head: HeadModel, some: FaceCoefficients, others: FaceCoefficients) -> Tensor:
    """(N,) mean distance of the vertices of faces that look straight ahead, metres."""
    batches = torch.arange(len(some)).split(BATCH)
    ahead = ([frontal(faces[batch]) for faces in (some, others)] for batch in batches)
    return torch.cat([(head.vertices(a) - head.vertices(b)).norm(dim=-1).mean(1) for a, b in ahead])


def share(hits: Tensor, subject: Tensor) -> Share:
    """Share of (N,) hits; the subjects are drawn anew for its interval."""
    person = subject.unique(return_inverse=True)[1]
    right, asked = person.bincount(hits.double()), person.bincount()
    return Share(float(hits.double().mean()), *share_interval(right, asked))


def describe(rows: list[Row], title: str) -> str:
    """The comparison as a page of Markdown."""
    judges = list(rows[0].neutral)
    header = ["neutral face", *(f"neutral, {judge}" for judge in judges), "mm from own"]
    header += ["nearer to own than the mean is", "nearer to own than to the mean"]
    lines = []
    for row in rows:
        shares = [str(row.neutral[judge]) for judge in judges]
        nearer = ["" if row.name in (OWN, MEAN) else str(s) for s in (row.closer, row.own_nearer)]
        lines.append([row.name, *shares, f"{row.distance:.3f}", *nearer])
    return "\n".join(["# Neutral faces", "", title, "", markdown_table(header, lines), ""])


def draw(ned: NeutralGenerator, head: HeadModel, data: ExpressionDataModule, path: Path) -> None:
    """Fig. 17: what is shown, NED's neutral, the head's zero expression, and the own neutral."""
    rows = _test_rows(data)
    emotion = data.faces.emotion[rows[:, 0]]
    chosen = [int((emotion == label).nonzero()[0]) for label in emotion.unique()[:SHOWN]]
    faces = data.faces.coefficients
    shown, own = faces[rows[chosen, 0]], faces[rows[chosen, 1]]
    zero = _with(shown, torch.zeros(50), torch.zeros(6))
    columns = {"shown": shown, "NED": ned.relax(shown), "zero expression": zero, "own": own}
    pictures, captions = [], []
    for index in range(len(chosen)):
        row = frontal(FaceCoefficients.cat([each[index : index + 1] for each in columns.values()]))
        pictures += list(render_shape(head, row, TILE, fit_camera(head.vertices(row))[:1]))
        captions += list(columns)
    write_image(path, contact_sheet(pictures, captions, len(columns)), "synthetic faces by i2fet")


def _test_rows(data: ExpressionDataModule) -> Tensor:
    """(N, 2) rows of the data's faces: an expression and a neutral face of the same subject."""
    dataset = data.test_dataloader().dataset
    assert isinstance(dataset, NeutralDataset)
    return dataset.rows


def _with(faces: FaceCoefficients, expression: Tensor, pose: Tensor) -> FaceCoefficients:
    count = len(faces)
    return FaceCoefficients(
        faces.shape, expression.expand(count, -1), pose.expand(count, -1), faces.camera
    )


def report(arguments: argparse.Namespace) -> None:
    """Compare and write the three files."""
    given = {"root": arguments.root, "coefficients": arguments.coefficients}
    overrides = {name: value for name, value in given.items() if value is not None}
    data = load_data(arguments.config, overrides, "neutral")
    ned = NeutralGenerator.from_checkpoint(arguments.ned)
    ned.provenance.check(provenance_of(data))
    judge = ExpressionJudge.from_checkpoint(arguments.judge)
    judge.check(data.head_name, LABELS)
    judge.training_part.check_unseen(data.population, data.subjects["test"])
    training = labelled_faces(data, "train", LABELS)
    judges: dict[str, Judge] = {
        "judge of images": lambda faces: name_expressions(judge, LABELS, faces),
        "judge of coefficients": CoefficientJudge(training.faces, training.emotion).judge,
    }
    head = load_head(data.head_name)
    rows = compare(ned, judges, head, data, arguments.faces)
    title = (
        f"{ned.card()}. Tested on {data.description}: at most {arguments.faces} expressions of the "
        f"{len(data.subjects['test'])} people of the test part; 95 % intervals by bootstrap over "
        "these people."
    )
    page = describe(rows, title)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with replacing(arguments.output / "report.md") as unfinished:
        unfinished.write_text(page)
    with replacing(arguments.output / "report.json") as unfinished:
        content = {"description": title, "rows": [asdict(row) for row in rows]}
        unfinished.write_text(json.dumps(content, indent=1))
    draw(ned, head, data, arguments.output / "neutral.png")
    print(page)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ned", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--root")
    parser.add_argument("--coefficients", choices=("perceived", "true"))
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("outputs/ned"))
    report(parser.parse_args(argv))


if __name__ == "__main__":
    run(main)
