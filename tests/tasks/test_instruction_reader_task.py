from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from datamodules.instructions import (
    IGNORED,
    EmbeddedSentences,
    InstructionDataModule,
    LengthBatches,
    locate_steps,
)
from datamodules.sentences import Sentence
from i2fet.emotions import Emotion
from i2fet.instructions import Step
from i2fet.nn.instruction_reader import InstructionReading
from i2fet.tasks import InstructionReaderTask


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
    shown = batch["emotions"] != IGNORED
    last = torch.where(batch["mask"], batch["places"], 0).amax(dim=1)
    torch.testing.assert_close(shown.sum(dim=1), last)
    assert not batch["tokens"][~batch["mask"]].any()
    assert batch["tokens"].shape[-1] == data.text_encoder.width


def test_embeddings_are_read_from_the_cache(data, monkeypatch):
    monkeypatch.setattr("datamodules.instructions.embed", None)
    again = InstructionDataModule(**data.hparams)
    again.setup("fit")
    assert isinstance(again.train, EmbeddedSentences)
    torch.testing.assert_close(again.train.tensors["tokens"], data.train.tensors["tokens"])


def test_right_counts_whole_sentences():
    emotions = torch.tensor([[1, 4, IGNORED], [1, 4, IGNORED], [1, IGNORED, IGNORED]])
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 4, 0], [1, 3, 0], [1, 4, 0]]), 8).float()
    present = torch.tensor([[0.9, 0.9, 0.1]]).expand(3, 3)
    reading = InstructionReading(torch.zeros(3, 2, 7), present, logits, torch.zeros(3, 3))
    assert InstructionReaderTask.right(reading, emotions).tolist() == [True, False, False]


def test_training_lowers_the_losses(data, tmp_path):
    seed_everything(0)
    task = InstructionReaderTask(width=32, heads=2, layers=1, learning_rate=3e-3)
    batch = next(iter(data.val_dataloader()))
    before = {name: value.item() for name, value in task.eval().losses(batch).items()}
    trainer = Trainer(
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, data)
    after = {name: value.item() for name, value in task.eval().losses(batch).items()}
    assert after["places"] < 0.6 * before["places"]
    assert after["emotions"] < before["emotions"]
    assert set(trainer.callback_metrics) >= {"val/sequence", "val/asking", "val/silent"}
