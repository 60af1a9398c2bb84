from __future__ import annotations

import pytest
import torch
from lightning.pytorch import seed_everything

from datamodules.instructions import (
    EmbeddedSentences,
    InstructionDataModule,
    LengthBatches,
    locate_steps,
)
from datamodules.sentences import Sentence
from i2fet.emotions import Emotion
from i2fet.instructions import Step
from i2fet.nn.instruction_reader import BEGIN, INSIDE, OUTSIDE, InstructionReading
from i2fet.tasks import InstructionReaderTask
from i2fet.tasks.instruction_reader import IGNORED, mark
from tests.quiet_trainer import make_trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    cache = tmp_path_factory.mktemp("sentences")
    data = InstructionDataModule(192, 64, batch_size=32, cache_dir=str(cache))
    data.prepare_data()
    data.setup("fit")
    return data


def test_tokens_are_given_to_the_step_that_they_belong_to():
    steps = (Step(Emotion.FEAR), Step(Emotion.HAPPINESS))
    sentence = Sentence("happy after fear", steps, ((12, 16), (0, 5)))
    tokens = [(0, 0), (0, 5), (6, 11), (12, 14), (14, 16), (0, 0)]
    assert locate_steps(sentence, tokens) == [0, 2, 0, 1, 1, 0]


def test_every_sentence_is_in_one_batch():
    batches = list(LengthBatches(torch.arange(101) % 7, 8))
    assert len(batches) == len(LengthBatches(torch.arange(101) % 7, 8)) == 13
    assert sorted(row for batch in batches for row in batch) == list(range(101))


def test_batches_hold_what_the_sentences_ask_for(data):
    batch = next(iter(data.val_dataloader()))
    assert batch["places"][batch["mask"]].amin() == 0
    assert (batch["places"][~batch["mask"]] == IGNORED).all()
    assert not batch["tokens"][~batch["mask"]].any()
    assert batch["tokens"].shape[-1] == 384


def test_marks_begin_where_a_step_does():
    places = torch.tensor([[0, 2, 2, 1, 0, 1, 1, IGNORED]])
    expected = [OUTSIDE, BEGIN, INSIDE, BEGIN, OUTSIDE, BEGIN, INSIDE, IGNORED]
    assert mark(places).tolist() == [expected]


def test_embeddings_are_read_from_the_cache(data, monkeypatch):
    monkeypatch.setattr("datamodules.instructions.embed", None)
    again = InstructionDataModule(**data.hparams)
    again.setup("fit")
    assert isinstance(again.train, EmbeddedSentences)
    torch.testing.assert_close(again.train.tensors["tokens"], data.train.tensors["tokens"])


def test_a_perfect_reading_has_no_fault(data):
    batch = next(iter(data.val_dataloader()))
    task = InstructionReaderTask(width=16, heads=2, layers=1).eval()
    marks = torch.nn.functional.one_hot(mark(batch["places"]).clamp(min=0), 3).float()
    perfect = InstructionReading(marks, batch["places"].float())
    task.network.forward = lambda tokens, mask: perfect
    judged = task.judge(batch)
    assert all(judged[name].all() for name in ("found", "ordered", "asking", "silent"))
    backwards = InstructionReading(marks.flip(-1), -batch["places"].float())
    task.network.forward = lambda tokens, mask: backwards
    assert not any(task.judge(batch)[name].any() for name in ("found", "ordered"))


def test_training_lowers_the_losses(data, tmp_path):
    seed_everything(0)
    task = InstructionReaderTask(width=32, heads=2, layers=1, learning_rate=3e-3)
    batch = next(iter(data.val_dataloader()))
    before = {name: value.item() for name, value in task.eval().losses(batch).items()}
    trainer = make_trainer(tmp_path, 8)
    trainer.fit(task, data)
    after = {name: value.item() for name, value in task.eval().losses(batch).items()}
    assert after["marks"] < 0.7 * before["marks"]
    assert after["times"] < before["times"]
    names = ("found", "ordered", "asking", "silent")
    assert {f"val/{name}" for name in names} <= set(trainer.callback_metrics)
