"""Command lines to commands, and errors to exit codes."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NoReturn

from i2fet.cli import commands, options
from i2fet.errors import I2fetError

DESCRIPTION = (
    "Turn a photo of a face and a sentence into a 3D face that moves from one expression to "
    "another; train and measure the models that do it."
)
LIGHTNING_COMMANDS = {
    "fit": "train a model",
    "validate": "evaluate a checkpoint on the validation part",
    "test": "evaluate a checkpoint on the test part",
    "predict": "generate with a checkpoint",
}
LIGHTNING_OPTIONS = ("--config", "--ckpt_path", "--print_config")
COMMANDS: dict[str, tuple[Callable[..., int | None], Callable[..., None]]] = {
    "animate": (commands.animate, options.add_animate),
    "perceive": (commands.perceive, options.add_perceive),
    "corpus": (commands.corpus, options.add_corpus),
    "extract": (commands.extract, options.add_extract),
    "evaluate": (commands.evaluate, options.add_evaluate),
    "assets": (commands.assets, options.add_assets),
}


class Parser(argparse.ArgumentParser):
    """Answers wrong use in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of everything but Lightning's own commands."""
    parser = Parser(prog="i2fet", description=DESCRIPTION)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, add_arguments) in COMMANDS.items():
        command = subparsers.add_parser(name, help=run.__doc__, description=run.__doc__)
        add_arguments(command)
        command.set_defaults(run=run)
    for name, text in LIGHTNING_COMMANDS.items():
        command = subparsers.add_parser(name, help=text)
        # Lightning has many more; these are what a shell can complete without loading it.
        for option in LIGHTNING_OPTIONS:
            command.add_argument(option)
    return parser


def complete() -> None:
    """Answer a shell that asks for completions, if `argcomplete` is installed."""
    if find_spec("argcomplete"):
        import argcomplete

        argcomplete.autocomplete(build_parser())


def run(args: Sequence[str] | None) -> int:
    """Run one command line and give its exit code; user errors are raised."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    command = (sys.argv[1:] if args is None else args)[:1]
    if command and command[0] in LIGHTNING_COMMANDS:
        return commands.lightning(args)
    arguments = build_parser().parse_args(args)
    return arguments.run(arguments) or 0


def nobody_reads_output() -> bool:
    """Whether stdout is a pipe whose reader has left, such as `head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns:
        0 done, 2 wrong use, 130 interrupted, 141 nobody reads the output any more; anything
        unexpected is raised, which exits with 1.
    """
    try:
        code = run(args)
        sys.stdout.flush()
    except I2fetError as error:
        return commands.complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if not nobody_reads_output():
            raise
        # Python would try, and complain, once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code
