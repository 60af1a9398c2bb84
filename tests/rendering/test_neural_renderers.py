"""ROME and CVTHead on tiny networks in the official formats."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix
from scipy.spatial import ConvexHull

from i2fet.assets import add_asset
from i2fet.camera import project
from i2fet.cli import main
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import AssetError, OptionError
from i2fet.heads.base import HeadData, HeadModel
from i2fet.perception.deca import deca_alignment
from i2fet.pipeline import TransitionPipeline
from i2fet.rendering.neural.cvthead_networks import CvtHeadNetworks
from i2fet.rendering.neural.framing import align, crop_face, person_mask, to_tensor
from i2fet.rendering.neural.mesh_levels import read_levels
from i2fet.rendering.neural.rome import RomeRenderer, without_specks
from i2fet.rendering.neural.rome_networks import RomeMesh, RomeNetworks
from i2fet.rendering.neural.states import check_mesh_size
from i2fet.rendering.photo import load_photo_renderer

LEVELS = (60, 24, 10)
CVTHEAD = {
    **{
        "width": 2,
        "max_width": 16,
        "patch_width": 4,
        "token_width": 8,
        "depth": 1,
        "descriptor": 3,
    },
    **{"unet_width": 2, "parsing_width": 8, "hair_width": 2, "size": 64},
}
ROME = {
    **{"width": 2, "max_width": 16, "texture_channels": 3},
    **{"offset_channels": 4, "offset_width": 8, "hair_width": 2},
}


def sphere(vertices):
    """Points and outward triangles."""
    height = 1 - 2 * (np.arange(vertices) + 0.5) / vertices
    angle = np.arange(vertices) * np.pi * (3 - 5**0.5)
    around = np.sqrt(1 - height**2)
    points = np.stack([around * np.cos(angle), height, around * np.sin(angle)], 1)
    faces = ConvexHull(points).simplices
    a, b, c = points[faces].swapaxes(0, 1)
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return points, faces.astype(np.uint32)


@pytest.fixture(scope="module")
def tiny():
    """A head of 60 vertices, with more texture coordinates than vertices."""
    points, faces = sphere(LEVELS[0])
    generator = torch.Generator().manual_seed(0)
    spread = lambda *size: 0.002 * torch.randn(*size, generator=generator)  # noqa: E731
    data = HeadData(
        template=0.1 * torch.from_numpy(points).float(),
        shape_basis=spread(100, 60, 3),
        expression_basis=spread(50, 60, 3),
        joints=torch.tensor([[0.0, -0.08, 0], [0, 0, 0], [0, 0, 0.02], [0.03, 0, 0], [0, 0, 0]]),
        joint_shape_basis=spread(100, 5, 3),
        skinning_weights=torch.rand(60, 5, generator=generator).softmax(1),
        faces=torch.from_numpy(faces.astype(np.int64)),
        uv=torch.rand(70, 2, generator=generator),
        faces_uv=torch.from_numpy(faces.astype(np.int64)) + 10,
        landmark_faces=torch.zeros(0, dtype=torch.long),
        landmark_barycentrics=torch.zeros(0, 3),
    )
    return HeadModel("flame-tiny", data, tuple(map(str, range(50))), (-3, 3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny):
    """The two official folders of data."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("official")
    for name, write in (("rome", write_rome), ("cvthead", write_cvthead)):
        (folder / name).mkdir()
        write(folder / name, tiny)
    return folder


def write_rome(folder, tiny):
    blank = torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long)
    networks = RomeNetworks(RomeMesh(*blank, torch.zeros(60, 2), torch.zeros(60, 1)), **ROME)
    state = networks.state_dict()
    state["unet.to_outputs.bias"][3] = 5  # else there is nothing but background
    parts = ("autoencoder.", "mesh_deformer.", "mlp_deformer.", "unet.")
    flat = {name: values for name, values in state.items() if name.startswith(parts)}
    torch.save({**flat, "parametric_avatar.uv_grid": torch.zeros(1)}, folder / "rome.pth")
    torch.save(networks.hair_model.state_dict(), folder / "linear_hair.pth")
    torch.save(0.01 * torch.randn(60, 3), folder / "mean_deform.pt")
    torch.save(1e-3 * torch.randn(180, 60), folder / "u_full.pt")
    torch.save(tiny.faces[None], folder / "faces_v2.pth")
    torch.save(tiny.faces_uv[None], folder / "uvfaces_v2.pth")
    torch.save(torch.rand(1, 60, 2) * 1.8 - 0.9, folder / "vertex_uvcoords.pth")
    (folder / "hair_list.pkl").write_bytes(pickle.dumps([3, 5]))
    (folder / "neck_list.pkl").write_bytes(pickle.dumps([np.int64(7)]))


def write_cvthead(folder, tiny):
    rng = np.random.default_rng(0)
    meshes = [sphere(vertices) for vertices in LEVELS]
    sizes = list(pairwise(LEVELS))
    down = [csc_matrix(np.eye(coarse, fine, dtype=np.float32)) for fine, coarse in sizes]
    up = [csc_matrix(rng.random((fine, coarse)).astype(np.float32)) for fine, coarse in sizes]
    content = {
        **{"vertices": [points for points, _ in meshes], "face": [faces for _, faces in meshes]},
        **{"down_transform": down, "up_transform": up},
    }
    (folder / "transform.pkl").write_bytes(pickle.dumps(content, protocol=2))
    networks = CvtHeadNetworks(read_levels(folder / "transform.pkl"), **CVTHEAD)
    networks.deform_mean.normal_(0, 0.01)
    networks.vtx_query.data.normal_()
    state = networks.state_dict()
    state["unet_generator.conv_final.bias"][3] = 5
    model = {name: values for name, values in state.items() if not name.startswith("levels.")}
    model["deca.flame.v_template"] = torch.zeros(60, 3)
    beside = {"epoch": 3, "optimizer": {"state": {}}, "loss_val_best": np.float64(0.1)}
    torch.save({"model": model, **beside}, folder / "cvthead.pt")


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """An empty folder of optional files."""
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    return tmp_path / "assets"


@pytest.fixture(scope="module")
def installed_files(folders):
    for name in ("rome", "cvthead"):
        add_asset(name, folders / name, folders / "installed")
    (folders / "installed" / "flame_uv.safetensors").touch()
    return folders / "installed"


@pytest.fixture
def installed(assets, installed_files, monkeypatch):
    """With both renderers installed."""
    monkeypatch.setenv("I2FET_ASSETS", str(installed_files))


@pytest.fixture(scope="module")
def source():
    faces = FaceCoefficients.zeros(1)
    faces.camera[:] = torch.tensor([5.0, 0.01, -0.02])
    faces.pose[:] = torch.tensor([[0.1, 0.4, -0.1, 0.05, 0, 0]])
    return faces


@pytest.fixture(scope="module")
def photo():
    coarse = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def landmarks(head, source):
    """Those of the ARKit head in its place."""
    pixels = project(head.vertices(source), source.camera, 120, 160)
    return head.landmarks(pixels)[0]


@pytest.mark.parametrize("name", ["rome", "cvthead"])
def test_pictures_follow_the_expression(name, tiny, installed, photo, source, landmarks):
    renderer = load_photo_renderer(name, tiny, "cpu")
    if isinstance(renderer, RomeRenderer):
        renderer.matting = lambda picture: np.ones(picture.shape[:2])
    portrait = renderer.prepare(photo, source, landmarks, size=96)
    frames = FaceCoefficients.cat([source, source, source])
    frames.expression[2] = 3.0
    pictures = renderer.render(portrait, frames)
    assert pictures.shape == (3, 96, 96, 3)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


def test_romes_deformers_move_only_hair_and_neck(tiny, installed, photo, source, landmarks):
    renderer = load_photo_renderer("rome", tiny, "cpu")
    renderer.matting = lambda picture: np.ones(picture.shape[:2])
    portrait = renderer.prepare(photo, source, landmarks, 64)
    bare = renderer._vertices(replace(portrait, offsets=0 * portrait.offsets), source)
    torch.testing.assert_close(renderer._vertices(portrait, source) - bare, portrait.offsets)
    renderer.hair = "network"
    moved = (renderer._vertices(portrait, source) - bare)[0].abs().amax(1).nonzero()[:, 0]
    assert moved.tolist() == [3, 5, 7]


def test_rome_turns_heads_as_skinning_does(tiny, installed, photo, source, landmarks):
    renderer = load_photo_renderer("rome", tiny, "cpu")
    renderer.matting = lambda picture: np.ones(picture.shape[:2])
    portrait = renderer.prepare(photo, source, landmarks, 64)
    portrait = replace(portrait, offsets=0 * portrait.offsets)
    pixels = renderer._project(renderer._vertices(portrait, source), portrait, source)
    expected = project(tiny.vertices(source), portrait.camera, 256, 256)
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-3)


def test_cvthead_sees_vertices_where_decas_camera_puts_them(
    tiny, installed, photo, source, landmarks
):
    renderer = load_photo_renderer("cvthead", tiny, "cpu")
    portrait = renderer.prepare(photo, source, landmarks, 64)
    vertices = tiny.vertices(source)
    points = renderer._points(vertices, portrait.camera, portrait.depth_scale)[0].numpy()
    alignment = deca_alignment(landmarks[None])
    zoom, shift = float(alignment.turn[0, 0, 0]), alignment.shift[0].numpy()
    # The photo's camera in DECA's crop of 224 pixels, and back as the official code goes.
    scale = float(source.camera[0, 0]) * 80 * zoom / 112
    pixels = project(vertices, source.camera, 120, 160)[0].numpy()
    crop = (zoom * pixels[:, :2] + shift) / 112 - 1
    in_photo = ((crop * 0.5 + 0.5) * 224 - shift) / zoom
    expected = project(vertices, portrait.camera, 64, 64)[0, :, :2].numpy()
    # Portrait and photo differ by a scale and a shift: the same points, in pixels of the portrait.
    ratio = np.ptp(expected, axis=0) / np.ptp(in_photo, axis=0)
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-4)
    np.testing.assert_allclose((points[:, :2] + 1) * 32 + 0.5, expected, atol=1e-3)
    np.testing.assert_allclose(points[:, 2], -scale * vertices[0, :, 2], rtol=1e-4)


def test_a_turned_photo_is_aligned_alike():
    smooth = np.random.default_rng(1).random((8, 8, 3)).astype(np.float32)
    picture = to_tensor(cv2.resize(smooth, (128, 128), interpolation=cv2.INTER_CUBIC))
    landmarks = torch.zeros(478, 2)
    landmarks[[33, 160, 158, 133, 153, 144]] = torch.tensor([50.0, 56])
    landmarks[[362, 385, 387, 263, 373, 380]] = torch.tensor([74.0, 54])
    landmarks[[61, 291]] = torch.tensor([[54.0, 80], [74.0, 78]])
    turned = torch.stack([landmarks[:, 1], 128 - landmarks[:, 0]], dim=1)
    upright = align(picture, landmarks)
    torch.testing.assert_close(align(picture.rot90(1, (2, 3)), turned), upright, rtol=0, atol=1e-2)
    assert (upright - picture).abs().max() > 0.1


def test_the_face_fills_half_of_romes_picture(photo, source, landmarks):
    crop = crop_face(photo, landmarks, source.camera)
    matrix = torch.from_numpy(crop.matrix)
    outline = (landmarks[[234, 454], :2] @ matrix[:, :2].T + matrix[:, 2])[:, 0]
    assert crop.image.shape == (256, 256, 3)
    assert 90 < float(outline[1] - outline[0]) < 150


def test_mediapipe_shows_where_the_person_is(astronaut):
    mask = person_mask(astronaut)
    assert mask.shape == (512, 512)
    assert mask[100, 220] > 0.9
    assert mask[60, 40] < 0.1


def test_specks_are_no_part_of_a_person():
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 10:40, 10:40] = True
    speckled = mask.clone()
    speckled[..., 50:55, 50:58] = True
    assert without_specks(speckled).bool().equal(mask)


@pytest.mark.parametrize("name", ["rome", "cvthead"])
def test_another_head_is_refused(name, head):
    with pytest.raises(OptionError, match=f"'{name}' draws FLAME's heads.*'arkit'"):
        load_photo_renderer(name, head, "cpu")


def test_another_mesh_is_refused(head):
    with pytest.raises(AssetError, match="knows a mesh of 60 vertices, and the head 'arkit'"):
        check_mesh_size("rome", head, 60)


def test_rome_needs_flames_texture_coordinates(tiny, installed):
    bare = HeadModel("flame-bare", head_data(tiny), tiny.expression_names, (-3, 3))
    with pytest.raises(AssetError, match="i2fet assets add flame_uv"):
        load_photo_renderer("rome", bare, "cpu")


def head_data(tiny):
    names = HeadData.__dataclass_fields__
    return HeadData(**{**{name: getattr(tiny, name) for name in names}, "uv": tiny.uv[:60]})


def test_hair_comes_from_one_of_two_models(tiny, installed):
    networks = load_photo_renderer("rome", tiny, "cpu").networks
    with pytest.raises(OptionError, match="linear or network"):
        RomeRenderer(tiny, networks, hair="real")


def test_an_unknown_renderer_is_refused(tiny):
    with pytest.raises(OptionError, match="'portrait', 'rome', 'cvthead'"):
        load_photo_renderer("oil", tiny)


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("rome", "rome.pth", b"version https://git-lfs.github.com/spec/v1\n"),
        ("rome", "linear_hair.pth", b"<!DOCTYPE html>"),
        ("rome", "u_full.pt", None),
        ("rome", "faces_v2.pth", {"faces": 1}),
        ("rome", "hair_list.pkl", b"cos\nsystem\n(S'true'\ntR."),
        ("cvthead", "cvthead.pt", b"PK\x03\x04 cut"),
        ("cvthead", "transform.pkl", b"cos\nsystem\n(S'true'\ntR."),
    ],
)
def test_broken_and_hostile_files_are_named(name, file, content, folders, assets, tmp_path):
    for path in (folders / name).iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / file).unlink()
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / file)
    with pytest.raises(AssetError, match=file):
        add_asset(name, tmp_path)
    assert not list(assets.glob("*.safetensors"))


def test_a_checkpoint_of_another_shape_is_named(folders, assets, tmp_path):
    for path in (folders / "rome").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "mean_deform.pt").unlink()
    torch.save(torch.zeros(59, 3), tmp_path / "mean_deform.pt")
    with pytest.raises(AssetError, match="deform_mean is not 60 x 3"):
        add_asset("rome", tmp_path)


@pytest.mark.parametrize(("name", "file"), [("rome", "flame_uv"), ("cvthead", "cvthead")])
def test_what_is_missing_is_named_before_the_photo_is_read(
    name, file, tiny, assets, monkeypatch, tmp_path, capsys
):
    pipeline = object.__new__(TransitionPipeline)
    pipeline.head, pipeline._photo_renderers = tiny, {}
    monkeypatch.setattr(TransitionPipeline, "from_checkpoint", lambda *_: pipeline)
    photo, clip = str(tmp_path / "none.jpg"), str(tmp_path / "a.mp4")
    assert main(["animate", photo, "make her happy", "-o", clip, "--renderer", name]) == 2
    message = capsys.readouterr().err
    assert f"i2fet assets add {file} PATH" in message
    assert message.count("\n") == 1
