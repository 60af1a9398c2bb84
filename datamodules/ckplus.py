"""CK+ in its official layout, and the places of the synthetic twin's files in the same layout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from datamodules.records import (
    FORBIDDEN,
    FaceRecord,
    FaceRecords,
    Skipped,
    check_synthetic,
    read_marker,
)
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import CKPLUS_EMOTIONS, Emotion
from i2fet.errors import DatasetError, OptionError

IMAGES = "cohn-kanade-images"
LABELS = "Emotion"
TRUTH = "truth"


@dataclass(frozen=True, order=True)
class Sequence:
    """One recording of CK+.

    Attributes:
        subject: "S005".
        number: "001".
    """

    subject: str
    number: str

    @property
    def images(self) -> Path:
        return Path(IMAGES, self.subject, self.number)

    @property
    def labels(self) -> Path:
        return Path(LABELS, self.subject, self.number)

    @property
    def truth(self) -> Path:
        return Path(TRUTH, self.subject, f"{self.number}.safetensors")

    def frame(self, index: int) -> str:
        """File name of the frame with this index (from 0; CK+ counts from 1)."""
        return f"{self.subject}_{self.number}_{index + 1:08d}.png"


class _UnusableError(Exception):
    """Why a sequence is skipped."""


def read_ckplus(root: str | Path, apex_frames: int = 3, unlabelled: bool = False) -> FaceRecords:
    """List the labelled frames of CK+ or of its synthetic twin.

    Of every labelled sequence the first frame is neutral and the last ones carry the label.

    Args:
        root: Folder that holds `cohn-kanade-images` and `Emotion`.
        apex_frames: How many frames at the end show the expression.
        unlabelled: Whether to take the neutral first frame of sequences without a label too.

    Raises:
        DatasetError: The folder is missing, forbidden, in another layout, without a usable
            sequence, or an unfinished synthetic corpus.
        OptionError: No frame to show the expression.
    """
    if apex_frames < 1:
        raise OptionError(f"apex_frames is {apex_frames}; take at least 1")
    root = Path(root)
    marker = read_marker(root)
    _check_layout(root, synthetic=marker is not None)
    records: list[FaceRecord] = []
    sequences, skipped = _sequences(root)
    for sequence in sequences:
        try:
            records += _read_sequence(root, sequence, apex_frames, unlabelled)
        except _UnusableError as reason:
            skipped.append(Skipped(f"{sequence.subject}/{sequence.number}", str(reason)))
    _check_content(root, records, marker["sequences"] if marker else 1)
    return FaceRecords(root, tuple(records), tuple(skipped), synthetic=marker is not None)


def _check_layout(root: Path, synthetic: bool) -> None:
    hint = "give the folder of CK+'s archives, or write a stand-in with `i2fet corpus`"
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; {hint}")
    for name in (TRUTH if synthetic else IMAGES, LABELS):
        if not (root / name).is_dir():
            raise DatasetError(f"{root} has no folder {name}, so it is not CK+; {hint}")
        if not os.access(root / name, os.R_OK | os.X_OK):
            raise DatasetError(f"{root / name} cannot be read; ask its owner for the permission")


def _check_content(root: Path, records: list[FaceRecord], expected: int) -> None:
    found = len({(record.subject, record.sequence) for record in records})
    if not found:
        raise DatasetError(f"{root} holds no labelled sequence; check that both archives unpacked")
    if found < expected:
        raise DatasetError(
            f"{root} holds {found} of its {expected} sequences; run the command that wrote it again"
        )


def _folders(path: Path) -> list[Path]:
    visible = (item for item in path.iterdir() if not item.name.startswith("."))
    return sorted(item for item in visible if item.is_dir())


def _sequences(root: Path) -> tuple[list[Sequence], list[Skipped]]:
    """The sequences of both trees, and the subjects' folders that show none."""
    trees = [root / name for name in (IMAGES, LABELS) if (root / name).is_dir()]
    found: set[Sequence] = set()
    skipped = []
    for subject in (folder for tree in trees for folder in _folders(tree)):
        name = subject.relative_to(root).as_posix()
        try:
            numbers = _folders(subject)
        except PermissionError:
            skipped.append(Skipped(name, FORBIDDEN))
            continue
        if not numbers:
            skipped.append(Skipped(name, "empty folder"))
        found |= {Sequence(subject.name, number.name) for number in numbers}
    return sorted(found), skipped


def _read_sequence(
    root: Path, sequence: Sequence, apex_frames: int, unlabelled: bool
) -> list[FaceRecord]:
    try:
        emotion = _read_label(root / sequence.labels)
        frames = _frames(root, sequence)
    except PermissionError:
        raise _UnusableError(FORBIDDEN) from None
    if emotion is None and not unlabelled:
        raise _UnusableError("no label")
    if len(frames) < 2:
        raise _UnusableError("fewer than two frames")
    labels = {0: Emotion.NEUTRAL}
    if emotion is not None:
        labels |= dict.fromkeys(range(max(1, len(frames) - apex_frames), len(frames)), emotion)
    return [
        FaceRecord(
            sequence.subject,
            sequence.number,
            (sequence.images / frames[index]).as_posix(),
            label,
        )
        for index, label in labels.items()
    ]


def _read_label(folder: Path) -> Emotion | None:
    """The expression of a sequence, or None if it has no label."""
    if not folder.is_dir():
        return None
    files = _files(folder, "_emotion.txt")
    if not files:
        return None
    try:
        value = float(files[0].read_text())
    except ValueError:
        raise _UnusableError("unreadable label") from None
    if value not in range(1, len(CKPLUS_EMOTIONS) + 1):
        raise _UnusableError(f"label {value:g} out of range")
    return CKPLUS_EMOTIONS[int(value) - 1]


def _frames(root: Path, sequence: Sequence) -> list[str]:
    if (root / sequence.images).is_dir():
        pictures = _files(root / sequence.images, ".png")
        return [path.name for path in pictures if path.stat().st_size]
    if (root / sequence.truth).exists():
        return [sequence.frame(index) for index in range(_truth_length(root / sequence.truth))]
    return []


def _files(folder: Path, ending: str) -> list[Path]:
    """Visible files; unlike `glob`, this does not take a forbidden folder for an empty one."""
    names = sorted(path.name for path in folder.iterdir())
    return [folder / name for name in names if name.endswith(ending) and name[0] != "."]


def _truth_length(path: Path) -> int:
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice("pose").get_shape()[0])
    except SafetensorError:
        raise _UnusableError("unreadable truth") from None


def read_truth(faces: FaceRecords) -> FaceCoefficients:
    """True coefficients of every record of the synthetic twin, in the records' order.

    Raises:
        DatasetError: The dataset has no truth, as only synthetic people have one, or it is broken.
    """
    check_synthetic(faces)
    tables: dict[Sequence, FaceCoefficients] = {}
    rows = []
    for record in faces.records:
        sequence = Sequence(record.subject, record.sequence)
        if sequence not in tables:
            tables[sequence] = _load_truth(faces.root / sequence.truth)
        row = int(Path(record.frame).stem.rpartition("_")[2]) - 1
        rows.append(tables[sequence][row : row + 1])
    return FaceCoefficients.cat(rows)


def _load_truth(path: Path) -> FaceCoefficients:
    try:
        return FaceCoefficients(**load_file(path))
    except (OSError, SafetensorError) as error:
        raise DatasetError(
            f"{path} is not readable; delete it and write the corpus again"
        ) from error
