"""The vocabulary of `datamodules.sentences`, to train the word namer on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from datamodules.sentences import Grammar, Part, Words
from i2fet.emotions import Emotion
from i2fet.instructions import Step
from i2fet.nn.word_namer import CARRIER, NOTHING
from i2fet.text import MiniLMTextEncoder

Batch = dict[str, Tensor]

EMOTIONS = list(Emotion)

CARRIERS = (CARRIER, "{}", "make her {}", "somebody who is {}", "a face that shows {}")
"""Within these, by chance, words are trained on, so that the namer heeds the words."""


def lexicon(words: Sequence[Words]) -> dict[str, Step | None]:
    """What words name, in lower case; without those that name several things."""
    meanings: dict[str, set[Step | None]] = defaultdict(set)
    for one in words:
        meanings[one.text.lower()].add(one.step)
    return {text: next(iter(steps)) for text, steps in meanings.items() if len(steps) == 1}


class TokenizedWords(Dataset[Batch]):
    """Batches of words: `ids` and `mask` (B, T), `classes` (B,) and `intensities` (B,).

    Args:
        words: The words.
        carriers: One is chosen for each of the words, every time.
    """

    def __init__(self, words: Sequence[Words], carriers: Sequence[str] = (CARRIER,)) -> None:
        self.words, self.carriers, self.encoder = words, carriers, MiniLMTextEncoder()

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: list[int]) -> Batch:
        own = [self.words[row] for row in rows]
        chosen = torch.randint(len(self.carriers), (len(own),)).tolist()
        ids, mask = self.encoder.tokenize(
            [self.carriers[n].format(words.text) for n, words in zip(chosen, own, strict=True)]
        )
        steps = [words.step for words in own]
        return {
            "ids": ids,
            "mask": mask,
            "classes": torch.tensor([EMOTIONS.index(s.emotion) if s else NOTHING for s in steps]),
            "intensities": torch.tensor([step.intensity if step else 1.0 for step in steps]),
        }


class OneOfEachKin(Sampler[int]):
    """One of the words of each kin, in another order and choice every time.

    Args:
        words: Of which some are kin.
    """

    def __init__(self, words: Sequence[Words]) -> None:
        kins: dict[str, list[int]] = defaultdict(list)
        for row, one in enumerate(words):
            kins[one.kin].append(row)
        self.kins = list(kins.values())

    def __len__(self) -> int:
        return len(self.kins)

    def __iter__(self) -> Iterator[int]:
        for kin in torch.randperm(len(self.kins)).tolist():
            own = self.kins[kin]
            yield own[int(torch.randint(len(own), ()))]


class VocabularyDataModule(LightningDataModule):
    """Words that name expressions, and words that name none, for `WordNamerTask`.

    Words to validate on are never trained on, unless everything is.

    Args:
        part: To train on: "train", or "all" for a namer that is not to be evaluated on them.
        batch_size: Of training and validation.
        seed: Of mistyped words, and of those that name nothing.
    """

    def __init__(self, part: Part = "train", batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        """List the words."""
        part, seed = self.hparams["part"], self.hparams["seed"]
        train, val = (Grammar(own, own).words(Random(seed)) for own in (part, "val"))
        self.train, self.val = TokenizedWords(train, CARRIERS), TokenizedWords(val)

    def train_dataloader(self) -> DataLoader[Batch]:
        """One of the words of each line and form, in a new order."""
        return self._loader(self.train, OneOfEachKin(self.train.words))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Words of other lines and forms."""
        return self._loader(self.val, SequentialSampler(self.val))

    def _loader(self, words: TokenizedWords, order: Sampler[int]) -> DataLoader[Batch]:
        batches = BatchSampler(order, self.hparams["batch_size"], drop_last=False)
        return DataLoader(words, sampler=batches, batch_size=None)
