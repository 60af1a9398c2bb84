"""Any trained model that makes pairs of expressions."""

from __future__ import annotations

from pathlib import Path

from i2fet.checkpoint import read_content, reading_checkpoint
from i2fet.errors import CheckpointError
from i2fet.nn.generator import ExpressionGenerator
from i2fet.nn.motionclip import MotionClipGenerator
from i2fet.nn.pair_generator import PairGenerator

KINDS: tuple[type[PairGenerator], ...] = (ExpressionGenerator, MotionClipGenerator)


def load_generator(path: str | Path) -> PairGenerator:
    """Load a checkpoint of whichever task trained it, on the CPU.

    Raises:
        CheckpointError: If the file is missing, broken or of a task that trains no generator.
    """
    tasks = " or ".join(kind.task for kind in KINDS)
    with reading_checkpoint(path, tasks):
        state = read_content(path).state
    for kind in KINDS:
        if any(name.startswith(kind.prefix) for name in state):
            return kind.from_checkpoint(path)
    raise CheckpointError(f"{path} is not a checkpoint of {tasks}; give another one")
