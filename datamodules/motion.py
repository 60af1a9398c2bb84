"""How synthetic people move: sequences of coefficients from a neutral face to the apex."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from datamodules.prototypes import (
    UNITS,
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

ROUGHLY_FRONTAL = (0.06, 0.09, 0.05)
"""The same of people who look towards the camera by themselves; mostly within 15 degrees."""

TURNED = (0.15, 0.45, 0.12)
"""The same of people who look anywhere."""

IN_THE_WILD = Variability(
    intensity=(0.35, 1.0),
    spread=0.3,
    omission=0.08,
    stray_units=2.0,
    blend=0.4,
    blend_share=(0.1, 0.4),
)
"""Expressions that nobody asked for: fainter and more mixed than posed ones."""

FPS = 25
"""Frames a second of the clips."""

SPEECH_UNITS = (18, 22, 23, 25, 26)
"""Lips that pucker, funnel, tighten and part, and the jaw that drops."""


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
    return _perform(units, NEAR_FRONTAL, shape, head, rng)


def sample_clip(
    emotions: Sequence[Emotion],
    position: Array,
    style: Style,
    shape: Tensor,
    head: ArkitHead,
    rng: Generator,
    turned: bool = False,
    talking: bool = False,
) -> FaceCoefficients:
    """Draw a clip of a person who acts before no fixed camera: faint and mixed expressions.

    Args:
        emotions: What the person shows one after the other.
        position: (T,) how far each frame is: 1 for the second emotion, 0.5 half way to it.
        style: How the person moves.
        shape: (100,) the person's identity.
        head: The head the coefficients are for.
        rng: Source of chance.
        turned: Whether the head may be far from frontal.
        talking: Whether the mouth speaks meanwhile.

    Returns:
        Coefficients of T faces.
    """
    apexes = np.stack([sample_expression(e, style, rng, IN_THE_WILD) for e in emotions])
    frames, steps = len(position), np.arange(len(emotions))[:, None]
    share = (1 - abs(position - steps)).clip(0)
    units = style.rest + np.einsum("et,eas->tas", share, apexes - style.rest)
    units *= 1 + 0.1 * _drift(frames, units.shape[1:], rng)
    if talking:
        units += _speech(frames, rng)
    return _perform(units.clip(0), TURNED if turned else ROUGHLY_FRONTAL, shape, head, rng)


def _speech(frames: int, rng: Generator) -> Array:
    """(T, A, 2) intensities of the units by which a mouth speaks."""
    shape = (1, len(UNITS), 1)
    syllables = rng.uniform(3, 6, shape) * np.arange(frames)[:, None, None] / FPS
    waves = np.sin(np.pi * syllables + rng.uniform(0, np.pi, shape)) ** 2
    speaks = np.isin(UNITS, SPEECH_UNITS)[:, None]
    strength = np.where(speaks, rng.uniform(0.1, 0.6, shape), 0)
    return waves * strength * np.ones(2)


def _perform(
    units: Array,
    head_spread: tuple[float, float, float],
    shape: Tensor,
    head: ArkitHead,
    rng: Generator,
) -> FaceCoefficients:
    """Coefficients of (T, A, 2) action units, with a moving head and a camera."""
    frames = len(units)
    expression, opening = ActionMap(head.expression_names)(units)
    pose = np.zeros((frames, 6))
    pose[:, :3] = _head_motion(frames, head_spread, rng)
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
    drift = _drift(frames, (3,), rng)
    return np.asarray(spread, np.float64) * (rng.standard_normal(3) + 0.3 * drift)


def _drift(frames: int, shape: tuple[int, ...], rng: Generator) -> Array:
    """(T, ...) random walks that end about one from where they began."""
    return rng.standard_normal((frames, *shape)).cumsum(axis=0) / math.sqrt(frames)


def sample_camera(head: ArkitHead, shape: Tensor, rng: Generator) -> Tensor:
    """(3,) camera that sees the face about two thirds as high as the picture, near its middle."""
    landmarks = head.landmarks(head.rest_vertices(shape[None], torch.zeros(1, 50)))[0, :, :2]
    low, high = landmarks.amin(0), landmarks.amax(0)
    scale = 2 * rng.uniform(0.55, 0.7) / float(high[1] - low[1])
    offset = torch.from_numpy(rng.normal(0, 0.04, 2)).float() / scale
    return torch.cat([torch.tensor([scale]), offset - (low + high) / 2])
