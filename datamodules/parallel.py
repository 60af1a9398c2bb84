"""Work shared out over processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
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
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    workers: int,
    here: Callable[[_Item], _Result] | None = None,
) -> Iterator[_Result]:
    """Call a function with every item, in processes that use one thread each.

    The calling process is one of them, and works from the end while the others start. When it is
    interrupted, the items on which the others work are finished and no other is begun; when it is
    killed, they end at once.

    Args:
        function: Can be pickled, as can its results.
        items: To be worked on.
        workers: Number of processes.
        here: Used by the calling process in place of `function`; need not be picklable.

    Yields:
        The results, in the items' order.
    """
    here = one_thread()(here or function)
    if workers == 1:
        yield from map(here, items)
        return
    # Spawned, since threads of torch, Warp and MediaPipe do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, context, _start_worker)
    try:
        yield from _help(here, items, [pool.submit(function, item) for item in items])
    finally:
        pool.shutdown(cancel_futures=True)


def _help(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    futures: Sequence[Future[_Result]],
) -> Iterator[_Result]:
    """The results of all items; those on which nobody works are done here, the last ones first."""
    done: dict[int, _Result] = {}
    last = iter(reversed(range(len(items))))
    for place, future in enumerate(futures):
        while place not in done and not future.done():
            free = next((other for other in last if futures[other].cancel()), None)
            if free is None:
                break
            done[free] = function(items[free])
        yield done.pop(place) if place in done else future.result()


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
