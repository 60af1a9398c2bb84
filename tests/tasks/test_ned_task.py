from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningDataModule, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader

from i2fet.emotions import Emotion
from i2fet.nn.ned import NeutralGenerator
from i2fet.tasks import NEDTask
from tests.quiet_trainer import make_trainer


class FakeNeutrals(LightningDataModule):
    """People whose resting faces differ in ten actions, which their one expression leaves alone."""

    def __init__(self, people: int = 256) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.emotions: tuple[Emotion, ...] = (Emotion.ANGER, Emotion.NEUTRAL)
        self.view = "neutral"
        self.head_name, self.encoder_name, self.text_name = "arkit", "true", "none"
        self.text_width, self.synthetic, self.vertex_scale = 0, True, 0.01
        self.description, self.population = "invented neutrals", "fakes"
        self.subjects = {part: [part] for part in ("train", "val", "test")}
        self.class_counts = torch.full((2,), people)
        neutral = torch.zeros(people, 50)
        neutral[:, :10] = torch.rand(people, 10, generator=generator) * 0.1
        shown = neutral.clone()
        shown[:, 20:30] += torch.rand(people, 10, generator=generator)
        self.pairs = torch.stack([shown, neutral], dim=1)
        self.statistics = {
            "expression_mean": self.pairs.mean(dim=(0, 1)),
            "expression_std": self.pairs.flatten(0, 1).std(dim=0),
            "pose_mean": torch.zeros(6),
            "pose_std": torch.ones(6),
        }
        self.class_means = {
            "expression": torch.stack([shown.mean(dim=0), neutral.mean(dim=0)]),
            "pose": torch.zeros(2, 6),
        }

    def _loader(self, rows: slice) -> DataLoader[dict[str, Tensor]]:
        batches = [
            {
                "shape": torch.zeros(len(part), 100),
                "expression": part,
                "pose": torch.zeros(len(part), 2, 6),
                "emotion": torch.tensor([[0, 1]]).expand(len(part), -1),
            }
            for part in self.pairs[rows].split(32)
        ]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader(slice(192))

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader(slice(192, None))


def fit(folder: Path, epochs: int = 1, **options: Any) -> Trainer:
    seed_everything(0, verbose=False)
    trainer = make_trainer(folder, epochs)
    trainer.fit(NEDTask(hidden=64, latent=32, **options), datamodule=FakeNeutrals())
    return trainer


def test_it_learns_whose_neutral_face_it_is(tmp_path: Path) -> None:
    trainer = fit(tmp_path, epochs=40)
    assert trainer.callback_metrics["val/nearer_than_mean"] > 0.9
    trainer.save_checkpoint(tmp_path / "ned.ckpt")
    generator = NeutralGenerator.from_checkpoint(tmp_path / "ned.ckpt")
    batch = next(iter(FakeNeutrals().val_dataloader()))
    task = trainer.lightning_module
    assert isinstance(task, NEDTask)
    predicted = task.predict_step(batch, 0)
    expression, _ = generator(batch["expression"][:, 0], batch["pose"][:, 0])
    torch.testing.assert_close(expression, predicted["expression"])
    faces = task.key_faces(batch)
    assert torch.equal(faces.expression[:, 0], batch["expression"][:, 0])
    assert torch.equal(faces.expression[:, 1], predicted["expression"])


def test_the_shares_are_what_they_say(tmp_path: Path) -> None:
    trainer = fit(tmp_path, epochs=3)
    trainer.save_checkpoint(tmp_path / "ned.ckpt")
    generator = NeutralGenerator.from_checkpoint(tmp_path / "ned.ckpt")
    shown, own = FakeNeutrals().pairs[192:].unbind(dim=1)
    with torch.no_grad():
        made, _ = generator(shown, torch.zeros(len(shown), 6))

    def distance(some: Tensor, others: Tensor) -> Tensor:
        return ((some - others) / generator.scaler.expression_std).norm(dim=1)

    mean = generator.mean_expression
    shares = {
        "nearer_than_mean": distance(made, own) < distance(mean, own),
        "own_nearer": distance(made, own) < distance(made, mean),
    }
    for name, right in shares.items():
        assert float(trainer.callback_metrics[f"val/{name}"]) == pytest.approx(right.float().mean())


def test_the_two_targets_see_different_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    forward = NeutralGenerator.forward

    def watch(self: NeutralGenerator, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            seen.append(expression[:, 20:30])
        return forward(self, expression, pose)

    monkeypatch.setattr(NeutralGenerator, "forward", watch)
    fit(tmp_path, target="autoencoder")
    assert not torch.cat(seen).any()
    seen.clear()
    fit(tmp_path)
    assert torch.cat(seen).any()


def test_augmented_expressions_rest_on_another_neutral(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def watch(self: NEDTask, stage: str, pair: list[Tensor], output: list[Tensor]) -> Tensor:
        if stage == "train":
            seen.append(pair[0])
        return output[0].sum()

    monkeypatch.setattr(NEDTask, "_log_terms", watch)
    fit(tmp_path)
    augmented, real = seen[0], FakeNeutrals().pairs[:32]
    torch.testing.assert_close(
        augmented[:, 0] - augmented[:, 1], real[:, 0] - real[:, 1], atol=1e-6, rtol=0
    )
    assert not torch.equal(augmented[:, 1], real[:, 1])
    torch.testing.assert_close(augmented[:, 1].sort(dim=0).values, real[:, 1].sort(dim=0).values)
