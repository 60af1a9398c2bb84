"""Videos to coefficients: frame by frame, then smoothed over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import torch
from scipy.signal import savgol_filter

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import NoFaceError, PhotoError
from i2fet.perception.encoder import EncodedFaces, FaceEncoder
from i2fet.perception.images import Picture

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
DEGREE = 2
"""Of the polynomial that is laid through the values around each frame."""

BATCH = 32


def is_video(path: Path) -> bool:
    """Whether a file's name ends like a video's."""
    return path.suffix.lower() in VIDEO_ENDINGS


def read_frames(path: Path) -> Iterator[Picture]:
    """(H, W, 3) RGB of each frame, upright.

    Raises:
        PhotoError: If there is no such file, or it is not a whole video.
    """
    if not path.is_file():
        raise PhotoError(f"there is no video {path}; give the path of an existing video file")
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise PhotoError(f"{path} holds no pictures; give the path of a video")
            for frame in container.decode(video=0):
                picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                yield np.ascontiguousarray(np.rot90(picture, frame.rotation // 90))
    except av.FFmpegError as error:
        raise PhotoError(
            f"the video {path} cannot be read ({error.strerror}); save it again as MP4"
        ) from error


def frame_at(path: Path, index: int) -> Picture:
    """(H, W, 3) RGB of one frame of a readable video."""
    return next(islice(read_frames(path), index, None))


def frame_rate(path: Path) -> float:
    """Frames a second of a readable video."""
    with av.open(path) as container:
        return float(container.streams.video[0].average_rate or 25)


def encode_video(
    path: Path, encoder: FaceEncoder, neutral: Picture | None = None, smoothing: float = 0.2
) -> EncodedFaces:
    """Read the largest face of each frame.

    Args:
        path: The video.
        encoder: What reads the frames.
        neutral: The same person at rest, if known.
        smoothing: Seconds over which coefficients are smoothed; 0 leaves them as they are.

    Returns:
        Of every frame. The residual is that before the smoothing.

    Raises:
        PhotoError: If the video cannot be read.
        NoFaceError: If no frame shows a usable face.
    """
    frames, parts = read_frames(path), []
    while pictures := list(islice(frames, BATCH)):
        parts.append(encoder.encode(pictures, neutral))
    if not any(part.found.any() for part in parts):
        raise NoFaceError(
            f"no usable face was found in any frame of {path}; use a video that shows a face from "
            "the front, upright and well lit"
        )
    faces = EncodedFaces.cat(parts)
    window = round(smoothing * frame_rate(path))
    return replace(faces, coefficients=smooth(faces, window))


def smooth(faces: EncodedFaces, window: int) -> FaceCoefficients:
    """Lay a parabola through the frames around each one (Savitzky and Golay); nothing is delayed.

    Args:
        faces: Of T frames; runs of frames with a face are smoothed apart.
        window: Frames in sight of each; what is within the values' range stays there.
    """
    found = faces.found.numpy()
    edges = np.flatnonzero(np.diff(found, prepend=False, append=False))
    values = faces.coefficients.map(torch.clone)
    for start, end in list(pairwise(edges.tolist()))[::2]:
        width = min(window, end - start)
        width -= 1 - width % 2
        if width <= DEGREE:
            continue
        for tensor in vars(values).values():
            part = tensor[start:end]
            low, high = part.aminmax(dim=0)
            fitted = torch.from_numpy(savgol_filter(part.numpy(), width, DEGREE, axis=0))
            tensor[start:end] = fitted.clamp(low, high)
    return values
