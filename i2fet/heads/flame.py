"""The FLAME head (2020 or 2023), from the `generic_model.pkl` that its users obtain."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2fet.assets import ASSETS, find_asset, locate, reading_asset
from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE
from i2fet.errors import AssetError
from i2fet.heads.base import JOINT_NAMES, JOINT_PARENTS, HeadData, HeadModel
from i2fet.heads.flame_pickle import read_arrays
from i2fet.heads.storage import load_head_file, save_head_file

NAME = "flame"
VERTICES = 5023
EXPRESSION_START = 300
"""Rows of `shapedirs` before it are identity, those from it on expression."""

JAW_OPEN_ANGLE = math.radians(20)
SHAPES = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, None),
    "posedirs": (VERTICES, 3, 9 * (len(JOINT_NAMES) - 1)),
    "J_regressor": (len(JOINT_NAMES), VERTICES),
    "kintree_table": (2, len(JOINT_NAMES)),
    "weights": (VERTICES, len(JOINT_NAMES)),
    "f": (None, 3),
}
"""What `generic_model.pkl` holds; None for any number."""

RELEASED = (
    "template",
    "shape_basis",
    "expression_basis",
    "corrective_basis",
    "skinning_weights",
    "faces",
)


class FlameHead(HeadModel):
    """FLAME with its first 100 identity and 50 expression components.

    Coefficients of different releases are not interchangeable, so the head's name ends in a hash of
    the model.

    Args:
        data: The arrays.
    """

    def __init__(self, data: HeadData) -> None:
        names = tuple(f"expression{number:02d}" for number in range(1, EXPRESSION_SIZE + 1))
        eyes = data.skinning_weights[:, JOINT_NAMES.index("left_eye") :].sum(1)
        unbounded = (-math.inf, math.inf)
        name = f"{NAME}-{_fingerprint(data)}"
        super().__init__(name, data, names, unbounded, JAW_OPEN_ANGLE, {"sclera": eyes})


def read_flame(path: Path) -> HeadData:
    """Read `generic_model.pkl`; without landmarks, and with an unwrapping of our own.

    Raises:
        AssetError: If the file is missing, broken, hostile, or not FLAME.
    """
    with reading_asset(path, "FLAME's generic_model.pkl"):
        arrays = _checked(read_arrays(path, SHAPES))
    template, faces = arrays["v_template"], arrays["f"].long()
    basis = arrays["shapedirs"].permute(2, 0, 1)
    expression_basis = basis[EXPRESSION_START : EXPRESSION_START + EXPRESSION_SIZE]
    regressor = arrays["J_regressor"]
    shape_basis = basis[:SHAPE_SIZE]
    return HeadData(
        template=template.float(),
        shape_basis=shape_basis.float(),
        expression_basis=expression_basis.float(),
        joints=(regressor @ template).float(),
        joint_shape_basis=(regressor @ shape_basis).float(),
        skinning_weights=arrays["weights"].float(),
        faces=faces,
        uv=unwrap(template).float(),
        faces_uv=faces,
        landmark_faces=torch.zeros(0, dtype=torch.long),
        landmark_barycentrics=torch.zeros(0, 3),
        joint_expression_basis=(regressor @ expression_basis).float(),
        corrective_basis=arrays["posedirs"].permute(2, 0, 1).float(),
    )


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The arrays as float64 tensors.

    Raises:
        KeyError: If one is missing.
        ValueError: If one is not as it should be.
    """
    checked = {}
    for name, shape in SHAPES.items():
        values = np.asarray(arrays[name], dtype=np.float64)
        expected = [size or found for size, found in zip(shape, values.shape, strict=False)]
        if [*values.shape] != expected or len(shape) != values.ndim:
            wanted = " x ".join(str(size or "any") for size in shape)
            raise ValueError(f"{name} is {' x '.join(map(str, values.shape))}, not {wanted}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite")
        checked[name] = torch.from_numpy(values)
    components, needed = checked["shapedirs"].shape[2], EXPRESSION_START + EXPRESSION_SIZE
    if components < needed:
        raise ValueError(f"shapedirs has {components} components, less than {needed}")
    if not 0 <= checked["f"].min() <= checked["f"].max() < VERTICES:
        raise ValueError(f"f names vertices beyond the {VERTICES}")
    if tuple(checked["kintree_table"][0, 1:].tolist()) != JOINT_PARENTS[1:]:
        raise ValueError("kintree_table is of another skeleton")
    if not torch.allclose(checked["weights"].sum(1), torch.ones(VERTICES).double(), atol=1e-3):
        raise ValueError("weights do not sum to one")
    return checked


def unwrap(template: Tensor) -> Tensor:
    """(V, 2) texture coordinates of (V, 3) vertices: around the head, and from bottom to top."""
    x, y, z = template.unbind(1)
    around = torch.atan2(x, z) / (2 * math.pi) + 0.5
    return torch.stack([around, (y - y.min()) / (y.max() - y.min())], dim=1)


def save_flame(path: Path, head: FlameHead) -> None:
    """Write a head as safetensors."""
    save_head_file(path, head, {"name": head.name})


def load_flame_head(path: Path | None = None) -> FlameHead:
    """The installed FLAME, or that of another file that `save_flame` wrote.

    Raises:
        AssetError: If it is not installed, or the file is broken.
    """
    path = path or find_asset(NAME)
    remedy = f"run `i2fet assets add {NAME} PATH` again"
    try:
        stored = load_head_file(path)
        uv = locate(ASSETS["flame_uv"])
        data = stored.data if uv is None else with_texture(stored.data, uv)
        head = FlameHead(data)
    except (SafetensorError, TypeError, RuntimeError) as error:
        raise AssetError(f"{path} is broken ({error}); {remedy}") from error
    if stored.metadata.get("name") != head.name:
        raise AssetError(f"{path} was made by another version or is broken; {remedy}")
    return head


def convert_texture(source: Path, target: Path) -> None:
    """Keep the texture coordinates of FLAME's `head_template.obj`.

    Raises:
        AssetError: If the file is missing, broken, or not of FLAME's mesh.
    """
    with reading_asset(source, "FLAME's head_template.obj"):
        lines = [line.split() for line in source.read_text().splitlines()]
        uv = [[float(number) for number in line[1:3]] for line in lines if line[:1] == ["vt"]]
        corners = [
            [part.split("/")[:2] for part in line[1:]] for line in lines if line[:1] == ["f"]
        ]
        indices = torch.tensor([[[int(i) for i in c] for c in face] for face in corners]) - 1
        vertices = sum(line[:1] == ["v"] for line in lines)
        if vertices != VERTICES:
            raise ValueError(f"it has {vertices} vertices, not {VERTICES}")
        faces, faces_uv = indices.unbind(-1)
        if not 0 <= int(faces_uv.min()) <= int(faces_uv.max()) < len(uv):
            raise ValueError("it names texture coordinates that it does not have")
    tensors = {"uv": torch.tensor(uv), "faces": faces, "faces_uv": faces_uv}
    save_file({name: value.contiguous() for name, value in tensors.items()}, target)


def with_texture(data: HeadData, path: Path) -> HeadData:
    """The arrays with the texture coordinates of a file that `convert_texture` wrote.

    Raises:
        AssetError: If the file is broken or its triangles are not the head's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            uv, faces, faces_uv = (file.get_tensor(name) for name in ("uv", "faces", "faces_uv"))
    except SafetensorError as error:
        raise AssetError(
            f"{path} is broken ({error}); run `i2fet assets add flame_uv PATH` again"
        ) from error
    (ours, our_order), (theirs, their_order) = (_ordered(f) for f in (data.faces, faces))
    if not torch.equal(ours, theirs):
        raise AssetError(
            f"the triangles of {path} are not those of the installed FLAME; remove it, or run "
            "`i2fet assets add flame_uv PATH` with FLAME's head_template.obj"
        )
    matched = torch.empty_like(data.faces).flatten()
    matched[our_order.flatten()] = faces_uv.flatten()[their_order.flatten()]
    return replace(data, uv=uv, faces_uv=matched.view(-1, 3))


def _ordered(faces: Tensor) -> tuple[Tensor, Tensor]:
    """(F, 3) triangles with ascending corners in ascending order, and where each corner was."""
    corners, column = faces.sort(dim=1)
    row = torch.from_numpy(np.lexsort(corners.T.flip(0).numpy()))
    return corners[row], row[:, None] * 3 + column[row]


def _fingerprint(data: HeadData) -> str:
    """Hash of the arrays that the file itself holds, and that decide where vertices are."""
    digest = hashlib.sha256()
    for name in RELEASED:
        digest.update(getattr(data, name).contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
