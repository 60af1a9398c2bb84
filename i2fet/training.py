"""Lightning's command line as this project uses it: `i2fet fit`, `validate`, `test`, `predict`."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from i2fet.errors import I2fetError
from i2fet.files import replacing
from i2fet.runs import run_folder

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"
LEADING_LINES = re.compile(
    r"(Does not validate|Subtypes|Errors:|Given value|Problem with given class_path|"
    r"Expected a <class 'NoneType'>)"
)
"""Lines of jsonargparse's messages that lead to the reason, without being one."""


class RunConfig(SaveConfigCallback):
    """Saves the configuration as `config.yaml` of the run's folder, and tells it to the loggers."""

    folder: Path | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, which all ranks have to ask for."""
        self.folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write and log it; on rank zero."""
        text = self.parser.dump(self.config, skip_none=False)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / CONFIG) as unfinished:
                unfinished.write_text(text)
        for each in trainer.loggers:
            each.log_hyperparams({"config": yaml.safe_load(text)})


class TrainingParser(LightningArgumentParser):
    """Answers wrong use in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with code 2, unless this parser only helps another one."""
        if not self.exit_on_error:
            super().error(message, ex)
        command = self.prog.replace(" [options]", "")
        options = re.findall(r"--[\w.]+", self.format_usage())
        self.exit(2, f"{command}: {explain(message, options)}; see `{command} --help`\n")


class TrainingCLI(LightningCLI):
    """Says which options a checkpoint overrides, and leaves GPUs alone that lack what is needed."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Keep what was asked for, before a checkpoint changes it."""
        super().parse_arguments(parser, args)
        self.asked = self.config.clone()

    def instantiate_classes(self) -> None:
        """Make model and data; an error of theirs is raised as it is, not within the parser's."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error.__cause__, I2fetError):
                raise error.__cause__ from None
            raise

    def before_instantiate_classes(self) -> None:
        """Compare what was asked for with what the checkpoint brings, and choose a device."""
        trainer = self.config[self.subcommand].trainer
        if trainer.accelerator == "auto" and torch.backends.mps.is_available():
            # Apple's GPUs know neither the double precision of metrics nor Warp.
            trainer.accelerator = "cpu"
        asked, used = (
            model_options(config[self.subcommand]) for config in (self.asked, self.config)
        )
        for name, value in asked.items():
            if value is not None and used.get(name, value) != value:
                logger.warning(
                    "the checkpoint keeps %s %s; the %s asked for is not used",
                    name,
                    used[name],
                    value,
                )


def model_options(config: Namespace) -> dict[str, Any]:
    """The options of the model by their names."""
    model = config.model or Namespace()
    values = {**model.get("init_args", {}), **model.get("dict_kwargs", {})}
    return {name: value for name, value in values.items() if not isinstance(value, Namespace)}


def explain(message: str, options: Collection[str]) -> str:
    """Turn a message of jsonargparse into one sentence, with the nearest right name.

    Args:
        message: Of one or many lines.
        options: Those that the command takes, such as "--trainer.max_epochs".
    """
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    key = "--" + ".".join(keys)
    if unknown := re.search(r"unrecognized arguments: ([^\s=]+)", message):
        return reject(unknown[1], options)
    if unknown := re.search(r"Option '([^']+)' is not accepted", message):
        names = parameters(re.findall(r"class_path[ =]'([\w.]+)'", message))
        return reject(f"{key}.{unknown[1]}", [f"{key}.{name}" for name in names])
    lines = [line.strip(" -") for line in re.sub(r'Parser key "[\w.]+":', "", message).splitlines()]
    reasons = [line for line in dict.fromkeys(lines) if line and not LEADING_LINES.match(line)]
    if value := re.search(r"Given value: (?!NestedArg)(.*)", message):
        reasons.append(f"got {value[1]}")
    text = "; ".join(reasons) or " ".join(lines)
    text = re.sub(r"Expected an? ", "expected ", text).replace("typing.Literal", "one of ")
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    return f"{key}: {text}" if keys else text


def reject(name: str, known: Collection[str]) -> str:
    """Say that there is no such option, and which one may be meant."""
    near = " or ".join(get_close_matches(name, known, n=2, cutoff=0.8))
    return f"there is no option {name}" + (f"; did you mean {near}" if near else "")


def parameters(class_paths: Iterable[str]) -> set[str]:
    """Names of all parameters of classes."""
    names: set[str] = set()
    for path in class_paths:
        module, _, name = path.rpartition(".")
        names |= {*inspect.signature(getattr(import_module(module), name)).parameters}
    return names
