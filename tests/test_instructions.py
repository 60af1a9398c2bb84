from __future__ import annotations

import pytest

from i2fet.emotions import CELEBVHQ_EMOTIONS, CKPLUS_EMOTIONS, SYNONYMS, Emotion
from i2fet.errors import InstructionError
from i2fet.instructions import (
    all_instructions,
    canonical_instruction,
    pair_instructions,
    parse_instruction,
)

A, C, D, F, H, SA, SU, N = Emotion


def heard(text: str) -> list[Emotion]:
    return [mention.emotion for mention in parse_instruction(text)]


def test_canonical_instruction_is_the_first_of_table_1() -> None:
    assert canonical_instruction(D, H) == "Turn this face from disgust to happiness."


def test_table_1_has_five_sentences_for_each_ordered_pair() -> None:
    assert len(set(all_instructions(CKPLUS_EMOTIONS))) == 7 * 6 * 5
    assert len(set(all_instructions(CELEBVHQ_EMOTIONS))) == 8 * 7 * 5


def test_open_style_extends_the_papers_and_uses_every_synonym() -> None:
    paper, open_ = all_instructions(list(Emotion)), all_instructions(list(Emotion), "open")
    assert set(paper) < set(open_)
    text = " ".join(open_)
    assert all(word in text for words in SYNONYMS.values() for word in words)


@pytest.mark.parametrize("first", Emotion)
@pytest.mark.parametrize("second", Emotion)
def test_every_own_sentence_is_heard_as_it_was_meant(first: Emotion, second: Emotion) -> None:
    if first is not second:
        for sentence in pair_instructions(first, second, "open"):
            assert heard(sentence) == [first, second], sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make her happy", [H]),
        ("Make her FURIOUS!", [A]),
        ("turn this sad face into a happy one", [SA, H]),
        ("change it to happiness from anger", [A, H]),
        ("to joy, away from grief", [SA, H]),
        ("happy instead of angry", [A, H]),
        ("no longer angry but happy", [A, H]),
        ("she looks sad after being happy", [H, SA]),
        ("anger, after that happiness", [A, H]),
        ("from anger via neutral to happiness", [A, N, H]),
        ("from anger to happiness via neutral", [A, N, H]),
        ("to happiness from anger through neutral", [A, N, H]),
        ("to happiness via neutral from anger", [A, N, H]),
        ("from anger to happiness via neutral and surprise", [A, N, SU, H]),
        ("from anger to happiness then through sadness to fear", [A, H, SA, F]),
        ("angry, then sad, then calm", [A, SA, N]),
        ("from anger to happiness, then from happiness to fear", [A, H, F]),
        ("make her happy, then go from sad to angry", [H, SA, A]),
        ("I want to go from terror to amazement", [F, SU]),
        ("from the current expression to disdain", [C]),
        ("from now on look grossed   out", [D]),
        ("unhappy", [SA]),
        ("very\nunhappy\nto\nhappy", [SA, H]),
        ("she isn’t going anywhere; show surprise", [SU]),
    ],
)
def test_wordings(text: str, expected: list[Emotion]) -> None:
    assert heard(text) == expected


def test_mentions_keep_the_users_word() -> None:
    first, second = parse_instruction("From FURIOUS to grossed  out")
    assert (first.word, second.word) == ("furious", "grossed out")


@pytest.mark.parametrize(
    "text", ["make it purple", "", "madden the unhappiness", "a happyish face"]
)
def test_no_expression_lists_the_known_ones(text: str) -> None:
    with pytest.raises(InstructionError, match=r"no expression is named.*anger, .*neutral"):
        parse_instruction(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("from purple to happiness", "purple"),
        ("from happiness to purple", "purple"),
        ("to purple from happiness", "purple"),
        ("from happiness via purple to anger", "purple"),
        ("from happiness to a purple mood and then to sadness", "a purple mood"),
        ("Turn this face from joy to\nhunger.", "hunger"),
    ],
)
def test_unknown_slot_is_named(text: str, word: str) -> None:
    with pytest.raises(InstructionError, match=f"^'{word}' is not a known expression"):
        parse_instruction(text)


@pytest.mark.parametrize("text", ["not angry", "don't make her sad", "without any fear, happy"])
def test_negation_is_refused(text: str) -> None:
    with pytest.raises(InstructionError, match="negated"):
        parse_instruction(text)


@pytest.mark.parametrize("text", ["turn this face from anger", "from anger through neutral"])
def test_a_start_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(InstructionError, match="no expression to end with"):
        parse_instruction(text)
