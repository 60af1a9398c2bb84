from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from smplx import FLAME

from i2fet.assets import add_asset
from i2fet.errors import AssetError
from i2fet.heads import ArkitHead, FlameHead, load_head
from i2fet.heads.flame import read_flame
from i2fet.nn.losses import VertexLoss
from i2fet.perception.mirror import Mirror
from tests.official_files import (
    chumpy_installed,
    flame_arrays,
    random_flame_arrays,
    write_flame,
    write_pickle,
)


@pytest.fixture(scope="module")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flame") / "FLAME_NEUTRAL.pkl"
    return write_pickle(path, random_flame_arrays())


@pytest.fixture(scope="module")
def flame(random_file: Path) -> FlameHead:
    return FlameHead(read_flame(random_file))


def random_codes(generator: torch.Generator, count: int = 4) -> dict[str, torch.Tensor]:
    sizes = {"shape": 100, "expression": 50, "pose": 6, "neck_pose": 3, "eye_pose": 6}
    codes = {k: torch.randn(count, n, generator=generator) for k, n in sizes.items()}
    return {k: v if k in ("shape", "expression") else 0.3 * v for k, v in codes.items()}


@pytest.mark.parametrize("parts", [("neck_pose", "eye_pose"), ()], ids=["all joints", "jaw alone"])
def test_vertices_are_those_of_smplx(
    flame: FlameHead, random_file: Path, generator: torch.Generator, parts: tuple[str, ...]
) -> None:
    embedding = {"lmk_face_idx": np.zeros(51), "lmk_b_coords": np.full((51, 3), 1 / 3)}
    (random_file.parent / "flame_static_embedding.pkl").write_bytes(pickle.dumps(embedding))
    reference = FLAME(
        str(random_file.parent), num_betas=100, num_expression_coeffs=50, batch_size=4
    )
    codes = random_codes(generator)
    for name in {"neck_pose", "eye_pose"} - set(parts):
        codes[name] = torch.zeros_like(codes[name])
    expected = reference(
        betas=codes["shape"],
        expression=codes["expression"],
        global_orient=codes["pose"][:, :3],
        jaw_pose=codes["pose"][:, 3:],
        neck_pose=codes["neck_pose"],
        leye_pose=codes["eye_pose"][:, :3],
        reye_pose=codes["eye_pose"][:, 3:],
    ).vertices
    found = flame(
        codes["shape"], codes["expression"], codes["pose"], **{k: codes[k] for k in parts}
    )
    assert (found - expected).norm(dim=-1).max() < 1e-6


def test_vertex_loss_counts_correctives_and_moving_joints(
    flame: FlameHead, generator: torch.Generator
) -> None:
    shape, *first = (random_codes(generator)[k] for k in ("shape", "expression", "pose"))
    _, *second = (random_codes(generator)[k] for k in ("shape", "expression", "pose"))
    pair = [tuple(part[:, None] for part in face) for face in (first, second)]
    loss = VertexLoss(flame)(shape, *pair)
    exact = (flame(shape, *first) - flame(shape, *second)).square().mean()
    torch.testing.assert_close(loss, exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("protocol", [1, 2, 4])
def test_files_of_any_age_give_the_same_head(
    protocol: int, flame: FlameHead, tmp_path: Path
) -> None:
    arrays = random_flame_arrays()
    with chumpy_installed() as ch:
        wrapped = {k: ch(v) for k, v in arrays.items() if k in ("v_template", "weights")}
        regressor = sparse.csr_matrix(arrays["J_regressor"])
        path = write_pickle(
            tmp_path / "old.pkl", {**arrays, **wrapped, "J_regressor": regressor}, protocol
        )
    assert FlameHead(read_flame(path)).name == flame.name
    other = write_pickle(tmp_path / "other.pkl", random_flame_arrays(seed=1))
    assert FlameHead(read_flame(other)).name != flame.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v_template": np.zeros((10, 3))}, "v_template is 10 x 3, not 5023 x 3"),
        ({"shapedirs": np.zeros((5023, 3, 20))}, "shapedirs has 20 components"),
        ({"f": np.full((4, 3), 6000)}, "beyond the 5023"),
        ({"weights": np.zeros((5023, 5))}, "do not sum to one"),
        ({"kintree_table": np.zeros((2, 5))}, "another skeleton"),
        ({"posedirs": np.full((5023, 3, 36), np.nan)}, "not finite"),
        ({"f": "no array"}, "holds a str"),
    ],
)
def test_wrong_arrays_are_named(change: dict, message: str, tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "generic_model.pkl", {**random_flame_arrays(), **change})
    with pytest.raises(AssetError, match=message):
        read_flame(path)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    arrays = {k: v for k, v in random_flame_arrays().items() if k != "posedirs"}
    path = write_pickle(tmp_path / "generic_model.pkl", arrays)
    with pytest.raises(AssetError, match="has no 'posedirs'"):
        read_flame(path)


def test_broken_sparse_matrices_never_reach_native_code(tmp_path: Path) -> None:
    regressor = random_flame_arrays()["J_regressor"].copy()
    regressor.indices[:] = 10**6
    path = write_pickle(
        tmp_path / "generic_model.pkl", {**random_flame_arrays(), "J_regressor": regressor}
    )
    with pytest.raises(AssetError, match="broken or not FLAME"):
        read_flame(path)


def test_installed_flame_has_landmarks_texture_and_its_own_name(
    head: ArkitHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2FET_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setattr("i2fet.assets.LANDMARK_HEADS", 6)
    add_asset("flame", write_flame(tmp_path / "generic_model.pkl", head))
    flame = load_head("flame")
    distance = (flame.landmarks(flame.template[None]) - head.landmarks(head.template[None])).norm(
        dim=-1
    )
    assert distance.median() < 0.004, "the same face, found anew"
    assert load_head(flame.name).name == flame.name
    assert flame.uv.shape == (flame.num_vertices, 2)
    blinks = [head.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    mirrored = Mirror(flame).expressions[blinks[0]]
    assert mirrored.argmax() == blinks[1], "codes without names are mirrored by what they move"
    assert mirrored.max() > 0.9
    with pytest.raises(AssetError, match="'flame-00000000' is another release"):
        load_head("flame-00000000")

    add_asset("flame_uv", write_template(tmp_path / "head_template.obj", flame))
    textured = load_head("flame")
    assert textured.name == flame.name
    torch.testing.assert_close(textured.uv[textured.faces_uv], flame.template[flame.faces][..., :2])


def write_template(path: Path, flame: FlameHead) -> Path:
    """FLAME's template with x and y as texture coordinates, its triangles in another order."""
    lines = [f"v {x} {y} {z}" for x, y, z in flame.template.tolist()]
    lines += [f"vt {x} {y}" for x, y, _ in flame.template.flip(0).tolist()]
    for face in (flame.faces.flip(0).roll(1, dims=1) + 1).tolist():
        lines.append("f " + " ".join(f"{i}/{flame.num_vertices + 1 - i}" for i in face))
    path.write_text("\n".join(lines))
    return path


def test_synthetic_files_have_the_released_sizes(head: ArkitHead) -> None:
    real, ours = random_flame_arrays(), flame_arrays(head)
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        assert ours[name].shape == real[name].shape
