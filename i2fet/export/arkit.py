"""ARKit curves in the CSV layout of the Live Link Face app."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OutputError
from i2fet.export.weights import blendshape_weights
from i2fet.files import check_ending, replacing
from i2fet.heads.base import HeadModel

_BLENDSHAPES = """
    EyeBlinkLeft EyeLookDownLeft EyeLookInLeft EyeLookOutLeft EyeLookUpLeft EyeSquintLeft
    EyeWideLeft EyeBlinkRight EyeLookDownRight EyeLookInRight EyeLookOutRight EyeLookUpRight
    EyeSquintRight EyeWideRight JawForward JawRight JawLeft JawOpen MouthClose MouthFunnel
    MouthPucker MouthRight MouthLeft MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight
    MouthDimpleLeft MouthDimpleRight MouthStretchLeft MouthStretchRight MouthRollLower
    MouthRollUpper MouthShrugLower MouthShrugUpper MouthPressLeft MouthPressRight
    MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft MouthUpperUpRight BrowDownLeft
    BrowDownRight BrowInnerUp BrowOuterUpLeft BrowOuterUpRight CheekPuff CheekSquintLeft
    CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut
"""
BLENDSHAPES = tuple(_BLENDSHAPES.split())
"""The app's 52 columns of ARKit weights, in its order."""

ROTATIONS = tuple(
    f"{part}{angle}"
    for part in ("Head", "LeftEye", "RightEye")
    for angle in ("Yaw", "Pitch", "Roll")
)
CURVES = BLENDSHAPES + ROTATIONS
HEADER = ("Timecode", "BlendshapeCount", *CURVES)


def timecode(frame: int, fps: float) -> str:
    """When a frame is shown, as HH:MM:SS:FF.mmm: frames and thousandths of a frame.

    At a broken rate such as 29.97 a second counts as the next whole number of frames.
    """
    rate = max(round(fps), 1)
    thousandths = round(Fraction(frame) / Fraction(fps) * rate * 1000)
    frames, thousandth = divmod(thousandths, 1000)
    seconds, frame_of_second = divmod(frames, rate)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}:{frame_of_second:02}.{thousandth:03}"


def _blendshape_columns(head: HeadModel) -> list[int]:
    """Where each of the app's blendshapes but the last, TongueOut, is among the head's."""
    index = {name.lower(): i for i, name in enumerate(head.action_names)}
    names = [name.lower() for name in BLENDSHAPES[:-1]]
    if set(index) != set(names):
        raise OutputError(
            f"the {head.name} head's expressions are not ARKit's, so there is no ARKit CSV of "
            "them; write a .glb or use the arkit head"
        )
    return [index[name] for name in names]


def arkit_curves(head: HeadModel, coefficients: FaceCoefficients) -> np.ndarray:
    """The values of `CURVES` for a sequence of coefficients.

    Args:
        head: A head whose expressions are ARKit's.
        coefficients: (T,) of them.

    Returns:
        (T, 61): 52 weights in [0, 1], of which TongueOut is zero, then yaw, pitch and roll of the
        head in radians, applied in that order about y, x and z of the picture's frame. The eyes'
        own rotations are zero: their gaze is in the EyeLook weights.

    Raises:
        OutputError: The head's expressions are not ARKit's.
    """
    weights = blendshape_weights(head, coefficients).clamp(0, 1).cpu().numpy()
    turns = Rotation.from_rotvec(coefficients.global_rotation.cpu().numpy())
    tongue, eyes = np.zeros((len(weights), 1)), np.zeros((len(weights), 6))
    return np.hstack([weights[:, _blendshape_columns(head)], tongue, turns.as_euler("YXZ"), eyes])


@torch.no_grad()
def write_arkit_csv(
    path: str | Path, head: HeadModel, coefficients: FaceCoefficients, fps: float = 30
) -> None:
    """Write `arkit_curves` as the Live Link Face app does, one row a frame.

    Args:
        path: Ends in .csv.
        head: A head whose expressions are ARKit's.
        coefficients: (T,) of them, one frame each.
        fps: Frames a second.

    Raises:
        OutputError: Another ending, a path that cannot be written, or another head.
        ValueError: fps that is not positive.
    """
    if fps <= 0:
        raise ValueError(f"fps is {fps}, expected a positive number")
    path = Path(path)
    check_ending(path, [".csv"])
    curves = arkit_curves(head, coefficients)
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for frame, row in enumerate(curves):
            values = [f"{value:.8f}" for value in row]
            writer.writerow([timecode(frame, fps), len(CURVES), *values])
