"""CelebV-HQ in its published layout, and the places of the synthetic twin's files in it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from datamodules.clips import ClipError, ClipInfo, inspect_clip
from datamodules.motion import FPS
from datamodules.records import (
    FORBIDDEN,
    FaceRecord,
    FaceRecords,
    Skipped,
    check_synthetic,
    inexpressive,
    read_marker,
)
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import CELEBVHQ_EMOTIONS, SYNONYMS, Emotion
from i2fet.errors import DatasetError, OptionError

INFO = "celebvhq_info.json"
CLIPS = "processed"
TRUTH = "truth"

MIN_EXPRESSIONS = 3
"""The paper keeps subjects with more than two expressions (Section IV-A2)."""

ROUNDING = 1e-3
"""Frames by which times may be off: the list has 1.2800000000000011 where 1.28 is meant."""

EMOTIONS = {word: emotion for emotion, words in SYNONYMS.items() for word in words}
"""By the words of the labels, which are nouns but for "happy"."""

_WithSubject = TypeVar("_WithSubject", "Clip", FaceRecord)


@dataclass(frozen=True, order=True)
class Span:
    """A part of a clip that shows one expression.

    Attributes:
        start: Seconds from the clip's beginning.
        end: Seconds; infinite for the whole clip.
        emotion: The expression.
    """

    start: float
    end: float
    emotion: Emotion

    def frames(self, info: ClipInfo) -> range:
        """Positions of its frames in the clip, whose frame rate is taken to be constant."""
        start, end = self.start * info.fps - ROUNDING, self.end * info.fps - ROUNDING
        return range(max(math.ceil(start), 0), math.ceil(min(end, info.frames)))


@dataclass(frozen=True)
class Clip:
    """One entry of the list.

    Attributes:
        name: "M2Ohb0FAaJU_1"; of its file as well.
        subject: The video it was cut from, "M2Ohb0FAaJU".
        spans: What it shows and when, in order of time.
    """

    name: str
    subject: str
    spans: tuple[Span, ...]


def read_celebvhq(
    root: str | Path, frames_per_span: int = 3, min_expressions: int = MIN_EXPRESSIONS
) -> FaceRecords:
    """List labelled frames of CelebV-HQ or of its synthetic twin.

    The video that a clip was cut from stands for its subject. Clips, spans and frames that cannot
    be used are listed in `skipped`, and so are the subjects with too few expressions.

    Args:
        root: Folder that holds `celebvhq_info.json` and, at any depth, the clips as
            `<name>.mp4`; a synthetic corpus may hold the truth instead.
        frames_per_span: How many frames are taken from each span, at even distances.
        min_expressions: Fewest different expressions of a subject.

    Raises:
        DatasetError: The folder is missing, in another layout, without a usable clip, or an
            unfinished synthetic corpus.
        OptionError: No frame to be taken.
    """
    if frames_per_span < 1:
        raise OptionError(f"frames_per_span is {frames_per_span}; take at least 1")
    return _Reader(Path(root), frames_per_span, min_expressions).read()


class _Reader:
    """Reads a folder and takes down what it skips."""

    def __init__(self, root: Path, frames_per_span: int, min_expressions: int) -> None:
        self.root = root
        self.marker = read_marker(root)
        self.frames_per_span = frames_per_span
        self.min_expressions = min_expressions
        self.skipped: list[Skipped] = []

    def read(self) -> FaceRecords:
        entries = _load_entries(self.root)
        if self.marker:
            _check_complete(self.root, self.marker["sequences"])
        clips = [clip for name, entry in entries.items() for clip in self._parse(name, entry)]
        clips = self._drop_inexpressive(
            sorted(clips, key=lambda clip: (clip.subject, clip.name)),
            [(clip.subject, span.emotion) for clip in clips for span in clip.spans],
        )
        # Only now, since opening every clip of the dataset takes minutes.
        places = self._places(clips)
        records = [record for clip in clips for record in self._sample(clip, places)]
        shown = [(record.subject, record.emotion) for record in records]
        records = self._drop_inexpressive(records, shown)
        if not records:
            raise DatasetError(
                f"{self.root} holds no subject with {self.min_expressions} expressions; check that "
                "its clips are there, or lower --data.min_expressions"
            )
        return FaceRecords(self.root, tuple(records), tuple(self.skipped), self.marker is not None)

    def _skip(self, path: str, reason: object) -> None:
        self.skipped.append(Skipped(path, str(reason)))

    def _drop_inexpressive(
        self, items: list[_WithSubject], shown: list[tuple[str, Emotion]]
    ) -> list[_WithSubject]:
        dropped = inexpressive(shown, self.min_expressions)
        for subject in sorted(dropped):
            self._skip(subject, f"fewer than {self.min_expressions} expressions")
        return [item for item in items if item.subject not in dropped]

    def _parse(self, name: str, entry: Any) -> list[Clip]:
        """The clip of an entry, in a list that is empty if it cannot be used."""
        try:
            labels = entry["attributes"]["emotion"]["labels"]
            if isinstance(labels, str):
                labels = [{"emotion": labels, "start_sec": 0, "end_sec": math.inf}]
            if not labels:
                self._skip(name, "no label")
            spans = [span for label in labels for span in self._parse_span(name, label)]
            clip = Clip(name, str(entry["ytb_id"]), self._in_order(name, spans))
            return [clip] if clip.spans else []
        except (KeyError, TypeError, ValueError):
            self._skip(name, "malformed entry")
            return []

    def _parse_span(self, name: str, label: dict[str, Any]) -> list[Span]:
        start, end = float(label["start_sec"]), float(label["end_sec"])
        emotion = EMOTIONS.get(str(label["emotion"]).lower())
        if emotion is None:
            self._skip(name, f"unknown label {label['emotion']!r}")
        elif not start < end:
            self._skip(_span_name(name, start, end), "span ends where it begins, or before")
        else:
            return [Span(start, end, emotion)]
        return []

    def _in_order(self, name: str, spans: list[Span]) -> tuple[Span, ...]:
        kept: list[Span] = []
        for span in sorted(spans):
            if kept and span.start < kept[-1].end:
                self._skip(_span_name(name, span.start, span.end), "span overlaps another")
            else:
                kept.append(span)
        return tuple(kept)

    def _places(self, clips: list[Clip]) -> dict[str, Path]:
        """Where the clips are, relative to the root."""
        if self.marker:
            return {clip.name: Path(CLIPS, f"{clip.name}.mp4") for clip in clips}
        found = [
            Path(folder, name).relative_to(self.root)
            for folder, _, names in os.walk(self.root, onerror=self._skip_folder)
            for name in names
            if name.endswith(".mp4") and name[0] != "."
        ]
        return {path.stem: path for path in sorted(found)}

    def _skip_folder(self, error: OSError) -> None:
        self._skip(Path(error.filename).relative_to(self.root).as_posix(), FORBIDDEN)

    def _sample(self, clip: Clip, places: dict[str, Path]) -> list[FaceRecord]:
        try:
            info = self._inspect(clip, places)
        except ClipError as reason:
            self._skip(clip.name, reason)
            return []
        self._report_gaps(clip, info)
        place = places[clip.name].as_posix()
        return [
            FaceRecord(clip.subject, clip.name, place, span.emotion, index)
            for span in clip.spans
            for index in _spread(span.frames(info), self.frames_per_span)
        ]

    def _inspect(self, clip: Clip, places: dict[str, Path]) -> ClipInfo:
        if self.marker:
            return ClipInfo(_truth_length(self.root / TRUTH / f"{clip.name}.safetensors"), FPS)
        if clip.name not in places:
            raise ClipError("no such clip")
        return inspect_clip(self.root / places[clip.name])

    def _report_gaps(self, clip: Clip, info: ClipInfo) -> None:
        end = 0
        for span in clip.spans:
            frames = span.frames(info)
            if not frames:
                self._skip(_span_name(clip.name, span.start, span.end), "span holds no frame")
                continue
            self._report_gap(clip.name, end, frames.start)
            end = frames.stop
        self._report_gap(clip.name, end, info.frames)

    def _report_gap(self, name: str, start: int, stop: int) -> None:
        if start < stop:
            self._skip(f"{name}#{start}-{stop - 1}", "frames without a label")


def _span_name(name: str, start: float, end: float) -> str:
    return f"{name}, {start:g} s to {end:g} s"


def _spread(frames: range, count: int) -> list[int]:
    """At most `count` of the frames, at even distances and away from the ends."""
    count = min(count, len(frames))
    return [frames[(2 * step + 1) * len(frames) // (2 * count)] for step in range(count)]


def _load_entries(root: Path) -> dict[str, Any]:
    path = root / INFO
    hint = "give the folder of CelebV-HQ, or write a stand-in with `i2fet corpus celebvhq`"
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; {hint}")
    if not path.exists():
        raise DatasetError(f"{root} has no {INFO}, so it is not CelebV-HQ; {hint}")
    try:
        return dict(json.loads(path.read_text())["clips"])
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); {hint}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no list of clips; download it again") from error


def _check_complete(root: Path, expected: int) -> None:
    found = len(list((root / TRUTH).glob("[!.]*.safetensors")))
    if found < expected:
        raise DatasetError(
            f"{root} holds {found} of its {expected} clips; run the command that wrote it again"
        )


def _truth_length(path: Path) -> int:
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice("pose").get_shape()[0])
    except (OSError, SafetensorError):
        raise ClipError("unreadable truth") from None


def read_celebvhq_truth(faces: FaceRecords) -> FaceCoefficients:
    """True coefficients of every record of the synthetic twin, in the records' order.

    Raises:
        DatasetError: The dataset has no truth, as only synthetic people have one, or it is broken.
    """
    tensors = _read_truth(faces)
    tensors.pop("emotion")
    return FaceCoefficients(**tensors)


def read_true_emotions(faces: FaceRecords) -> list[Emotion]:
    """What the synthetic people of every record show, which a few labels get wrong.

    Raises:
        DatasetError: As `read_celebvhq_truth`.
    """
    return [CELEBVHQ_EMOTIONS[label] for label in _read_truth(faces)["emotion"].tolist()]


def _read_truth(faces: FaceRecords) -> dict[str, Tensor]:
    check_synthetic(faces)
    parts = []
    for name, records in groupby(faces.records, lambda record: record.sequence):
        path = faces.root / TRUTH / f"{name}.safetensors"
        rows = [record.index for record in records]
        try:
            parts.append({key: value[rows] for key, value in load_file(path).items()})
        except (OSError, SafetensorError) as error:
            raise DatasetError(
                f"{path} is not readable; delete it and write the corpus again"
            ) from error
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
