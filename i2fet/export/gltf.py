"""Animated heads as glTF 2.0 binaries: morph targets by name, for Blender, three.js and engines."""

from __future__ import annotations

import json
import struct
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.export.weights import blendshape_weights
from i2fet.files import check_ending, replacing
from i2fet.heads.base import HeadModel
from i2fet.rendering.mesh import clay_colors, vertex_normals

COMPONENT_TYPES = {"float32": 5126, "uint32": 5125, "uint8": 5121}
ELEMENT_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963
HEAD_NODE, MESH_NODE = 0, 1


class _Buffer:
    """The binary chunk of a file, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, target: int | None = None, normalized: bool = False) -> int:
        """Append an (N,) or (N, C) array; return the index of its accessor."""
        array = np.ascontiguousarray(array.reshape(len(array), -1))
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": array.nbytes}
        self.views.append(view if target is None else {**view, "target": target})
        self.accessors.append(
            {
                "bufferView": len(self.views) - 1,
                "componentType": COMPONENT_TYPES[array.dtype.name],
                "normalized": normalized,
                "count": len(array),
                "type": ELEMENT_TYPES[array.shape[1]],
                "min": array.min(axis=0).tolist(),
                "max": array.max(axis=0).tolist(),
            }
        )
        self.content += array.tobytes()
        self.content += bytes(-len(self.content) % 4)
        return len(self.accessors) - 1


def _split_at_seams(head: HeadModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) vertices and (N,) texture coordinates, one pair each, and (F, 3) faces over them."""
    corners = torch.stack([head.faces, head.faces_uv], dim=-1).cpu().reshape(-1, 2).numpy()
    pairs, faces = np.unique(corners, axis=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], faces.reshape(-1, 3)


def _morph_targets(head: HeadModel, shape: Tensor, neutral: Tensor) -> Tensor:
    """(51, V, 3) positions of the neutral head with one blendshape at 1 each."""
    pose = shape.new_zeros(1, 6)
    pose[:, 3] = head.jaw_open_angle
    opened = head(shape, shape.new_zeros(1, len(head.expression_names)), pose)
    return torch.cat([neutral + head.expression_basis, opened])


def _colors(head: HeadModel) -> Tensor:
    """(V, 4) uint8 linear RGBA."""
    linear = clay_colors(head).square() * 255
    return torch.cat([linear, torch.full_like(linear[:, :1], 255)], dim=-1).round().byte()


def _add_primitive(buffer: _Buffer, head: HeadModel, shape: Tensor) -> dict[str, Any]:
    """Write the neutral head of a (1, 100) shape and its morph targets."""
    vertices, coordinates, faces = _split_at_seams(head)
    neutral = head.rest_vertices(shape, shape.new_zeros(1, len(head.expression_names)))
    positions = torch.cat([neutral, _morph_targets(head, shape, neutral)])
    normals = vertex_normals(positions, head.faces)

    def add(values: Tensor, **options: Any) -> int:
        return buffer.add(values.cpu().numpy()[vertices], VERTEX_BUFFER, **options)

    uv = head.uv.cpu().numpy()[coordinates] * [1, -1] + [0, 1]  # glTF's origin is at the top
    return {
        "attributes": {
            "POSITION": add(positions[0]),
            "NORMAL": add(normals[0]),
            "TEXCOORD_0": buffer.add(uv.astype(np.float32), VERTEX_BUFFER),
            "COLOR_0": add(_colors(head), normalized=True),
        },
        "indices": buffer.add(faces.astype(np.uint32).ravel(), INDEX_BUFFER),
        "material": 0,
        "targets": [
            {"POSITION": add(position - positions[0]), "NORMAL": add(normal - normals[0])}
            for position, normal in zip(positions[1:], normals[1:], strict=True)
        ],
    }


def _quaternions(rotations: Tensor) -> np.ndarray:
    """(T, 4) x, y, z, w for (T, 3) axis-angle, each on the same side as the one before."""
    quaternions = Rotation.from_rotvec(rotations.cpu().numpy()).as_quat()
    steps = np.einsum("tq,tq->t", quaternions[:-1], quaternions[1:])
    signs = np.cumprod(np.where(np.r_[1, steps] < 0, -1, 1))
    return (quaternions * signs[:, None]).astype(np.float32)


def _add_animation(
    buffer: _Buffer, head: HeadModel, coefficients: FaceCoefficients, fps: float
) -> dict[str, Any]:
    times = buffer.add(np.arange(len(coefficients), dtype=np.float32) / np.float32(fps))
    weights = blendshape_weights(head, coefficients).cpu().numpy().astype(np.float32)
    curves = {
        "weights": (MESH_NODE, buffer.add(weights.ravel())),
        "rotation": (HEAD_NODE, buffer.add(_quaternions(coefficients.global_rotation))),
    }
    return {
        "name": "expression",
        "samplers": [
            {"input": times, "output": output, "interpolation": "LINEAR"}
            for _, output in curves.values()
        ],
        "channels": [
            {"sampler": index, "target": {"node": node, "path": path}}
            for index, (path, (node, _)) in enumerate(curves.items())
        ],
    }


def _pack(document: dict[str, Any], content: bytes) -> bytes:
    """A .glb: a header, the JSON chunk and the binary chunk."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(content)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, length),
            struct.pack("<I4s", len(text), b"JSON") + text,
            struct.pack("<I4s", len(content), b"BIN\0") + content,
        ]
    )


def _describe(
    head: HeadModel, coefficients: FaceCoefficients, fps: float, description: str
) -> tuple[dict[str, Any], bytes]:
    """The document and the binary chunk of a file."""
    buffer, shape = _Buffer(), coefficients.shape[:1]
    root = head.joint_positions(shape)[0, 0].tolist()
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": f"i2fet {version('i2fet')}",
            "extras": {"synthetic": True, "description": description, "head": head.name},
        },
        "scene": 0,
        "scenes": [{"nodes": [HEAD_NODE]}],
        "nodes": [
            {"name": "head", "translation": root, "children": [MESH_NODE]},
            {"name": "face", "translation": [-x for x in root], "mesh": 0},
        ],
        "materials": [
            {
                "name": "clay",
                "doubleSided": True,
                "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.7},
            }
        ],
        "meshes": [
            {
                "name": "face",
                "primitives": [_add_primitive(buffer, head, shape)],
                "weights": [0] * len(head.action_names),
                "extras": {"targetNames": head.action_names},
            }
        ],
        "animations": [_add_animation(buffer, head, coefficients, fps)],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    return document, bytes(buffer.content)


@torch.no_grad()
def write_gltf(
    path: str | Path,
    head: HeadModel,
    coefficients: FaceCoefficients,
    fps: float = 30,
    description: str = "",
) -> None:
    """Write an animated head as a glTF 2.0 binary.

    The mesh is the neutral head of the first frame's shape, in metres, y up, facing +z. Its 51
    morph targets are the head's expressions and `jawOpen`. That one draws the jaw's rotation
    straight, so that the chin of a half open mouth is 1.5 mm off. A node above the mesh turns the
    head about the neck.

    Args:
        path: Ends in .glb.
        head: The head that the coefficients belong to.
        coefficients: (T,) of them, at least one, one frame each.
        fps: Frames a second.
        description: Stored in the file, beside a note that it is synthetic.

    Raises:
        OutputError: Another ending, or a path that cannot be written.
        ValueError: No frames, or fps that is not positive.
    """
    if not len(coefficients) or fps <= 0:
        raise ValueError(f"{len(coefficients)} frames at {fps} fps make no animation")
    path = Path(path)
    check_ending(path, [".glb"])
    document, content = _describe(head, coefficients, fps, description)
    with replacing(path) as unfinished:
        unfinished.write_bytes(_pack(document, content))
