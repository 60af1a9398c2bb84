"""A small learnable world: two-row pairs whose faces depend on the instruction."""

from __future__ import annotations

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from i2fet.emotions import CKPLUS_EMOTIONS, Emotion

WIDTH = 16


class FakePairs(LightningDataModule):
    """Batches made once, so that every epoch and every run sees the same."""

    def __init__(self, batches: int = 6, rows: int = 32, emotions: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.emotions: tuple[Emotion, ...] = CKPLUS_EMOTIONS[:emotions]
        self.view = "pairs"
        self.head_name, self.encoder_name, self.text_name = "arkit", "truth", "fake"
        self.text_width, self.synthetic, self.vertex_scale = WIDTH, True, 0.01
        self.description, self.population = "invented pairs", "fakes"
        self.subjects = {"train": ["S1", "S2"], "val": ["S3"], "test": ["S4"]}
        self.class_counts = torch.full((emotions,), batches * rows)
        self.words = torch.randn(emotions, WIDTH, generator=generator)
        self.faces = torch.rand(emotions, 50, generator=generator) * 0.6
        self.batches = [self.make_batch(rows, generator) for _ in range(batches)]
        expression = torch.cat([batch["expression"] for batch in self.batches]).flatten(0, 1)
        pose = torch.cat([batch["pose"] for batch in self.batches]).flatten(0, 1)
        self.statistics = {
            "expression_mean": expression.mean(dim=0),
            "expression_std": expression.std(dim=0),
            "pose_mean": pose.mean(dim=0),
            "pose_std": pose.std(dim=0),
        }
        self.class_means = {"expression": self.faces, "pose": torch.zeros(emotions, 6)}

    def make_batch(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        emotion = torch.randint(len(self.emotions), (rows, 2), generator=generator)
        pairs, instruction = emotion.unique(dim=0, return_inverse=True)
        tokens = torch.zeros(len(pairs), 77, WIDTH)
        tokens[:, :2] = self.words[pairs]
        tokens[:, 1, 0] += 5
        noise = torch.randn(rows, 2, 50, generator=generator) * 0.05
        return {
            "sample": torch.arange(rows),
            "shape": torch.randn(rows, 100, generator=generator),
            "expression": (self.faces[emotion] + noise).clamp(0, 1),
            "pose": torch.randn(rows, 2, 6, generator=generator) * 0.1,
            "emotion": emotion,
            "tokens": tokens,
            "token_mask": torch.arange(77).expand(len(pairs), -1) < 2,
            "instruction": instruction,
        }

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.batches[1:], batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.batches[:1], batch_size=None)  # type: ignore[arg-type]

    test_dataloader = predict_dataloader = val_dataloader
