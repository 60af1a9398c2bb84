"""Instructions, as people write them, to the expressions that they ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

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
from i2fet.nn.instruction_reader import InstructionReader
from i2fet.text import TextEncoder, load_text_encoder

READER_FILE = Path(__file__).parents[1] / "nn" / "instruction_reader.safetensors"
REMEDY = "install i2fet again, or train it with `make train-language`"
EXAMPLE = "such as 'from sad to happy'"
EMOTIONS = tuple(Emotion)


@dataclass(frozen=True)
class Heard:
    """What was understood of a sentence.

    Attributes:
        steps: The expressions, in order; none if it asks for none.
        asking: Probability that it asks for an expression at all.
        confidence: Probability that the steps are right.
    """

    steps: tuple[Step, ...]
    asking: float
    confidence: float


class Listener:
    """Reads instructions with a trained network, those of known words only by rule.

    A sentence that consists of the words of our own templates and `SYNONYMS` is read by
    `parse_instruction`, whose refusals stand; the network then only tells the intensities, where it
    has understood the same expressions.

    Args:
        network: The network.
        encoder: The text encoder that it was trained on.
        least_asking: Sentences below this probability are refused as asking for no expression.
        least_confidence: Readings below this one are refused as unsure.
    """

    def __init__(
        self,
        network: InstructionReader,
        encoder: TextEncoder,
        least_asking: float = 0.5,
        least_confidence: float = 0.0,
    ) -> None:
        self.network, self.encoder = network.eval(), encoder
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
        emotions, intensities = reading.emotions.argmax(-1), reading.log_intensity.exp()
        return [
            Heard(
                _merge(emotions[row, :count].tolist(), intensities[row, :count].tolist()),
                float(reading.asking[row]),
                float(reading.confidence[row]),
            )
            for row, count in enumerate(reading.steps.tolist())
        ]

    def asks(self, heard: Heard) -> bool:
        """Whether a sentence asks for an expression at all."""
        return bool(heard.steps) and heard.asking >= self.least_asking

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
        if not self.asks(heard):
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


def load_listener(path: Path = READER_FILE, encoder: TextEncoder | None = None) -> Listener:
    """The listener with a trained network, by default the one that comes with the package.

    Args:
        path: Of the network.
        encoder: The text encoder that it was trained on, if already there.

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
        network.load_state_dict(state)
        name, least = notes["text"], notes["least"]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise AssetError(f"the instruction reader {path} is broken ({reason}); {REMEDY}") from error
    return Listener(network, encoder or load_text_encoder(name), **least)


def save_listener(listener: Listener, config: Mapping[str, Any], path: Path, **notes: str) -> None:
    """Write a listener's network as safetensors, in half precision.

    Args:
        listener: With its network.
        config: Arguments with which the network was built.
        path: Ends in .safetensors.
        **notes: What else is to be recorded, such as what it was trained on.
    """
    known = {
        "config": dict(config),
        "text": listener.encoder.name,
        "least": {
            "least_asking": listener.least_asking,
            "least_confidence": listener.least_confidence,
        },
    }
    state = {key: value.half().contiguous() for key, value in listener.network.state_dict().items()}
    with replacing(path) as unfinished:
        save_file(state, unfinished, {"notes": json.dumps({**notes, **known}, sort_keys=True)})


def _merge(emotions: Sequence[int], intensities: Sequence[float]) -> tuple[Step, ...]:
    """Steps in quarters of the plain intensity; repetitions in a row count once."""
    steps = []
    for emotion, intensity in zip((EMOTIONS[n] for n in emotions), intensities, strict=True):
        within = min(max(round(4 * intensity) / 4, MIN_INTENSITY), MAX_INTENSITY)
        steps.append(Step(emotion, 1.0 if emotion is Emotion.NEUTRAL else within))
    return tuple(step for step, _ in groupby(steps))
