from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_pairs import FakePairs
from lightning import Trainer, seed_everything

from i2fet.errors import CheckpointError
from i2fet.nn.matching import Matcher
from i2fet.tasks import MatchingTask
from tests.quiet_trainer import make_trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer, FakePairs]:
    folder = tmp_path_factory.mktemp("matching")
    seed_everything(0, verbose=False)
    data = FakePairs()
    trainer = make_trainer(folder, 15)
    trainer.fit(MatchingTask(hidden=32, size=8), datamodule=data)
    trainer.save_checkpoint(folder / "matching.ckpt")
    return folder / "matching.ckpt", trainer, data


def test_faces_find_their_texts(trained: tuple[Path, Trainer, FakePairs]) -> None:
    assert trained[1].callback_metrics["val/r_precision_1"] > 0.7


def test_the_matcher_lives_without_its_task(trained: tuple[Path, Trainer, FakePairs]) -> None:
    path, trainer, data = trained
    matcher = Matcher.from_checkpoint(path)
    batch = data.batches[0]
    task = trainer.lightning_module
    assert isinstance(task, MatchingTask)
    texts = matcher.embed_text(batch["tokens"], batch["token_mask"])
    faces = matcher.embed_faces(batch["expression"], batch["pose"])
    torch.testing.assert_close(faces, task.matcher.embed_faces(batch["expression"], batch["pose"]))
    for embedded in (texts, faces):
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(len(embedded)))
    turned = batch["pose"] + torch.tensor([1.0, 1, 1, 0, 0, 0])
    torch.testing.assert_close(matcher.embed_faces(batch["expression"], turned), faces)


def test_it_knows_whom_it_was_trained_on(trained: tuple[Path, Trainer, FakePairs]) -> None:
    part = Matcher.from_checkpoint(trained[0]).training_part
    data = trained[2]
    with pytest.raises(CheckpointError, match="the matcher was trained on"):
        part.check_unseen(data.population, data.subjects["train"], "matcher")
