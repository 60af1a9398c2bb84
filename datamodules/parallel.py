"""Work shared out over processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def count_workers(wanted: int | None, items: int) -> int:
    """Processes for a number of items: as many as there are cores, if it is not said."""
    return max(min(wanted or len(os.sched_getaffinity(0)), items), 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread, so that results are rounded as in the processes of `share_out`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def share_out(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Iterator[_Result]:
    """Call a function with every item, in processes that use one thread each.

    A single worker is the calling process itself, which uses one thread for as long.

    When the caller is interrupted, the items that are being worked on are finished and no other is
    begun; when it is killed, the processes end at once.

    Args:
        function: Can be pickled, as can its results.
        items: To be worked on.
        workers: Number of processes.

    Yields:
        The results, in the items' order.
    """
    if workers == 1:
        yield from map(one_thread()(function), items)
        return
    # Spawned, since threads of torch, Warp and MediaPipe do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        yield from pool.map(function, items)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended without a word, as `kill -9` makes it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
