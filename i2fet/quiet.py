"""Silence for native code that writes to stderr and offers no option against it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Drop everything that the process writes to stderr meanwhile."""
    # Two threads at once would each put back what the other had put there.
    with _lock, open(os.devnull, "wb") as nowhere:
        stderr = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
