"""Instructions, as people write them, to the expressions that they ask for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from pathlib import Path
from string import punctuation, whitespace
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2fet.emotions import Emotion
from i2fet.errors import AssetError, InstructionError
from i2fet.files import replacing
from i2fet.instructions import (
    MAX_INTENSITY,
    MIN_INTENSITY,
    Step,
    is_plain,
    parse_instruction,
)
from i2fet.nn.instruction_reader import BEGIN, INSIDE, OUTSIDE, InstructionReader
from i2fet.nn.word_namer import CARRIER, NOTHING, WordNamer
from i2fet.text import MiniLMTextEncoder, TextEncoder, load_text_encoder
from i2fet.text.degrees import split_degree

READER_FILE = Path(__file__).parents[1] / "nn" / "instruction_reader.safetensors"
REMEDY = "install i2fet again, or train it with `make train-language`"
EXAMPLE = "such as 'from sad to happy'"
EMOTIONS = tuple(Emotion)

LATER = 4.0
"""Difference of the times of neighbouring words above which they are not one mention."""


@dataclass(frozen=True)
class Heard:
    """What was understood of a sentence.

    Attributes:
        steps: The expressions, in order; none if it asks for none.
        confidence: Probability that the steps are right.
    """

    steps: tuple[Step, ...]
    confidence: float


@dataclass(frozen=True)
class Mention:
    """Words that name an expression to be shown.

    Attributes:
        start: Their first character in the sentence.
        stop: The one after their last.
        time: The greater, the later the expression is shown.
    """

    start: int
    stop: int
    time: float


class Named(NamedTuple):
    """What words name.

    Attributes:
        step: The expression, if any.
        probability: That it is this one, or none.
    """

    step: Step | None
    probability: float


class Listener:
    """Reads instructions with trained networks, those of known words only by rule.

    A sentence that consists of the words of our own templates and `SYNONYMS` is read by
    `parse_instruction`, whose refusals stand; the networks then only tell the intensities, where
    they have understood the same expressions. Known words such as "slightly" are factors on what
    the words beside them name.

    Args:
        network: Finds the words for each expression, and their order.
        encoder: The text encoder that it was trained on.
        namer: Tells what these words name, if they are not in the lexicon.
        lexicon: What known words name, in lower case; none if they name no expression.
        least_asking: Tokens below this probability name no expression; a sentence of such tokens
            is refused as asking for none.
        least_confidence: Readings below this probability are refused as unsure.
    """

    def __init__(
        self,
        network: InstructionReader,
        encoder: TextEncoder,
        namer: WordNamer,
        lexicon: Mapping[str, Step | None],
        least_asking: float = 0.5,
        least_confidence: float = 0.0,
    ) -> None:
        self.network, self.encoder, self.namer = network.eval(), encoder, namer.eval()
        self.lexicon, self.tokenizer = lexicon, MiniLMTextEncoder()
        self.least_asking, self.least_confidence = least_asking, least_confidence

    @torch.no_grad()
    def hear(self, sentences: Sequence[str]) -> list[Heard]:
        """What sentences ask for, however unsure.

        Raises:
            InstructionError: If one is longer than the text encoder reads.
        """
        text = self.encoder.encode(sentences)
        longest = int(text.mask.sum(dim=1).max())
        reading = self.network(text.tokens[:, :longest], text.mask[:, :longest])
        marks, spans = reading.marks.softmax(dim=-1), self.encoder.token_spans(sentences)
        found = [
            _find(own, marks[row], reading.times[row], self.least_asking) or self._whole(sentence)
            for row, (own, sentence) in enumerate(zip(spans, sentences, strict=True))
        ]
        named = iter(
            self._name(
                [
                    split_degree(sentence, mention.start, mention.stop)
                    for sentence, mentions in zip(sentences, found, strict=True)
                    for mention in mentions
                ]
            )
        )
        return [
            _put_in_order(marks[row, : len(own)], mentions, list(islice(named, len(mentions))))
            for row, (own, mentions) in enumerate(zip(spans, found, strict=True))
        ]

    def _whole(self, sentence: str) -> list[Mention]:
        """The sentence as a mention, if it is nothing but known words that name an expression."""
        words = sentence.strip(punctuation + whitespace)
        start = sentence.find(words)
        mention = Mention(start, start + len(words), 0.0)
        known, _ = split_degree(sentence, mention.start, mention.stop)
        return [mention] if self.lexicon.get(known.lower()) else []

    def _name(self, graded: Sequence[tuple[str, float]]) -> list[Named]:
        words = dict.fromkeys(text.lower() for text, _ in graded)
        known = {one: Named(self.lexicon[one], 1.0) for one in words if one in self.lexicon}
        named = known | self._guess([one for one in words if one not in known])
        return [
            Named(step and _step(step.emotion, factor * step.intensity), sure)
            for text, factor in graded
            for step, sure in [named[text.lower()]]
        ]

    def _guess(self, words: Sequence[str]) -> dict[str, Named]:
        """What words that are not in the lexicon name."""
        if not words:
            return {}
        tokens = self.tokenizer.tokenize([CARRIER.format(one) for one in words])
        logits, log_intensity = self.namer(*tokens)
        probability, named = logits.softmax(dim=-1).max(dim=-1)
        columns = (words, named.tolist(), log_intensity.exp().tolist(), probability.tolist())
        return {
            one: Named(None if number == NOTHING else Step(EMOTIONS[number], intensity), sure)
            for one, number, intensity, sure in zip(*columns, strict=True)
        }

    def __call__(self, instruction: str) -> tuple[Step, ...]:
        """The expressions to be shown, in order.

        Raises:
            InstructionError: If the sentence asks for no expression, or it is unsure for which.
        """
        return self.decide(instruction, self.hear([instruction])[0])

    def decide(self, instruction: str, heard: Heard) -> tuple[Step, ...]:
        """As `__call__`, for what the network heard."""
        if is_plain(instruction):
            named = [mention.emotion for mention in parse_instruction(instruction)]
            same = named == [step.emotion for step in heard.steps]
            return heard.steps if same else tuple(map(Step, named))
        if not heard.steps:
            raise InstructionError(
                f"no expression is asked for in {instruction!r}, as far as it was understood; "
                f"name one or several, {EXAMPLE}"
            )
        if heard.confidence < self.least_confidence:
            raise InstructionError(
                f"{instruction!r} was understood as {', then '.join(map(str, heard.steps))}, but "
                f"with {heard.confidence:.0%} certainty only; say it more plainly, {EXAMPLE}"
            )
        return heard.steps


def load_listener(path: Path = READER_FILE) -> Listener:
    """The listener with a trained network, by default the one that comes with the package.

    Args:
        path: Of the network.

    Raises:
        AssetError: If the file is missing or broken.
    """
    if not path.is_file():
        raise AssetError(f"the instruction reader {path} is missing; {REMEDY}")
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["notes"])
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        network = InstructionReader(**notes["config"])
        network.load_state_dict(_part(state, "network"))
        namer = build_namer(**notes["namer"])
        namer.load_learned(_part(state, "namer"))
        lexicon = {words: step and _read_step(step) for words, step in notes["lexicon"].items()}
        text, least = notes["text"], notes["least"]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise AssetError(f"the instruction reader {path} is broken ({reason}); {REMEDY}") from error
    return Listener(network, load_text_encoder(text), namer, lexicon, **least)


def build_namer(**config: Any) -> WordNamer:
    """A namer on MiniLM, not trained yet.

    Args:
        **config: Of `WordNamer`, its options.

    Raises:
        AssetError: If MiniLM's files are missing.
    """
    encoder = MiniLMTextEncoder()
    return WordNamer(encoder.model, encoder.width, **config)


def save_listener(
    listener: Listener,
    config: Mapping[str, Any],
    namer: Mapping[str, Any],
    path: Path,
    **notes: str,
) -> None:
    """Write a listener as safetensors: what its networks have learned, in half precision.

    Args:
        listener: With its networks and lexicon.
        config: Arguments with which the network was built.
        namer: Options with which the namer was built.
        path: Ends in .safetensors.
        **notes: What else is to be recorded, such as what it was trained on.
    """
    known = {
        "config": dict(config),
        "namer": dict(namer),
        "text": listener.encoder.name,
        "lexicon": {
            words: step and (step.emotion, step.intensity)
            for words, step in listener.lexicon.items()
        },
        "least": {
            "least_asking": listener.least_asking,
            "least_confidence": listener.least_confidence,
        },
    }
    parts = {"network": listener.network.state_dict(), "namer": listener.namer.learned()}
    state = {
        f"{part}.{key}": value.half().contiguous()
        for part, own in parts.items()
        for key, value in own.items()
    }
    with replacing(path) as unfinished:
        save_file(state, unfinished, {"notes": json.dumps({**notes, **known}, sort_keys=True)})


def _read_step(emotion_and_intensity: Sequence[Any]) -> Step:
    emotion, intensity = emotion_and_intensity
    return Step(Emotion(emotion), float(intensity))


def _part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The parameters of one of the networks."""
    start = f"{name}."
    return {key.removeprefix(start): one for key, one in state.items() if key.startswith(start)}


def _find(
    spans: Sequence[tuple[int, int]], marks: Tensor, times: Tensor, least: float
) -> list[Mention]:
    """The mentions among tokens, of which (T, 3) probabilities of marks and (T,) times are told.

    Neighbours are one mention, unless the first is to be shown later, as in "cease crying".
    """
    groups: list[list[int]] = []
    said = (1 - marks[:, OUTSIDE] >= least).tolist()
    begins = (marks[:, BEGIN] > marks[:, INSIDE]).tolist()
    for token, (start, stop) in enumerate(spans):
        if start == stop or not said[token]:
            continue
        later = bool(groups) and float(times[groups[-1]].mean() - times[token]) > LATER
        if groups and groups[-1][-1] == token - 1 and not (later and begins[token]):
            groups[-1].append(token)
        else:
            groups.append([token])
    return [Mention(spans[g[0]][0], spans[g[-1]][1], float(times[g].mean())) for g in groups]


def _put_in_order(marks: Tensor, mentions: Sequence[Mention], named: Sequence[Named]) -> Heard:
    """What was heard of a sentence; words that name nothing do not count, nor do repetitions."""
    order = sorted((n for n, one in enumerate(named) if one.step), key=lambda n: mentions[n].time)
    gaps = [mentions[two].time - mentions[one].time for one, two in pairwise(order)]
    confidence = float(marks.amax(dim=-1).prod())
    confidence *= math.prod(one.probability for one in named)
    confidence *= math.prod(1 / (1 + math.exp(-gap)) for gap in gaps)
    steps = tuple(step for step, _ in groupby(named[n].step for n in order) if step)
    return Heard(steps, confidence)


def _step(emotion: Emotion, intensity: float) -> Step:
    """In quarters of the plain intensity."""
    within = min(max(round(4 * intensity) / 4, MIN_INTENSITY), MAX_INTENSITY)
    return Step(emotion, 1.0 if emotion is Emotion.NEUTRAL else within)
