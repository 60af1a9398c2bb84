"""Where faces come from: a dataset's folder, and how coefficients are had for its frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import torch

from datamodules.cache import Tensors, default_cache_dir
from datamodules.extraction import EncoderLoader, cache_path, load_perceived
from datamodules.layouts import LAYOUTS
from datamodules.records import FaceRecords, read_marker
from datamodules.selection import select_faces
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import DatasetError
from i2fet.heads import load_head

Dataset = Literal["ckplus", "celebvhq"]
Coefficients = Literal["perceived", "true"]

_T = TypeVar("_T")


class FaceSource:
    """The labelled frames of a dataset and their coefficients, read when they are asked for.

    Args:
        root: The dataset's folder.
        dataset: Its layout.
        coefficients: As for `ExpressionDataModule`, like all that follow.
        encoder: Name of the face encoder.
        refine: Whether it fits identity, head pose and camera to the landmarks.
        head: Name of the parametric head.
        cache_dir: Where perceived coefficients are kept.
        workers: Processes that read pictures.
        apex_frames: CK+: frames at the end of a sequence that show its expression.
        unlabelled: CK+: whether to take the first frame of sequences without a label too.
        frames_per_span: CelebV-HQ: frames taken from each part of a clip that has a label.
        min_expressions: Fewest different expressions of a subject; by default the dataset's.
        max_head_angle: Largest yaw, pitch and roll, degrees; by default the dataset's.
    """

    def __init__(
        self,
        root: str | Path,
        dataset: Dataset = "ckplus",
        coefficients: Coefficients = "perceived",
        encoder: str = "learned",
        refine: bool = True,
        head: str = "arkit",
        cache_dir: str | Path | None = None,
        workers: int | None = None,
        apex_frames: int = 3,
        unlabelled: bool = False,
        frames_per_span: int = 3,
        min_expressions: int | None = None,
        max_head_angle: float | None = None,
    ) -> None:
        self.root = Path(root)
        self.layout = LAYOUTS[dataset]
        self.encoder_name = encoder if coefficients == "perceived" else "true"
        self.cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
        self.workers = workers
        self.apex_frames = apex_frames
        self.unlabelled = unlabelled
        self.frames_per_span = frames_per_span
        self.min_expressions = _default(min_expressions, self.layout.min_expressions)
        self.max_head_angle = _default(max_head_angle, self.layout.max_head_angle)
        self._encoder, self._refine, self._head = encoder, refine, head

    @cached_property
    def head_name(self) -> str:
        """The head the coefficients belong to; of FLAME, which release."""
        return load_head(self._head).name

    @cached_property
    def encoder_loader(self) -> EncoderLoader:
        """Loads the face encoder."""
        return EncoderLoader(self._encoder, self.head_name, self._refine)

    @property
    def cache_path(self) -> Path:
        """Where perceived coefficients are kept."""
        return cache_path(self.root, self.encoder_loader, self.cache_dir)

    @cached_property
    def frames(self) -> FaceRecords:
        """All labelled frames, before anything is read off them.

        Raises:
            DatasetError: The dataset is missing, unfinished or not what was asked for.
            OptionError: An option is out of range.
        """
        options = {name: getattr(self, name) for name in self.layout.options}
        return self.layout.read(self.root, **options)

    @cached_property
    def extracted(self) -> tuple[FaceRecords, Tensors]:
        """All frames, and what `extract` says of them.

        Raises:
            DatasetError: As `frames`, or the truth is asked for and there is none for this head.
            AssetError: An optional file is missing.
            OutputError: The cache cannot be written.
        """
        records = self.frames
        if self.encoder_name == "true":
            self._check_head()
            truth = self.layout.read_truth(records)
            everywhere = torch.ones(len(truth), dtype=torch.bool)
            return records, {**vars(truth), "readable": everywhere, "found": everywhere}
        return records, load_perceived(records, self.cache_path, self.encoder_loader, self.workers)

    @cached_property
    def usable(self) -> tuple[FaceRecords, FaceCoefficients]:
        """What is left by `select_faces`; raises as `extracted`."""
        return select_faces(*self.extracted, self.max_head_angle, self.min_expressions)

    def _check_head(self) -> None:
        marker = read_marker(self.root) or {}
        head = marker.get("settings", {}).get("head", self.head_name)
        if head != self.head_name:
            raise DatasetError(
                f"the truth in {self.root} is for the head {head!r}, not {self.head_name!r}; "
                f"use --data.head {head}"
            )


def _default(value: _T | None, default: _T) -> _T:
    return default if value is None else value
