from __future__ import annotations

import csv
import re
from random import Random

import pytest

from datamodules.sentences import (
    AMBIGUOUS_FILE,
    Grammar,
    divided_forms,
    divided_vocabulary,
    mistype,
    third_person,
    unmark,
)
from i2fet.emotions import Emotion
from i2fet.instructions import MAX_INTENSITY, MIN_INTENSITY


@pytest.fixture(scope="module")
def sentences():
    return Grammar().sample(2000, Random(0))


def test_same_seed_same_sentences(sentences):
    assert Grammar().sample(50, Random(0)) == sentences[:50]
    assert Grammar().sample(50, Random(1)) != sentences[:50]


def test_sentences_are_finished(sentences):
    for sentence in sentences:
        assert not re.search(r"[{}\[\]|\ue000-\ue0ff]|\s\s", sentence.text), sentence
        assert len(sentence.text) < 300


def test_spans_hold_the_words_of_each_step():
    grammar = Grammar()
    grammar.phrases = {
        (emotion, letter): [phrase for phrase in phrases if phrase.text == str(emotion)]
        for (emotion, letter), phrases in grammar.phrases.items()
    }
    checked = 0
    for sentence in grammar.sample(400, Random(2)):
        assert len(sentence.spans) == len(sentence.steps)
        for step, (start, stop) in zip(sentence.steps, sentence.spans, strict=True):
            words = sentence.text[start:stop].lower()
            if str(step.emotion) in words:
                checked += 1
            else:
                assert step.emotion is Emotion.NEUTRAL or len(words) > 3, sentence
    assert checked > 200


def test_words_stand_by_themselves_as_in_sentences():
    words = Grammar().words(Random(0))
    assert not any(re.search(r"[{}\[\]|]", one.text) or not one.text for one in words)
    steps = {one.text: one.step for one in words}
    for text, emotion in [
        ("furious", Emotion.ANGER),
        ("bites her nails", Emotion.FEAR),
        ("stop", Emotion.NEUTRAL),
    ]:
        assert steps[text].emotion is emotion
    assert steps["purple"] is None
    named = {one.kin for one in words if one.step}
    assert not named & {one.kin for one in words if one.step is None}
    assert sum(one.step is None for one in words) > len(divided_forms()) // 2


def test_every_kind_of_sentence_occurs(sentences):
    lengths = {len(sentence.steps) for sentence in sentences}
    assert lengths == set(range(7))
    assert 0.25 < sum(not sentence.steps for sentence in sentences) / len(sentences) < 0.35
    assert sum(sentence.turned for sentence in sentences) > 100
    steps = [step for sentence in sentences for step in sentence.steps]
    assert {step.emotion for step in steps} == set(Emotion)
    assert all(MIN_INTENSITY <= step.intensity <= MAX_INTENSITY for step in steps)


def test_parts_share_neither_words_nor_forms():
    families = {part: set() for part in ("train", "val", "test")}
    for phrase, part in divided_vocabulary():
        families[part].add(phrase.family)
    assert sum(map(len, families.values())) == len(set.union(*families.values()))
    forms = [form for form, _ in divided_forms()]
    assert len(set(forms)) == len(forms) > 600


def test_words_of_one_stem_are_in_one_part():
    parts = {phrase.text: part for phrase, part in divided_vocabulary()}
    for one, other in [
        ("furious", "infuriated by the noise"),
        ("resentful", "resentment"),
        ("grieving", "grief"),
        ("anxious", "anxiety"),
        ("timid", "as timid as a mouse"),
        ("nauseous", "a slight nausea"),
    ]:
        assert parts[one] == parts[other], one


def test_ambiguous_words_are_in_no_part():
    with open(AMBIGUOUS_FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    ambiguous = {(row["emotion"], one) for row in rows for one in row["words"].split(";")}
    assert len(ambiguous) > 200
    assert not ambiguous & {(str(p.emotion), p.text) for p, _ in divided_vocabulary()}


@pytest.mark.parametrize("words", ["val", "test", "all"])
@pytest.mark.parametrize("forms", ["train", "val", "test"])
def test_every_part_composes_every_emotion(words, forms):
    sentences = Grammar(words, forms).sample(300, Random(0))
    assert {step.emotion for sentence in sentences for step in sentence.steps} == set(Emotion)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("cry", "cries"),
        ("say wow", "says wow"),
        ("gnash {their} teeth", "gnashes {their} teeth"),
        ("be impressed", "is impressed"),
        ("go blank", "goes blank"),
        ("have fun", "has fun"),
    ],
)
def test_third_person(verb, expected):
    assert third_person(verb) == expected


def test_unmark_gives_spans_in_the_order_of_the_steps():
    text = "to \ue002joy\ue007 from \ue001rage\ue007!"
    assert unmark(text) == ("to joy from rage!", ((12, 16), (3, 6)))


def test_mistyped_words_differ_by_a_letter():
    for seed in range(50):
        wrong = mistype("make her furious", Random(seed))
        assert wrong[:1] == "m"
        assert abs(len(wrong) - 16) <= 1
    assert mistype("be sad", Random(0)) == "be sad"
