"""What a checkpoint says about its training data, and how reading one fails."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from i2fet.errors import CheckpointError
from i2fet.files import replacing

SHIPPED_ENDING = ".safetensors"
"""Of checkpoints without what only training needs; all others are Lightning's."""

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
        population: Whose names those of the training subjects are; see `DataSource`.
    """

    head: str
    expression_range: tuple[float, float]
    emotions: tuple[str, ...]
    encoder: str
    text: str
    text_width: int
    synthetic: bool
    description: str
    population: str = "unknown"

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
            f"the checkpoint {path} cannot be read ({error.strerror}); give another one"
        ) from error
    except (
        UnpicklingError,
        SafetensorError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise CheckpointError(
            f"{path} is broken or not a checkpoint of {kind}; give another one"
        ) from error


class Content(NamedTuple):
    """Of a checkpoint.

    Attributes:
        hyper_parameters: Of the task that was trained.
        state: Its parameters and buffers by name.
    """

    hyper_parameters: Mapping[str, Any]
    state: Mapping[str, Tensor]


def read_content(path: str | Path) -> Content:
    """Read a checkpoint, of Lightning or of `write_shipped`, within `reading_checkpoint`."""
    if Path(path).suffix != SHIPPED_ENDING:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Content(content["hyper_parameters"], content["state_dict"])
    with safe_open(path, framework="pt") as file:
        hyper_parameters = json.loads(file.metadata()["hyper_parameters"])
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    return Content(hyper_parameters, state)


def write_shipped(content: Content, path: Path, prefix: str) -> None:
    """Write one module of a checkpoint, its matrices in half precision.

    Args:
        content: Of the checkpoint.
        path: Ends in `SHIPPED_ENDING`.
        prefix: Of the module's parameters.
    """
    state = {
        name: (value.half() if value.ndim > 1 else value.float()).contiguous()
        for name, value in content.state.items()
        if name.startswith(prefix)
    }
    with replacing(path) as unfinished:
        save_file(
            state, unfinished, {"hyper_parameters": json.dumps(dict(content.hyper_parameters))}
        )


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
        content = read_content(path)
        part = build(content.hyper_parameters)
        state = content.state.items()
        part.load_state_dict(
            {key.removeprefix(prefix): value for key, value in state if key.startswith(prefix)}
        )
    return part.eval()


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else repr(value)
