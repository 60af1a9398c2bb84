"""The ICT-FaceKit head (MIT), which ARKit's actions drive by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from i2fet.assets import find_asset, reading_asset
from i2fet.coefficients import SHAPE_SIZE
from i2fet.errors import AssetError
from i2fet.heads.arkit import ArkitActions, load_arkit_head
from i2fet.heads.base import JAW, JOINT_NAMES, HeadData
from i2fet.heads.storage import load_head_file, save_head_file

NAME = "ict"
METRES = 0.01
"""In one of the files' units."""

VERTICES, POLYGONS = 26_719, 26_384
SOLID_VERTICES, SOLID_POLYGONS = 24_591, 24_692
"""Those up to the eyeballs; tear film, shadows and lashes, which follow, are see-through."""

LEFT_EYE, RIGHT_EYE = slice(21_451, 23_021), slice(23_021, 24_591)
PARTS = {
    "mouth_interior": [slice(11_248, 13_294)],
    "tongue": [slice(14_062, 17_039)],
    "sclera": [slice(17_039, 24_591)],
}
"""Vertices of each region; the white of the teeth is the eyes'."""

IRIS_RADIUS, PUPIL_RADIUS = 0.0058, 0.0022
"""Metres; the eyeballs' outer surface, which is the clear cornea there, is painted so."""

SPLIT = ("browInnerUp", "cheekPuff")
"""Actions that ARKit has one of and ICT-FaceKit two."""

JAW_SHAPES = ("jawOpen", "jawLeft", "jawRight")
JAW_SIDE_ANGLE = 0.11
"""Rotation about y that takes the chin as far to the side as jawLeft at 1, radians."""

Read = Callable[[str], np.ndarray]
"""(26719, 3) vertices of a shape by its name."""


class IctHead(ArkitActions):
    """A head with eyes, teeth and tongue; shapes take the jaw joint's place.

    It stands where the ARKit head does, and its expression coefficients are the same, so that
    expressions move from one to the other as they are; its shape coefficients are its own.

    Args:
        data: The arrays.
        expression_names: Those of the ARKit head.
        jaw_open_angle: That of the ARKit head.
        regions: As in `HeadModel`.
    """

    jaw_correctives = slice(None)

    def __init__(
        self,
        data: HeadData,
        expression_names: tuple[str, ...],
        jaw_open_angle: float,
        regions: dict[str, Tensor],
    ) -> None:
        super().__init__(NAME, data, expression_names, (0.0, 1.0), jaw_open_angle, regions)

    def corrective_weights(self, turned: Tensor) -> Tensor:
        """(..., 3) weights of `JAW_SHAPES` for (..., 4, 3) joint rotations."""
        opening, side, _ = turned[..., JAW - 1, :].unbind(-1)
        side = side / JAW_SIDE_ANGLE
        weights = torch.stack([opening / self.jaw_open_angle, side, -side], dim=-1)
        return weights.clamp(min=0)


def ict_names(action: str) -> tuple[str, ...]:
    """ICT-FaceKit's shapes for an action of ARKit: "mouthSmile_L" for "mouthSmileLeft"."""
    if action in SPLIT:
        return f"{action}_L", f"{action}_R"
    for side in ("Left", "Right"):
        stem = action.removesuffix(side)
        if stem not in (action, "jaw", "mouth"):
            return (f"{stem}_{side[0]}",)
    return (action,)


def read_ict(path: Path) -> IctHead:
    """Read ICT-FaceKit's folder `FaceXModel`, or it packed as .npz; without landmarks.

    Raises:
        AssetError: If a file is missing, broken, or not ICT-FaceKit.
    """
    with reading_asset(path, "ICT-FaceKit"):
        return _read_folder(path) if path.is_dir() else _read_packed(path)


def _read_packed(path: Path) -> IctHead:
    """Packed: `template`, `identity`, `expression` with their names, and the polygons."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    names = [str(name) for name in arrays["expression_names"]]
    shapes = dict(zip(names, arrays["expression"], strict=True))
    identity, template = arrays["identity"], arrays["template"]
    return _build(
        template,
        [identity[number] for number in range(SHAPE_SIZE)],
        lambda name: shapes[name],
        arrays["faces"],
        arrays["uv"],
        arrays["faces_uv"],
    )


def _read_folder(folder: Path) -> IctHead:
    lines = [
        line.split() for line in (folder / "generic_neutral_mesh.obj").read_text().splitlines()
    ]
    template = _vertices(lines)
    uv = np.array([line[1:3] for line in lines if line[:1] == ["vt"]], np.float32)
    polygons = [[corner.split("/") for corner in line[1:]] for line in lines if line[:1] == ["f"]]
    faces, faces_uv = (
        np.array([[int(corner[part]) - 1 for corner in p] + [-1] * (4 - len(p)) for p in polygons])
        for part in (0, 1)
    )

    def offsets(name: str) -> np.ndarray:
        path = folder / f"{name}.obj"
        return _vertices(line.split() for line in path.read_text().splitlines()) - template

    identity = [offsets(f"identity{number:03d}") for number in range(SHAPE_SIZE)]
    return _build(template, identity, offsets, faces, uv, faces_uv)


def _vertices(lines: Iterable[list[str]]) -> np.ndarray:
    return np.array([line[1:4] for line in lines if line[:1] == ["v"]], np.float32)


def _build(
    template: np.ndarray,
    identity: Sequence[np.ndarray],
    offsets: Read,
    faces: np.ndarray,
    uv: np.ndarray,
    faces_uv: np.ndarray,
) -> IctHead:
    """Assemble the solid parts, at the place and in the units of the ARKit head.

    Raises:
        KeyError: If a shape is missing.
        ValueError: If an array is not as it should be.
    """
    if len(template) != VERTICES or len(faces) != POLYGONS:
        raise ValueError(f"it has {len(template)} vertices and {len(faces)} polygons")
    model = load_arkit_head()

    def metres(shape: np.ndarray) -> Tensor:
        if shape.shape != (VERTICES, 3) or not np.isfinite(shape).all():
            raise ValueError(f"a shape is {shape.shape} or has values that are not finite")
        return METRES * torch.from_numpy(shape[:SOLID_VERTICES].astype(np.float32))

    def action(name: str) -> Tensor:
        return torch.stack([metres(offsets(part)) for part in ict_names(name)]).sum(0)

    eyes = JOINT_NAMES.index("left_eye"), JOINT_NAMES.index("right_eye")
    skinning = torch.zeros(SOLID_VERTICES, len(JOINT_NAMES))
    skinning[:, JOINT_NAMES.index("head")] = 1
    joint_regressor = torch.zeros(len(JOINT_NAMES), SOLID_VERTICES)
    for joint, part in zip(eyes, (LEFT_EYE, RIGHT_EYE), strict=True):
        skinning[part] = torch.eye(len(JOINT_NAMES))[joint]
        joint_regressor[joint, part] = 1 / (part.stop - part.start)
    mean = metres(template)
    mean = mean + (model.joints[list(eyes)] - (joint_regressor @ mean)[list(eyes)]).mean(0)
    joints = model.joints.clone()
    joints[list(eyes)] = (joint_regressor @ mean)[list(eyes)]
    shape_basis = torch.stack([metres(shape) for shape in identity])
    triangles, triangles_uv = (_triangles(f[:SOLID_POLYGONS]) for f in (faces, faces_uv))
    data = HeadData(
        template=mean,
        shape_basis=shape_basis,
        expression_basis=torch.stack([action(name) for name in model.expression_names]),
        joints=joints,
        joint_shape_basis=joint_regressor @ shape_basis,
        skinning_weights=skinning,
        faces=triangles,
        uv=torch.from_numpy(uv.astype(np.float32)),
        faces_uv=triangles_uv,
        landmark_faces=torch.zeros(0, dtype=torch.long),
        landmark_barycentrics=torch.zeros(0, 3),
        corrective_basis=torch.stack([action(name) for name in JAW_SHAPES]),
    )
    return IctHead(data, model.expression_names, model.jaw_open_angle, _regions(mean))


def _triangles(polygons: np.ndarray) -> Tensor:
    """(F, 3) of (P, 4) quads and triangles, which end in -1."""
    quads = torch.from_numpy(polygons.astype(np.int64))
    both = torch.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], dim=1).flatten(0, 1)
    return both[(both >= 0).all(1)]


def _regions(template: Tensor) -> dict[str, Tensor]:
    regions = {name: torch.zeros(SOLID_VERTICES) for name in (*PARTS, "iris", "pupil")}
    for name, parts in PARTS.items():
        for part in parts:
            regions[name][part] = 1
    for eye in (LEFT_EYE, RIGHT_EYE):
        x, y, z = (template[eye] - template[eye].mean(0)).unbind(1)
        radius = torch.hypot(x, y)
        iris, pupil = ((z > 0) & (radius < limit) for limit in (IRIS_RADIUS, PUPIL_RADIUS))
        regions["sclera"][eye] = (~iris).float()
        regions["iris"][eye] = (iris & ~pupil).float()
        regions["pupil"][eye] = pupil.float()
    return regions


def save_ict(path: Path, head: IctHead) -> None:
    """Write a head as safetensors; its bases in half precision."""
    save_head_file(path, head, {"name": NAME}, half=True)


def load_ict_head(path: Path | None = None) -> IctHead:
    """The installed ICT-FaceKit, or that of another file that `save_ict` wrote.

    Raises:
        AssetError: If it is not installed, or the file is broken.
    """
    path = path or find_asset(NAME)
    model = load_arkit_head()
    try:
        stored = load_head_file(path)
        return IctHead(stored.data, model.expression_names, model.jaw_open_angle, stored.regions)
    except (SafetensorError, TypeError, RuntimeError) as error:
        raise AssetError(
            f"{path} is broken ({error}); run `i2fet assets add {NAME} PATH` again"
        ) from error
