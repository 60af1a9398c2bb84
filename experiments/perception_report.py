"""How well photos of people are read: other synthetic people, and one photograph.

    python -m experiments.perception_report [--faces N] [--training N] [--seed N] [--output FOLDER]

Writes report.md, report.json and reliability.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from experiments.readers import (
    EncoderReader,
    LandmarkRegression,
    Reader,
    Reading,
    see_detected_landmarks,
    see_true_landmarks,
)
from experiments.reliability import Reliability, draw_reliability, measure_reliability
from experiments.robustness import Robustness, measure_robustness
from experiments.script import run
from experiments.synthetic_faces import NO_EMOTION, SIZE, Photos, sample_emotions, take_photos
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.files import replacing
from i2fet.heads import ArkitHead
from i2fet.heads.arkit import load_arkit_head
from i2fet.markdown import markdown_table
from i2fet.perception import FaceEncoder, LandmarkFaceEncoder, LearnedFaceEncoder
from i2fet.perception.fitting import EYE_CORNERS

ROUNDS = 7
MIN_SHOWN = 5
"""Faces that must show an action before it is counted."""

JUDGED = 4000
"""Faces from whose true actions emotions are learned."""

Cell = str | float | None


@dataclass(frozen=True)
class Score:
    """Of one reader; medians are over the actions and the jaw that enough faces show.

    Attributes:
        reader: Its name.
        found: Faces found.
        correlation: Median r of the read on the true values.
        slope: Median slope of the same.
        error: Mean absolute error of all actions and the jaw.
        emotion: % of the emotions told right from what was read.
        emotion_share: The same as % of what is told right from the truth.
        pose: Mean angle between the head rotations, degrees.
        landmarks: Mean distance of the projected landmarks from the true ones, % of that between
            the eyes; like `pose` None of readers that give actions only.
        milliseconds: For one photo; None of readers that do not start from it.
        correlations: r of each action, by name.
    """

    reader: str
    found: int
    correlation: float
    slope: float
    error: float
    emotion: float
    emotion_share: float
    pose: float | None
    landmarks: float | None
    milliseconds: float | None
    correlations: dict[str, float]


@dataclass(frozen=True)
class Report:
    """All that was measured."""

    faces: int
    training: int
    seed: int
    true_emotion: float
    scores: tuple[Score, ...]
    robustness: dict[str, Robustness]
    reliability: dict[str, Reliability]


class Examiner:
    """Scores readers on photos.

    Args:
        head: The head of all coefficients.
        photos: Of people whom no reader has seen.
        seed: Of still others, from whose true actions emotions are learned.
    """

    def __init__(self, head: ArkitHead, photos: Photos, seed: int) -> None:
        self.head, self.photos = head, photos
        self.truth = head.actions(photos.truth)
        self.judge: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        self.judge.fit(*sample_emotions(head, JUDGED, seed))
        everyone = torch.ones(len(photos), dtype=torch.bool)
        self.true_emotion = self._emotion(self.truth, everyone)

    def score(self, reader: Reader) -> Score:
        """Read the photos and compare."""
        reading = reader.read(self.photos)
        found = reading.found
        names, shown = self.head.action_names, (self.truth > 0).sum(0) >= MIN_SHOWN
        r, slope = (v[shown] for v in regress(reading.actions[found], self.truth[found]))
        shown_names = [name for name, one in zip(names, shown.tolist(), strict=True) if one]
        emotion = self._emotion(reading.actions, found)
        pose, landmarks = self._place(reading)
        first = self.photos.first
        return Score(
            reader=reader.name,
            found=int(found.sum()),
            correlation=float(np.median(r)),
            slope=float(np.median(slope)),
            error=float((reading.actions - self.truth)[found].abs().mean()),
            emotion=emotion,
            emotion_share=100 * emotion / self.true_emotion,
            pose=pose,
            landmarks=landmarks,
            milliseconds=best_time(lambda: reader.read(first)) if reader.timed else None,
            correlations=dict(zip(shown_names, r.tolist(), strict=True)),
        )

    def _emotion(self, seen: Tensor, found: Tensor) -> float:
        """% right of the faces that were meant to show one."""
        rows = found.numpy() & (self.photos.emotions != NO_EMOTION)
        return 100 * float(self.judge.score(seen.numpy()[rows], self.photos.emotions[rows]))

    def _place(self, reading: Reading) -> tuple[float, float] | tuple[None, None]:
        """Error of the head's rotation, degrees, and of the landmarks, %."""
        if reading.faces is None:
            return None, None
        rows = reading.found.nonzero()[:, 0]
        read, true = reading.faces[rows], self.photos.truth[rows]
        seen, expected = (
            project(self.head.landmarks(self.head.vertices(f)), f.camera, SIZE, SIZE)[..., :2]
            for f in (read, true)
        )
        near, far = (expected[:, list(corners)].mean(1) for corners in EYE_CORNERS)
        distance = (seen - expected).norm(dim=-1).mean(1) / (near - far).norm(dim=-1)
        return pose_error(read, true), 100 * float(distance.mean())


def regress(seen: Tensor, true: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K,) correlation and slope of (N, K) read on true values; no spread is no correlation."""
    x, y = (values.double().numpy() for values in (true, seen))
    x, y = x - x.mean(0), y - y.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x * y).sum(0) / (x * x).sum(0)
        r = slope * np.sqrt((x * x).sum(0) / (y * y).sum(0))
    return np.nan_to_num(r, posinf=0, neginf=0), np.nan_to_num(slope)


def pose_error(read: FaceCoefficients, true: FaceCoefficients) -> float:
    """Mean angle between the head rotations, degrees."""
    turns = [Rotation.from_rotvec(face.global_rotation.numpy()) for face in (read, true)]
    return float(np.degrees((turns[0].inv() * turns[1]).magnitude()).mean())


def best_time(function: Callable[[], object]) -> float:
    """Shortest of some runs, milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def measure(faces: int, training: int, seed: int) -> Report:
    """Photograph people and have every reader read them."""
    head = load_arkit_head()
    landmarks, learned = LandmarkFaceEncoder(head), LearnedFaceEncoder(head)
    swift = LearnedFaceEncoder(head, learned.network, refine=False)
    photos = take_photos(faces, seed, at_rest=True)
    others = take_photos(training, seed + 1)
    examiner = Examiner(head, photos, seed + 2)
    detected, true = see_detected_landmarks(), see_true_landmarks(head)
    named: dict[str, FaceEncoder] = {
        "landmark fit": landmarks,
        "learned, not refined": swift,
        "learned": learned,
    }
    readers: list[Reader] = [
        EncoderReader("landmark fit", landmarks, head),
        LandmarkRegression("ridge, MediaPipe's landmarks", detected, head, others, timed=True),
        LandmarkRegression("ridge, true landmarks", true, head, others),
        EncoderReader("learned, not refined", swift, head),
        EncoderReader("learned", learned, head),
        EncoderReader("learned, with the neutral, not refined", swift, head, informed=True),
        EncoderReader("learned, with the neutral", learned, head, informed=True),
    ]
    return Report(
        faces=faces,
        training=training,
        seed=seed,
        true_emotion=examiner.true_emotion,
        scores=tuple(examiner.score(reader) for reader in readers),
        robustness={name: measure_robustness(encoder, head) for name, encoder in named.items()},
        reliability=measure_reliability(learned, head, photos, seed + 3),
    )


def to_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table in Markdown; what is not known is left empty."""

    def show(cell: Cell) -> str:
        if isinstance(cell, float):
            return f"{cell:.2f}"
        return "" if cell is None else str(cell)

    return markdown_table(header, [list(map(show, row)) for row in rows])


def to_markdown(report: Report) -> str:
    """The report as tables."""
    scores, ways = report.scores, list(report.robustness.values())
    fields = ("correlation", "slope", "error", "emotion", "emotion_share", "pose", "landmarks")
    columns = ("r", "slope", "error", "emotion %", "of truth's %", "pose", "landmarks %", "ms")
    shown = sorted(scores[0].correlations)
    by_way = [
        [way, *(f"{worst:.2f} ({name})" for name, worst in (r.disagreement[way] for r in ways))]
        for way in ways[0].disagreement
    ]
    named: list[list[Cell]] = [[name, *(r.read[name] for r in ways)] for name in ways[0].read]
    named.append(["residual, %", *(r.residual_percent for r in ways)])
    parts = [
        "# How faces are read",
        f"{report.faces} synthetic people, each on one photo; {report.training} others for the "
        f"regressions; seed {report.seed}. From the true actions {report.true_emotion:.1f} % of "
        "the emotions are told right.",
        to_table(
            ("reader", *columns),
            [[s.reader, *(getattr(s, f) for f in fields), s.milliseconds] for s in scores],
        ),
        "## A photograph (skimage.data.astronaut)",
        to_table(("read", *report.robustness), named),
        f"Largest disagreement with the same photograph altered, of actions above 0.2:\n\n"
        f"{to_table(('altered', *report.robustness), by_way)}",
        "## Reliability of the learned encoder's confidence",
        to_table(
            ("readings", "number", "mean confidence", "share right", "calibration error"),
            [
                [name, g.readings, g.confidence, g.right, g.calibration_error]
                for name, g in report.reliability.items()
            ],
        ),
        "## Correlation by action",
        to_table(
            ("action", *(score.reader for score in scores)),
            [[name, *(score.correlations[name] for score in scores)] for name in shown],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faces", type=int, default=200, help="people to read")
    parser.add_argument("--training", type=int, default=400, help="others, for the regressions")
    parser.add_argument("--seed", type=int, default=9000)
    parser.add_argument("--output", type=Path, default=Path("outputs/perception"))
    options = parser.parse_args(argv)
    report = measure(options.faces, options.training, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": to_markdown(report),
        "report.json": json.dumps(asdict(report), indent=2) + "\n",
    }
    for file, text in texts.items():
        with replacing(options.output / file) as unfinished:
            unfinished.write_text(text)
    draw_reliability(report.reliability, options.output / "reliability.png")
    print(texts["report.md"])


if __name__ == "__main__":
    run(main)
