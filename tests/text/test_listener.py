from __future__ import annotations

import pytest
import torch

from i2fet.emotions import Emotion
from i2fet.errors import AssetError, InstructionError
from i2fet.instructions import TEMPLATES, Step
from i2fet.nn.instruction_reader import InstructionReader
from i2fet.nn.word_namer import NOTHING
from i2fet.text.listener import (
    READER_FILE,
    Heard,
    Listener,
    _find,
    build_namer,
    load_listener,
    save_listener,
)

A, C, D, F, H, SA, SU, N = Emotion


@pytest.fixture(scope="module")
def listener() -> Listener:
    return load_listener()


def test_table_1_is_heard_without_a_fault(listener):
    pairs = [(one, other) for one in Emotion for other in Emotion if one is not other]
    sentences = [t.format(first=one, second=other) for t in TEMPLATES for one, other in pairs]
    heard = zip(sentences, listener.hear(sentences), strict=True)
    steps = [listener.decide(*one) for one in heard]
    assert [[step.emotion for step in s] for s in steps] == [list(pair) for pair in pairs] * 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make her happy", [H]),
        ("turn this sad face into a happy one", [SA, H]),
        ("change it to happiness from anger", [A, H]),
        ("she looks sad after being happy", [H, SA]),
        ("end up happy after being scared", [F, H]),
        ("happy instead of angry", [A, H]),
        ("from sad to surprised through neutral", [SA, N, SU]),
        ("angry, then scared, then happy", [A, F, H]),
        ("first disgusted, then sad", [D, SA]),
        ("from contempt to disgust", [C, D]),
        ("Change the face's emotion from anger to surprise.", [A, SU]),
        ("Generate a transition between surprise and anger", [SU, A]),
    ],
)
def test_wordings(listener, text, expected):
    assert [step.emotion for step in listener(text)] == expected


@pytest.mark.parametrize("text", ["laugh", "Laugh!", "very happy", " grin "])
def test_a_known_word_by_itself_is_a_request(listener, text):
    (step,) = listener(text)
    assert step.emotion is H


def test_words_and_degrees_tell_the_intensity(listener):
    slightly, plain, furious = (
        listener(f"make her {word}")[0].intensity for word in ("slightly angry", "angry", "furious")
    )
    assert slightly < plain < furious
    assert listener("Turn this face from anger to happiness.") == (Step(A), Step(H))


@pytest.mark.parametrize(
    "text",
    [
        "make it purple",
        "rotate the picture",
        "what is the weather like in Rome?",
        "change her hair from blond to black",
    ],
)
def test_sentences_that_ask_for_no_expression_are_refused(listener, text):
    with pytest.raises(InstructionError, match="no expression is asked for") as told:
        listener(text)
    assert repr(text) in str(told.value)


def test_an_unsure_reading_is_told_with_what_was_understood(listener):
    unsure = Listener(
        listener.network, listener.encoder, listener.namer, listener.lexicon, least_confidence=1.1
    )
    with pytest.raises(InstructionError, match=r"understood as anger.*\d+% certainty"):
        unsure("make this guy really angry")


@pytest.mark.parametrize("text", ["", "from happiness to the face", "no smile", "from anger"])
def test_plain_sentences_are_refused_by_rule(listener, text):
    with pytest.raises(InstructionError):
        listener(text)


def test_plain_sentences_are_read_by_rule_and_graded_by_the_network(listener):
    heard = Heard((Step(F, 1.5),), 1.0)
    assert listener.decide("show terror", heard) == (Step(F, 1.5),)
    assert listener.decide("show grief", heard) == (Step(SA),)


@pytest.mark.parametrize(
    ("times", "expected"),
    [((-5, 6), [(0, 12)]), ((0, 0), [(0, 12)]), ((6, -5), [(0, 5), (6, 12)])],
)
def test_neighbours_are_one_mention_unless_the_first_is_shown_later(times, expected):
    begins = torch.tensor([[0.0, 1.0, 0.0]] * 2)
    found = _find([(0, 5), (6, 12)], begins, torch.tensor(times, dtype=torch.float), least=0.5)
    assert [(mention.start, mention.stop) for mention in found] == expected


def test_tokens_below_the_threshold_are_not_said():
    marks = torch.tensor([[0.7, 0.3, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    spans, times = [(0, 4), (5, 8), (9, 12)], torch.zeros(3)
    for least, expected in ((0.6, 0), (0.4, 1)):
        assert len(_find(spans, marks, times, least)) == expected


def test_long_sentences_are_refused(listener):
    with pytest.raises(InstructionError, match="tokens"):
        listener("angry and " * 60 + "sad")


def test_a_saved_network_reads_as_before(tmp_path, listener):
    torch.manual_seed(0)
    config, namer = {"text_width": 384, "width": 16, "heads": 2, "layers": 1}, {"rank": 2}
    lexicon = {"furious": Step(A, 1.5), "the": None}
    small = Listener(
        InstructionReader(**config), listener.encoder, build_namer(**namer), lexicon, 0.3, 0.2
    )
    save_listener(small, config, namer, tmp_path / "reader.safetensors", trained="nothing")
    loaded = load_listener(tmp_path / "reader.safetensors")
    assert (loaded.least_asking, loaded.least_confidence) == (0.3, 0.2)
    assert loaded.lexicon == lexicon
    close = {"atol": 2e-3, "rtol": 2e-3}
    torch.testing.assert_close(loaded.network.state_dict(), small.network.state_dict(), **close)
    torch.testing.assert_close(loaded.namer.learned(), small.namer.learned(), **close)


def test_known_words_are_looked_up_and_others_guessed(listener, monkeypatch):
    monkeypatch.setattr(listener, "lexicon", {"happy": Step(F, 0.5), "sad": None})
    heard = listener.hear(["from slightly happy to furious", "make her sad"])
    assert [step.emotion for step in heard[0].steps] == [F, A]
    assert heard[0].steps[0].intensity < 0.5
    assert heard[1].steps == ()


def test_words_that_name_nothing_are_no_step(listener, monkeypatch):
    monkeypatch.setattr(listener, "lexicon", {})
    assert listener.hear(["make her happy"])[0].steps
    bias = listener.namer.meaning[-1].bias.detach().clone()
    bias[NOTHING] += 100
    monkeypatch.setattr(listener.namer.meaning[-1], "bias", torch.nn.Parameter(bias))
    assert listener.hear(["make her happy"])[0].steps == ()


def test_missing_and_broken_files_are_named(tmp_path):
    path = tmp_path / "reader.safetensors"
    with pytest.raises(AssetError, match=r"reader.safetensors is missing"):
        load_listener(path)
    path.write_bytes(READER_FILE.read_bytes()[:2000])
    with pytest.raises(AssetError, match=r"reader.safetensors is broken"):
        load_listener(path)
