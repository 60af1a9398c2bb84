"""Any trained model that makes pairs of expressions."""

from __future__ import annotations

import math
from pathlib import Path

from i2fet.checkpoint import read_content, reading_checkpoint
from i2fet.errors import CheckpointError, OptionError
from i2fet.nn.generator import ExpressionGenerator
from i2fet.nn.motionclip import MotionClipGenerator
from i2fet.nn.pair_generator import PairGenerator

KINDS: tuple[type[PairGenerator], ...] = (ExpressionGenerator, MotionClipGenerator)


def load_generator(path: str | Path, temperature: float | None = None) -> PairGenerator:
    """Load a checkpoint of whichever task trained it, on the CPU.

    Args:
        path: Of the checkpoint.
        temperature: Factor on the noise, at least 0, in place of the one it was trained with.

    Raises:
        CheckpointError: If the file is missing, broken or of a task that trains no generator.
        OptionError: If the temperature is no such number, or the model draws no noise.
    """
    tasks = " or ".join(kind.task for kind in KINDS)
    with reading_checkpoint(path, tasks):
        state = read_content(path).state
    for kind in KINDS:
        if any(name.startswith(kind.prefix) for name in state):
            return _at(kind.from_checkpoint(path), temperature)
    raise CheckpointError(f"{path} is not a checkpoint of {tasks}; give another one")


def _at(generator: PairGenerator, temperature: float | None) -> PairGenerator:
    if temperature is None:
        return generator
    if not 0 <= temperature < math.inf:
        raise OptionError(f"the temperature is {temperature}; give a number from 0 on")
    if generator.temperature is None:
        raise OptionError(
            f"{generator.title} draws no noise and takes no temperature of {temperature:g}; leave "
            "it out"
        )
    generator.temperature = temperature
    return generator
