"""What was read from faces, in words and as plain values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.files import replacing
from i2fet.heads.base import HeadModel
from i2fet.perception.encoder import EncodedFaces, FaceEncoder, encode_photo
from i2fet.perception.images import Picture
from i2fet.perception.video import encode_video, frame_at, is_video

SHOWN = 0.1
"""Least action worth a word."""

DIGITS = 6
PROFILE, SMALL, LOOSE, UNSURE = 45, 64, 3.0, 0.5
"""Degrees of yaw, pixels of width, % of residual and mean confidence beyond which to warn."""

PARTS = {
    "brows": ("brow",),
    "eyes": ("eye",),
    "cheeks and nose": ("cheek", "nose"),
    "mouth": ("mouth", "jaw"),
}
"""Parts of the face, and how the names of their actions begin."""


@dataclass(frozen=True)
class Readout:
    """What was read from one file.

    Attributes:
        path: Of the photo or video.
        faces: One for a photo, one for each frame of a video.
        picture: The photo, or the middle one of the frames that show a face.
        row: Of that picture's face.
    """

    path: Path
    faces: EncodedFaces
    picture: Picture
    row: int

    @property
    def face(self) -> FaceCoefficients:
        """(1,) coefficients of the picture's face."""
        return self.faces.coefficients[self.row : self.row + 1]


def read_file(
    path: Path, encoder: FaceEncoder, neutral: Picture | None = None, smoothing: float = 0.2
) -> Readout:
    """Read a photo, or every frame of a video.

    Args:
        path: Of the photo or video, told apart by its ending.
        encoder: What reads it.
        neutral: The same person at rest, if known.
        smoothing: Of a video, seconds; see `encode_video`.

    Raises:
        PhotoError: If the file cannot be read or shows no usable face.
        OptionError: If there is a neutral photo and the encoder has no use for it.
    """
    if not is_video(path):
        picture, faces = encode_photo(path, encoder, neutral)
        return Readout(path, faces, picture, 0)
    faces = encode_video(path, encoder, neutral, smoothing)
    rows = faces.found.nonzero()[:, 0].tolist()
    row = rows[len(rows) // 2]
    return Readout(path, faces, frame_at(path, row), row)


def to_records(readout: Readout, head: HeadModel) -> Iterator[dict[str, Any]]:
    """Plain values of each face that was found, ready for JSON; a video's frames are numbered."""
    names, faces = head.action_names, readout.faces
    for row in faces.found.nonzero()[:, 0].tolist():
        face = faces.coefficients[row]
        yield {
            "photo": str(readout.path),
            **({"frame": row} if is_video(readout.path) else {}),
            "expression": dict(zip(head.expression_names, _numbers(face.expression), strict=True)),
            "jaw": _numbers(face.jaw),
            "head_pose": _numbers(face.global_rotation),
            "camera": _numbers(face.camera),
            "shape": _numbers(face.shape),
            "confidence": dict(zip(names, _numbers(faces.confidence[row]), strict=True)),
            "residual_percent": round(float(faces.residual_percent[row]), DIGITS),
        }


def format_records(records: Sequence[dict[str, Any]]) -> str:
    """A list as JSON."""
    return json.dumps(records, indent=2, allow_nan=False) + "\n"


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write a list as JSON.

    Raises:
        OutputError: If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(format_records(records))


def _numbers(values: Tensor) -> list[float | None]:
    """None for what is not known."""
    return [None if math.isnan(value) else round(value, DIGITS) for value in values.tolist()]


def describe(faces: EncodedFaces, head: HeadModel) -> str:
    """What a photo, or a video's frames on average, show, and how far that can be trusted."""
    seen = faces.coefficients[faces.found.nonzero()[:, 0]]
    shown, sure = head.actions(seen).mean(0), faces.confidence[faces.found].mean(0)
    named = zip(head.action_names, shown.tolist(), sure.tolist(), strict=True)
    rows = sorted((row for row in named if row[1] > SHOWN), key=lambda row: -row[1])
    lines = [f"  {name:<20}{value:5.2f}{_share(sure)}" for name, value, sure in rows]
    if len(faces.found) > 1:
        lines.insert(0, f"  frames    {len(seen)} of {len(faces.found)} with a face; on average:")
    yaw, pitch, roll = seen.head_angles.mean(0).tolist()
    width = float(faces.face_width[faces.found].mean())
    residual = float(faces.residual_percent[faces.found].mean())
    lines += [
        f"  head      yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f} degrees",
        f"  quality   face {width:.0f} pixels wide, mesh {residual:.2f} % of the distance between "
        "the eyes beside its landmarks",
    ]
    doubts = list(_doubts(yaw, width, residual))
    if (most := int(faces.faces.max())) > 1:
        doubts.append(f"{most} faces, the largest read")
    if unsure := list(_unsure(head.action_names, sure)):
        doubts.append(f"covered or unclear {', '.join(unsure)}")
    if doubts:
        lines.append(f"  doubtful  {'; '.join(doubts)}")
    return "\n".join(lines)


def _share(sure: float) -> str:
    return "" if math.isnan(sure) else f"  {100 * sure:3.0f} % sure"


def _doubts(yaw: float, width: float, residual: float) -> Iterator[str]:
    if abs(yaw) > PROFILE:
        yield f"profile, turned by {abs(yaw):.0f} degrees"
    if width < SMALL:
        yield "small face"
    if residual > LOOSE:
        yield "mesh beside the face"


def _unsure(names: Sequence[str], sure: Tensor) -> Iterator[str]:
    """Parts of the face whose actions are read with little confidence."""
    for part, beginnings in PARTS.items():
        rows = [row for row, name in enumerate(names) if name.startswith(beginnings)]
        mean = float(sure[rows].mean())
        if mean < UNSURE:
            yield f"{part} ({100 * mean:.0f} % sure)"
