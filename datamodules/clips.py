"""Frames of video clips, decoded without writing pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from datamodules.records import FORBIDDEN

CUT = 0.12
"""Least sudden change of mean brightness at a cut; talking heads stay below half of it."""

THUMBNAIL = 32


class ClipError(Exception):
    """Why a clip cannot be used."""


@dataclass(frozen=True)
class ClipInfo:
    """Length of a clip.

    Attributes:
        frames: Number of frames.
        fps: Frames a second.
    """

    frames: int
    fps: float


def inspect_clip(path: Path) -> ClipInfo:
    """Read a clip's header, without decoding it.

    Raises:
        ClipError: The file is unreadable, no video, or shorter than its index says.
    """
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            info = ClipInfo(stream.frames, float(stream.average_rate or 0))
            end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    except PermissionError as error:
        raise ClipError(FORBIDDEN) from error
    except (av.FFmpegError, IndexError) as error:
        raise ClipError("not a readable video") from error
    if not info.frames or not info.fps:
        raise ClipError("no frames")
    if path.stat().st_size < end:
        raise ClipError("truncated")
    return info


def decode_clip(path: Path, indices: Sequence[int]) -> list[NDArray[np.uint8] | None]:
    """Decode some frames of a clip in one pass.

    Only the longest scene between two cuts is used, for the others show somebody else.

    Args:
        path: The clip.
        indices: Ascending positions of the frames wanted, from 0.

    Returns:
        For each index (H, W, 3) RGB, or None where the frame cannot be decoded or is in another
        scene.
    """
    wanted = set(indices)
    pictures: dict[int, NDArray[np.uint8]] = {}
    thumbnails: list[NDArray[np.uint8]] = []
    try:
        with av.open(path) as container:
            for index, frame in enumerate(container.decode(video=0)):
                thumbnails.append(_thumbnail(frame))
                if index in wanted:
                    pictures[index] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, IndexError):
        pass  # What was decoded before is whole.
    scene = longest_scene(thumbnails)
    return [pictures.get(index) if index in scene else None for index in indices]


def _thumbnail(frame: VideoFrame) -> NDArray[np.uint8]:
    thumbnail = frame.reformat(THUMBNAIL, THUMBNAIL, "gray")
    return np.asarray(thumbnail.to_ndarray(), np.uint8)


def longest_scene(thumbnails: list[NDArray[np.uint8]]) -> range:
    """Positions of the longest run of frames without a cut.

    A cut changes the picture at once, while motion and flicker also change it the frame before.

    Args:
        thumbnails: Small grey pictures of one size, one for each frame.
    """
    if not thumbnails:
        return range(0)
    change = np.abs(np.diff(np.stack(thumbnails).astype(float) / 255, axis=0)).mean((1, 2))
    cuts = (np.flatnonzero(np.diff(change, prepend=0) > CUT) + 1).tolist()
    edges = [0, *cuts, len(thumbnails)]
    return max((range(start, end) for start, end in pairwise(edges)), key=len)
