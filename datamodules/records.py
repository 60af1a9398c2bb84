"""What a reader finds in a dataset's folder: labelled frames, and what it had to skip."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2fet.emotions import Emotion
from i2fet.errors import DatasetError

MARKER = "SYNTHETIC.json"
"""The file by which a corpus says that its people never lived."""


@dataclass(frozen=True)
class FaceRecord:
    """One labelled frame.

    Attributes:
        subject: Name of the person, unique in the dataset.
        sequence: Name of the recording, unique for the subject.
        frame: Path of the picture relative to the dataset's root, with forward slashes.
        emotion: The expression shown.
    """

    subject: str
    sequence: str
    frame: str
    emotion: Emotion


@dataclass(frozen=True)
class Skipped:
    """A part of the dataset that could not be used."""

    path: str
    reason: str


@dataclass(frozen=True)
class FaceRecords:
    """The labelled frames of a dataset, in sorted order.

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
        """Digest of the frames' relative paths, sizes and modification times.

        Raises:
            DatasetError: A picture is not there.
        """
        digest = hashlib.sha256()
        for frame in sorted({record.frame for record in self.records}):
            try:
                status = (self.root / frame).stat()
            except FileNotFoundError as error:
                raise DatasetError(
                    f"{self.root / frame} is missing; write the corpus with pictures, or use "
                    "--data.coefficients true"
                ) from error
            digest.update(f"{frame}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()


def read_marker(root: Path) -> dict[str, Any] | None:
    """Content of a synthetic corpus's marker, or None for any other dataset.

    Raises:
        DatasetError: The marker is not readable.
    """
    path = root / MARKER
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise DatasetError(f"{path} is not readable; delete {root} and write it again") from error
