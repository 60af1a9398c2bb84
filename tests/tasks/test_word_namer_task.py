from __future__ import annotations

import pytest
import torch
from lightning.pytorch import seed_everything

from datamodules.sentences import Words
from datamodules.vocabulary import OneOfEachKin, TokenizedWords, VocabularyDataModule, lexicon
from i2fet.emotions import Emotion
from i2fet.instructions import Step
from i2fet.nn.word_namer import NOTHING
from i2fet.tasks import WordNamerTask
from tests.quiet_trainer import make_trainer

WORDS = [
    Words("joy", Step(Emotion.HAPPINESS), "line 1"),
    Words("joyful", Step(Emotion.HAPPINESS, 1.25), "line 1"),
    Words("a fit of rage", Step(Emotion.ANGER, 1.5), "line 2"),
    Words("turn the", None, "turn the {1:n}"),
]


def test_batches_hold_what_words_name():
    batch = TokenizedWords(WORDS)[[2, 3]]
    assert batch["classes"].tolist() == [list(Emotion).index(Emotion.ANGER), NOTHING]
    assert batch["intensities"].tolist() == [1.5, 1]
    assert batch["mask"].sum(dim=1).tolist() == [9, 7]


def test_the_lexicon_has_words_of_one_meaning():
    doubtful = Words("Joy", Step(Emotion.SURPRISE), "line 9")
    assert lexicon([*WORDS, doubtful]) == {one.text: one.step for one in WORDS[1:]}


def test_an_epoch_has_one_of_each_kin():
    sampler = OneOfEachKin(WORDS)
    torch.manual_seed(0)
    epochs = [sorted(sampler) for _ in range(20)]
    assert all(len(sampler) == 3 == len(rows) and rows[-2:] == [2, 3] for rows in epochs)
    assert {rows[0] for rows in epochs} == {0, 1}


def test_parts_share_no_words():
    data = VocabularyDataModule()
    data.setup("fit")
    train, val = ({w.kin for w in part.words if w.step} for part in (data.train, data.val))
    assert not {kin for kin in train & val if kin.startswith("line")}
    assert any(words.step is None for words in data.val.words)


def test_training_lowers_the_losses(tmp_path):
    seed_everything(0)
    task = WordNamerTask(rank=2, hidden=16, learning_rate=1e-2)
    data = TokenizedWords(WORDS)
    before = task.eval().losses(data[[0, 1, 2, 3]])
    loader = torch.utils.data.DataLoader(data, sampler=[[0, 1, 2, 3]] * 20, batch_size=None)
    trainer = make_trainer(tmp_path)
    trainer.fit(task, loader, loader)
    after = task.eval().losses(data[[0, 1, 2, 3]])
    assert after["classes"] < 0.7 * before["classes"]
    assert after["intensity"] < before["intensity"]
    assert trainer.callback_metrics["val/named"] == pytest.approx(1)
