"""Running Warp kernels on torch tensors: quietly, and on the CPU on several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

import torch
import warp as wp

from i2fet.quiet import native_stderr_silenced

wp.config.log_level = wp.LOG_WARNING


@cache
def _start_warp() -> None:
    """Start Warp, whose native code warns on stderr of every machine without a GPU."""
    with native_stderr_silenced():
        wp.init()


def launch(
    kernel: wp.Kernel, dim: tuple[int, ...], arguments: list[Any], device: torch.device
) -> None:
    """Run a kernel on torch's current stream of a device."""
    stream = wp.stream_from_torch(device) if device.type == "cuda" else None
    wp.launch(kernel, dim, arguments, device=wp.device_from_torch(device), stream=stream)


def for_parts_of_batch(
    function: Callable[[slice], None], length: int, module: ModuleType, device: torch.device
) -> None:
    """Call a function that launches kernels for parts of a batch.

    On the CPU, where a launch uses one core and releases Python's lock, the batch is shared out
    over `torch.get_num_threads()` threads; elsewhere it is one part.

    Args:
        function: Is given the part's slice of the batch.
        length: Of the batch.
        module: Where the kernels are; built here, because the threads would race to build it.
        device: That the kernels run on.
    """
    _start_warp()
    wp.load_module(module, device=wp.device_from_torch(device))
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    step = max(-(-length // workers), 1)
    parts = [slice(start, start + step) for start in range(0, length, step)]
    if len(parts) < 2:
        function(slice(0, length))
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(function, parts))
