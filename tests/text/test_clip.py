from __future__ import annotations

import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from transformers import CLIPTextConfig, CLIPTextModel

from i2fet.assets import add_asset
from i2fet.errors import AssetError, InstructionError
from i2fet.text import load_text_encoder
from i2fet.text.clip import ClipTextEncoder, convert_clip, translate_state
from tests.official_files import write_clip

SENTENCES = ["Turn this face from disgust to happiness.", "Sad!", "FURIOUS, then   scared"]
WIDTH, LAYERS = 128, 2


@pytest.fixture(scope="module")
def reference() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        eos_token_id=49407,
    )
    torch.manual_seed(0)
    return CLIPTextModel(config).eval()


@pytest.fixture(scope="module")
def encoder(reference: CLIPTextModel, tmp_path_factory: pytest.TempPathFactory) -> ClipTextEncoder:
    """From a folder that transformers wrote."""
    folder = tmp_path_factory.mktemp("clip")
    reference.save_pretrained(folder / "hf")
    convert_clip(folder / "hf", folder / "clip.safetensors")
    return ClipTextEncoder(folder / "clip.safetensors")


def test_tokens_are_those_of_transformers(
    encoder: ClipTextEncoder, reference: CLIPTextModel
) -> None:
    ids = open_clip.tokenize(SENTENCES)
    with torch.no_grad():
        expected = reference(input_ids=ids).last_hidden_state
    embedded = encoder.encode(SENTENCES)
    assert embedded.tokens.shape == (3, 77, WIDTH)
    assert embedded.mask.sum(1).tolist() == (ids != 0).sum(1).tolist()
    torch.testing.assert_close(
        embedded.tokens[embedded.mask], expected[embedded.mask], atol=1e-5, rtol=0
    )
    assert not embedded.tokens[~embedded.mask].any()


@pytest.fixture(scope="module")
def whole() -> CLIP:
    """open_clip's, images and text."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=64, patch_size=32, image_size=32)
    text = CLIPTextCfg(width=64, heads=1, layers=1)
    return CLIP(32, vision, text, quick_gelu=True).eval()


def test_tokens_are_those_of_open_clip(whole: CLIP, tmp_path: Path) -> None:
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    convert_clip(tmp_path / "state.pt", tmp_path / "clip.safetensors")
    encoder = ClipTextEncoder(tmp_path / "clip.safetensors")
    ids = open_clip.tokenize(SENTENCES)
    with torch.no_grad():
        hidden = whole.token_embedding(ids) + whole.positional_embedding
        expected = whole.ln_final(whole.transformer(hidden, attn_mask=whole.attn_mask))
    embedded = encoder.encode(SENTENCES)
    torch.testing.assert_close(
        embedded.tokens[embedded.mask], expected[embedded.mask], atol=1e-5, rtol=0
    )


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_openais_own_archive_gives_the_same_tokens(whole: CLIP, tmp_path: Path) -> None:
    ids = open_clip.tokenize(SENTENCES)
    halved = copy.deepcopy(whole).half()
    torch.jit.trace_module(halved, {"encode_text": ids}).save(tmp_path / "ViT-L-14.pt")
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    tokens = []
    for name in ("ViT-L-14.pt", "state.pt"):
        convert_clip(tmp_path / name, tmp_path / "clip.safetensors")
        tokens.append(ClipTextEncoder(tmp_path / "clip.safetensors").encode(SENTENCES).tokens)
    torch.testing.assert_close(tokens[0], tokens[1], atol=0.02, rtol=0)


def test_whole_models_give_the_same_parameters(reference: CLIPTextModel) -> None:
    state = {k.removeprefix("text_model."): v for k, v in reference.state_dict().items()}
    whole = {f"text_model.{name}": values for name, values in state.items()}
    whole["vision_model.encoder.layers.0.layer_norm1.weight"] = torch.zeros(8)
    alone, among = translate_state(state), translate_state(whole)
    assert alone.keys() == among.keys()
    assert all(torch.equal(alone[name], among[name]) for name in alone)


def test_another_activation_is_refused(encoder: ClipTextEncoder, tmp_path: Path) -> None:
    config = {"text_config": {"hidden_act": "gelu", "num_attention_heads": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AssetError, match="uses gelu, not OpenAI's quick_gelu"):
        convert_clip(tmp_path, tmp_path / "clip.safetensors")


def test_the_name_tells_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path / "store"))
    with pytest.raises(AssetError, match="i2fet assets add clip"):
        load_text_encoder("clip")
    add_asset("clip", write_clip(tmp_path / "model.safetensors"))
    encoder = load_text_encoder("clip")
    assert encoder.width == 64
    assert load_text_encoder(encoder.name).name == encoder.name
    with pytest.warns(UserWarning, match="was clip-00000000 and now is clip-"):
        load_text_encoder("clip-00000000")


def test_the_hub_serves_as_a_folder(
    reference: CLIPTextModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference.save_pretrained(tmp_path / "hf")
    asked: list[str] = []

    def snapshot_download(repository: str, **_: object) -> str:
        asked.append(repository)
        return str(tmp_path / "hf")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    installed = add_asset("clip", Path("openai/clip-vit-large-patch14"), tmp_path / "store")
    assert ClipTextEncoder(installed).width == WIDTH
    assert asked == ["openai/clip-vit-large-patch14"]


def test_a_hub_out_of_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="openai/clip-vit-large-patch14 cannot be fetched"):
        add_asset("clip", Path("openai/clip-vit-large-patch14"), tmp_path / "store")


def test_long_sentences_are_refused_and_spans_found(encoder: ClipTextEncoder) -> None:
    with pytest.raises(InstructionError, match="at most 77"):
        encoder.encode(["happy " * 100])
    sentence = "Make her furious!"
    (spans,) = encoder.token_spans([sentence])
    assert [sentence[a:b] for a, b in spans] == ["", "Make", "her", "furious", "!", ""]
    assert len(spans) == encoder.encode([sentence]).mask.sum()
