"""Sentences and what they ask for, embedded, to train the instruction reader on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

import torch
from lightning.pytorch import LightningDataModule
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from datamodules.cache import Tensors, default_cache_dir, load_or_build
from datamodules.sentences import FORMS_FILE, VOCABULARY_FILE, Grammar, Part, Sentence
from i2fet.tasks.instruction_reader import IGNORED
from i2fet.text import TextEncoder, load_text_encoder
from i2fet.text.degrees import DEGREES

Batch = dict[str, Tensor]

SENTENCES_VERSION = "3"
"""Changes whenever the same seed gives other sentences."""

CHUNK = 256
BUCKET = 32
"""Batches whose sentences are sorted by length before they are shared out, to pad little."""


def embed(sentences: Sequence[Sentence], encoder: TextEncoder) -> Tensors:
    """Embeddings of N sentences.

    Returns:
        `tokens` (all tokens, D) float16; `places` (all tokens,) the step to which each belongs,
        from 1, or 0; `lengths` (N,) number of tokens.
    """
    texts = [sentence.text for sentence in sentences]
    tokens = _tokens(texts, encoder)
    places = map(locate_steps, sentences, encoder.token_spans(texts))
    return {
        "tokens": torch.cat(tokens),
        "places": torch.tensor([place for sentence in places for place in sentence]),
        "lengths": torch.tensor([len(own) for own in tokens]),
    }


def _tokens(texts: Sequence[str], encoder: TextEncoder) -> list[Tensor]:
    """Half-precision embeddings of texts, encoded in chunks of similar length."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    embedded: dict[int, Tensor] = {}
    for start in track(range(0, len(order), CHUNK), f"Embedding {len(texts)} sentences"):
        rows = order[start : start + CHUNK]
        text = encoder.encode([texts[row] for row in rows])
        for row, tokens, mask in zip(rows, text.tokens, text.mask, strict=True):
            embedded[row] = tokens[mask].half()
    return [embedded[row] for row in range(len(texts))]


def locate_steps(sentence: Sentence, tokens: Sequence[tuple[int, int]]) -> list[int]:
    """The step to which each token of a sentence belongs, from 1, or 0.

    Args:
        sentence: With the spans of its steps.
        tokens: Spans of the tokens.
    """
    return [
        next((n for n, (a, b) in enumerate(sentence.spans, 1) if a < stop and start < b), 0)
        for start, stop in tokens
    ]


class EmbeddedSentences(Dataset[Batch]):
    """Batches of what `embed` returns: `tokens` (B, T, D) float32, their `mask` and `places`."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        lengths = tensors["lengths"].tolist()
        self.tokens = tensors["tokens"].split(lengths)
        self.places = tensors["places"].split(lengths)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: list[int]) -> Batch:
        places = pad_sequence([self.places[row] for row in rows], True, IGNORED)
        return {
            "tokens": pad_sequence([self.tokens[row].float() for row in rows], True),
            "mask": places != IGNORED,
            "places": places,
        }


class LengthBatches(Sampler[list[int]]):
    """All sentences in batches of similar length, in another order every time.

    Args:
        lengths: (N,) of the sentences.
        size: Of a batch; the last may be smaller.
    """

    def __init__(self, lengths: Tensor, size: int) -> None:
        self.lengths, self.size = lengths, size

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        buckets = torch.randperm(len(self.lengths)).split(BUCKET * self.size)
        batches = [
            batch
            for rows in buckets
            for batch in rows[self.lengths[rows].argsort()].split(self.size)
        ]
        return iter([batches[row].tolist() for row in torch.randperm(len(batches))])


class InstructionDataModule(LightningDataModule):
    """Sentences of `datamodules.sentences` for `InstructionReaderTask`, embedded once.

    Words and forms to validate on are never trained on, unless everything is. A sentence takes
    about 13 kB, on disk and in memory.

    Args:
        sentences: To train on.
        val_sentences: To validate on.
        part: Of words and forms, to train on: "train", or "all" for a reader that is not to be
            evaluated on them.
        text: The text encoder.
        batch_size: Of both.
        cache_dir: Where embeddings are kept; by default `$I2FET_CACHE` or `outputs/cache`.
        seed: Of all sentences.
    """

    def __init__(
        self,
        sentences: int = 16_000,
        val_sentences: int = 1_000,
        part: Part = "train",
        text: str = "minilm-words",
        batch_size: int = 64,
        cache_dir: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    @property
    def parts(self) -> tuple[Part, Part]:
        """Trained and validated on."""
        return self.hparams["part"], "val"

    def prepare_data(self) -> None:
        """Compose and embed the sentences, unless that has been done before."""
        for part in self.parts:
            self._load(part)

    def setup(self, stage: str) -> None:
        """Map the embeddings into memory."""
        self.train, self.val = (EmbeddedSentences(self._load(part)) for part in self.parts)

    def train_dataloader(self) -> DataLoader[Batch]:
        """All sentences in a new order."""
        batches = LengthBatches(self.train.tensors["lengths"], self.hparams["batch_size"])
        return DataLoader(self.train, sampler=batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Sentences of other words and forms."""
        order = BatchSampler(SequentialSampler(self.val), self.hparams["batch_size"], False)
        return DataLoader(self.val, sampler=order, batch_size=None)

    def _load(self, part: Part) -> Tensors:
        hparams = self.hparams
        count = hparams["val_sentences" if part == "val" else "sentences"]
        sources = b"".join(path.read_bytes() for path in (VOCABULARY_FILE, FORMS_FILE))
        sources += repr(DEGREES).encode()
        key = {
            "version": SENTENCES_VERSION,
            "grammar": hashlib.sha256(sources).hexdigest(),
            "text": hparams["text"],
            "seed": str(hparams["seed"]),
            "count": str(count),
        }
        folder = default_cache_dir() if hparams["cache_dir"] is None else Path(hparams["cache_dir"])
        path = folder / f"sentences-{part}-{hparams['text']}.safetensors"
        return load_or_build(path, key, partial(self._build, part, count))

    def _build(self, part: Part, count: int) -> Tensors:
        sentences = Grammar(part, part).sample(count, Random(self.hparams["seed"]))
        return embed(sentences, load_text_encoder(self.hparams["text"]))
