"""Words that weaken or strengthen the expression beside which they stand."""

from __future__ import annotations

import re

DEGREES: dict[str, dict[float, str]] = {
    "adjective": {
        0.5: "slightly, a little, a bit, a tiny bit, mildly, faintly, just barely, "
        "ever so slightly",
        0.7: "somewhat, rather mildly, kind of, sort of, a touch",
        1.3: "very, really, so, terribly, quite intensely, incredibly",
        1.5: "extremely, totally, completely, absolutely, utterly, insanely, unbelievably, super",
    },
    "mass": {
        0.5: "a hint of, a touch of, slight, mild, faint, a trace of, a little, a bit of",
        0.7: "some, subtle, moderate",
        1.3: "great, deep, strong, intense, a lot of, real",
        1.5: "extreme, utter, sheer, absolute, overwhelming, pure, uncontrollable",
    },
    "count": {
        0.5: "slight, faint, tiny, weak, barely visible",
        0.7: "subtle, small, soft",
        1.3: "big, strong, broad, clear",
        1.5: "huge, enormous, exaggerated, massive",
    },
    "verb": {
        0.5: "a little, slightly, a bit, ever so slightly",
        0.7: "softly, gently",
        1.3: "strongly, a lot",
        1.5: "like never before, uncontrollably, as much as possible",
    },
}
"""Factors on the intensity, by the part of speech that is graded."""

_FACTORS = {
    words: factor
    for kinds in DEGREES.values()
    for factor, line in kinds.items()
    for words in line.split(", ")
}
_ANY = "|".join(sorted((re.escape(words) for words in _FACTORS), key=len, reverse=True))
_VERBS = ", ".join(DEGREES["verb"].values()).replace(", ", "|")
_DEGREE = re.compile(rf"\b(?:{_ANY})\b", re.I)
_BEFORE = re.compile(rf"\b(?:{_ANY})\s+$", re.I)
_AFTER = re.compile(rf"\s+(?:{_VERBS})\b", re.I)


def split_degree(sentence: str, start: int, stop: int) -> tuple[str, float]:
    """Take what grades some words of a sentence from them.

    Args:
        sentence: The sentence.
        start: The first character of the words.
        stop: The one after their last.

    Returns:
        The words without the degree that stands among or beside them, and its factor on their
        intensity; as they are, and 1, if there is none.
    """
    before, after = _BEFORE.search(sentence[:start]), _AFTER.match(sentence[stop:])
    graded = sentence[before.start() if before else start : stop + (after.end() if after else 0)]
    degree = _DEGREE.search(graded)
    bare = " ".join(_DEGREE.sub(" ", graded).split())
    if degree is None or not bare:
        return sentence[start:stop], 1.0
    return bare, _FACTORS[" ".join(degree[0].lower().split())]
