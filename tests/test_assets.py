"""`i2fet assets` as people use it, and what it does with files that are not what they should be."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from i2fet.assets import ASSETS, asset_folders, find_asset
from i2fet.cli import main, run
from i2fet.errors import AssetError
from tests.official_files import deca_network, random_flame_arrays, write_clip, write_deca

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
PAGE = "\n<!DOCTYPE html><html><body>Sign in</body></html>"
INSTALLABLE = ("flame", "flame_uv", "deca", "emoca", "clip", "ict")


class Hostile:
    """Runs a command wherever it is unpickled without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    return tmp_path / "store"


def refused(name: str, path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a file is refused."""
    assert main(["assets", "add", name, str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("i2fet: ")
    assert output.err.count("\n") == 1
    folder = asset_folders()[0]
    assert not folder.exists() or not any(folder.iterdir())
    return output.err


def test_the_list_names_every_file_and_where_it_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assets"]) == 0
    listed = capsys.readouterr().out
    for asset in ASSETS.values():
        for part in (asset.name, asset.purpose, asset.licence, asset.page):
            assert part in listed
        assert str(tmp_path / "store" / asset.file) in listed
        assert str(tmp_path / "xdg" / "i2fet" / asset.file) in listed
    assert "i2fet assets add clip openai/clip-vit-large-patch14" in listed


def test_an_installed_file_is_listed_with_its_origin(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "open_clip_model.safetensors")
    assert main(["assets", "add", "clip", str(source)]) == 0
    assert main(["assets"]) == 0
    listed = capsys.readouterr().out
    assert f"found    {store / 'clip.safetensors'}" in listed
    assert "made from open_clip_model.safetensors" in listed
    assert "not among the known ones" in listed
    assert sorted(p.name for p in store.iterdir()) == ["clip.safetensors", "clip.safetensors.json"]
    (store / "clip.safetensors.json").unlink()
    assert main(["assets"]) == 0
    assert "not checked" in capsys.readouterr().out


def test_known_releases_are_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256, release = next(iter(ASSETS["clip"].releases.items()))
    store.mkdir()
    (store / "clip.safetensors").write_bytes(b"...")
    note = {"source": "ViT-L-14.pt", "sha256": sha256}
    (store / "clip.safetensors.json").write_text(json.dumps(note))
    assert main(["assets"]) == 0
    assert f"known as {release}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ASSETS)
def test_a_missing_file_says_what_it_is_for_and_how_to_get_it(name: str, store: Path) -> None:
    asset = ASSETS[name]
    with pytest.raises(AssetError) as caught:
        find_asset(name)
    for part in (asset.purpose, str(store), asset.licence, asset.page, f"assets add {name}"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", INSTALLABLE)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS, "git-LFS pointer"),
        (PAGE, "web page"),
        ("", "empty"),
        ("plainly something else", "broken or not"),
        (None, "there is no file"),
    ],
    ids=["lfs", "html", "empty", "text", "missing"],
)
def test_files_that_are_something_else_are_refused(
    name: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / ASSETS[name].file
    if content is not None:
        path.write_text(content)
    assert message in refused(name, path, capsys)


@pytest.mark.parametrize("name", INSTALLABLE)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_with_code_are_refused_and_not_run(
    name: str, protocol: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "run"
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps({"v_template": Hostile(trace)}, protocol=protocol))
    refused(name, path, capsys)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["deca", "emoca", "clip"])
def test_torch_files_with_code_are_refused_and_not_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "run"
    path = tmp_path / "weights.pt"
    torch.save({"E_flame": Hostile(trace), "state_dict": Hostile(trace)}, path)
    assert "more than tensors and plain values" in refused(name, path, capsys)
    assert not trace.exists()


def test_code_behind_an_allowed_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(b"cnumpy.core.multiarray\nos.system\n(S'true'\ntR.")
    assert "may be hostile" in refused("flame", path, capsys)


def test_truncated_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = write_deca(tmp_path / "deca_model.tar", deca_network())
    weights.write_bytes(weights.read_bytes()[:-100_000])
    assert "deca_model.tar is broken" in refused("deca", weights, capsys)
    flame = tmp_path / "generic_model.pkl"
    flame.write_bytes(pickle.dumps(dict(random_flame_arrays()))[:-1000])
    assert "generic_model.pkl is broken" in refused("flame", flame, capsys)
    clip = write_clip(tmp_path / "clip.safetensors")
    clip.write_bytes(clip.read_bytes()[:-1000])
    assert "clip.safetensors is broken" in refused("clip", clip, capsys)


def test_weights_of_the_wrong_shape_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deca_model.tar"
    state = deca_network().state_dict()
    torch.save({"E_flame": {**state, "layers.2.bias": torch.zeros(10)}}, path)
    assert "layers.2.bias is not 236" in refused("deca", path, capsys)
    torch.save({"E_flame": {k: v for k, v in state.items() if k != "layers.2.bias"}}, path)
    assert "layers.2.bias is missing" in refused("deca", path, capsys)
    torch.save({"E_flame": {**state, "layers.2.bias": torch.full((236,), torch.nan)}}, path)
    assert "not finite" in refused("deca", path, capsys)
    torch.save({"D_detail": {}}, path)
    assert "it has no 'E_flame'" in refused("deca", path, capsys)


@pytest.mark.parametrize("name", ["deca", "emoca", "clip"])
def test_plain_pickles_are_refused_without_a_warning(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps([1, 2], protocol=4))
    refused(name, path, capsys)
    assert not recwarn.list


def test_unknown_names_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no optional file named 'smirk'" in refused("smirk", tmp_path, capsys)


@pytest.mark.parametrize(("option", "name"), [("head", "flame"), ("text", "clip")])
def test_a_run_that_needs_a_missing_file_fails_at_start(
    option: str, name: str, tmp_path: Path
) -> None:
    config = Path(__file__).parents[1] / "experiments/ckplus/i2fet.yaml"
    command = ["fit", "--config", str(config), "--data.root", str(tmp_path)]
    with pytest.raises(AssetError, match=f"assets add {name}"):
        run([*command, f"--data.{option}", name])
