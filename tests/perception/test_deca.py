from __future__ import annotations

import collections
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from skimage.transform import estimate_transform, warp
from torch.nn import functional
from torchvision.models import resnet50

from i2fet.assets import add_asset
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import AssetError, OptionError
from i2fet.heads import ArkitHead
from i2fet.perception import load_face_encoder
from i2fet.perception.crop import in_picture
from i2fet.perception.deca import BOXED, SIZE, DecaFaceEncoder, cut_crops, deca_alignment
from tests.official_files import deca_network, write_deca


@pytest.fixture(scope="module")
def encoder(head: ArkitHead, tmp_path_factory: pytest.TempPathFactory) -> DecaFaceEncoder:
    """Of random weights; any head will do to place the landmarks."""
    folder = tmp_path_factory.mktemp("deca")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("I2FET_ASSETS", str(folder / "store"))
        add_asset("deca", write_deca(folder / "deca_model.tar", deca_network()))
        return DecaFaceEncoder(head)


def test_codes_are_those_of_the_official_state_dict(
    encoder: DecaFaceEncoder, generator: torch.Generator
) -> None:
    state = deca_network().state_dict()
    trunk = resnet50()
    missing, _ = trunk.load_state_dict(
        {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")},
        strict=False,
    )
    assert missing == ["fc.weight", "fc.bias"]
    trunk.fc = torch.nn.Identity()
    crops = torch.rand(1, 3, SIZE, SIZE, generator=generator)
    with torch.no_grad():
        features = trunk.eval()(crops)
    hidden = functional.linear(features, state["layers.0.weight"], state["layers.0.bias"]).relu()
    codes = functional.linear(hidden, state["layers.2.weight"], state["layers.2.bias"])
    read = encoder.read_crops(crops)
    for part, expected in (
        (read.shape, codes[:, :100]),
        (read.expression, codes[:, 150:200]),
        (read.pose, codes[:, 200:206]),
        (read.camera, codes[:, 206:209]),
    ):
        torch.testing.assert_close(part, expected, atol=1e-5, rtol=0)


def landmarks_around(x: float, y: float, radius: float, generator: torch.Generator) -> torch.Tensor:
    return torch.tensor([x, y, 0]) + radius * (torch.rand(1, 478, 3, generator=generator) - 0.5)


@pytest.mark.parametrize("place", [(250.0, 120.0, 160.0), (30.0, 20.0, 90.0)], ids=["in", "over"])
def test_crops_are_those_of_skimage(
    place: tuple[float, float, float], astronaut: np.ndarray, generator: torch.Generator
) -> None:
    landmarks = landmarks_around(*place, generator)
    points = landmarks[0, list(BOXED), :2].double().numpy() - 0.5
    (left, top), (right, bottom) = points.min(0), points.max(0)
    size = int((right - left + bottom - top) / 2 * 1.1 * 1.25)
    x, y = (left + right - size) / 2, (top + bottom - size) / 2
    corners = np.array([[x, y], [x, y + size], [x + size, y]])
    target = np.array([[0, 0], [0, SIZE - 1], [SIZE - 1, 0]])
    transform = estimate_transform("similarity", corners, target)
    expected = warp(astronaut / 255, transform.inverse, output_shape=(SIZE, SIZE))
    crop = cut_crops([astronaut], deca_alignment(landmarks))[0]
    np.testing.assert_allclose(crop.permute(1, 2, 0).numpy(), expected, atol=1e-3)


def test_the_camera_puts_the_head_where_deca_does(
    head: ArkitHead, generator: torch.Generator
) -> None:
    alignment = deca_alignment(landmarks_around(250.0, 120.0, 160.0, generator))
    pose = 0.2 * torch.randn(1, 6, generator=generator)
    camera = torch.tensor([[8.0, 0.02, -0.1]])
    in_crop = FaceCoefficients(torch.zeros(1, 100), torch.zeros(1, 50), pose, camera)
    vertices = head.vertices(in_crop)
    x, y = (8 * (vertices[..., axis] + camera[:, 1 + axis]) for axis in (0, 1))
    deca_pixels = (torch.stack([x, -y], dim=-1) / 2 + 0.5) * SIZE
    expected = alignment.inverse()(deca_pixels)
    sizes = torch.tensor([[512, 640]])
    placed = in_picture(in_crop, alignment, sizes, head, (SIZE, SIZE))
    found = project(head.vertices(placed), placed.camera, 512, 640)[..., :2]
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)


def test_reads_a_photo(encoder: DecaFaceEncoder, astronaut: np.ndarray) -> None:
    read = encoder.encode([astronaut, np.zeros((64, 80, 3), np.uint8)])
    assert read.found.tolist() == [True, False]
    assert torch.isfinite(read.residual_percent[0])
    placed = project(
        encoder.head.vertices(read.coefficients[:1]), read.coefficients.camera[:1], 512, 512
    )
    seen = read.landmarks[0, :, :2].mean(0)
    assert (placed[0, :, :2].mean(0) - seen).norm() < 100, "the random network's head is there"
    with pytest.raises(OptionError, match="no use for a neutral photo"):
        encoder.encode([astronaut], neutral=astronaut)


def test_emoca_replaces_the_expression_alone(
    head: ArkitHead,
    encoder: DecaFaceEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generator: torch.Generator,
) -> None:
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path / "store"))
    state = deca_network().state_dict()
    expressive = {**state, "layers.2.weight": state["layers.2.weight"][:50]}
    expressive["layers.2.bias"] = torch.full((50,), 3.0)
    checkpoint = {f"deca.E_expression.{name}": values for name, values in expressive.items()}
    settings = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    module = ModuleType("omegaconf.dictconfig")
    module.DictConfig = settings  # type: ignore[attr-defined]
    for name in ("omegaconf", "omegaconf.dictconfig"):
        monkeypatch.setitem(sys.modules, name, module)
    config = settings()
    config.content = {"n_exp": 50, "cache": collections.defaultdict(dict)}
    torch.save({"state_dict": checkpoint, "hyper_parameters": config}, tmp_path / "emoca.ckpt")
    monkeypatch.delitem(sys.modules, "omegaconf.dictconfig")
    add_asset("deca", write_deca(tmp_path / "deca_model.tar", deca_network()))
    add_asset("emoca", tmp_path / "emoca.ckpt")
    emoca = DecaFaceEncoder(head, emoca=True)
    crops = torch.rand(1, 3, SIZE, SIZE, generator=generator)
    mine, theirs = emoca.read_crops(crops), encoder.read_crops(crops)
    torch.testing.assert_close(mine.shape, theirs.shape)
    torch.testing.assert_close(mine.pose, theirs.pose)
    assert (mine.expression - theirs.expression).abs().min() > 0.1
    assert emoca.fingerprint != encoder.fingerprint


def test_encoders_are_only_for_their_own_head(head: ArkitHead) -> None:
    with pytest.raises(AssetError, match="'deca' is not for the head 'arkit'; use 'learned'"):
        load_face_encoder("deca", head)
