from __future__ import annotations

import pytest

from i2fet.text.degrees import DEGREES, split_degree


@pytest.mark.parametrize(
    ("sentence", "words", "bare", "factor"),
    [
        ("from slightly angry to happy", "angry", "angry", 0.5),
        ("from Slightly angry to happy", "Slightly angry", "angry", 0.5),
        ("a face of utter contempt", "contempt", "contempt", 1.5),
        ("a huge grin", "a huge grin", "a grin", 1.5),
        ("make him smile a little", "smile", "smile", 0.5),
        ("ever so slightly sad", "sad", "sad", 0.5),
        ("scared, slightly happy", "scared", "scared", 1.0),
        ("angry", "angry", "angry", 1.0),
        ("very", "very", "very", 1.0),
        ("a superhero weeps", "weeps", "weeps", 1.0),
    ],
)
def test_what_grades_words_is_taken_from_them(
    sentence: str, words: str, bare: str, factor: float
) -> None:
    start = sentence.index(words)
    assert split_degree(sentence, start, start + len(words)) == (bare, factor)


def test_no_words_have_two_factors() -> None:
    factors: dict[str, set[float]] = {}
    for kinds in DEGREES.values():
        for factor, line in kinds.items():
            for words in line.split(", "):
                factors.setdefault(words, set()).add(factor)
    assert all(len(each) == 1 for each in factors.values())
