"""A small world of single faces: each label has an expression of its own."""

from __future__ import annotations

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from i2fet.emotions import Emotion

PARTS = {"train": range(4), "val": range(4, 6), "test": range(6, 8)}


class FakeFaces(LightningDataModule):
    """Eight people, two of them for validation and two for testing, who all show every label."""

    def __init__(self, emotions: int = 3, population: str = "fakes") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.emotions: tuple[Emotion, ...] = tuple(Emotion)[:emotions]
        self.view = "faces"
        self.head_name, self.encoder_name = "arkit", "true"
        self.text_name, self.text_width = "none", 0
        self.synthetic, self.description = True, "fakes: invented faces"
        self.statistics: dict[str, Tensor] = {}
        self.class_means: dict[str, Tensor] = {}
        self.vertex_scale, self.population = 0.01, population
        self.subjects = {part: [f"S{one}" for one in people] for part, people in PARTS.items()}
        self.class_counts = torch.full((emotions,), len(PARTS["train"]))
        self.people = torch.randn(8, 100, generator=generator) * 0.3
        self.faces = torch.rand(emotions, 50, generator=generator).square()

    def make_batch(self, part: str) -> dict[str, Tensor]:
        people = torch.tensor(PARTS[part])
        row = (people[:, None] * len(self.emotions) + torch.arange(len(self.emotions))).flatten()
        emotion = row % len(self.emotions)
        return {
            "row": row,
            "shape": self.people[row // len(self.emotions)],
            "expression": self.faces[emotion],
            "pose": torch.zeros(len(row), 6),
            "camera": torch.ones(len(row), 3),
            "emotion": emotion,
        }

    def _loader(self, part: str) -> DataLoader[dict[str, Tensor]]:
        return DataLoader([self.make_batch(part)], batch_size=None)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader("test")

    predict_dataloader = test_dataloader
