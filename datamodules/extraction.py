"""Pictures of a dataset to coefficients, through the same perception that photos take.

What was read is cached as `<cache>/<folder>-<hash of its path>/<head>-<encoder>.safetensors`, with
`-unrefined` in the name if it is; `datamodules.cache` says what all such files have in common. One
row of the tensors stands for each of N frames:

- `shape` (N, 100), `expression` (N, 50), `pose` (N, 6) and `camera` (N, 3), float32, with the
  meaning and the units of `i2fet.coefficients.FaceCoefficients`; a neutral face at unit scale where
  none was found,
- `readable` (N,) bool, where there is a picture,
- `found` (N,) bool, where there is a face in it,

and the note `frames` names the N frames: paths relative to the dataset's folder, in a clip followed
by "#" and the frame's number from 0. The key holds the encoder's fingerprint, the version of the
decoder, and a digest of the frames' names and of their files' sizes and times.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from datamodules.cache import Key, Tensors, is_current, load_or_build, unfinished_folder
from datamodules.clips import decode_clip
from datamodules.parallel import count_workers, one_thread, share_out
from datamodules.records import FaceRecords
from i2fet.coefficients import FaceCoefficients

if TYPE_CHECKING:
    from i2fet.perception import FaceEncoder

DECODER_VERSION = "2"
"""Changes whenever pictures are read in another way, which makes cached coefficients stale."""

BATCH = 32
PART = 64


@dataclass(frozen=True)
class EncoderLoader:
    """Loads a face encoder in whatever process needs it.

    Attributes:
        name: Of the encoder.
        head: Name of the head whose coefficients it gives.
        refine: As `load_face_encoder` says.
    """

    name: str
    head: str
    refine: bool = True

    def __call__(self) -> FaceEncoder:
        # Imported here, since it takes seconds that a run on the truth need not spend.
        from i2fet.perception import load_face_encoder

        return load_face_encoder(self.name, self.head, self.refine)


@dataclass(frozen=True)
class Part:
    """Some frames of a dataset, whose coefficients are kept in a file until all are read.

    Attributes:
        faces: The frames.
        path: The file.
        key: As for the whole dataset, and which frames these are.
    """

    faces: FaceRecords
    path: Path
    key: Key

    def read(self, load: Callable[[], FaceEncoder]) -> Tensors:
        """The frames' coefficients, from the file if they are there already."""
        with one_thread():
            return load_or_build(self.path, self.key, lambda: extract(load(), self.faces))


def cache_path(root: Path, loader: EncoderLoader, cache_dir: Path) -> Path:
    """The file that holds what an encoder read off a dataset's pictures."""
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    name = f"{loader.head}-{loader.name}{'' if loader.refine else '-unrefined'}.safetensors"
    return cache_dir / f"{root.resolve().name}-{place}" / name


def load_perceived(
    faces: FaceRecords,
    path: Path,
    load: Callable[[], FaceEncoder],
    workers: int | None = None,
    part: int = PART,
) -> Tensors:
    """Read the coefficients of a dataset's frames off their pictures, or off the cache.

    The frames are shared out over processes in parts of fixed size. Calling again after an
    interruption reads what is missing; the file is the same, byte by byte, whatever happened on the
    way and however many processes there were.

    Args:
        faces: N frames.
        path: The cached file.
        load: Loads the encoder; can be pickled, and equal ones load equal encoders.
        workers: Processes; as many as there are cores by default.
        part: Frames, more or less, that each process may lose when the work is interrupted.

    Returns:
        As `extract`.

    Raises:
        DatasetError: A picture or clip is not there.
        OutputError: The cache cannot be written.
    """
    encoder = load()
    key = _key(faces, encoder)

    def build() -> Tensors:
        parts = divide(faces, unfinished_folder(path), key, part)
        _read_all(parts, encoder, load, count_workers(workers, len(parts)))
        tensors = [part.read(lambda: encoder) for part in parts]
        return {name: torch.cat([some[name] for some in tensors]) for name in tensors[0]}

    return load_or_build(path, key, build, {"frames": [record.name for record in faces.records]})


def missing_parts(
    faces: FaceRecords, path: Path, encoder: FaceEncoder, part: int = PART
) -> list[Part]:
    """What `load_perceived` would have read and joined; nothing if the cache is complete."""
    key = _key(faces, encoder)
    return [] if is_current(path, key) else divide(faces, unfinished_folder(path), key, part)


def _key(faces: FaceRecords, encoder: FaceEncoder) -> Key:
    return {
        "encoder": encoder.fingerprint,
        "decoder": DECODER_VERSION,
        "dataset": faces.fingerprint(),
    }


def divide(faces: FaceRecords, folder: Path, key: Key, size: int) -> list[Part]:
    """Parts of about `size` frames that are kept in a folder; no clip is in two of them."""
    records = faces.records
    files = [
        row
        for row, record in enumerate(records)
        if row == 0 or record.frame != records[row - 1].frame
    ]
    starts = [next(rows) for _, rows in groupby(files, lambda row: row // size)]
    return [
        Part(
            replace(faces, records=records[start:stop], skipped=()),
            folder / f"{start:08d}.safetensors",
            {**key, "frames": f"{start} to {stop - 1}"},
        )
        for start, stop in pairwise([*starts, len(records)])
    ]


def _read_all(
    parts: Sequence[Part], encoder: FaceEncoder, load: Callable[[], FaceEncoder], workers: int
) -> None:
    """Have every part in its file."""
    there, here = partial(_read, partial(_load_once, load)), partial(_read, lambda: encoder)
    done = share_out(there, parts, workers, here)
    for _ in track(done, f"Reading {parts[0].faces.root.name}", total=len(parts)):
        pass


def _read(load: Callable[[], FaceEncoder], part: Part) -> None:
    part.read(load)


@cache
def _load_once(load: Callable[[], FaceEncoder]) -> FaceEncoder:
    return load()


def extract(encoder: FaceEncoder, faces: FaceRecords) -> Tensors:
    """Read the coefficients of every frame.

    Returns:
        shape (N, 100), expression (N, 50), pose (N, 6), camera (N, 3), and bool (N,): `readable`,
        where there is a picture, and `found`, where there is a face in it. In the records' order;
        neutral faces where none was found.
    """
    frames = read_frames(faces)
    batches = iter(lambda: list(islice(frames, BATCH)), [])
    parts = [_extract_batch(encoder, batch) for batch in batches]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _extract_batch(
    encoder: FaceEncoder, images: Sequence[NDArray[np.uint8] | None]
) -> dict[str, Tensor]:
    tensors = vars(FaceCoefficients.zeros(len(images)))
    readable = torch.tensor([image is not None for image in images])
    found = torch.zeros_like(readable)
    if readable.any():
        encoded = encoder.encode([image for image in images if image is not None])
        found[readable] = encoded.found
        for name, values in tensors.items():
            values[found] = getattr(encoded.coefficients, name)[encoded.found]
    return {**tensors, "readable": readable, "found": found}


def read_frames(faces: FaceRecords) -> Iterator[NDArray[np.uint8] | None]:
    """(H, W, 3) RGB of every record in turn, each clip decoded once; None where there is none."""
    for frame, records in groupby(faces.records, lambda record: record.frame):
        indices = [record.index for record in records if record.index is not None]
        if indices:
            yield from decode_clip(faces.root / frame, indices)
        else:
            yield read_picture(faces.root / frame)


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3) RGB, or None if the file is no picture or forbidden."""
    if not os.access(path, os.R_OK):
        return None  # OpenCV would complain on stderr.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
