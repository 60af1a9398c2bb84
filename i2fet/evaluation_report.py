"""An evaluation as files: numbers for programs, a table and pictures for people."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from i2fet.checkpoint import Provenance
from i2fet.confusion import draw_confusions
from i2fet.evaluation import Evaluation, Score, SubjectFaces
from i2fet.face_spaces import MESH
from i2fet.files import replacing
from i2fet.judge import ExpressionJudge
from i2fet.judge_quality import JudgeQuality, assess, draw_all, judge_images
from i2fet.markdown import markdown_table
from i2fet.matching import TOPS, MatchingEvaluation

MEASURES = {"acc1": "Acc1", "acc2": "Acc2", "gmean": "G-mean"}
UNITS = {MESH: ", mm²"}
"""Of Frechet distances, where vectors have one."""


@dataclass(frozen=True)
class ModelIdentity:
    """Which model was evaluated.

    Attributes:
        checkpoint: Its path.
        sha256: Of the checkpoint.
        provenance: Where its training data came from.
    """

    checkpoint: str
    sha256: str
    provenance: Provenance


@dataclass(frozen=True)
class JudgeIdentity(ModelIdentity):
    """Which judge named the expressions, and how good it is itself.

    Attributes:
        image_size: Of its shape images, pixels.
        subjects: How many people it was trained on.
        quality: On the faces of the test part whose label it knows.
    """

    image_size: int
    subjects: int
    quality: JudgeQuality


@dataclass(frozen=True)
class Report:
    """An evaluation and all that it rests on.

    Attributes:
        data: The test data in one line.
        model: Who generated.
        temperature: Of its noise, if it draws any.
        judge: Who judged first; the second judge has no file.
        evaluation: The results.
        matcher: What embedded texts and faces, if they were matched.
        matching: How they match.
    """

    data: str
    model: ModelIdentity
    temperature: float | None
    judge: JudgeIdentity
    evaluation: Evaluation
    matcher: ModelIdentity | None = None
    matching: MatchingEvaluation | None = None


def identify_model(path: Path, provenance: Provenance) -> ModelIdentity:
    """Name a checkpoint that could be loaded."""
    return ModelIdentity(str(path), _digest(path), provenance)


def identify_judge(judge: ExpressionJudge, path: Path, test: SubjectFaces) -> JudgeIdentity:
    """Name a judge and test it.

    Args:
        judge: The judge.
        path: Its checkpoint.
        test: Faces of the test part; the labels are indices into the judge's.
    """
    logits = judge_images(judge, draw_all(judge, test.faces))
    return JudgeIdentity(
        str(path),
        _digest(path),
        judge.provenance,
        image_size=judge.image_size,
        subjects=len(judge.training_part.subjects),
        quality=assess(logits, test.emotion, test.subject),
    )


def write_report(report: Report, folder: Path) -> None:
    """Write `report.json`, `report.md` and `confusion.png` into a folder that exists.

    Raises:
        OutputError: One of them cannot be written.
    """
    with replacing(folder / "report.json") as unfinished:
        unfinished.write_text(json.dumps(_plain(asdict(report)), indent=1, allow_nan=False))
    with replacing(folder / "report.md") as unfinished:
        unfinished.write_text(describe_report(report))
    with replacing(folder / "confusion.png") as unfinished:
        draw_verdicts(report.evaluation, unfinished)


def _plain(value: Any) -> Any:
    """A value as JSON can tell it: bounds that are infinite, as of FLAME's codes, become null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def describe_report(report: Report) -> str:
    """The report as a page of Markdown."""
    result, judge = report.evaluation, report.judge
    quality = judge.quality
    verdict = next(iter(result.generated.verdicts.values()))
    return "\n".join(
        [
            "# Evaluation",
            "",
            f"- data: {report.data}; {result.pairs} test pairs of {result.subjects} people",
            f"- model: {report.model.checkpoint} (SHA-256 {report.model.sha256}), trained on "
            f"{report.model.provenance.description} (people: {report.model.provenance.population})"
            + ("" if report.temperature is None else f", temperature {report.temperature:g}"),
            f"- judge: {judge.checkpoint} (SHA-256 {judge.sha256}), trained on "
            f"{judge.provenance.description}; names {show_share(quality.accuracy)} of "
            f"{quality.faces} real faces of the same test part right (G-mean "
            f"{show_share(quality.gmean)}, expected calibration error {quality.ece:.1%})",
            "",
            describe_evaluation(result),
            "",
            f"Mean ± standard deviation over {len(verdict.acc1.values)} seeds, in brackets 95 % "
            "intervals: of shares by bootstrap over the test people, of diversity and distance "
            "over the seeds. Real faces are the ceiling." + _missing(result),
            "",
            "Of coefficients, in standard deviations of the training part, one that hardly moves "
            "counts as much as a smile; distances on the mesh are root mean square over its "
            "vertices, as they are seen.",
            "",
            *_describe_matching(report),
        ]
    )


def describe_evaluation(result: Evaluation) -> str:
    """The results as a table of Markdown."""
    header = ("", "generated", "real test faces", "real training faces")
    rows: list[tuple[str, ...]] = []
    for judge, verdict in result.generated.verdicts.items():
        ceiling = result.real.verdicts[judge]
        for measure, name in MEASURES.items():
            shares = (show_share(getattr(each, measure)) for each in (verdict, ceiling))
            rows.append((f"{name}, {judge}", *shares, ""))
    agreements = (f"{each.agreement:.1%}" for each in (result.generated, result.real))
    rows += [
        ("judges agree", *agreements, ""),
    ]
    for space, found in result.resemblance.items():
        unit = UNITS.get(space, "")
        diversity, distance = _number(found.diversity), _number(found.frechet)
        trained = (f"{each:.3f}" for each in (found.training_diversity, found.training_frechet))
        rows += [
            (f"diversity ratio, {space}", diversity, "1", next(trained)),
            (f"Frechet distance, {space}{unit}", distance, "0", next(trained)),
        ]
    return markdown_table(header, rows)


def describe_matching(matching: MatchingEvaluation) -> str:
    """The text-to-motion measures as a table of Markdown."""
    rows = [
        (f"R-precision, top {top} of {matching.pool}", *map(show_share, scores))
        for top, *scores in zip(
            TOPS, matching.generated.r_precision, matching.real.r_precision, strict=True
        )
    ]
    for measure in ("multimodal_distance", "diversity", "multimodality"):
        scores = [getattr(each, measure) for each in (matching.generated, matching.real)]
        shown = ["" if each is None else _number(each) for each in scores]
        rows.append((measure.replace("_", " "), *shown))
    return markdown_table(("", "generated", "real test faces"), rows)


def draw_verdicts(result: Evaluation, path: Path) -> None:
    """Draw every judge's confusion matrices of generated and of real faces."""
    kinds = {"generated": result.generated, "real": result.real}
    rows = [
        {f"{kind} faces, {judge}": faces.verdicts[judge].confusion for kind, faces in kinds.items()}
        for judge in result.generated.verdicts
    ]
    draw_confusions(rows, result.labels, path)


def _describe_matching(report: Report) -> list[str]:
    if report.matching is None or report.matcher is None:
        return []
    matcher = report.matcher
    return [
        f"Texts and faces in the embedding of {matcher.checkpoint} (SHA-256 {matcher.sha256}), "
        f"trained on {matcher.provenance.description}; diversity and multimodality are mean "
        "distances between faces of any text and of one text:",
        "",
        describe_matching(report.matching),
        "",
    ]


def _missing(result: Evaluation) -> str:
    verdict = next(iter(result.real.verdicts.values()))
    shown = zip(result.labels, map(sum, verdict.confusion), strict=True)
    missing = [label for label, count in shown if not count]
    return f" No test face shows {', '.join(missing)}." if missing else ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def show_share(score: Score) -> str:
    """A share as people read it: per cent, with its deviation and interval where known.

    An interval over few seeds may pass what a share can be; it ends there.
    """
    if score.interval:
        low, high = score.interval
        score = replace(score, interval=(max(low, 0.0), min(high, 1.0)))
    return _shown(score, "{:.1%}")


def _number(score: Score) -> str:
    return _shown(score, "{:.3f}")


def _shown(score: Score, form: str) -> str:
    spread = "" if score.std is None else f" ± {form.format(score.std)}"
    bounds = score.interval and tuple(map(form.format, score.interval))
    return form.format(score.mean) + spread + (f" ({bounds[0]} to {bounds[1]})" if bounds else "")
