"""Writing files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from i2fet.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move what was written there to `path`.

    If the block raises, the temporary file is removed and `path` stays as it was.

    Raises:
        OutputError: The folder does not exist, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}; create it first")
    unfinished = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); choose another path") from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_output(path: Path, endings: Collection[str]) -> None:
    """Find out early whether a file could be written; its folder may still have to be made.

    Raises:
        OutputError: The ending is not supported, or the file or its folder cannot be written.
    """
    check_ending(path, endings)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; choose another path")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: {folder} is no writable folder; choose another")


def check_ending(path: Path, endings: Collection[str]) -> str:
    """The ending of `path` in lower case, such as ".mp4".

    Raises:
        OutputError: The ending is none of those that are supported.
    """
    ending = path.suffix.lower()
    if ending not in endings:
        supported = ", ".join(endings)
        raise OutputError(f"cannot write {path}: its name must end in one of {supported}")
    return ending
