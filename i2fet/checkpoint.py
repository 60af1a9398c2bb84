"""What a checkpoint says about its training data, and how reading one fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import nn

from i2fet.errors import CheckpointError

Part = TypeVar("Part", bound=nn.Module)


@dataclass(frozen=True)
class Provenance:
    """Where a model's training data came from, in plain values.

    Attributes:
        head: Name of the head of all coefficients.
        expression_range: Lowest and highest expression coefficient of that head.
        emotions: The label set.
        encoder: What read the coefficients from pictures.
        text: Name of the text encoder.
        text_width: Width of its token embeddings.
        synthetic: Whether the model was trained on invented people.
        description: The data in one line.
    """

    head: str
    expression_range: tuple[float, float]
    emotions: tuple[str, ...]
    encoder: str
    text: str
    text_width: int
    synthetic: bool
    description: str

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Provenance:
        """From a checkpoint's or a configuration file's plain values."""
        tuples = {key: tuple(values[key]) for key in ("expression_range", "emotions")}
        return cls(**{**values, **tuples})

    def check(self, other: Provenance) -> None:
        """Compare a trained model's provenance with that of data it meets.

        Warns when another encoder or text model produced the data.

        Raises:
            CheckpointError: If the head, the label set or the text width differs.
        """
        for part in ("head", "emotions", "text_width"):
            mine, theirs = getattr(self, part), getattr(other, part)
            if mine != theirs:
                raise CheckpointError(
                    f"the model was trained for {part} {_shown(mine)} but the data has "
                    f"{_shown(theirs)}; use a model and data that agree"
                )
        for part in ("encoder", "text"):
            mine, theirs = getattr(self, part), getattr(other, part)
            if mine != theirs:
                message = f"the model was trained with {part} {mine} and now meets {theirs}"
                warnings.warn(message, stacklevel=2)


@contextmanager
def reading_checkpoint(path: str | Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong inside into one sentence.

    Args:
        path: Of the checkpoint.
        kind: What it should be of.

    Raises:
        CheckpointError: If the file is missing, broken or of another kind.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({error.strerror}); `make demo` trains one"
        ) from error
    except (UnpicklingError, EOFError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is broken or not a checkpoint of {kind}; give another one"
        ) from error


def load_part(
    build: Callable[[Mapping[str, Any]], Part], path: str | Path, task: str, prefix: str
) -> Part:
    """Build one module of a trained task, on the CPU, without the task or Lightning.

    Args:
        build: From the task's hyperparameters to the untrained module.
        path: Of the task's checkpoint.
        task: Name of the task.
        prefix: Of the module's parameters in the checkpoint.

    Raises:
        CheckpointError: If the file is missing, broken or of another kind of task.
    """
    with reading_checkpoint(path, task):
        content = torch.load(path, map_location="cpu", weights_only=True)
        part = build(content["hyper_parameters"])
        state = content["state_dict"].items()
        part.load_state_dict(
            {key.removeprefix(prefix): value for key, value in state if key.startswith(prefix)}
        )
    return part.eval()


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else repr(value)
