"""What a dataset holds, what was skipped and why (Fig. 5): as JSON, as a table, as a picture."""

from __future__ import annotations

import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table

from datamodules.records import FaceRecords
from i2fet.emotions import Emotion
from i2fet.errors import OutputError
from i2fet.files import replacing
from i2fet.instructions import all_instructions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from datamodules.expression import ExpressionDataModule

WORD = re.compile(r"[a-z]+")
SHOWN_WORDS = 20


@dataclass(frozen=True)
class Holding:
    """How much there is of one expression."""

    subjects: int
    sequences: int
    frames: int


@dataclass(frozen=True)
class Report:
    """What a dataset holds.

    Attributes:
        root: The dataset's folder.
        synthetic: Whether its people never lived.
        total: Of all expressions together.
        expressions: Of each that occurs, the most frequent first.
        skipped: Paths by the reason why they were left out.
        samples: How often each expression is asked for by the samples; empty without samples.
        words: How often each word occurs in the samples' instructions; empty without samples.
    """

    root: str
    synthetic: bool
    total: Holding
    expressions: Mapping[str, Holding]
    skipped: Mapping[str, list[str]]
    samples: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        people = "synthetic people" if self.synthetic else "real people"
        return f"{Path(self.root).name}: {people}"

    def table(self) -> str:
        """Two tables as text: what there is, and what was skipped."""
        held = Table("expression", "subjects", "sequences", "frames")
        if self.samples:
            held.add_column("in samples")
        for name, holding in {**self.expressions, "all": self.total}.items():
            count = self.samples.get(name, sum(self.samples.values()) if name == "all" else 0)
            numbers = [holding.subjects, holding.sequences, holding.frames, count]
            held.add_row(name, *map(str, numbers if self.samples else numbers[:-1]))
        left_out = Table("skipped because", "number", "such as")
        for reason, paths in self.skipped.items():
            left_out.add_row(reason, str(len(paths)), paths[0])
        text = io.StringIO()
        tables = (held, left_out) if self.skipped else (held, "Nothing was skipped.")
        Console(file=text, width=100).print(self.title, *tables, sep="\n")
        return text.getvalue()


def report_faces(faces: FaceRecords) -> Report:
    """Count what a reader found."""
    counts = Counter(record.emotion for record in faces.records)
    skipped: defaultdict[str, list[str]] = defaultdict(list)
    for item in faces.skipped:
        skipped[item.reason].append(item.path)
    return Report(
        root=str(faces.root),
        synthetic=faces.synthetic,
        total=_count(faces, *counts),
        expressions={str(emotion): _count(faces, emotion) for emotion, _ in counts.most_common()},
        skipped=dict(sorted(skipped.items(), key=lambda entry: -len(entry[1]))),
    )


def _count(faces: FaceRecords, *emotions: Emotion) -> Holding:
    records = [record for record in faces.records if record.emotion in emotions]
    return Holding(
        subjects=len({record.subject for record in records}),
        sequences=len({(record.subject, record.sequence) for record in records}),
        frames=len(records),
    )


def report_samples(module: ExpressionDataModule) -> Report:
    """Count what a data module, after setup, uses: the faces that are left, and its samples.

    Each sample counts once for each of its two expressions. Modules of single faces have none.
    """
    # Imported here, since scikit-learn takes a second that no other report needs to spend.
    from datamodules.pairs import PairDataset

    loaders = (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    report = report_faces(module.records)
    parts = [loader.dataset for loader in loaders if isinstance(loader.dataset, PairDataset)]
    if not parts:
        return report
    labels = torch.cat([part.faces.emotion[part.samples.faces].flatten() for part in parts])
    counts = labels.bincount(minlength=len(module.emotions)).tolist()
    named = Counter({str(e): n for e, n in zip(module.emotions, counts, strict=True)})
    sentences = all_instructions(module.emotions, module.style)
    chosen = torch.cat([part.samples.instruction for part in parts])
    used = chosen.bincount(minlength=len(sentences)).tolist()
    words: Counter[str] = Counter()
    for sentence, count in zip(sentences, used, strict=True):
        words.update({word: count * n for word, n in _words(sentence).items()})
    return replace(report, samples=dict(named.most_common()), words=dict(words.most_common()))


def _words(sentence: str) -> Counter[str]:
    return Counter(WORD.findall(sentence.lower()))


def write_report(report: Report, folder: str | Path) -> Path:
    """Write `report.json`, `report.txt` and `report.png`.

    Args:
        report: From `report_faces` or `report_samples`.
        folder: Made if it is not there.

    Returns:
        The folder.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); choose another folder"
        ) from error
    with replacing(folder / "report.json") as unfinished:
        unfinished.write_text(json.dumps(asdict(report), indent=1))
    with replacing(folder / "report.txt") as unfinished:
        unfinished.write_text(report.table())
    with replacing(folder / "report.png") as unfinished:
        draw_report(report, unfinished)
    return folder


def draw_report(report: Report, path: Path) -> None:
    """Draw the expressions and, if there are samples, the words, as in Fig. 5."""
    from matplotlib.figure import Figure

    frames = {name: holding.frames for name, holding in report.expressions.items()}
    panels = {"expressions in samples": report.samples} if report.samples else {"frames": frames}
    if report.words:
        panels["words in instructions"] = dict(list(report.words.items())[:SHOWN_WORDS])
    figure = Figure(figsize=(5 * len(panels), 4.5), layout="constrained")
    figure.suptitle(report.title)
    for column, (title, counts) in enumerate(panels.items(), start=1):
        _draw_bars(figure.add_subplot(1, len(panels), column), title, counts)
    figure.savefig(path, dpi=120)


def _draw_bars(axes: Axes, title: str, counts: Mapping[str, int]) -> None:
    bars = axes.barh(list(counts), list(counts.values()), color="#4477aa")
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.margins(x=0.15)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(title)
