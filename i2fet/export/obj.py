"""One head as a Wavefront OBJ file, with texture coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.files import check_ending, replacing
from i2fet.heads.base import HeadModel


def _lines(keyword: str, values: Tensor) -> list[str]:
    return [f"{keyword} " + " ".join(f"{x:.6f}" for x in row) for row in values.tolist()]


def _face_lines(head: HeadModel) -> list[str]:
    """Faces count vertices and texture coordinates from one."""
    corners = np.stack([head.faces.cpu().numpy(), head.faces_uv.cpu().numpy()], axis=-1) + 1
    return ["f " + " ".join(f"{v}/{t}" for v, t in face) for face in corners.tolist()]


@torch.no_grad()
def write_obj(path: str | Path, head: HeadModel, coefficients: FaceCoefficients) -> None:
    """Write the mesh of one frame, smooth, in metres, y up, facing +z.

    Args:
        path: Ends in .obj.
        head: The head that the coefficients belong to.
        coefficients: One set of them, without a batch dimension.

    Raises:
        OutputError: Another ending, or a path that cannot be written.
    """
    path = Path(path)
    check_ending(path, [".obj"])
    lines = [
        f"# synthetic; {head.name} head",
        "o face",
        *_lines("v", head.vertices(coefficients[None])[0]),
        *_lines("vt", head.uv),
        "s 1",
        *_face_lines(head),
    ]
    with replacing(path) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n")
