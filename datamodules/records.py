"""What a reader finds in a dataset's folder: labelled frames, and what it had to skip."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from i2fet.emotions import Emotion
from i2fet.errors import DatasetError

MARKER = "SYNTHETIC.json"
"""The file by which a corpus says that its people never lived."""

FORBIDDEN = "no permission to read"
"""Why files and folders are skipped that belong to somebody else."""


@dataclass(frozen=True)
class FaceRecord:
    """One labelled frame.

    Attributes:
        subject: Name of the person, unique in the dataset.
        sequence: Name of the recording, unique for the subject.
        frame: Path of the picture or clip relative to the dataset's root, with forward slashes.
        emotion: The expression shown.
        index: Position of the frame in its clip, from 0; None for a picture.
    """

    subject: str
    sequence: str
    frame: str
    emotion: Emotion
    index: int | None = None

    @property
    def name(self) -> str:
        """The frame for people to read: "a.png", or "a.mp4#12" in a clip."""
        return self.frame if self.index is None else f"{self.frame}#{self.index}"


@dataclass(frozen=True)
class Skipped:
    """A part of the dataset that could not be used."""

    path: str
    reason: str


@dataclass(frozen=True)
class FaceRecords:
    """The labelled frames of a dataset, in sorted order; those of a clip follow each other.

    Attributes:
        root: The dataset's folder.
        records: The frames.
        skipped: What was left out and why.
        synthetic: Whether a corpus writer of this project made the dataset.
    """

    root: Path
    records: tuple[FaceRecord, ...]
    skipped: tuple[Skipped, ...]
    synthetic: bool

    def summary(self) -> str:
        """One line for logs: how much was found and what was skipped."""
        sequences = {(record.subject, record.sequence) for record in self.records}
        subjects = {record.subject for record in self.records}
        found = (
            f"{len(self.records)} frames of {len(sequences)} sequences of {len(subjects)} subjects"
        )
        reasons = Counter(item.reason for item in self.skipped)
        skipped = ", ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items()))
        return f"{found}; skipped: {skipped or 'nothing'}"

    def fingerprint(self) -> str:
        """Digest of the frames' names and of their files' sizes and modification times.

        Raises:
            DatasetError: A picture or clip is not there, or its folder is forbidden.
        """
        digest = hashlib.sha256()
        for frame, records in groupby(self.records, lambda record: record.frame):
            try:
                status = (self.root / frame).stat()
            except FileNotFoundError as error:
                raise DatasetError(
                    f"{self.root / frame} is missing; write the corpus with pictures, or use "
                    "--data.coefficients true"
                ) from error
            except PermissionError as error:
                raise DatasetError(
                    f"{self.root / frame} cannot be read; ask its owner for the permission"
                ) from error
            indices = [record.index for record in records]
            digest.update(f"{frame} {indices} {status.st_size} {status.st_mtime_ns}\0".encode())
        return digest.hexdigest()


def read_marker(root: Path) -> dict[str, Any] | None:
    """Content of a synthetic corpus's marker, or None for any other dataset.

    Raises:
        DatasetError: The folder is forbidden, or the marker is broken.
    """
    path = root / MARKER
    try:
        return dict(json.loads(path.read_text())) if path.exists() else None
    except PermissionError as error:
        raise DatasetError(f"{root} cannot be read; ask its owner for the permission") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not readable; delete {root} and write it again") from error


def check_synthetic(faces: FaceRecords) -> None:
    """Refuse to look for the truth about real people.

    Raises:
        DatasetError: The dataset is no synthetic corpus.
    """
    if not faces.synthetic:
        raise DatasetError(
            f"{faces.root} holds real people, whose true coefficients nobody knows; "
            "use --data.coefficients perceived"
        )


def inexpressive(shown: Iterable[tuple[str, Emotion]], least: int) -> set[str]:
    """Subjects that show fewer than `least` different expressions.

    Args:
        shown: Subject and expression of every face.
        least: Number of expressions.
    """
    emotions: defaultdict[str, set[Emotion]] = defaultdict(set)
    for subject, emotion in shown:
        emotions[subject].add(emotion)
    return {subject for subject, found in emotions.items() if len(found) < least}
