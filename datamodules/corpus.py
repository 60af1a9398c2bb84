"""Writes stand-ins for the datasets that need a licence: synthetic people in the same layout."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save_file

from datamodules.ckplus import LABELS, TRUTH, Sequence
from datamodules.motion import HOLD_FRAMES, sample_sequence
from datamodules.parallel import count_workers, share_out
from datamodules.people import photograph, sample_person
from datamodules.prototypes import Variability
from datamodules.records import MARKER, read_marker
from i2fet.emotions import CKPLUS_EMOTIONS, Emotion
from i2fet.errors import DatasetError, OutputError
from i2fet.files import replacing
from i2fet.heads.arkit import ASSET, ArkitHead, load_arkit_head

logger = logging.getLogger(__name__)

CKPLUS_SUBJECTS = 117
CKPLUS_COUNTS: dict[Emotion, int] = {
    Emotion.SURPRISE: 83,
    Emotion.HAPPINESS: 69,
    Emotion.DISGUST: 59,
    Emotion.ANGER: 45,
    Emotion.SADNESS: 28,
    Emotion.FEAR: 25,
    Emotion.CONTEMPT: 18,
}
"""Labelled sequences in CK+, the most frequent emotion first."""

FEWEST_SEQUENCES = 3
CORPUS_VERSION = "2"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Settings:
    """All that a corpus depends on; equal settings give equal files.

    Raises:
        DatasetError: If no corpus can be made with them.

    Attributes:
        layout: The dataset whose layout is used.
        subjects: Number of people.
        seed: Source of every draw.
        size: Width and height of the pictures, pixels.
        frames: Pictures in a sequence.
        pictures: Whether pictures are written, or the truth alone.
        head: The head the truth belongs to.
        head_sha256: Of that head's file.
        recipe: Of the way corpora are made.
    """

    layout: str
    subjects: int
    seed: int
    size: int
    frames: int
    pictures: bool
    head_sha256: str = field(default_factory=lambda: _sha256(ASSET))
    head: str = "arkit"
    recipe: str = CORPUS_VERSION

    def __post_init__(self) -> None:
        lowest = {"subjects": FEWEST_SEQUENCES, "frames": HOLD_FRAMES + 1, "size": 32, "seed": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise DatasetError(
                    f"{name} is {getattr(self, name)}; a corpus needs at least {least}"
                )


class Recording(Protocol):
    """One sequence or clip of a corpus."""

    @property
    def truth(self) -> Path:
        """Its true coefficients below the corpus's folder; the last file to be written."""


_Take = TypeVar("_Take", bound=Recording)


@dataclass(frozen=True)
class Take:
    """One sequence to be recorded; the two numbers seed it."""

    subject: int
    number: int
    emotion: Emotion

    @property
    def sequence(self) -> Sequence:
        return Sequence(f"S{self.subject + 1:03d}", f"{self.number + 1:03d}")

    @property
    def truth(self) -> Path:
        return self.sequence.truth


def write_ckplus_corpus(
    out: str | Path,
    subjects: int = CKPLUS_SUBJECTS,
    seed: int = 0,
    size: int = 256,
    frames: int = 7,
    pictures: bool = True,
    workers: int | None = None,
) -> Path:
    """Write synthetic people in CK+'s layout, with their true coefficients in `truth`.

    Every sequence depends on the seed and its own number alone, so the files are the same for any
    number of workers. Calling again after an interruption writes what is missing.

    Args:
        out: Folder to write; new, empty, or begun with the same settings.
        subjects: Number of people; CK+'s sequence counts are scaled to it.
        seed: Source of every draw.
        size: Width and height of the pictures, pixels.
        frames: Pictures in a sequence; the first is neutral, the last three show the expression.
        pictures: Write pictures; without them the corpus serves training on the truth only.
        workers: Processes; as many as there are cores by default.

    Returns:
        The folder.

    Raises:
        DatasetError: An option out of range.
        OutputError: The folder holds something else, or cannot be written.
    """
    out = Path(out)
    settings = Settings("ckplus", subjects, seed, size, frames, pictures)
    takes = plan_takes(subjects, seed)
    claim(out, settings, "CK+", len(takes), (LABELS, TRUTH))
    record_missing(out, settings, takes, _record_take, workers)
    return out


def plan_takes(subjects: int, seed: int) -> list[Take]:
    """Which subject poses which emotions: CK+'s counts, no emotion twice by one subject."""
    rng = np.random.default_rng([seed, subjects])
    recorded = np.zeros(subjects, dtype=int)
    takes = []
    for emotion, count in CKPLUS_COUNTS.items():
        scaled = max(FEWEST_SEQUENCES, round(count * subjects / CKPLUS_SUBJECTS))
        # Those with few sequences come first, more or less: nobody is left without one.
        order = np.argsort(recorded + 2.5 * rng.random(subjects))
        for subject in order[:scaled].tolist():
            takes.append(Take(subject, int(recorded[subject]), emotion))
            recorded[subject] += 1
    return sorted(takes, key=lambda take: (take.subject, take.number))


def claim(
    out: Path, settings: Settings, dataset: str, sequences: int, folders: Iterable[str]
) -> None:
    """Mark a new folder as this corpus, or check that it is.

    Args:
        out: The folder.
        settings: Of the corpus.
        dataset: For people to read.
        sequences: How many the finished corpus holds.
        folders: To be made in it.

    Raises:
        OutputError: The folder holds something else, or cannot be written.
    """
    wanted = asdict(settings)
    marker = read_marker(out)
    if marker is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} is in use for something else; choose another folder")
        content = {
            "what": f"Synthetic people in {dataset}'s layout, with their true coefficients.",
            "made_by": f"i2fet {version('i2fet')}",
            "sequences": sequences,
            "settings": wanted,
        }
        _make_folder(out)
        with replacing(out / MARKER) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2))
    elif marker["settings"] != wanted:
        found = marker["settings"]
        others = ", ".join(
            f"{key} {found.get(key)}" for key in wanted if found.get(key) != wanted[key]
        )
        raise OutputError(f"{out} holds a corpus made with {others}; choose another folder")
    for name in folders:
        (out / name).mkdir(exist_ok=True)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be made ({error.strerror}); choose another folder"
        ) from error


def record_missing(
    out: Path,
    settings: Settings,
    takes: list[_Take],
    record: Callable[[Path, Settings, _Take], None],
    workers: int | None = None,
) -> None:
    """Record every take of which there is no truth yet, shared out over processes.

    Args:
        out: Folder of the corpus.
        settings: Of the corpus.
        takes: All of them.
        record: Writes one into the folder; can be pickled.
        workers: Processes; as many as there are cores by default.
    """
    missing = [take for take in takes if not (out / take.truth).exists()]
    logger.info("%s: %d of %d recordings to write", out, len(missing), len(takes))
    # Without pictures a take is done in milliseconds, before a process has started.
    workers = count_workers(workers, len(missing)) if settings.pictures else 1
    done = share_out(partial(record, out, settings), missing, workers)
    for _ in track(done, "Synthetic people", total=len(missing)):
        pass


@cache
def corpus_head() -> ArkitHead:
    """The head of all corpora, read once."""
    return load_arkit_head()


def _record_take(out: Path, settings: Settings, take: Take) -> None:
    """Write one sequence; its truth comes last, as the sign that the sequence is complete."""
    person = sample_person(np.random.default_rng([settings.seed, take.subject]))
    # From one on: NumPy takes a seed's trailing zeros for padding, so zero would be the person's.
    rng = np.random.default_rng([settings.seed, take.subject, take.number + 1])
    faces = sample_sequence(
        take.emotion,
        person.style,
        person.shape,
        corpus_head(),
        settings.frames,
        rng,
        Variability(),
    )
    sequence = take.sequence
    if settings.pictures:
        images = photograph(corpus_head(), person.look, faces, settings.size)
        _write_pictures(out / sequence.images, sequence, images)
    for place in (sequence.labels, take.truth.parent):
        (out / place).mkdir(parents=True, exist_ok=True)
    label = CKPLUS_EMOTIONS.index(take.emotion) + 1
    name = Path(sequence.frame(settings.frames - 1)).stem + "_emotion.txt"
    with replacing(out / sequence.labels / name) as unfinished:
        unfinished.write_text(f"   {label:.7e}\n")
    with replacing(out / take.truth) as unfinished:
        save_file(vars(faces), unfinished)


def _write_pictures(folder: Path, sequence: Sequence, images: NDArray[np.uint8]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        unfinished = Path(temporary, "pictures")
        unfinished.mkdir()
        for index, image in enumerate(images):
            path = unfinished / sequence.frame(index)
            if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
                raise OutputError(f"{path} cannot be written; is the disk full?")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
