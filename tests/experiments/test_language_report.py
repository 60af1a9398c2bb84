from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest
import torch

from datamodules.sentences import Grammar, Sentence
from experiments.language_report import HAND_WRITTEN, hand_written, main, read_by_rule, score
from i2fet.emotions import Emotion
from i2fet.instructions import Step
from i2fet.nn.instruction_reader import InstructionReader
from i2fet.text import load_text_encoder
from i2fet.text.listener import Listener, build_namer, save_listener

FEAR, JOY = Step(Emotion.FEAR), Step(Emotion.HAPPINESS)


def reading(answers):
    return lambda sentences: [answers[sentence] for sentence in sentences]


def test_a_perfect_reader_gets_full_marks():
    sentences = Grammar().sample(200, Random(0))
    result = score(reading({s.text: s.steps for s in sentences}), sentences)
    assert result.sentences == 200
    for name in ("sequence", "acc1", "acc2", "direct", "reversed", "silent"):
        assert getattr(result, name) == 1, name
    assert result.intensity == pytest.approx(1)
    assert result.false_alarms == result.swapped == 0


def test_faults_are_counted_where_they_are():
    disdain, nausea = Step(Emotion.CONTEMPT), Step(Emotion.DISGUST)
    sentences = [
        Sentence("fear, joy", (FEAR, JOY), ((0, 4), (6, 9))),
        Sentence("joy after fear", (FEAR, JOY), ((10, 14), (0, 3))),
        Sentence("scorn", (disdain,), ((0, 5),)),
        Sentence("furious", (Step(Emotion.ANGER, 1.5),), ((0, 7),)),
        Sentence("purple"),
        Sentence("what is fear?"),
    ]
    answers = [(FEAR, JOY), (JOY, FEAR), (nausea,), (), (), (FEAR,)]
    texts = [sentence.text for sentence in sentences]
    result = score(reading(dict(zip(texts, answers, strict=True))), sentences)
    assert (result.direct, result.reversed, result.acc2) == (1, 0, 0.5)
    assert (result.sequence, result.acc1) == (1 / 4, 2 / 6)
    assert (result.silent, result.false_alarms, result.swapped) == (0.5, 1 / 4, 1)
    assert np.isnan(result.intensity)


def test_hand_written_sentences_are_labelled():
    sentences = [one for path in HAND_WRITTEN.values() for one in hand_written(path)]
    assert len(sentences) >= 300
    by_text = {sentence.text: sentence.steps for sentence in sentences}
    assert by_text["Make him absolutely furious"] == (Step(Emotion.ANGER, 1.5),)
    assert by_text["make it purple"] == ()


def test_the_rule_reader_refuses_what_it_does_not_know():
    assert read_by_rule(["from fear to joy", "make it purple"]) == [(FEAR, JOY), ()]


def test_the_report_has_a_row_for_each_set_and_reader(tmp_path, capsys):
    torch.manual_seed(0)
    config, namer = {"text_width": 384, "width": 16, "heads": 2, "layers": 1}, {"rank": 2}
    path = tmp_path / "reader.safetensors"
    listener = Listener(
        InstructionReader(**config), load_text_encoder("minilm-words"), build_namer(**namer), {}
    )
    save_listener(listener, config, namer, path)
    main(["--reader", str(path), "--sentences", "12", "--output", str(tmp_path / "report")])
    records = json.loads((tmp_path / "report" / "report.json").read_text())
    assert len(records) == 6
    assert set(records["new words"]) == {"as shipped", "network", "rule"}
    assert records["new words"]["as shipped"]["sentences"] == 12
    printed = capsys.readouterr().out
    assert (tmp_path / "report" / "report.md").read_text() in printed
    assert "written by hand" in printed
