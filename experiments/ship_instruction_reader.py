"""Write a trained instruction reader and word namer into the package.

python -m experiments.ship_instruction_reader [READER NAMER] [--output FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningModule

from datamodules.sentences import Grammar
from datamodules.vocabulary import lexicon
from experiments.script import run
from i2fet.tasks import InstructionReaderTask, WordNamerTask
from i2fet.text import load_text_encoder
from i2fet.text.listener import READER_FILE, Listener, save_listener

READER, NAMER = Path("outputs/language/cpu/last.ckpt"), Path("outputs/language/words/last.ckpt")
READER_CONFIG = ("text_width", "width", "heads", "layers", "dropout")
NAMER_CONFIG = ("rank", "hidden", "dropout")

TaskT = TypeVar("TaskT", bound=LightningModule)


def main(argv: list[str] | None = None) -> None:
    """Write the networks and say what they were trained on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("reader", type=Path, nargs="?", default=READER, help="its checkpoint")
    parser.add_argument("namer", type=Path, nargs="?", default=NAMER, help="its checkpoint")
    parser.add_argument("--output", type=Path, default=READER_FILE)
    parser.add_argument(
        "--least-asking",
        type=float,
        default=0.3,
        help="tokens below name no expression; the default had the fewest false alarms in "
        "validation, and told 94 % and more of the sentences that ask for none",
    )
    parser.add_argument(
        "--least-confidence",
        type=float,
        default=0.005,
        help="readings below are refused; the highest that refused no more sentences in validation",
    )
    options = parser.parse_args(argv)
    reader, data, epochs = _load(InstructionReaderTask, options.reader)
    namer, words, words_epochs = _load(WordNamerTask, options.namer)
    listener = Listener(
        reader.network,
        load_text_encoder(data["text"]),
        namer.network,
        lexicon(Grammar(words["part"], words["part"]).words(Random(words["seed"]))),
        options.least_asking,
        options.least_confidence,
    )
    trained = (
        f"{data['sentences']} sentences composed of {_of(data)} words and forms, {epochs} epochs; "
        f"{_of(words)} words by themselves, {words_epochs} epochs"
    )
    config = {name: reader.hparams[name] for name in READER_CONFIG}
    namer_config = {name: namer.hparams[name] for name in NAMER_CONFIG}
    save_listener(listener, config, namer_config, options.output, trained=trained)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size:.1f} MB, {trained}")


def _load(task: type[TaskT], path: Path) -> tuple[TaskT, dict[str, Any], int]:
    """A trained task, the settings of its data, and its epochs."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    loaded = task.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    return loaded, checkpoint["datamodule_hyper_parameters"], checkpoint["epoch"] + 1


def _of(data: dict[str, Any]) -> str:
    return "all" if data["part"] == "all" else "the training"


if __name__ == "__main__":
    run(main)
