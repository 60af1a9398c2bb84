"""Trajectories between anchor expressions (eq. 16)."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError

Easing = Literal["linear", "smooth"]
RotationPath = Literal["linear", "slerp"]
HeadPose = Literal["source", "generated"]


def make_anchors(
    source: FaceCoefficients, expression: Tensor, pose: Tensor, head_pose: HeadPose = "source"
) -> FaceCoefficients:
    """The source followed by generated expressions of the same person.

    Args:
        source: Of the photo, without batch dimensions.
        expression: (S, 50) generated.
        pose: (S, 6) generated.
        head_pose: "source" keeps the photo's global rotation and takes the jaw only;
            "generated" takes both.

    Returns:
        S + 1 anchors, with the source's shape and camera.

    Raises:
        OptionError: If there is no such head pose.
    """
    _check_choice("head_pose", head_pose, HeadPose)
    pose = torch.cat([source.pose[None], pose])
    if head_pose == "source":
        pose = torch.cat([source.global_rotation.expand(len(pose), -1), pose[:, 3:]], dim=1)
    return FaceCoefficients(
        source.shape.expand(len(pose), -1),
        torch.cat([source.expression[None], expression]),
        pose,
        source.camera.expand(len(pose), -1),
    )


def anchor_frames(anchors: int, frames: int, hold: int = 0) -> list[int]:
    """The frame at which each anchor is reached.

    Args:
        anchors: Number of anchors, the source among them.
        frames: Number of frames.
        hold: Frames for which every anchor but the first stays after it is reached.

    Raises:
        OptionError: If there are too few frames to show every anchor, or the hold is negative.
    """
    if hold < 0:
        raise OptionError(f"hold is {hold}; give a number of frames, 0 for none")
    moving = frames - hold * (anchors - 1)
    if moving < anchors:
        needed = anchors + hold * (anchors - 1)
        raise OptionError(
            f"{frames} frames are too few for {anchors} expressions held for {hold}; "
            f"give at least {needed}"
        )
    steps = np.linspace(0, moving - 1, anchors).round().astype(int)
    return [int(step) + hold * max(index - 1, 0) for index, step in enumerate(steps)]


def interpolate(
    anchors: FaceCoefficients,
    frames: int,
    easing: Easing = "linear",
    rotation: RotationPath = "linear",
    hold: int = 0,
) -> FaceCoefficients:
    """Frames that move through anchors, each of which is met exactly.

    Args:
        anchors: At least two, in order.
        frames: T.
        easing: Eq. 16's steady motion, or "smooth" for one at rest at every anchor.
        rotation: Eq. 16 on the axis-angle vectors, or "slerp" for the shortest rotation.
        hold: As in `anchor_frames`.

    Returns:
        T frames, all with the first anchor's shape and camera.

    Raises:
        OptionError: As `anchor_frames`, or if there is no such easing or rotation.
    """
    _check_choice("easing", easing, Easing)
    _check_choice("rotation", rotation, RotationPath)
    position = _positions(len(anchors), frames, easing, hold)
    expression = _lerp(anchors.expression, position)
    if rotation == "slerp":
        pose = torch.cat([_slerp(part, position) for part in anchors.pose.split(3, dim=1)], dim=1)
    else:
        pose = _lerp(anchors.pose, position)
    return FaceCoefficients(
        anchors.shape[:1].expand(frames, -1),
        expression,
        pose,
        anchors.camera[:1].expand(frames, -1),
    )


def straight_path(anchors: Tensor, frames: int) -> Tensor:
    """Eq. 16 for many at once.

    Args:
        anchors: (B, 2, K) vectors to start and to end with.
        frames: T, at least two.

    Returns:
        (B, T, K).
    """
    share = torch.linspace(0, 1, frames, dtype=anchors.dtype, device=anchors.device)[:, None]
    return torch.lerp(anchors[:, :1], anchors[:, 1:], share)


def _check_choice(option: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise OptionError(f"{option} is {value!r}; it can be {' or '.join(get_args(choices))}")


def _positions(anchors: int, frames: int, easing: Easing, hold: int) -> NDArray[np.float64]:
    reached = anchor_frames(anchors, frames, hold)
    left = [frame + (hold if index else 0) for index, frame in enumerate(reached)]
    knots = np.stack([reached, left], axis=1).ravel()
    position = np.interp(np.arange(frames), knots, np.repeat(np.arange(anchors), 2))
    whole = np.floor(position)
    part = position - whole
    return whole + part**2 * (3 - 2 * part) if easing == "smooth" else position


def _lerp(values: Tensor, position: NDArray[np.float64]) -> Tensor:
    where = torch.from_numpy(position)
    before = where.floor().long()
    after = (before + 1).clamp(max=len(values) - 1)
    delta = (1 - (where - before)).to(values)[:, None]
    return delta * values[before] + (1 - delta) * values[after]


def _slerp(axis_angle: Tensor, position: NDArray[np.float64]) -> Tensor:
    rotations = Rotation.from_rotvec(axis_angle.double().cpu().numpy())
    turned = Slerp(np.arange(len(axis_angle)), rotations)(position).as_rotvec()
    exact = torch.from_numpy(position == np.round(position)).to(axis_angle.device)[:, None]
    return torch.where(exact, _lerp(axis_angle, position), torch.from_numpy(turned).to(axis_angle))
