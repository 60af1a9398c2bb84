from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from i2fet.assets import ASSETS, locate
from i2fet.errors import AssetError
from i2fet.heads import ArkitHead, IctHead
from i2fet.heads.ict import POLYGONS, SOLID_VERTICES, VERTICES, ict_names, load_ict_head, read_ict

NAMES = [
    *(f"{stem}_{side}" for side in "LR" for stem in ("browInnerUp", "cheekPuff", "eyeBlink")),
    *("jawOpen", "jawLeft", "jawRight", "jawForward", "mouthLeft", "mouthRight", "mouthClose"),
]
installed = pytest.mark.skipif(
    locate(ASSETS["ict"]) is None, reason="needs `i2fet assets add ict PATH`"
)


@pytest.fixture(scope="module")
def packed(head: ArkitHead, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the packed format, in which each shape lifts one vertex by a centimetre."""
    names = sorted({part for name in head.expression_names for part in ict_names(name)} | {*NAMES})
    expression = np.zeros((len(names), VERTICES, 3), np.float16)
    expression[np.arange(len(names)), np.arange(len(names)), 1] = 1
    faces = np.zeros((POLYGONS, 4), np.int32)
    faces[:] = [0, 1, 2, 3]
    faces[1, 3] = -1
    path = tmp_path_factory.mktemp("ict") / "ict.npz"
    np.savez_compressed(
        path,
        template=np.random.default_rng(0).normal(0, 10, (VERTICES, 3)).astype(np.float32),
        identity=np.zeros((100, VERTICES, 3), np.float16),
        expression=expression,
        expression_names=np.array(names),
        faces=faces,
        uv=np.zeros((4, 2), np.float32),
        faces_uv=faces,
    )
    return path


@pytest.fixture(scope="module")
def ict(packed: Path) -> IctHead:
    return read_ict(packed)


def lifted(ict: IctHead, packed: Path, expression: dict[str, float], jaw=(0.0, 0.0, 0.0)) -> dict:
    """Centimetres by which each of ICT-FaceKit's shapes is seen."""
    codes, pose = torch.zeros(1, 50), torch.zeros(1, 6)
    for name, value in expression.items():
        codes[0, ict.expression_names.index(name)] = value
    pose[0, 3:] = torch.tensor(jaw)
    still = ict(torch.zeros(1, 100), torch.zeros(1, 50), torch.zeros(1, 6))
    moved = (ict(torch.zeros(1, 100), codes, pose) - still)[0, :, 1] * 100
    with np.load(packed) as file:
        names = [str(name) for name in file["expression_names"]]
    return {n: round(float(v), 3) for n, v in zip(names, moved, strict=False) if abs(v) > 1e-3}


@pytest.mark.parametrize(
    ("action", "shapes"),
    [
        ("eyeBlinkLeft", ("eyeBlink_L",)),
        ("mouthUpperUpRight", ("mouthUpperUp_R",)),
        ("browInnerUp", ("browInnerUp_L", "browInnerUp_R")),
        ("cheekPuff", ("cheekPuff_L", "cheekPuff_R")),
        ("jawLeft", ("jawLeft",)),
        ("mouthRight", ("mouthRight",)),
        ("mouthFunnel", ("mouthFunnel",)),
    ],
)
def test_actions_move_the_shapes_of_their_name(
    ict: IctHead, packed: Path, action: str, shapes: tuple[str, ...]
) -> None:
    assert ict_names(action) == shapes
    assert lifted(ict, packed, {action: 0.5}) == dict.fromkeys(shapes, 0.5)


def test_the_jaw_moves_its_shapes(ict: IctHead, packed: Path) -> None:
    angle = ict.jaw_open_angle
    assert lifted(ict, packed, {}, (angle / 2, 0.0, 0.0)) == {"jawOpen": 0.5}
    assert lifted(ict, packed, {}, (0.0, 0.055, 0.0)) == {"jawLeft": 0.5}
    assert lifted(ict, packed, {}, (0.0, -0.055, 0.0)) == {"jawRight": 0.5}
    assert lifted(ict, packed, {}, (-angle, 0.0, 0.0)) == {}
    close = lifted(ict, packed, {"mouthClose": 1.0}, (angle / 2, 0.0, 0.0))
    assert close == {"jawOpen": 0.5, "mouthClose": 0.5}
    assert lifted(ict, packed, {"mouthClose": 1.0}) == {}


def test_stands_where_the_arkit_head_does(ict: IctHead, head: ArkitHead) -> None:
    assert ict.num_vertices == SOLID_VERTICES
    torch.testing.assert_close(ict.joints[3:].mean(0), head.joints[3:].mean(0))
    assert len(ict.faces) == 2 * 24_692 - 1, "quads are halved, one is a triangle"


def test_incomplete_files_are_named(packed: Path, tmp_path: Path) -> None:
    with np.load(packed) as file:
        arrays = dict(file)
    np.savez(tmp_path / "few.npz", **{**arrays, "template": arrays["template"][:100]})
    with pytest.raises(AssetError, match="it has 100 vertices"):
        read_ict(tmp_path / "few.npz")
    names = np.array([f"x{name}" for name in arrays["expression_names"]])
    np.savez(tmp_path / "other.npz", **{**arrays, "expression_names": names})
    with pytest.raises(AssetError, match="it has no 'browDown_L'"):
        read_ict(tmp_path / "other.npz")
    with pytest.raises(AssetError, match="generic_neutral_mesh"):
        read_ict(tmp_path)


def test_the_folder_of_obj_files_gives_the_same_head(
    head: ArkitHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a mesh so small that it is written fast."""
    small = {
        **{"VERTICES": 40, "POLYGONS": 30, "SOLID_VERTICES": 36, "SOLID_POLYGONS": 28},
        **{"LEFT_EYE": slice(28, 32), "RIGHT_EYE": slice(32, 36)},
        "PARTS": {"tongue": [slice(8, 12)], "sclera": [slice(28, 36)]},
    }
    for name, value in small.items():
        monkeypatch.setattr(f"i2fet.heads.ict.{name}", value)
    rng = np.random.default_rng(0)
    names = sorted({part for name in head.expression_names for part in ict_names(name)} | {*NAMES})
    # Sixteenths, which text and half precision both keep.
    template, identity, expression = (
        rng.integers(-64, 64, (*count, 40, 3)).astype(np.float32) / 16
        for count in ((), (100,), (len(names),))
    )
    faces = rng.integers(0, 36, (30, 4))
    faces[3, 3] = -1
    uv, faces_uv = rng.integers(0, 16, (50, 2)) / 16, np.where(faces < 0, -1, faces + 10)
    np.savez(
        tmp_path / "ict.npz",
        **{"template": template, "identity": identity, "expression": expression},
        **{"expression_names": np.array(names), "faces": faces, "faces_uv": faces_uv, "uv": uv},
    )
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    shapes = {
        "generic_neutral_mesh": 0 * template,
        **{f"identity{number:03d}": shape for number, shape in enumerate(identity)},
        **dict(zip(names, expression, strict=True)),
    }
    polygons = [
        "f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(*pair, strict=True) if v >= 0)
        for pair in zip(faces, faces_uv, strict=True)
    ]
    for name, shape in shapes.items():
        vertices = [f"v {x} {y} {z}" for x, y, z in template + shape]
        lines = [*vertices, *(f"vt {u} {v}" for u, v in uv), *polygons]
        (folder / f"{name}.obj").write_text("\n".join(lines))
    packed, unpacked = read_ict(tmp_path / "ict.npz"), read_ict(folder)
    for (name, values), other in zip(packed.named_buffers(), unpacked.buffers(), strict=True):
        torch.testing.assert_close(values, other, msg=name)
    assert packed.shape_basis.abs().max() > 0.02


@installed
def test_the_real_head_smiles_blinks_and_opens_its_mouth(head: ArkitHead) -> None:
    ict = load_ict_head()
    points = ict.landmarks(ict.template[None])[0]
    assert (points - head.landmarks(head.template[None])[0]).norm(dim=-1).median() < 0.02

    def gap(upper: int, lower: int, jaw: float = 0.0, **actions: float) -> float:
        codes, pose = torch.zeros(1, 50), torch.zeros(1, 6)
        pose[0, 3] = jaw
        for name, value in actions.items():
            codes[0, ict.expression_names.index(name)] = value
        landmarks = ict.landmarks(ict(torch.zeros(1, 100), codes, pose))[0]
        return float(landmarks[upper, 1] - landmarks[lower, 1])

    assert gap(13, 14, ict.jaw_open_angle) > gap(13, 14) + 0.02
    assert gap(159, 145, eyeBlinkRight=1.0) < 0.3 * gap(159, 145)
    assert gap(61, 0, mouthSmileRight=1.0) > gap(61, 0) + 0.003, "the corner rises"
