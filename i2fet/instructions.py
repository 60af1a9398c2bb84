"""Instructions: writing them (Table I) and reading which expressions they name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from typing import Literal

from i2fet.emotions import SYNONYMS, Emotion
from i2fet.errors import InstructionError

TEMPLATES = (
    "Turn this face from {first} to {second}.",
    "Change this face from {first} to {second}.",
    "Transform this face from {first} to {second}.",
    "Modify this face, changing it from {first} to {second}.",
    "Replace this face from {first} to {second}.",
)
"""Table I."""

OPEN_TEMPLATES = (
    "Make this face go from {first} to {second}.",
    "Start {first}, end {second}.",
    "First {first}, then {second}.",
    "From {first} to {second}, please.",
    "Let the person look {first} and then {second}.",
    "The face is {first} at first and becomes {second}.",
    "Show {first} turning into {second}.",
    "A {first} face that becomes {second}.",
    "Take the expression from {first} over to {second}.",
    "Begin with {first} and finish with {second}.",
    "{first} slowly gives way to {second}.",
    "Shift the mood: {first} to {second}.",
)
"""Wordings beyond Table I."""

Style = Literal["paper", "open"]

PREPOSITIONS = {
    "start": r"from|instead of|rather than|no longer|after(?! that| this| which)",
    "detour": r"via|through|by way of",
    "end": r"to|into|towards?",
}
OWN_EXPRESSION = re.compile(r"\b(?:current|present|own|original|photo|picture|now)\b", re.I)
NEGATION = re.compile(r"(?:\b(?:not|never|without|no(?! longer))|n't)(?:\s+\w+){0,2}\s*$", re.I)
ENUMERATION = re.compile(r"\s*(?:,|and|,\s*and)\s*")

_WORDS = {word: emotion for emotion, words in SYNONYMS.items() for word in words}
_WORD = re.compile(
    r"\b(?:{})\b".format("|".join(sorted(_WORDS, key=len, reverse=True)).replace(" ", r"\s+")), re.I
)
_ANY_PREPOSITION = "|".join(PREPOSITIONS.values())
_ROLE = re.compile(
    r".*\b(?:{})\b(?:\s+\w+){{0,2}}\s*$".format(
        "|".join(f"(?P<{role}>{words})" for role, words in PREPOSITIONS.items())
    ),
    re.I | re.S,
)
_SLOT = rf"\s+(?P<slot>.+?)(?=\s*(?:$|[.,;:!?]|\b(?:and\s+)?(?:then|{_ANY_PREPOSITION})\b))"
_START_SLOT = re.compile(rf"\b(?:from|via|through)\b{_SLOT}", re.I | re.S)
_END_SLOTS = (
    re.compile(rf"\bfrom\b.+?\b(?:{PREPOSITIONS['end']})\b{_SLOT}", re.I | re.S),
    re.compile(rf"\b(?:{PREPOSITIONS['end']})\b{_SLOT}\s+from\b(?!.*\b(?:to|into)\b)", re.I | re.S),
)
_EVERYDAY = (
    "and then it them him her his their s me please a an the with of between could would you "
    "animate morph generate create produce transition animation clip video "
    "emotion expression facial feeling man woman"
)
_KNOWN_WORDS = frozenset(
    re.findall(
        r"[a-z]+",
        " ".join([*TEMPLATES, *OPEN_TEMPLATES, *_WORDS, *PREPOSITIONS.values(), _EVERYDAY]).lower(),
    )
)
_KNOWN = ", ".join(Emotion) + " and their common synonyms"


MIN_INTENSITY, MAX_INTENSITY = 0.35, 1.5

GRADES = {"slight": 0.6, "mild": 0.85, "": 1.15, "strong": 1.4, "extreme": MAX_INTENSITY}
"""What intensities are called, with the greatest of each; the plain one needs no name."""


@dataclass(frozen=True)
class Step:
    """An expression to be shown.

    Attributes:
        emotion: Which.
        intensity: Factor on the expression, 1 being plain, from 0.35 to 1.5.
    """

    emotion: Emotion
    intensity: float = 1.0

    def __str__(self) -> str:
        """Such as "anger (strong)"."""
        grade = next(name for name, most in GRADES.items() if self.intensity <= most)
        return f"{self.emotion} ({grade})" if grade else str(self.emotion)


@dataclass(frozen=True)
class MentionedEmotion:
    """An expression that an instruction names.

    Attributes:
        emotion: The expression.
        word: The word that named it, in lower case.
        role: What the preposition before it makes of it: "start", "detour", "end" or "".
    """

    emotion: Emotion
    word: str
    role: str = ""


def canonical_instruction(first: Emotion, second: Emotion) -> str:
    """The first sentence of Table I: the wording every trained model knows."""
    return TEMPLATES[0].format(first=first, second=second)


def pair_instructions(first: Emotion, second: Emotion, style: Style = "paper") -> tuple[str, ...]:
    """Every sentence for one pair of expressions.

    Args:
        first: The expression to start with.
        second: The expression to end with.
        style: "paper" gives the five of Table I; "open" adds further wordings, in which the
            synonyms of the two expressions take turns.
    """
    sentences = [template.format(first=first, second=second) for template in TEMPLATES]
    if style == "open":
        sentences += [
            template.format(first=_synonym(first, turn), second=_synonym(second, turn + 1))
            for turn, template in enumerate(OPEN_TEMPLATES + TEMPLATES)
        ]
    return tuple(sentences)


def all_instructions(emotions: Sequence[Emotion], style: Style = "paper") -> tuple[str, ...]:
    """Every sentence for every ordered pair of two different expressions."""
    pairs = permutations(emotions, 2)
    return tuple(sentence for pair in pairs for sentence in pair_instructions(*pair, style=style))


def is_plain(text: str) -> bool:
    """Whether every word is one of our own templates' or of `SYNONYMS`; then rules suffice."""
    return set(re.findall(r"[^\W\d_]+|\d+", text.lower())) <= _KNOWN_WORDS


def parse_instruction(text: str) -> tuple[MentionedEmotion, ...]:
    """The expressions a sentence names, in the order in which they are to be shown.

    "from A to B", "to B from A", "B instead of A", "from A via C to B", "to B through C" and plain
    enumerations are understood, of any length. A sentence that names a single expression asks for
    one step, from the photo's own expression to that one. Repetitions in a row count once.

    Raises:
        InstructionError: If no expression is named, one is negated, the sentence has no
            expression to end with, or "from", "via" or "to" is followed by something unknown.
    """
    text = text.replace("’", "'")
    _refuse_unknown_slots(text)
    mentions = _find_mentions(text)
    if not mentions:
        raise InstructionError(f"no expression is named in {text!r}; known are {_KNOWN}")
    return tuple(next(group) for _, group in groupby(_sort(mentions), key=lambda m: m.emotion))


def _synonym(emotion: Emotion, turn: int) -> str:
    return SYNONYMS[emotion][turn % len(SYNONYMS[emotion])]


def _refuse_unknown_slots(text: str) -> None:
    starts = [m["slot"] for m in _START_SLOT.finditer(text)]
    ends = [m["slot"] for m in (pattern.search(text) for pattern in _END_SLOTS) if m]
    unknown = [slot for slot in starts if not OWN_EXPRESSION.search(slot)] + ends
    for slot in unknown:
        if not _WORD.search(slot):
            raise InstructionError(f"{slot!r} is not a known expression; known are {_KNOWN}")


def _find_mentions(text: str) -> list[MentionedEmotion]:
    mentions: list[MentionedEmotion] = []
    end = 0
    for match in _WORD.finditer(text):
        gap, end = text[end : match.start()], match.end()
        if NEGATION.search(gap):
            raise InstructionError(
                f"{match[0]!r} is negated in {text!r}; name the expression to show instead"
            )
        word = " ".join(match[0].lower().split())
        inherited = mentions[-1].role if mentions and ENUMERATION.fullmatch(gap) else ""
        mentions.append(MentionedEmotion(_WORDS[word], word, _role(gap) or inherited))
    return mentions


def _role(gap: str) -> str:
    match = _ROLE.match(gap)
    return match.lastgroup or "" if match else ""


def _sort(mentions: list[MentionedEmotion]) -> list[MentionedEmotion]:
    last_end = max((i for i, m in enumerate(mentions) if m.role == "end"), default=-1)
    late = mentions[last_end + 1 :]
    starts = [m for m in late if m.role == "start"]
    detours = [m for m in late if m.role == "detour"]
    others = mentions[: last_end + 1] + [m for m in late if m.role not in ("start", "detour")]
    if not others:
        named = " and ".join(m.word for m in mentions)
        raise InstructionError(f"the instruction names {named} but no expression to end with")
    return starts + others[:-1] + detours + others[-1:]
