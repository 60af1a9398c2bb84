"""Albums of synthetic people, to train the face encoder on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from rich.progress import track
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from datamodules.cache import is_current, load_or_build
from datamodules.corpus import corpus_head
from datamodules.face_crops import Studio
from datamodules.parallel import count_workers, share_out
from i2fet.coefficients import FaceCoefficients
from i2fet.perception.descriptor import describe, mirrored_places
from i2fet.perception.mirror import Mirror

Batch = dict[str, Tensor]
Tensors = dict[str, Tensor]

ALBUM_VERSION = "3"
"""Changes whenever the same seed gives other pictures."""

PAGE_PEOPLE = 64
FACES = 8
"""Pictures of each person, the first one at rest."""

TYPICAL = 4096
PARTS = {"train": "people", "val": "val_people"}
"""Which hyperparameter holds the size of each part."""

COEFFICIENTS = ("shape", "expression", "pose", "camera")


@dataclass(frozen=True)
class Page:
    """Some people of an album.

    Attributes:
        folder: Of the album.
        seed: Of the album.
        number: Of the page, from 0.
    """

    folder: Path
    seed: int
    number: int

    @property
    def path(self) -> Path:
        """The page's file."""
        return self.folder / f"{self.seed}-{self.number:05d}.safetensors"

    @property
    def key(self) -> dict[str, str]:
        """What the page is made from."""
        return {"version": ALBUM_VERSION, "seed": str(self.seed), "page": str(self.number)}


def read_page(page: Page) -> Tensors:
    """Descriptors (512, D) uint8 and coefficients of 64 people, 8 pictures each.

    They are photographed unless that has been done before.
    """
    return load_or_build(page.path, page.key, partial(_photograph, page))


def _photograph(page: Page) -> Tensors:
    # From one on: NumPy takes a seed's trailing zeros for padding.
    rng = np.random.default_rng([page.seed, page.number + 1])
    faces, crops = Studio(corpus_head()).people(PAGE_PEOPLE, FACES, rng)
    descriptors = torch.from_numpy(np.stack([describe(crop) for crop in crops]))
    return {"descriptors": descriptors, **vars(faces)}


def _ensure_page(page: Page) -> None:
    """As `read_page`, for a process that has no use for the page itself."""
    read_page(page)


class AlbumDataset(Dataset[Batch]):
    """Batches of some people: `faces` pictures of each, the one at rest first, the others drawn.

    Args:
        pages: Of the album, all in memory.
        faces: Pictures of a person in a batch, 2 to 8.
        mirror: Shows half of the people as in a mirror, if given.
    """

    def __init__(self, pages: Sequence[Tensors], faces: int, mirror: Mirror | None = None) -> None:
        self.tensors = {name: torch.cat([page[name] for page in pages]) for name in pages[0]}
        self.faces, self.mirror = faces, mirror
        self.places = torch.from_numpy(mirrored_places())

    def __len__(self) -> int:
        return len(self.tensors["descriptors"]) // FACES

    def __getitem__(self, people: list[int]) -> Batch:
        """Descriptors, coefficients, and `neutral`, the row in the batch of each person at rest."""
        count = len(people)
        others = torch.rand(count, FACES - 1).argsort(dim=1)[:, : self.faces - 1] + 1
        chosen = torch.cat([torch.zeros(count, 1, dtype=torch.int64), others], dim=1)
        rows = (torch.tensor(people)[:, None] * FACES + chosen).flatten()
        batch = {name: values[rows] for name, values in self.tensors.items()}
        if self.mirror is not None:
            self._mirror_half(batch)
        at_rest = torch.arange(count).repeat_interleave(self.faces) * self.faces
        return {**batch, "neutral": at_rest}

    def _mirror_half(self, batch: Batch) -> None:
        assert self.mirror is not None
        count = len(batch["descriptors"]) // self.faces
        rows = (torch.rand(count) < 0.5).repeat_interleave(self.faces)
        mirrored = self.mirror(FaceCoefficients(*(batch[name][rows] for name in COEFFICIENTS)))
        for name, values in vars(mirrored).items():
            batch[name][rows] = values
        batch["descriptors"][rows] = batch["descriptors"][rows][:, self.places]


class AlbumDataModule(LightningDataModule):
    """Synthetic people for `FaceEncoderTask`, photographed once and kept on disk.

    An interrupted album is continued. A person takes about 130 kB, on disk and in memory, where it
    is twice that while the album is read.

    Args:
        people: To train on; rounded up to pages of 64.
        val_people: Others, to validate on.
        batch_people: In a batch.
        faces: Pictures of each in a batch, the one at rest among them.
        folder: Where the album is kept.
        workers: Processes that photograph; by default one for each core.
        seed: Of all people.
    """

    synthetic = True

    def __init__(
        self,
        people: int = 40_000,
        val_people: int = 512,
        batch_people: int = 32,
        faces: int = 4,
        folder: str = "outputs/encoder/album",
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def prepare_data(self) -> None:
        """Photograph everyone who is not in the album yet."""
        pages = [page for part in self._pages().values() for page in part]
        missing = [page for page in pages if not is_current(page.path, page.key)]
        workers = count_workers(self.hparams["workers"], len(missing))
        done = share_out(_ensure_page, missing, workers)
        for _ in track(done, "Photographing synthetic people", total=len(missing)):
            pass

    def setup(self, stage: str) -> None:
        """Read the album, or only those to validate on."""
        pages = self._pages()
        if not hasattr(self, "val"):
            self.val = AlbumDataset(list(map(read_page, pages["val"])), FACES)
        if stage == "fit" and not hasattr(self, "train"):
            train = list(map(read_page, pages["train"]))
            self.train = AlbumDataset(train, self.hparams["faces"], Mirror(corpus_head()))

    def typical(self) -> FaceCoefficients:
        """Coefficients of some crops, to learn their spread from."""
        tensors = self.train.tensors
        rows = slice(None, None, max(len(tensors["descriptors"]) // TYPICAL, 1))
        return FaceCoefficients(*(tensors[name][rows] for name in COEFFICIENTS))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Everyone once an epoch."""
        return self._loader(self.train, RandomSampler(self.train), drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """All pictures of the others."""
        return self._loader(self.val, SequentialSampler(self.val), drop_last=False)

    def _loader(
        self, dataset: AlbumDataset, order: Sampler[int], drop_last: bool
    ) -> DataLoader[Batch]:
        people = min(self.hparams["batch_people"], len(dataset))
        batches = BatchSampler(order, people, drop_last)
        return DataLoader(dataset, sampler=batches, batch_size=None)

    def _pages(self) -> dict[str, list[Page]]:
        hparams = self.hparams
        counts = {part: -(-hparams[name] // PAGE_PEOPLE) for part, name in PARTS.items()}
        # The validation's pages come first, so that an album can grow.
        numbers = {"val": range(counts["val"])}
        numbers["train"] = range(counts["val"], counts["val"] + counts["train"])
        folder = Path(hparams["folder"])
        return {part: [Page(folder, hparams["seed"], n) for n in numbers[part]] for part in PARTS}
