"""The Lightning data module of tasks that look at one face at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from datamodules.expression import ExpressionDataModule
from datamodules.pairs import PARTS, FaceDataset, split_subjects
from i2fet.emotions import Emotion


class FaceDataModule(ExpressionDataModule):
    """Every face of a dataset, the neutral ones of CK+ included, with one of eight labels.

    The subjects of the parts are kept apart, and are those of an `ExpressionDataModule` with the
    same options and seed; `FaceDataset` says what a batch holds.

    Args:
        root: The dataset's folder.
        dataset: Its layout.
        coefficients: As for `ExpressionDataModule`.
        encoder: As for `ExpressionDataModule`.
        head: Name of the parametric head.
        batch_size: Faces in a batch.
        num_workers: Processes that load batches; the tables are in memory, so 0 is fastest.
        seed: Of the split.
        cache_dir: As for `ExpressionDataModule`.
        apex_frames: As for `ExpressionDataModule`.
        frames_per_span: As for `ExpressionDataModule`.
        min_expressions: As for `ExpressionDataModule`.
        max_head_angle: As for `ExpressionDataModule`.
    """

    def __init__(
        self,
        root: str,
        dataset: Literal["ckplus", "celebvhq"] = "ckplus",
        coefficients: Literal["perceived", "true"] = "perceived",
        encoder: str = "landmarks",
        head: str = "arkit",
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        cache_dir: str | None = None,
        apex_frames: int = 3,
        frames_per_span: int = 3,
        min_expressions: int | None = None,
        max_head_angle: float | None = None,
    ) -> None:
        super().__init__(
            root,
            dataset,
            coefficients,
            encoder,
            head,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            cache_dir=cache_dir,
            apex_frames=apex_frames,
            frames_per_span=frames_per_span,
            min_expressions=min_expressions,
            max_head_angle=max_head_angle,
        )
        self.emotions = tuple(Emotion)
        self.text_name, self.text_width = "none", 0

    def prepare_data(self) -> None:
        """Extract coefficients into the cache.

        Raises:
            DatasetError: The dataset is missing, unfinished or not what was asked for.
        """
        self._load_coefficients(self._read_records())

    def _make_datasets(self) -> Mapping[str, FaceDataset]:
        self.rows = split_subjects(self.faces.subject, self.faces.emotion, self.seed)
        return {part: FaceDataset(self.faces, self.rows[part]) for part in PARTS}

    def _describe_samples(self) -> str:
        return f"{len(self.faces.subject)} faces split by {self.split}"
