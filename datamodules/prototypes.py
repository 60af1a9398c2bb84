"""Expressions of people who never lived: FACS prototypes, personal style and chance.

The Facial Action Coding System (FACS) describes a face by action units; EMFACS lists the units by
which people recognise each emotion. A unit's intensity, 0 to 1, stands for FACS's levels A to E.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from i2fet.emotions import Emotion
from i2fet.heads.base import JAW_OPEN

Array = NDArray[np.float64]
ActionUnits = Mapping[int, float]

ARKIT_ACTIONS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0, "browOuterUp": 0.1},
    2: {"browOuterUp": 1.0, "browInnerUp": 0.15},
    4: {"browDown": 1.0},
    5: {"eyeWide": 1.0},
    6: {"cheekSquint": 1.0, "eyeSquint": 0.4},
    7: {"eyeSquint": 0.9, "cheekSquint": 0.1},
    9: {"noseSneer": 1.0, "mouthUpperUp": 0.15, "browDown": 0.1},
    10: {"mouthUpperUp": 0.9, "noseSneer": 0.15},
    12: {"mouthSmile": 1.0},
    14: {"mouthDimple": 1.0, "mouthPress": 0.1},
    15: {"mouthFrown": 1.0},
    16: {"mouthLowerDown": 0.9},
    17: {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.35},
    18: {"mouthPucker": 0.9},
    20: {"mouthStretch": 1.0},
    22: {"mouthFunnel": 0.9},
    23: {"mouthPress": 0.5, "mouthRollLower": 0.25, "mouthRollUpper": 0.25},
    24: {"mouthPress": 0.9, "mouthRollUpper": 0.15},
    25: {"mouthLowerDown": 0.25, "mouthUpperUp": 0.15, JAW_OPEN: 0.12},
    26: {JAW_OPEN: 0.45},
    27: {JAW_OPEN: 0.9},
    28: {"mouthRollUpper": 0.8, "mouthRollLower": 0.8},
    29: {"jawForward": 0.8},
    34: {"cheekPuff": 0.9},
    43: {"eyeBlink": 0.6},
    61: {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8},
    62: {"eyeLookInLeft": 0.8, "eyeLookOutRight": 0.8},
    63: {"eyeLookUp": 0.7},
    64: {"eyeLookDown": 0.7},
}
"""ARKit actions by which each action unit shows; names without a side stand for both."""

PROTOTYPES: dict[Emotion, tuple[ActionUnits, ...]] = {
    Emotion.ANGER: (
        {4: 0.8, 5: 0.4, 7: 0.6, 23: 0.7},
        {4: 0.8, 7: 0.6, 17: 0.5, 24: 0.7},
        {4: 0.7, 7: 0.5, 23: 0.5, 24: 0.4},
        {4: 0.8, 5: 0.5, 7: 0.4, 10: 0.5, 22: 0.4, 25: 0.6, 26: 0.4},
        {4: 0.6, 9: 0.3, 17: 0.6, 24: 0.5},
    ),
    Emotion.CONTEMPT: (
        {14: 0.7},
        {12: 0.3, 14: 0.6},
        {12: 0.2, 14: 0.6, 2: 0.3},
        {14: 0.5, 17: 0.3, 43: 0.3},
    ),
    Emotion.DISGUST: (
        {9: 0.8, 4: 0.4, 7: 0.4, 17: 0.5},
        {9: 0.7, 10: 0.5, 6: 0.3, 25: 0.5},
        {9: 0.6, 15: 0.4, 16: 0.5, 25: 0.4},
        {10: 0.8, 7: 0.4, 17: 0.4},
        {9: 0.7, 10: 0.4, 16: 0.5, 25: 0.5, 26: 0.3, 4: 0.4},
    ),
    Emotion.FEAR: (
        {1: 0.7, 2: 0.5, 4: 0.5, 5: 0.7, 7: 0.2, 20: 0.6, 26: 0.5},
        {1: 0.7, 2: 0.4, 4: 0.4, 5: 0.7, 20: 0.6, 25: 0.5},
        {1: 0.6, 2: 0.5, 4: 0.3, 5: 0.8, 25: 0.5, 26: 0.6},
        {1: 0.6, 4: 0.5, 5: 0.4, 7: 0.3, 20: 0.7, 25: 0.6},
    ),
    Emotion.HAPPINESS: (
        {6: 0.8, 12: 0.9, 25: 0.6},
        {6: 0.6, 12: 0.75},
        {12: 0.8, 25: 0.5},
        {6: 0.9, 7: 0.3, 12: 1.0, 25: 0.8, 26: 0.4},
    ),
    Emotion.SADNESS: (
        {1: 0.7, 4: 0.5, 15: 0.7},
        {1: 0.6, 4: 0.5, 15: 0.5, 17: 0.6},
        {1: 0.4, 15: 0.6, 17: 0.7},
        {4: 0.5, 15: 0.6, 17: 0.5, 43: 0.3},
        {1: 0.6, 6: 0.3, 15: 0.6, 20: 0.2},
    ),
    Emotion.SURPRISE: (
        {1: 0.8, 2: 0.8, 5: 0.6, 27: 0.8},
        {1: 0.7, 2: 0.7, 5: 0.5, 26: 0.8},
        {1: 0.6, 2: 0.7, 27: 0.6},
        {1: 0.8, 2: 0.7, 5: 0.7, 25: 0.6},
    ),
    Emotion.NEUTRAL: ({},),
}
"""Variants of each emotion; contempt shows on one side of the face."""

CONFUSABLE: dict[Emotion, tuple[Emotion, ...]] = {
    Emotion.ANGER: (Emotion.DISGUST, Emotion.SADNESS),
    Emotion.CONTEMPT: (Emotion.ANGER, Emotion.HAPPINESS, Emotion.SADNESS),
    Emotion.DISGUST: (Emotion.ANGER, Emotion.SADNESS),
    Emotion.FEAR: (Emotion.SURPRISE, Emotion.SADNESS, Emotion.HAPPINESS),
    Emotion.HAPPINESS: (Emotion.CONTEMPT, Emotion.FEAR),
    Emotion.SADNESS: (Emotion.FEAR, Emotion.ANGER, Emotion.CONTEMPT),
    Emotion.SURPRISE: (Emotion.FEAR, Emotion.HAPPINESS),
    Emotion.NEUTRAL: (Emotion.SADNESS, Emotion.CONTEMPT),
}
"""The emotions people take each one for, and mix with it."""

UNITS = tuple(ARKIT_ACTIONS)
RESTING_UNITS = (4, 7, 12, 14, 15, 17, 24, 43)
"""Units that some people show while they show nothing."""

STRAY_UNITS = (1, 2, 4, 6, 7, 12, 14, 15, 17, 18, 20, 24, 25, 28, 29, 34, 43, 61, 62, 63, 64)
"""Units that come along by chance."""


@dataclass(frozen=True)
class Style:
    """How one person moves the face; A action units, sides left and right.

    Attributes:
        gain: (A, 2) factor on each unit's intensity.
        rest: (A, 2) intensity of each unit in the resting face.
    """

    gain: Array
    rest: Array


@dataclass(frozen=True)
class Variability:
    """How far expressions stray from their prototypes.

    Attributes:
        intensity: Lowest and highest intensity of a whole expression.
        spread: Standard deviation of the logarithm of a unit's intensity.
        omission: Probability that a unit of the prototype stays out.
        stray_units: Mean number of units that do not belong to the prototype.
        blend: Probability that a confusable emotion is mixed in.
        blend_share: Lowest and highest share of that emotion.
    """

    intensity: tuple[float, float] = (0.6, 1.1)
    spread: float = 0.2
    omission: float = 0.03
    stray_units: float = 1.0
    blend: float = 0.2
    blend_share: tuple[float, float] = (0.1, 0.3)


def sample_style(rng: Generator) -> Style:
    """Draw a person: expressive or not, with preferred units, asymmetry and a resting face."""
    size = (len(UNITS), 1)
    gain = rng.lognormal(0, 0.12) * rng.lognormal(0, 0.2, size)
    asymmetry = 0.08 * rng.standard_normal(size) * np.array([1, -1])
    rests = np.isin(UNITS, RESTING_UNITS)[:, None]
    rest = np.abs(rng.normal(0, 0.04, size)) * rests
    return Style(gain * (1 + asymmetry), np.repeat(rest, 2, axis=1))


def sample_expression(
    emotion: Emotion, style: Style, rng: Generator, variability: Variability
) -> Array:
    """Draw one posed expression of a person.

    Returns:
        (A, 2) intensity of each action unit on the left and the right side, at the apex.
    """
    units = _sample_prototype(emotion, rng, variability)
    if rng.random() < variability.blend:
        others = CONFUSABLE[emotion]
        share = rng.uniform(*variability.blend_share)
        other = _sample_prototype(others[rng.integers(len(others))], rng, variability)
        units = (1 - share) * units + share * other
    stray = rng.random(len(UNITS)) < variability.stray_units / len(STRAY_UNITS)
    stray &= np.isin(UNITS, STRAY_UNITS)
    units += (np.abs(rng.normal(0, 0.25, len(UNITS))) * stray)[:, None]
    return style.rest + units * style.gain * rng.uniform(*variability.intensity)


def _sample_prototype(emotion: Emotion, rng: Generator, variability: Variability) -> Array:
    variants = PROTOTYPES[emotion]
    prototype = variants[rng.integers(len(variants))]
    units = np.array([prototype.get(unit, 0.0) for unit in UNITS])
    units *= rng.lognormal(0, variability.spread, len(UNITS))
    if np.count_nonzero(units) > 1:
        units *= rng.random(len(UNITS)) >= variability.omission
    sides = np.ones(2)
    if emotion is Emotion.CONTEMPT:
        sides[rng.integers(2)] = rng.uniform(0, 0.6)
    return units[:, None] * sides


class ActionMap:
    """Turns action units into the coefficients of a head with ARKit actions.

    Args:
        expression_names: Names of the head's 50 expression coefficients.
    """

    def __init__(self, expression_names: Sequence[str]) -> None:
        self._names = [*expression_names, JAW_OPEN]
        self._sides = np.stack([self._weights("Left"), self._weights("Right")], axis=1)

    def __call__(self, units: Array) -> tuple[Array, Array]:
        """Actions for intensities of action units.

        Args:
            units: (T, A, 2) intensities.

        Returns:
            (T, 50) expression coefficients in [0, 1] and (T,) the jaw's opening in [0, 1].
        """
        actions = np.einsum("tas,asc->tc", units, self._sides).clip(0, 1)
        return actions[:, :-1], actions[:, -1]

    def _weights(self, side: str) -> Array:
        weights = np.zeros((len(UNITS), len(self._names)))
        for row, actions in enumerate(ARKIT_ACTIONS.values()):
            for name, weight in actions.items():
                if name in self._names:
                    weights[row, self._names.index(name)] = weight / 2
                else:
                    weights[row, self._names.index(name + side)] = weight
        return weights
