"""Heads and curves for other programs: glTF, ARKit CSV, OBJ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from i2fet.coefficients import FaceCoefficients
from i2fet.export.arkit import arkit_curves, write_arkit_csv
from i2fet.export.gltf import write_gltf
from i2fet.export.obj import write_obj
from i2fet.files import check_ending
from i2fet.heads.base import HeadModel

__all__ = ["EXPORTERS", "arkit_curves", "export", "write_arkit_csv", "write_gltf", "write_obj"]


def _write_last_frame(
    path: Path, head: HeadModel, coefficients: FaceCoefficients, fps: float
) -> None:
    write_obj(path, head, coefficients[-1])


EXPORTERS: dict[str, Callable[[Path, HeadModel, FaceCoefficients, float], None]] = {
    ".glb": write_gltf,
    ".csv": write_arkit_csv,
    ".obj": _write_last_frame,
}
"""What writes a file, by the ending of its name."""


def export(
    path: str | Path, head: HeadModel, coefficients: FaceCoefficients, fps: float = 30
) -> None:
    """Write a clip in the format that the file's name ends in.

    Args:
        path: Ends in .glb (animated mesh), .csv (ARKit curves) or .obj (mesh of the last frame).
        head: The head that the coefficients belong to.
        coefficients: (T,) of them, at least one, one frame each.
        fps: Frames a second.

    Raises:
        OutputError: Another ending, a path that cannot be written, or a head that the format
            cannot hold.
    """
    path = Path(path)
    EXPORTERS[check_ending(path, EXPORTERS)](path, head, coefficients, fps)
