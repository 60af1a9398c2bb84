"""CLIP token embeddings, from OpenAI's, open_clip's or transformers' files of it."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from i2fet.assets import check_state, find_asset, load_weights, reading_asset
from i2fet.errors import AssetError, InstructionError
from i2fet.text.base import MAX_TOKENS, TokenEmbeddings

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

NAME = "clip"
VOCABULARY = 49408
HEAD_WIDTH = 64
BATCH = 64

TOWER = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.")
"""How open_clip's names begin in the part that gives token embeddings."""

HF_PREFIX = "text_model."
"""Of the text network in a file that holds the image network as well."""

HF_PARTS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
HF_LAYER_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""What transformers calls open_clip's parameters."""


class ClipTextEncoder:
    """Token embeddings of CLIP's last layer, normalised, (N, 77, D); 768 wide for ViT-L/14.

    open_clip's network and vocabulary are used, whichever file the parameters come from. OpenAI's
    were trained with its quick GELU, and are silently wrong with another.

    Args:
        path: The installed file; that of `find_asset` by default.

    Raises:
        AssetError: If it is missing or broken.
    """

    max_tokens = MAX_TOKENS

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or find_asset(NAME)
        try:
            with safe_open(self.path, framework="pt") as file:
                self.settings: dict[str, Any] = json.loads((file.metadata() or {})[NAME])
        except (SafetensorError, KeyError, ValueError) as error:
            raise AssetError(
                f"{self.path} is broken ({error}); run `i2fet assets add {NAME} PATH` again"
            ) from error
        self.name: str = self.settings["name"]
        self.width: int = self.settings["width"]

    @cached_property
    def _tokenizer(self) -> SimpleTokenizer:
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()

    @cached_property
    def _model(self) -> nn.Module:
        model = build_tower(**{key: self.settings[key] for key in ("width", "heads", "layers")})
        model.load_state_dict(load_file(self.path))
        return model.eval().requires_grad_(False)

    def tokenize(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(N, 77) token ids, from the start mark to the end mark, and where there are any.

        Raises:
            InstructionError: If a sentence is longer than 77 tokens.
        """
        lengths = [len(self._tokenizer.encode(sentence)) + 2 for sentence in sentences]
        for sentence, length in zip(sentences, lengths, strict=True):
            if length > MAX_TOKENS:
                raise InstructionError(
                    f"the instruction {sentence[:40]!r}... has {length} tokens; "
                    f"shorten it to at most {MAX_TOKENS}"
                )
        mask = torch.arange(MAX_TOKENS) < torch.tensor(lengths)[:, None]
        return self._tokenizer(list(sentences)), mask

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> TokenEmbeddings:
        """As `TextEncoder.encode` says; no token sees those after it."""
        ids, mask = self.tokenize(sentences)
        tokens = torch.cat([self._model(part)[1] for part in ids.split(BATCH)])
        return TokenEmbeddings(tokens.masked_fill(~mask[..., None], 0), mask)

    def token_spans(self, sentences: Sequence[str]) -> list[list[tuple[int, int]]]:
        """As `TextEncoder.token_spans` says; all pieces of a word have the word's span."""
        tokenizer, mark = self._tokenizer, (0, 0)
        spans = []
        for sentence in sentences:
            words = tokenizer.pat.finditer(sentence.lower())
            pieces = [[word.span()] * len(tokenizer.encode(word.group())) for word in words]
            spans.append([mark, *(span for word in pieces for span in word), mark])
        return spans


def build_tower(width: int, heads: int, layers: int) -> nn.Module:
    """open_clip's text network, whose second output are the tokens."""
    from open_clip.transformer import QuickGELU, TextTransformer

    tower: nn.Module = TextTransformer(
        context_length=MAX_TOKENS,
        vocab_size=VOCABULARY,
        width=width,
        heads=heads,
        layers=layers,
        output_dim=width,
        proj_type="none",
        act_layer=QuickGELU,
        output_tokens=True,
    )
    return tower


def convert_clip(source: Path, target: Path) -> None:
    """Keep the text network of a file or folder.

    Args:
        source: OpenAI's `ViT-L-14.pt`, a state dict of open_clip's as .pt, .bin or .safetensors,
            or a folder of transformers' with `config.json` and `model.safetensors`.
        target: The installed file.

    Raises:
        AssetError: If it is missing, broken, or not CLIP with OpenAI's quick GELU.
    """
    kind = "CLIP"
    if source.is_dir():
        with reading_asset(source, kind):
            state, heads = _read_folder(source)
    else:
        content = _read_file(source, kind)
        with reading_asset(source, kind):
            state = {name: content[name] for name in content if name.startswith(TOWER)}
            heads = state["ln_final.weight"].shape[0] // HEAD_WIDTH
    with reading_asset(source, kind):
        state = {name: values.float().contiguous() for name, values in state.items()}
        settings = _settings(state, heads)
    save_file(state, target, {NAME: json.dumps(settings)})


def _settings(state: Mapping[str, Tensor], heads: int) -> dict[str, Any]:
    """Name and sizes of a text network, whose parameters are checked."""
    layers = sum(name.endswith(".ln_1.weight") for name in state)
    sizes = {"width": state["ln_final.weight"].shape[0], "heads": heads, "layers": layers}
    with torch.device("meta"):
        check_state(state, build_tower(**sizes))
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    return {"name": f"{NAME}-{digest.hexdigest()[:8]}", **sizes}


def _read_file(path: Path, kind: str) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        with reading_asset(path, kind):
            return load_file(path)
    if _is_script(path):
        with reading_asset(path, kind), warnings.catch_warnings():
            # OpenAI's format stays what it is, however old.
            warnings.simplefilter("ignore", FutureWarning)
            state: Mapping[str, Any] = torch.jit.load(path, map_location="cpu").state_dict()
        return state
    content = load_weights(path, kind)
    return content.get("state_dict", content)


def _is_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI's are."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_folder(folder: Path) -> tuple[dict[str, Tensor], int]:
    """The text network of a folder of transformers' under open_clip's names, and its heads."""
    config = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    if (activation := config.get("hidden_act", "quick_gelu")) != "quick_gelu":
        raise ValueError(f"it uses {activation}, not OpenAI's quick_gelu")
    state = load_file(folder / "model.safetensors")
    return translate_state(state), int(config["num_attention_heads"])


def translate_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the parameters of transformers' text network under open_clip's names.

    Raises:
        KeyError: If one is missing.
    """
    text = {name.removeprefix(HF_PREFIX): values for name, values in state.items()}
    translated = {new: text[old] for old, new in HF_PARTS.items()}
    layers = sum(k.startswith("encoder.") and k.endswith(".layer_norm1.weight") for k in text)
    for layer in range(layers):
        source, target = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            projections = [text[f"{source}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            translated[f"{target}.attn.in_proj_{kind}"] = torch.cat(projections)
            for old, new in HF_LAYER_PARTS.items():
                translated[f"{target}.{new}.{kind}"] = text[f"{source}.{old}.{kind}"]
    return translated
