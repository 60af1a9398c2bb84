"""Heads and curves for other programs: glTF, ARKit CSV, OBJ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from i2fet.coefficients import FaceCoefficients
from i2fet.export.arkit import arkit_curves, write_arkit_csv
from i2fet.export.gltf import write_gltf
from i2fet.export.obj import write_obj
from i2fet.export.weights import blendshape_weights
from i2fet.files import check_ending
from i2fet.heads.base import HeadModel

__all__ = [
    "EXPORTERS",
    "arkit_curves",
    "blendshape_weights",
    "export",
    "write_arkit_csv",
    "write_gltf",
    "write_obj",
]

EXPORTERS: dict[str, Callable[[Path, HeadModel, FaceCoefficients, float, str], None]] = {
    ".glb": write_gltf,
    ".csv": lambda path, head, clip, fps, _: write_arkit_csv(path, head, clip, fps),
    ".obj": lambda path, head, clip, *_: write_obj(path, head, clip[-1]),
}
"""What writes a file, by the ending of its name."""


def export(
    path: str | Path,
    head: HeadModel,
    coefficients: FaceCoefficients,
    fps: float = 30,
    description: str = "",
) -> None:
    """Write a clip in the format that the file's name ends in.

    Args:
        path: Ends in .glb (animated mesh), .csv (ARKit curves) or .obj (mesh of the last frame).
        head: The head that the coefficients belong to.
        coefficients: (T,) of them, at least one, one frame each.
        fps: Frames a second.
        description: Stored where the format has a place for it, which is .glb.

    Raises:
        OutputError: Another ending, a path that cannot be written, or a head that the format
            cannot hold.
    """
    path = Path(path)
    EXPORTERS[check_ending(path, EXPORTERS)](path, head, coefficients, fps, description)
