"""How well instructions are read: words and forms never trained on, and sentences by hand.

python -m experiments.language_report [--reader FILE] [--sentences N] [--output FOLDER]

Prints the tables and writes them as report.md, and as report.json. Three readers stand side
by side: what `animate` would make of a sentence, the network alone, and the rules alone, which know
the words of `i2fet.emotions`. The namer is the one trained without the words that it is tested on;
the one that comes with the package (`--reader`) knows them all. The sentences of `blind.csv` were
written before their author had seen the vocabulary and the forms.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from datamodules.sentences import Grammar, Part, Sentence
from experiments.script import run
from i2fet.emotions import Emotion
from i2fet.errors import InstructionError
from i2fet.files import replacing
from i2fet.instructions import Step, parse_instruction
from i2fet.markdown import markdown_table
from i2fet.text.listener import Listener, load_listener

Reader = Callable[[Sequence[str]], list[tuple[Step, ...]]]
"""Sentences to what each asks for; nothing where it is refused."""

HAND_WRITTEN = {
    "written by hand": Path(__file__).with_name("language") / "sentences.csv",
    "written blind": Path(__file__).with_name("language") / "blind.csv",
}
INTENSITIES = {"slight": 0.5, "strong": 1.5}
"""Of the words by which hand-written sentences are labelled; 1 without any."""

HELD_OUT = Path("outputs/language/held_out.safetensors")
SEED = 1
MIXES: dict[str, tuple[Part, Part]] = {
    "all trained on": ("train", "train"),
    "new words": ("test", "train"),
    "new forms": ("train", "test"),
    "new words and forms": ("test", "test"),
}
"""Which parts of vocabulary and forms the sentences of each row are composed of."""

LADDER = ("slightly annoyed", "annoyed", "angry", "very angry", "furious")
CONFUSED = (Emotion.CONTEMPT, Emotion.DISGUST)


@dataclass(frozen=True)
class Score:
    """Of one reader on one set of sentences; shares in [0, 1].

    Attributes:
        sentences: How many.
        sequence: Sentences that ask for expressions, all of them read, in order.
        acc1: Single expressions, over all their sentences (Acc1).
        acc2: Pairs of which both are right (Acc2).
        direct: As `sequence`, over sentences of several steps in the order of showing.
        reversed: The same, where a later step is mentioned first.
        silent: Sentences that ask for nothing, told as such.
        false_alarms: Sentences that ask for something, refused.
        intensity: Spearman's correlation of intensities, over steps whose emotion is right.
        swapped: Contempt and disgust, read as each other.
    """

    sentences: int
    sequence: float
    acc1: float
    acc2: float
    direct: float
    reversed: float
    silent: float
    false_alarms: float
    intensity: float
    swapped: float


def score(reader: Reader, sentences: Sequence[Sentence]) -> Score:
    """What a reader makes of sentences."""
    read = reader([sentence.text for sentence in sentences])
    pairs = list(zip(sentences, read, strict=True))
    asking = [(sentence, steps) for sentence, steps in pairs if sentence.steps]
    right = {id(s): _emotions(s.steps) == _emotions(steps) for s, steps in asking}
    several = [sentence for sentence, _ in asking if len(sentence.steps) > 1]
    steps = [pair for sentence, heard in asking for pair in _align(sentence.steps, heard)]
    graded = [
        (meant.intensity, heard.intensity)
        for meant, heard in steps
        if heard and heard.emotion is meant.emotion is not Emotion.NEUTRAL
    ]
    return Score(
        sentences=len(sentences),
        sequence=_share(right.values()),
        acc1=_share(heard is not None and heard.emotion is meant.emotion for meant, heard in steps),
        acc2=_share(right[id(sentence)] for sentence in several if len(sentence.steps) == 2),
        direct=_share(right[id(sentence)] for sentence in several if not sentence.turned),
        reversed=_share(right[id(sentence)] for sentence in several if sentence.turned),
        silent=_share(not heard for sentence, heard in pairs if not sentence.steps),
        false_alarms=_share(not heard for _, heard in asking),
        intensity=_correlation(graded),
        swapped=_share(
            heard is not None and {meant.emotion, heard.emotion} == set(CONFUSED)
            for meant, heard in steps
            if meant.emotion in CONFUSED
        ),
    )


def read_by_rule(sentences: Sequence[str]) -> list[tuple[Step, ...]]:
    """What `parse_instruction` makes of sentences."""
    return [_unless_refused(_parse, sentence) for sentence in sentences]


def read_by_network(listener: Listener) -> Reader:
    """What the network alone makes of sentences, however unsure."""

    def read(sentences: Sequence[str]) -> list[tuple[Step, ...]]:
        return [heard.steps for heard in listener.hear(sentences)]

    return read


def read_as_shipped(listener: Listener) -> Reader:
    """What the listener makes of sentences."""

    def read(sentences: Sequence[str]) -> list[tuple[Step, ...]]:
        pairs = zip(sentences, listener.hear(sentences), strict=True)
        return [_unless_refused(listener.decide, *pair) for pair in pairs]

    return read


def hand_written(path: Path) -> list[Sentence]:
    """Sentences by hand; their spans, and so their order of mention, are not known."""
    with open(path, newline="") as file:
        return [Sentence(row["sentence"], _steps(row["steps"])) for row in csv.DictReader(file)]


def sets(count: int) -> dict[str, list[Sentence]]:
    """The sentences of each row, `count` of each mix."""
    composed = {
        name: Grammar(words, forms).sample(count, Random(SEED))
        for name, (words, forms) in MIXES.items()
    }
    return {**composed, **{name: hand_written(path) for name, path in HAND_WRITTEN.items()}}


def table(scores: dict[str, dict[str, Score]]) -> str:
    """Markdown, percentages but for the correlation."""
    names = [name for name in Score.__dataclass_fields__ if name != "sentences"]
    lines = []
    for row, readers in scores.items():
        for reader, result in readers.items():
            cells = [
                f"{value:.2f}" if name == "intensity" else f"{100 * value:.1f}"
                for name, value in asdict(result).items()
                if name in names
            ]
            lines.append([row, str(result.sentences), reader, *cells])
    return markdown_table(["sentences", "n", "reader", *names], lines)


def ladder(listener: Listener) -> str:
    """One line: the intensities of words for one emotion."""
    heard = listener.hear([f"Make her {word}." for word in LADDER])
    parts = [
        f"{word}: {', '.join(map(str, h.steps))}" for word, h in zip(LADDER, heard, strict=True)
    ]
    return "; ".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Score both readers and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reader", type=Path, default=HELD_OUT, help="a trained network")
    parser.add_argument("--sentences", type=int, default=1000, help="of each composed set")
    parser.add_argument("--output", type=Path, default=Path("outputs/language/report"))
    options = parser.parse_args(argv)
    listener = load_listener(options.reader)
    readers: dict[str, Reader] = {
        "as shipped": read_as_shipped(listener),
        "network": read_by_network(listener),
        "rule": read_by_rule,
    }
    scores = {
        row: {name: score(reader, sentences) for name, reader in readers.items()}
        for row, sentences in sets(options.sentences).items()
    }
    text = f"{table(scores)}\n\n{ladder(listener)}\n"
    options.output.mkdir(parents=True, exist_ok=True)
    records = {row: {k: asdict(v) for k, v in results.items()} for row, results in scores.items()}
    for name, content in {"report.md": text, "report.json": json.dumps(records, indent=2)}.items():
        with replacing(options.output / name) as unfinished:
            unfinished.write_text(content)
    print(f"{text}\nreport  {options.output}")


def _parse(sentence: str) -> tuple[Step, ...]:
    return tuple(Step(mention.emotion) for mention in parse_instruction(sentence))


def _unless_refused(read: Callable[..., tuple[Step, ...]], *arguments: Any) -> tuple[Step, ...]:
    try:
        return read(*arguments)
    except InstructionError:
        return ()


def _steps(text: str) -> tuple[Step, ...]:
    """Such as "strong anger > happiness"."""
    named = [part.split() for part in text.split(">")] if text else []
    return tuple(Step(Emotion(words[-1]), INTENSITIES.get(words[0], 1.0)) for words in named)


def _align(meant: Sequence[Step], heard: Sequence[Step]) -> list[tuple[Step, Step | None]]:
    padded = [*heard, *[None] * len(meant)]
    return [(step, padded[row]) for row, step in enumerate(meant)]


def _emotions(steps: Sequence[Step]) -> list[Emotion]:
    return [step.emotion for step in steps]


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's, not a number where either side is constant."""
    constant = any(len(set(side)) < 2 for side in zip(*pairs, strict=True)) or not pairs
    return np.nan if constant else float(spearmanr(np.array(pairs)).statistic)


def _share(values: Iterable[bool]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else np.nan


if __name__ == "__main__":
    run(main)
