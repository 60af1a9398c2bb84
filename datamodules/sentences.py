"""Sentences that ask for expressions, and others, composed by a grammar of our own.

A line of `vocabulary.csv` is a family of words for an emotion, with the intensity that they tell;
`forms.yaml` holds the sentence forms. Both are split, so that a reader can be evaluated on words
and on forms that it was never trained on. `ambiguous.csv` lists words that are in neither part:
people would name another emotion for them, or none.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

import yaml

from i2fet.emotions import Emotion
from i2fet.instructions import MAX_INTENSITY, MIN_INTENSITY, Step
from i2fet.text.degrees import DEGREES

T = TypeVar("T")
Part = Literal["train", "val", "test", "all"]
"""Of the vocabulary and of the forms; "all" are the other three together."""

SHARES: dict[Part, float] = {"test": 0.2, "val": 0.1}
"""Shares of the clans of phrases and of the forms; the rest is for training."""

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.csv")
FORMS_FILE = Path(__file__).with_name("forms.yaml")
AMBIGUOUS_FILE = Path(__file__).with_name("ambiguous.csv")

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

TELLING = 0.5
"""A stem tells an emotion if more of the phrases with it than this share name that one: "worr"
does, "face" tells none."""

KINDS = {"a": "adjective", "j": "adjective", "n": "noun", "v": "verb", "s": "verb"}
ENDINGS = ("", "", ".", ".", "!")
AT_REST = "="
"""In a slot: these very words ask for a neutral face."""
MARKS = re.compile("[\ue000-\ue007]")
"""In unfinished text: `chr(OPEN + n)` begins the words of step n, `CLOSE` ends them."""
OPEN, CLOSE = 0xE000, "\ue007"
STEM = re.compile(
    r"(?:un)?(\w{3,}?)(?:e|i|y|s|d|ed|t|er|est|ing|ful|less|ness|ly|ous|able|ible|ment|ity|ate?"
    r"|ion|ance|ant|ence|ent|al|ic|ive|ish|en)*"
)
"""A word without the commonest endings of English."""
STEM_LETTERS = 5
"""Of a stem that count: "believing" and "belief" differ after them."""
ARTICLE = re.compile("\\b([Aa]) (?=[\ue000-\ue006]?[aeiou])")
ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([1-6x]):(\w+|=[\w ]+)\}")
RESTING = re.compile(r"\{[1-6]:=([\w ]+)\}")
PLACE = re.compile(r"\{(\w+)\}")
THIRD_PERSON = {"be": "is", "have": "has", "go": "goes"}


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it asks for.

    Attributes:
        text: As somebody might write it.
        steps: The expressions to be shown, in order; none if it asks for none.
        spans: Where the text says each step: first character, and the one after the last.
    """

    text: str
    steps: tuple[Step, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def turned(self) -> bool:
        """Whether it mentions a later step before an earlier one."""
        return list(self.spans) != sorted(self.spans)


@dataclass(frozen=True)
class Words:
    """Words by themselves, as they may stand in a sentence.

    Attributes:
        text: The words.
        step: That they name, if any.
        kin: What they share with their variants, and with words of their line or form.
    """

    text: str
    step: Step | None
    kin: str


@dataclass(frozen=True)
class Phrase:
    """Words for an emotion.

    Attributes:
        emotion: That they name.
        intensity: That they tell, 1 being plain.
        kind: "adjective", "noun" or "verb".
        text: The words, with places for pronouns.
        family: Number of the line that it comes from, whose phrases are related.
    """

    emotion: Emotion
    intensity: float
    kind: str
    text: str
    family: int

    @property
    def stems(self) -> set[str]:
        """Beginnings of its words of three letters and more, without endings."""
        words = re.findall(r"[a-z]{3,}", PLACE.sub("", self.text.lower()))
        return {found[1][:STEM_LETTERS] for found in map(STEM.fullmatch, words) if found}

    def fits(self, letter: str) -> bool:
        """Whether it can stand in a slot of a kind."""
        return self.kind == KINDS[letter] and (letter != "j" or " " not in self.text)


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
    order = Random(len(items)).sample(range(len(items)), len(items))
    parts: list[Part] = ["train"] * len(items)
    start = 0
    for part, share in SHARES.items():
        stop = start + max(1, round(share * len(items))) if len(items) > 2 else start
        for row in order[start:stop]:
            parts[row] = part
        start = stop
    return list(zip(items, parts, strict=True))


@cache
def divided_vocabulary() -> list[tuple[Phrase, Part]]:
    """The vocabulary; phrases of an emotion that share a line or a telling stem are together.

    The largest clan of each emotion, and that of its name, the first line, are in training.
    """
    with open(VOCABULARY_FILE, newline="") as file:
        phrases = [
            phrase for n, row in enumerate(csv.DictReader(file)) for phrase in _phrases(n, row)
        ]
    uses = Counter(stem for phrase in phrases for stem in phrase.stems)
    divided: list[tuple[Phrase, Part]] = []
    for emotion in Emotion:
        own = [phrase for phrase in phrases if phrase.emotion is emotion]
        own_uses = Counter(stem for phrase in own for stem in phrase.stems)
        telling = {stem for stem, count in own_uses.items() if count > TELLING * uses[stem]}
        clans = sorted(_clans(own, telling), key=len)
        known = [clan for clan in clans if own[0] in clan or clan is clans[-1]]
        divided += [(phrase, "train") for clan in known for phrase in clan]
        for clan, part in divide([clan for clan in clans if clan not in known]):
            divided += [(phrase, part) for phrase in clan]
    return divided


@cache
def divided_forms() -> list[tuple[Form, Part]]:
    """The sentence forms, of every kind and number of steps in every part.

    Those of the paper, and those written after the others had been divided, are in training.
    """
    groups: dict[tuple[str, int], list[Form]] = defaultdict(list)
    for kind in ("requests", "statements", "none"):
        for line in _texts()[kind].splitlines():
            form = Form(kind, line)
            groups[kind, form.steps].append(form)
    known = {"requests": _texts()["paper"]}, _texts()["more"]
    trained: list[tuple[Form, Part]] = [
        (Form(kind, line), "train")
        for texts in known
        for kind, lines in texts.items()
        for line in lines.splitlines()
    ]
    return [*trained, *(pair for forms in groups.values() for pair in divide(forms))]


class Grammar:
    """Composes sentences.

    Args:
        words: The part whose words are used.
        forms: The part whose sentence forms are used.
    """

    def __init__(self, words: Part = "train", forms: Part = "train") -> None:
        texts = _texts()
        self.phrases: dict[tuple[Emotion, str], list[Phrase]] = defaultdict(list)
        for phrase, part in divided_vocabulary():
            for letter in KINDS:
                if words in (part, "all") and phrase.fits(letter):
                    self.phrases[phrase.emotion, letter].append(phrase)
        self.asking: dict[int, list[Form]] = defaultdict(list)
        self.silent: list[Form] = []
        for form, part in divided_forms():
            if forms in (part, "all"):
                (self.asking[form.steps] if form.asks else self.silent).append(form)
        self.fillers = {
            kind: [item for item, part in divide(_items(line)) if words in (part, "all")]
            for kind, line in texts["fillers"].items()
        }
        self.degrees = {
            kind: [(factor, degree) for factor, line in rows.items() for degree in _items(line)]
            for kind, rows in DEGREES.items()
        }
        self.polite = texts["polite"].splitlines()
        self.faces = _items(texts["faces"])
        self.people = list(texts["people"].values())

    def sample(self, count: int, rng: Random) -> list[Sentence]:
        """Sentences, of which a share of `SILENT` asks for no expression."""
        return [
            self._silent(rng) if rng.random() < SILENT else self._asking(rng) for _ in range(count)
        ]

    def words(self, rng: Random) -> list[Words]:
        """Words that name an expression, and words of the forms and their fillers that name none.

        Each phrase is there for each person of whom it may be said, at times mistyped besides.
        """
        unique = {phrase for phrases in self.phrases.values() for phrase in phrases}
        named = [
            Words(text, Step(phrase.emotion, phrase.intensity), f"line {phrase.family}")
            for phrase in sorted(unique, key=lambda phrase: (phrase.family, phrase.text))
            for text in _inflected(phrase, self.people, rng)
        ]
        forms = [*self.silent, *(form for forms in self.asking.values() for form in forms)]
        at_rest = {words for form in forms for words in RESTING.findall(form.text)}
        return [
            *named,
            *(Words(words, Step(Emotion.NEUTRAL), words) for words in sorted(at_rest)),
            *(Words(item, None, item) for items in self.fillers.values() for item in items),
            *(Words(text, None, form.text) for form in forms for text in self._framing(form, rng)),
        ]

    def _framing(self, form: Form, rng: Random) -> list[str]:
        """One to three words of a form, for each run of words beside its slots."""
        text = SLOT.sub("\n", _expand(form.text, rng))
        person = self._person(rng)
        text = PLACE.sub(lambda place: person.get(place[1], "\n"), text)
        runs = [re.findall(r"[\w']+", run) for run in text.split("\n")]
        starts = [rng.randrange(len(run)) if run else 0 for run in runs]
        return [
            " ".join(run[start : start + rng.randint(1, 3)])
            for run, start in zip(runs, starts, strict=True)
            if run
        ]

    def _asking(self, rng: Random) -> Sentence:
        while True:
            sentence = self._attempt(rng)
            if all(_distinct(*pair) for pair in pairwise(sentence.steps)):
                return sentence

    def _attempt(self, rng: Random) -> Sentence:
        length = rng.choices(list(self.asking), [LENGTHS[n] for n in self.asking])[0]
        form = rng.choice(self.asking[length])
        person = self._person(rng)
        text = _expand(form.text, rng)
        emotions = _draw_emotions(length + 1, rng)
        steps: dict[int, Step] = {}

        def fill(slot: re.Match[str]) -> str:
            if slot[1] == "x":
                return self._phrase(emotions[-1], slot[2], rng)[0]
            number = int(slot[1])
            if slot[2].startswith(AT_REST):
                phrase, steps[number] = slot[2][1:], Step(Emotion.NEUTRAL)
            else:
                phrase, steps[number] = self._phrase(emotions[number - 1], slot[2], rng)
            return f"{chr(OPEN + number)}{phrase}{CLOSE}"

        text, spans = self._finish(form, SLOT.sub(fill, text), person, rng)
        return Sentence(text, tuple(steps[number] for number in sorted(steps)), spans)

    def _silent(self, rng: Random) -> Sentence:
        filled = rng.random() < FILLED
        form = rng.choice(self.asking[2] if filled else self.silent)
        person = self._person(rng)
        fillers = {kind: 2 * rng.sample(items, len(items)) for kind, items in self.fillers.items()}
        emotions = _draw_emotions(2, rng)
        text = _expand(form.text, rng)
        if filled:
            kind = rng.choice(list(fillers))
            text = SLOT.sub(lambda slot: fillers[kind].pop(), text)
            if rng.random() < THINGS:
                person = {**person, "face": "the {thing}", "object": "the {thing}", "subject": "it"}
        text = SLOT.sub(lambda slot: self._phrase(emotions.pop(), slot[2], rng)[0], text)
        text = PLACE.sub(lambda place: person.get(place[1], place[0]), text)
        text = PLACE.sub(
            lambda place: fillers[place[1]].pop() if place[1] in fillers else place[0], text
        )
        return Sentence(self._finish(form, text, person, rng)[0])

    def _phrase(self, emotion: Emotion, letters: str, rng: Random) -> tuple[str, Step]:
        """Words for an emotion as one of some parts of speech, often with a degree."""
        usable = [letter for letter in KINDS if self.phrases[emotion, letter]]
        letter = rng.choice([letter for letter in usable if letter in letters] or usable)
        phrase = rng.choice(self.phrases[emotion, letter])
        text, factor = phrase.text, 1.0
        if emotion is not Emotion.NEUTRAL and rng.random() < DEGREE:
            text, factor = self._graded(text, letter, rng)
        intensity = min(max(factor * phrase.intensity, MIN_INTENSITY), MAX_INTENSITY)
        return third_person(text) if letter == "s" else text, Step(emotion, intensity)

    def _graded(self, phrase: str, letter: str, rng: Random) -> tuple[str, float]:
        article, _, rest = phrase.partition(" ")
        if letter == "n" and article in ("a", "an"):
            factor, degree = rng.choice(self.degrees["count"])
            return f"a {degree} {rest}", factor
        if rest or phrase.endswith("ing"):
            return phrase, 1.0
        kind = {"n": "mass", "v": "verb", "s": "verb"}.get(letter, "adjective")
        factor, degree = rng.choice(self.degrees[kind])
        return (f"{phrase} {degree}" if kind == "verb" else f"{degree} {phrase}"), factor

    def _person(self, rng: Random) -> dict[str, str]:
        """What stands for the person at each place of a form."""
        person = rng.choice(self.people)
        pronouns = person["pronouns"]
        if rng.random() < NAMED:
            name = rng.choice(_items(person["names"]))
            subject, object_ = name, name
        else:
            subject, object_ = pronouns["they"], pronouns["them"]
        face = rng.choice([*self.faces, f"{pronouns['their']} face"])
        return {**pronouns, "subject": subject, "object": object_, "face": face}

    def _finish(
        self, form: Form, text: str, person: dict[str, str], rng: Random
    ) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Fill the places, and write it as people do; the spans are those of `Sentence`."""
        if form.kind == "requests" and rng.random() < POLITE:
            text = _expand(rng.choice(self.polite), rng).replace("...", text)
        text = PLACE.sub(lambda place: person[place[1]], text)
        text = ARTICLE.sub(r"\1n ", re.sub(r"\s+", " ", text).strip())
        if rng.random() < TYPO:
            text = mistype(text, rng)
        text, spans = unmark(text)
        if text[-1].isalpha():
            text += rng.choice(ENDINGS)
        return (text if rng.random() < 0.4 else text[0].upper() + text[1:]), spans


def unmark(text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Text without its marks, and the spans of the steps that they enclosed."""
    starts: dict[int, int] = {}
    spans: dict[int, tuple[int, int]] = {}
    number = 0
    for removed, mark in enumerate(MARKS.finditer(text)):
        at = mark.start() - removed
        if mark[0] == CLOSE:
            spans[number] = starts[number], at
        else:
            number = ord(mark[0]) - OPEN
            starts[number] = at
    return MARKS.sub("", text), tuple(spans[number] for number in sorted(spans))


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


def mistype(text: str, rng: Random) -> str:
    """Drop, double or swap a letter within a long word."""
    places = [found.start() + 1 for found in re.finditer(r"[a-z]{4}", text)]
    if not places:
        return text
    at = rng.choice(places)
    wrong = ("", 2 * text[at], text[at + 1] + text[at])
    kind = rng.randrange(len(wrong))
    return text[:at] + wrong[kind] + text[at + 1 + (kind == 2) :]


def _clans(phrases: list[Phrase], telling: set[str]) -> list[list[Phrase]]:
    """Phrases that share a line or a telling stem, together."""
    clans: list[tuple[set[str], list[Phrase]]] = []
    for phrase in phrases:
        marks = {str(phrase.family), *phrase.stems & telling}
        kin = [clan for clan in clans if clan[0] & marks]
        clans = [clan for clan in clans if not clan[0] & marks]
        clans.append(
            (marks.union(*(k for k, _ in kin)), [*(p for _, own in kin for p in own), phrase])
        )
    return [own for _, own in clans]


def _phrases(family: int, row: dict[str, str]) -> list[Phrase]:
    emotion, intensity = Emotion(row["emotion"]), float(row["intensity"])
    return [
        Phrase(emotion, intensity, kind, text, family)
        for kind in ("adjective", "noun", "verb")
        for text in row[kind].split(";")
        if text
    ]


def _inflected(phrase: Phrase, people: Sequence[dict[str, Any]], rng: Random) -> list[str]:
    """A phrase as it is of each of some people, and at times mistyped."""
    texts = {phrase.text.format(**who["pronouns"]) for who in people}
    if phrase.kind == "verb":
        texts |= {third_person(text) for text in texts}
    wrong = [mistype(text, rng) for text in sorted(texts) if rng.random() < TYPO]
    return [*sorted(texts), *wrong]


def _draw_emotions(count: int, rng: Random) -> list[Emotion]:
    """Emotions of which neighbours differ, but for a share of `RISING` the first two."""
    emotions = [rng.choice(list(Emotion))]
    while len(emotions) < count:
        emotions.append(rng.choice([emotion for emotion in Emotion if emotion is not emotions[-1]]))
    if rng.random() < RISING:
        emotions[1] = emotions[0]
    return emotions


def _distinct(one: Step, other: Step) -> bool:
    return one.emotion is not other.emotion or abs(one.intensity - other.intensity) > 0.4


def _expand(text: str, rng: Random) -> str:
    """Choose among [alternatives]."""
    return ALTERNATIVES.sub(lambda choice: rng.choice(choice[1].split("|")), text)


def _items(line: str) -> list[str]:
    return [item.strip() for item in line.split(",")]


@cache
def _texts() -> dict[str, Any]:
    texts: dict[str, Any] = yaml.safe_load(FORMS_FILE.read_text())
    return texts
