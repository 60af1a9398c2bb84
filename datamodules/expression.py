"""The Lightning data module of every task."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from datamodules.cache import Tensors, load_or_build
from datamodules.extraction import read_frames
from datamodules.mirrored import mirror_half
from datamodules.pairs import (
    PARTS,
    Batch,
    FaceDataset,
    FaceTable,
    NeutralDataset,
    PairDataset,
    Samples,
    draw_samples,
    neutral_pairs,
    split_samples,
    split_sizes,
    split_subjects,
)
from datamodules.records import FaceRecords, read_marker
from datamodules.source import Coefficients, Dataset, FaceSource
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import LABEL_SETS, Emotion
from i2fet.errors import DatasetError, OptionError
from i2fet.files import replacing
from i2fet.heads import load_head
from i2fet.instructions import Style, all_instructions, pair_instructions
from i2fet.nn import vertex_spread
from i2fet.runs import run_folder
from i2fet.text import TextEncoder, load_text_encoder

logger = logging.getLogger(__name__)

ALL_EMOTIONS = list(Emotion)

View = Literal["pairs", "faces", "neutral"]
ViewDataset = PairDataset | FaceDataset | NeutralDataset

_Items = TypeVar("_Items", Samples, Tensor)


class ExpressionDataModule(LightningDataModule):
    """Faces of CK+, CelebV-HQ or a synthetic twin of them, with coefficients in the head's units.

    Args:
        root: The dataset's folder.
        dataset: Its layout.
        view: What a sample is. "pairs" is the paper's (Section IV-A): two different expressions of
            one subject and one of the sentences that ask for that transition; see `PairDataset`.
            "faces" is every single face; see `FaceDataset`. "neutral" is every expression with
            every neutral face of its subject; see `NeutralDataset`. The last two have eight
            labels, of which neutral is the last.
        coefficients: "perceived" reads them off the pictures; "true" takes the truth that only
            synthetic people have.
        encoder: Name of the face encoder for perceived coefficients.
        refine: Whether the encoder fits identity, head pose and camera to the landmarks.
        head: Name of the parametric head.
        text: Name of the text encoder, which only pairs have.
        samples: Number of pairs in all three parts; by default the paper's, 26,352 of CK+ and
            28,335 of CelebV-HQ.
        split: "subject" keeps the subjects of the parts apart; "sample" splits the samples at
            random, as the paper does. 10 % are for testing, 10 % of the rest for validation.
            "test" leaves everybody for testing what was trained on other people.
        mirror: Whether half of the training pairs, drawn at random, are shown as a mirror would.
        instructions: "paper" for Table I's five sentences, "open" for further wordings as well.
        batch_size: Samples in a batch.
        num_workers: Processes that load batches; the tables are in memory, so 0 is fastest.
        seed: Of the split and of the draws.
        cache_dir: Where extracted coefficients and embedded sentences are kept; by default
            `$I2FET_CACHE` or `outputs/cache`.
        workers: Processes that read pictures if they are not in the cache; as many as there are
            cores by default.
        apex_frames: CK+: frames at the end of a sequence that show its expression.
        unlabelled: CK+: whether to take the neutral first frame of sequences without a label too.
        frames_per_span: CelebV-HQ: frames taken from each part of a clip that has a label.
        min_expressions: Fewest different expressions of a subject; by default 3 in CelebV-HQ, as
            in the paper.
        max_head_angle: Largest yaw, pitch and roll, degrees; by default 15 in CelebV-HQ, as in the
            paper, and any in CK+.

    Attributes:
        view: What a sample is.
        source: The dataset's frames and their coefficients.
        emotions: The labels; batches index them.
        head_name: The head the coefficients belong to.
        encoder_name: Where they come from: the encoder's name, or "true".
        text_name: The text encoder; "none" where there is no text.
        text_width: D, the size of its token embeddings; 0 where there is no text.
        synthetic: After setup: whether the people are synthetic.
        description: After setup: one line for logs and cards.
        faces: After setup: every usable face, the neutral ones included.
        records: After setup: where these faces come from, and everything that was skipped.
        rows: After setup: the rows of `faces` in each part.
        subjects: After setup: the subjects in each part.
        statistics: After setup: expression_mean, expression_std (50,), pose_mean, pose_std (6,) of
            the faces in the training part.
        class_means: After setup: expression (E, 50) and pose (E, 6) of each label there; NaN for a
            label that does not occur.
        class_counts: After setup: (E,) int64 faces of each label there.
    """

    synthetic: bool
    description: str
    faces: FaceTable
    records: FaceRecords
    rows: dict[str, Tensor]
    subjects: dict[str, list[str]]
    statistics: dict[str, Tensor]
    class_means: dict[str, Tensor]
    class_counts: Tensor

    def __init__(
        self,
        root: str,
        dataset: Dataset = "ckplus",
        view: View = "pairs",
        coefficients: Coefficients = "perceived",
        encoder: str = "learned",
        refine: bool = True,
        head: str = "arkit",
        text: str = "minilm",
        samples: int | None = None,
        split: Literal["subject", "sample", "test"] = "subject",
        mirror: bool = False,
        instructions: Style = "paper",
        batch_size: int = 128,
        num_workers: int = 0,
        seed: int = 0,
        cache_dir: str | None = None,
        workers: int | None = None,
        apex_frames: int = 3,
        unlabelled: bool = False,
        frames_per_span: int = 3,
        min_expressions: int | None = None,
        max_head_angle: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.root = Path(root)
        self.dataset = dataset
        self.view = view
        self.seed = seed
        self.split = split
        options = inspect.signature(FaceSource).parameters
        self.source = FaceSource(**{name: self.hparams[name] for name in options})
        self.num_samples = self.source.layout.samples if samples is None else samples
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.mirror = mirror
        self.style = instructions
        self.cache_dir = self.source.cache_dir
        self.emotions = LABEL_SETS[dataset] if view == "pairs" else tuple(Emotion)
        self.encoder_name = self.source.encoder_name
        self._datasets: Mapping[str, ViewDataset] = {}

    @property
    def head_name(self) -> str:
        return self.source.head_name

    @property
    def cache_path(self) -> Path:
        """Where perceived coefficients are kept."""
        return self.source.cache_path

    @cached_property
    def _text_encoder(self) -> TextEncoder | None:
        return load_text_encoder(self.hparams["text"]) if self.view == "pairs" else None

    @property
    def text_name(self) -> str:
        return self._text_encoder.name if self._text_encoder else "none"

    @property
    def text_width(self) -> int:
        return self._text_encoder.width if self._text_encoder else 0

    def prepare_data(self) -> None:
        """Extract coefficients and embed sentences into the cache.

        Raises:
            DatasetError: The dataset is missing, unfinished or not what was asked for.
            AssetError: An optional file is missing.
        """
        logger.info("head %s, text encoder %s", self.head_name, self.text_name)
        records, _ = self.source.extracted
        logger.info("%s: %s", self.root, records.summary())
        if self.view == "pairs":
            logger.info("%d sentences", len(self._sentences["mask"]))

    def setup(self, stage: str | None = None) -> None:
        """Read the tables into memory, split them and draw the samples; equal on all ranks.

        Raises:
            OptionError: Nobody is left to train on.
        """
        if stage == "fit" and self.split == "test":
            raise OptionError("--data.split test leaves nobody to train on; use subject or sample")
        if not self._datasets:
            self._build()
            log = logger.warning if self.synthetic else logger.info
            log("%s", self.description)
        self._save_split()

    def _build(self) -> None:
        self.records, coefficients = self.source.usable
        self.synthetic = self.records.synthetic
        self.faces, names = _face_table(self.records, coefficients)
        self._datasets = self._make_datasets()
        self.subjects = {
            part: [names[number] for number in self.faces.subject[rows].unique().tolist()]
            for part, rows in self.rows.items()
        }
        self._describe_training_faces()
        self.description = self._describe()

    def _make_datasets(self) -> Mapping[str, ViewDataset]:
        if self.view == "pairs":
            tokens = self._sentences
            datasets = {
                part: PairDataset(self.faces, samples, tokens["tokens"], tokens["mask"])
                for part, samples in self._split_items(self._draw_samples).items()
            }
            if self.mirror:
                datasets["train"] = mirror_half(
                    datasets["train"], load_head(self.head_name), self.seed
                )
            return datasets
        if self.view == "neutral":
            pairs = self._split_items(self._pair_with_neutral)
            return {part: NeutralDataset(self.faces, some) for part, some in pairs.items()}
        faces = self._split_items(lambda rows, _: rows)
        return {part: FaceDataset(self.faces, rows) for part, rows in faces.items()}

    @property
    def population(self) -> str:
        """Whose names `subjects` are; corpora of one seed share their people."""
        marker = read_marker(self.root)
        if marker is None:
            return self.dataset
        return f"synthetic {self.dataset} of seed {marker['settings']['seed']}"

    @cached_property
    def vertex_scale(self) -> float:
        """Metres by which expressions move the vertices in the training part; after setup."""
        faces, _ = self._training_faces()
        return vertex_spread(load_head(self.head_name), faces.shape, faces.expression, faces.pose)

    def picture(self, row: int) -> NDArray[np.uint8] | None:
        """(H, W, 3) RGB, where a row of `faces` comes from; None where there is no picture."""
        one = replace(self.records, records=(self.records.records[row],))
        return next(read_frames(one))

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._dataloader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._dataloader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._dataloader("test")

    def _dataloader(self, part: str, shuffle: bool = False) -> DataLoader[Batch]:
        return DataLoader(
            self._datasets[part],
            batch_size=self.batch_size,
            sampler=self._sampler(part, shuffle),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=_as_is,
        )

    def _sampler(self, part: str, shuffle: bool) -> DistributedSampler[Batch]:
        """This process's share: in training shuffled by seed and epoch, else each sample once."""
        dataset, trainer = self._datasets[part], self.trainer
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        if len(dataset) < ranks:
            raise DatasetError(
                f"the {part} part has {len(dataset)} samples for {ranks} processes; use fewer"
            )
        if shuffle:
            return DistributedSampler(dataset, ranks, rank, seed=self.seed)
        return UnrepeatedDistributedSampler(dataset, ranks, rank, shuffle=False)

    @cached_property
    def _sentences(self) -> Tensors:
        sentences = all_instructions(self.emotions, self.style)
        digest = hashlib.sha256("\n".join(sentences).encode()).hexdigest()
        path = self.cache_dir / f"{self.dataset}-{self.style}-{self.text_name}.safetensors"

        def embed() -> Tensors:
            return dict(vars(load_text_encoder(self.text_name).encode(sentences)))

        return load_or_build(path, {"text": self.text_name, "sentences": digest}, embed)

    def _split_items(self, take: Callable[[Tensor, int], _Items]) -> dict[str, _Items]:
        """Part the samples.

        Args:
            take: Makes samples of some rows of `faces`; the number is used where it is a choice.
        """
        everybody = torch.arange(len(self.faces.subject))
        if self.split == "sample":
            items = take(everybody, self.num_samples)
            pieces = split_samples(len(items), self.seed)
            parts = {part: items[piece] for part, piece in pieces.items()}
            self.rows = {part: _rows_of(some).unique() for part, some in parts.items()}
            return parts
        if self.split == "test":
            self.rows = dict.fromkeys(PARTS, everybody[:0]) | {"test": everybody}
            sizes = dict.fromkeys(PARTS, 0) | {"test": self.num_samples}
        else:
            self.rows = split_subjects(self.faces.subject, self.faces.emotion, self.seed)
            sizes = split_sizes(self.num_samples)
        return {part: take(self.rows[part], sizes[part]) for part in PARTS}

    def _draw_samples(self, rows: Tensor, count: int) -> Samples:
        sentences = len(pair_instructions(self.emotions[0], self.emotions[1], self.style))
        return draw_samples(self.faces, rows, count, len(self.emotions), sentences, self.seed)

    def _pair_with_neutral(self, rows: Tensor, _: int) -> Tensor:
        return neutral_pairs(self.faces, rows, self.emotions.index(Emotion.NEUTRAL))

    def _training_faces(self) -> tuple[FaceCoefficients, Tensor]:
        """The labelled faces of the training part, and their labels."""
        rows = self.rows["train"]
        rows = rows[self.faces.emotion[rows] < len(self.emotions)]
        return self.faces.coefficients[rows], self.faces.emotion[rows]

    def _describe_training_faces(self) -> None:
        faces, emotion = self._training_faces()
        self.class_counts = emotion.bincount(minlength=len(self.emotions))
        self.statistics, self.class_means = {}, {}
        for name in ("expression", "pose"):
            values = getattr(faces, name)
            mean = values.mean(0)
            self.statistics[f"{name}_mean"] = mean
            # `std` warns where nobody is trained on.
            self.statistics[f"{name}_std"] = (values - mean).square().mean(0).sqrt()
            means = [values[emotion == label].mean(0) for label in range(len(self.emotions))]
            self.class_means[name] = torch.stack(means)

    def _describe(self) -> str:
        people = "synthetic people" if self.synthetic else "real people"
        source = (
            "TRUE coefficients, not read off pictures"
            if self.encoder_name == "true"
            else f"coefficients read by {self.encoder_name}"
        )
        return (
            f"{self.dataset}: {people} in {self.root}, {source}, head {self.head_name}, "
            f"text {self.text_name}, {sum(map(len, self._datasets.values()))} {self.view} "
            f"split by {self.split}"
        )

    def _save_split(self) -> None:
        if self.trainer is None or self.trainer.logger is None:
            return
        folder = run_folder(self.trainer)
        if folder is None or not self.trainer.is_global_zero:
            return
        content = {
            "description": self.description,
            "seed": self.seed,
            "samples": {part: len(dataset) for part, dataset in self._datasets.items()},
            "subjects": self.subjects,
            "frames": [record.name for record in self.records.records],
            "rows": {part: dataset.rows.tolist() for part, dataset in self._datasets.items()},
        }
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "split.json") as unfinished:
            unfinished.write_text(json.dumps(content))


def _rows_of(items: Samples | Tensor) -> Tensor:
    return items.faces if isinstance(items, Samples) else items


def _face_table(
    records: FaceRecords, coefficients: FaceCoefficients
) -> tuple[FaceTable, list[str]]:
    """The faces, and the subjects' names by their numbers."""
    names = sorted({record.subject for record in records.records})
    number = {name: index for index, name in enumerate(names)}
    subjects = torch.tensor([number[record.subject] for record in records.records])
    emotions = torch.tensor([ALL_EMOTIONS.index(record.emotion) for record in records.records])
    return FaceTable(coefficients, subjects, emotions), names


def _as_is(batch: Any) -> Any:
    return batch
