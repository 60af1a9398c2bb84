"""How synthetic people move: sequences of coefficients from a neutral face to the apex."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from datamodules.prototypes import (
    ActionMap,
    Array,
    Style,
    Variability,
    sample_expression,
)
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.heads import ArkitHead

HOLD_FRAMES = 3
"""Frames at the end of a sequence that show the apex."""

NEAR_FRONTAL = (0.04, 0.06, 0.03)
"""Standard deviations of pitch, yaw and roll before a fixed camera, radians."""


def sample_sequence(
    emotion: Emotion,
    style: Style,
    shape: Tensor,
    head: ArkitHead,
    frames: int,
    rng: Generator,
    variability: Variability,
) -> FaceCoefficients:
    """Draw one recording of a person: neutral first, the apex in the last `HOLD_FRAMES` frames.

    Args:
        emotion: What the person poses.
        style: How the person moves.
        shape: (100,) the person's identity.
        head: The head the coefficients are for.
        frames: Length of the recording, more than `HOLD_FRAMES`.
        rng: Source of chance.
        variability: How far expressions stray from their prototypes.

    Returns:
        Coefficients of `frames` faces.
    """
    apex = sample_expression(emotion, style, rng, variability)
    units = style.rest + _progress(frames, len(apex), rng) * (apex - style.rest)
    units = units * (1 + 0.03 * rng.standard_normal(units.shape))
    expression, opening = ActionMap(head.expression_names)(units)
    pose = np.zeros((frames, 6))
    pose[:, :3] = _head_motion(frames, NEAR_FRONTAL, rng)
    pose[:, 3] = opening * head.jaw_open_angle
    pose[:, 4] = rng.normal(0, 0.01) * opening
    return FaceCoefficients(
        shape.expand(frames, -1),
        torch.from_numpy(expression).float(),
        torch.from_numpy(pose).float(),
        sample_camera(head, shape, rng).expand(frames, -1),
    ).map(torch.Tensor.contiguous)


def _progress(frames: int, units: int, rng: Generator) -> Array:
    """(T, A, 1) share of the apex that each unit has reached, each at its own pace."""
    time = (np.arange(frames) / (frames - HOLD_FRAMES)).clip(0, 1)
    smooth = 3 * time**2 - 2 * time**3
    return smooth[:, None, None] ** rng.lognormal(0, 0.3, (1, units, 1))


def _head_motion(frames: int, spread: tuple[float, float, float], rng: Generator) -> Array:
    """(T, 3) axis-angle of a head that holds a pose and drifts a little from it."""
    drift = np.cumsum(rng.standard_normal((frames, 3)), axis=0) / math.sqrt(frames)
    return np.array(spread) * (rng.standard_normal(3) + 0.3 * drift)


def sample_camera(head: ArkitHead, shape: Tensor, rng: Generator) -> Tensor:
    """(3,) camera that sees the face about two thirds as high as the picture, near its middle."""
    landmarks = head.landmarks(head.rest_vertices(shape[None], torch.zeros(1, 50)))[0, :, :2]
    low, high = landmarks.amin(0), landmarks.amax(0)
    scale = 2 * rng.uniform(0.55, 0.7) / float(high[1] - low[1])
    offset = torch.from_numpy(rng.normal(0, 0.04, 2)).float() / scale
    return torch.cat([torch.tensor([scale]), offset - (low + high) / 2])
