"""Sentences that ask for expressions, and others, composed by a grammar of our own.

A line of `vocabulary.csv` is a family of words for an emotion, with the intensity that they tell;
`forms.yaml` holds the sentence forms. Both are split, so that a reader can be evaluated on words
and on forms that it was never trained on.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.random import Generator

from i2fet.emotions import Emotion
from i2fet.instructions import MAX_INTENSITY, MIN_INTENSITY, Step

T = TypeVar("T")
Part = Literal["train", "val", "test"]
SHARES: dict[Part, float] = {"test": 0.2, "val": 0.1}
"""Shares of the families and of the forms; the rest is for training."""

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.csv")
FORMS_FILE = Path(__file__).with_name("forms.yaml")

SILENT = 0.3
"""Share of the sentences that ask for no expression."""

FILLED = 0.2
"""Share of those that have the form of a request, filled with words that are no expressions."""

LENGTHS = {1: 0.32, 2: 0.43, 3: 0.17, 4: 0.05, 5: 0.02, 6: 0.01}
"""Shares of the numbers of steps."""

DEGREE, POLITE, NAMED, TYPO, RISING, THINGS = 0.35, 0.3, 0.5, 0.06, 0.04, 0.5
"""Shares of: words with a degree; polite requests; people named by more than a pronoun; sentences
with a typo; pairs that show one emotion in two intensities; forms filled with other words that are
about a thing."""

STEM, MEANINGFUL = 5, 4
"""Words that begin with the same letters, this many, are held to be related; shorter words than
the second number are not compared."""

PARTS_OF_SPEECH = ("adjective", "noun", "verb")
COLUMNS = {"a": "adjective", "j": "adjective", "n": "noun", "v": "verb", "s": "verb"}
ENDINGS = ("", "", ".", ".", "!")
UNSAID = "-"
STOP_WORDS = {"about", "everybody", "everyone", "face", "from", "full", "into", "like", "look"}
STOP_WORDS |= {"looking", "looks", "over", "somebody", "someone", "something", "that", "with"}
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")
ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([1-6x]):(\w+|-)\}")
PLACE = re.compile(r"\{(\w+)\}")
THIRD_PERSON = {"be": "is", "have": "has", "go": "goes"}


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it asks for.

    Attributes:
        text: As somebody might write it.
        steps: The expressions to be shown, in order; none if it asks for none.
        turned: Whether it mentions a later step before an earlier one.
    """

    text: str
    steps: tuple[Step, ...] = ()
    turned: bool = False


@dataclass(frozen=True)
class Family:
    """Related words for one emotion.

    Attributes:
        emotion: That they name.
        intensity: That they tell, 1 being plain.
        words: Phrases by part of speech, with places for pronouns.
    """

    emotion: Emotion
    intensity: float
    words: dict[str, tuple[str, ...]]

    @property
    def stems(self) -> set[str]:
        """Beginnings of the words that carry meaning."""
        text = PLACE.sub("", " ".join(phrase for words in self.words.values() for phrase in words))
        words = {word for word in re.findall(r"[a-z]+", text) if len(word) >= MEANINGFUL}
        return {word[:STEM] for word in words - STOP_WORDS}

    def phrases(self, letter: str) -> list[str]:
        """Those that fit into a slot of a kind."""
        phrases = self.words[COLUMNS[letter]]
        return [phrase for phrase in phrases if letter != "j" or " " not in phrase]


@dataclass(frozen=True)
class Form:
    """A sentence form.

    Attributes:
        kind: "requests" begin with a bare verb; "none" asks for no expression.
        text: With its slots, places and alternatives.
    """

    kind: str
    text: str

    @property
    def asks(self) -> bool:
        """Whether it asks for an expression."""
        return self.kind != "none"

    @property
    def steps(self) -> int:
        """How many expressions it asks for."""
        return len({number for number, _ in SLOT.findall(self.text)} - {"x"})


def divide(items: Sequence[T]) -> list[tuple[T, Part]]:
    """Items and the part that each belongs to, always the same; of two or less, training's."""
    order = np.random.default_rng(len(items)).permutation(len(items))
    parts: list[Part] = ["train"] * len(items)
    start = 0
    for part, share in SHARES.items():
        stop = start + max(1, round(share * len(items))) if len(items) > 2 else start
        for row in order[start:stop]:
            parts[row] = part
        start = stop
    return list(zip(items, parts, strict=True))


@cache
def divided_families() -> list[tuple[Family, Part]]:
    """The vocabulary; related families of an emotion are in the same part."""
    with open(VOCABULARY_FILE, newline="") as file:
        families = [_family(row) for row in csv.DictReader(file)]
    divided: list[tuple[Family, Part]] = []
    for emotion in Emotion:
        clans = _clans([family for family in families if family.emotion is emotion])
        # The emotion's own name and its kin are never held out.
        divided += [(family, "train") for family in clans[0]]
        divided += [(family, part) for clan, part in divide(clans[1:]) for family in clan]
    return divided


@cache
def divided_forms() -> list[tuple[Form, Part]]:
    """The sentence forms, of every kind and number of steps in every part."""
    groups: dict[tuple[str, int], list[Form]] = defaultdict(list)
    for kind in ("requests", "statements", "none"):
        for line in _texts()[kind].splitlines():
            form = Form(kind, line)
            groups[kind, form.steps].append(form)
    return [pair for forms in groups.values() for pair in divide(forms)]


class Grammar:
    """Composes sentences.

    Args:
        words: The part whose words are used.
        forms: The part whose sentence forms are used.
    """

    def __init__(self, words: Part = "train", forms: Part = "train") -> None:
        texts = _texts()
        self.families = [family for family, part in divided_families() if part == words]
        self.forms = [form for form, part in divided_forms() if part == forms]
        present = {form.steps for form in self.forms if form.asks}
        lengths = {length: share for length, share in LENGTHS.items() if length in present}
        self.lengths = list(lengths)
        self.length_shares = np.array(list(lengths.values())) / sum(lengths.values())
        self.fillers = {
            kind: [item for item, part in divide(_items(line)) if part == words]
            for kind, line in texts["fillers"].items()
        }
        self.degrees = {
            kind: [(factor, degree) for factor, line in rows.items() for degree in _items(line)]
            for kind, rows in texts["degrees"].items()
        }
        self.polite = texts["polite"].splitlines()
        self.faces = _items(texts["faces"])
        self.people = list(texts["people"].values())

    def sample(self, count: int, rng: Generator) -> list[Sentence]:
        """Sentences, of which a share of `SILENT` asks for no expression."""
        return [
            self._silent(rng) if rng.random() < SILENT else self._asking(rng) for _ in range(count)
        ]

    def _asking(self, rng: Generator) -> Sentence:
        while True:
            sentence = self._attempt(rng)
            if all(_distinct(*pair) for pair in pairwise(sentence.steps)):
                return sentence

    def _attempt(self, rng: Generator) -> Sentence:
        length = int(rng.choice(self.lengths, p=self.length_shares))
        form = _pick([form for form in self.forms if form.asks and form.steps == length], rng)
        person = self._person(rng)
        text = _expand(form.text, rng)
        emotions = _draw_emotions(length + 1, rng)
        steps: dict[str, Step] = {}

        def fill(slot: re.Match[str]) -> str:
            number, letters = slot.groups()
            if letters == UNSAID:
                steps[number] = Step(Emotion.NEUTRAL)
                return ""
            emotion = emotions[-1 if number == "x" else int(number) - 1]
            phrase, steps[number] = self._phrase(emotion, letters, rng)
            return phrase

        text = SLOT.sub(fill, text)
        mentioned = [number for number in steps if number != "x"]
        return Sentence(
            self._finish(form, text, person, rng),
            tuple(steps[number] for number in sorted(mentioned)),
            mentioned != sorted(mentioned),
        )

    def _silent(self, rng: Generator) -> Sentence:
        filled = rng.random() < FILLED
        form = _pick([form for form in self.forms if form.steps == (2 if filled else 0)], rng)
        person = self._person(rng)
        fillers = {kind: list(rng.permutation(items)) for kind, items in self.fillers.items()}
        emotions = _draw_emotions(2, rng)
        text = _expand(form.text, rng)
        if filled:
            kind = _pick(list(fillers), rng)
            text = SLOT.sub(lambda slot: fillers[kind].pop(), text)
            if rng.random() < THINGS:
                person = {**person, "face": "the {thing}", "object": "the {thing}", "subject": "it"}
        text = SLOT.sub(lambda slot: self._phrase(emotions.pop(), slot[2], rng)[0], text)
        text = PLACE.sub(lambda place: person.get(place[1], place[0]), text)
        text = PLACE.sub(
            lambda place: fillers[place[1]].pop() if place[1] in fillers else place[0], text
        )
        return Sentence(self._finish(form, text, person, rng))

    def _phrase(self, emotion: Emotion, letters: str, rng: Generator) -> tuple[str, Step]:
        """Words for an emotion as one of some parts of speech, often with a degree."""
        while True:
            letter = _pick(letters, rng)
            family = _pick([family for family in self.families if family.emotion is emotion], rng)
            if phrases := family.phrases(letter):
                break
        phrase, factor = _pick(phrases, rng), 1.0
        if emotion is not Emotion.NEUTRAL and rng.random() < DEGREE:
            phrase, factor = self._graded(phrase, letter, rng)
        intensity = min(max(factor * family.intensity, MIN_INTENSITY), MAX_INTENSITY)
        return third_person(phrase) if letter == "s" else phrase, Step(emotion, intensity)

    def _graded(self, phrase: str, letter: str, rng: Generator) -> tuple[str, float]:
        article, _, rest = phrase.partition(" ")
        if letter == "n" and article in ("a", "an"):
            factor, degree = _pick(self.degrees["count"], rng)
            return f"a {degree} {rest}", factor
        if rest or phrase.endswith("ing"):
            return phrase, 1.0
        kind = {"n": "mass", "v": "verb", "s": "verb"}.get(letter, "adjective")
        factor, degree = _pick(self.degrees[kind], rng)
        return (f"{phrase} {degree}" if kind == "verb" else f"{degree} {phrase}"), factor

    def _person(self, rng: Generator) -> dict[str, str]:
        """What stands for the person at each place of a form."""
        person = _pick(self.people, rng)
        pronouns = person["pronouns"]
        if rng.random() < NAMED:
            name = _pick(_items(person["names"]), rng)
            subject, object_ = name, name
        else:
            subject, object_ = pronouns["they"], pronouns["them"]
        face = _pick([*self.faces, f"{pronouns['their']} face"], rng)
        return {**pronouns, "subject": subject, "object": object_, "face": face}

    def _finish(self, form: Form, text: str, person: dict[str, str], rng: Generator) -> str:
        """Fill the places, and write it as people do."""
        if form.kind == "requests" and rng.random() < POLITE:
            text = _expand(_pick(self.polite, rng), rng).replace("...", text)
        text = PLACE.sub(lambda place: person[place[1]], text)
        text = ARTICLE.sub(r"\1n ", re.sub(r"\s+", " ", text).strip())
        if rng.random() < TYPO:
            text = mistype(text, rng)
        if text[-1].isalpha():
            text += _pick(ENDINGS, rng)
        return text if rng.random() < 0.4 else text[0].upper() + text[1:]


def third_person(phrase: str) -> str:
    """What she or he does, for "cry" or "burst into tears"."""
    verb, _, rest = phrase.partition(" ")
    if verb in THIRD_PERSON:
        verb = THIRD_PERSON[verb]
    elif re.search(r"[^aeiou]y$", verb):
        verb = f"{verb[:-1]}ies"
    else:
        verb += "es" if re.search(r"(s|sh|ch|x|z)$", verb) else "s"
    return f"{verb} {rest}".strip()


def mistype(text: str, rng: Generator) -> str:
    """Drop, double or swap a letter within a long word."""
    places = [found.start() + 1 for found in re.finditer(r"[a-z]{4}", text)]
    if not places:
        return text
    at = int(_pick(places, rng))
    wrong = ("", 2 * text[at], text[at + 1] + text[at])
    kind = int(rng.integers(len(wrong)))
    return text[:at] + wrong[kind] + text[at + 1 + (kind == 2) :]


def _clans(families: list[Family]) -> list[list[Family]]:
    """Families that share a word, together."""
    clans: list[list[Family]] = []
    for family in families:
        kin = [clan for clan in clans if any(family.stems & other.stems for other in clan)]
        clans = [clan for clan in clans if clan not in kin]
        merged = [*(other for clan in kin for other in clan), family]
        clans.insert(0 if kin and kin[0][0] is families[0] else len(clans), merged)
    return clans


def _family(row: dict[str, str]) -> Family:
    words = {name: tuple(filter(None, row[name].split(";"))) for name in PARTS_OF_SPEECH}
    return Family(Emotion(row["emotion"]), float(row["intensity"]), words)


def _draw_emotions(count: int, rng: Generator) -> list[Emotion]:
    """Emotions of which neighbours differ, but for a share of `RISING` the first two."""
    emotions = [_pick(list(Emotion), rng)]
    while len(emotions) < count:
        emotions.append(_pick([emotion for emotion in Emotion if emotion is not emotions[-1]], rng))
    if rng.random() < RISING:
        emotions[1] = emotions[0]
    return emotions


def _distinct(one: Step, other: Step) -> bool:
    return one.emotion is not other.emotion or abs(one.intensity - other.intensity) > 0.4


def _expand(text: str, rng: Generator) -> str:
    """Choose among [alternatives]."""
    return ALTERNATIVES.sub(lambda choice: _pick(choice[1].split("|"), rng), text)


def _pick(items: Sequence[T], rng: Generator) -> T:
    return items[int(rng.integers(len(items)))]


def _items(line: str) -> list[str]:
    return [item.strip() for item in line.split(",")]


@cache
def _texts() -> dict[str, Any]:
    texts: dict[str, Any] = yaml.safe_load(FORMS_FILE.read_text())
    return texts
