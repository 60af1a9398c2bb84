"""Tensors on disk that are rebuilt whenever what they were made from has changed.

A cached file is a safetensors file, which other programs can read and map into memory. Its metadata
has one entry, `cache`, a JSON object of

- `key`: all that the tensors were made from,
- `checksum`: SHA-256 over the tensors in the order of their names, each as its name, type and shape
  and then its bytes,
- and whatever notes the maker adds for other readers.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2fet.errors import OutputError
from i2fet.files import replacing

logger = logging.getLogger(__name__)

HEADER = "cache"
"""The only entry of the metadata, as safetensors writes several in an order that changes."""

Key = Mapping[str, str]
Notes = Mapping[str, Any]
Tensors = dict[str, Tensor]


class _UnusableError(Exception):
    """Why a cached file is not read."""


def default_cache_dir() -> Path:
    """`$I2FET_CACHE`, or `outputs/cache` under the working directory."""
    return Path(os.environ.get("I2FET_CACHE", "outputs/cache"))


def unfinished_folder(path: Path) -> Path:
    """Where a builder of `path` may keep what it needs to resume; removed with the next success."""
    return path.with_suffix(".unfinished")


def load_or_build(
    path: Path, key: Key, build: Callable[[], Tensors], notes: Notes | None = None
) -> Tensors:
    """Map tensors of a file into memory, or make and keep them if it is not theirs any more.

    Of several processes that ask at once one builds and the others wait for it.

    Args:
        path: A `.safetensors` file.
        key: Everything the tensors were made from, as text.
        build: Makes the tensors.
        notes: Further entries of the header, that can be written as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    with _locked(path.with_suffix(".lock")):
        try:
            tensors = _read(path, key)
        except _UnusableError as reason:
            logger.info("building %s: %s", path, reason)
            tensors = build()
            _write(path, key, tensors, notes or {})
        if unfinished_folder(path).exists():
            shutil.rmtree(unfinished_folder(path))
    return tensors


def is_current(path: Path, key: Key) -> bool:
    """Whether a file holds the tensors that were made from this key, undamaged."""
    try:
        _read(path, key)
    except _UnusableError:
        return False
    return True


def _write(path: Path, key: Key, tensors: Tensors, notes: Notes) -> None:
    header = {**notes, "key": dict(key), "checksum": _checksum(tensors)}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, {HEADER: json.dumps(header, sort_keys=True)})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file among all processes that see it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise OutputError(
            f"the cache {path.parent} cannot be written ({error.strerror}); choose another with "
            "--data.cache_dir or $I2FET_CACHE"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path, key: Key) -> Tensors:
    if not path.exists():
        raise _UnusableError("it is not there yet")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        cached_key, checksum = dict(header["key"]), header["checksum"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        raise _UnusableError("the file is corrupt") from None
    changed = sorted(name for name in {*key, *cached_key} if key.get(name) != cached_key.get(name))
    if changed:
        raise _UnusableError(f"it was made with another {', '.join(changed)}")
    if checksum != _checksum(tensors):
        raise _UnusableError("its checksum does not match")
    return tensors


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
