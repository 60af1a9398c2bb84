"""Measures of how right, how varied and how real generated expressions are."""

from i2fet.metrics.accuracy import (
    GeometricMean,
    PairAccuracy,
    SingleAccuracy,
    geometric_mean,
    nearest_class,
)
from i2fet.metrics.diversity import DiversityRatio, relative_spread
from i2fet.metrics.frechet import FrechetDistance, frechet_distance
from i2fet.metrics.matching import (
    EmbeddingDiversity,
    MultimodalDistance,
    Multimodality,
    RPrecision,
)

__all__ = [
    "DiversityRatio",
    "EmbeddingDiversity",
    "FrechetDistance",
    "GeometricMean",
    "MultimodalDistance",
    "Multimodality",
    "PairAccuracy",
    "RPrecision",
    "SingleAccuracy",
    "frechet_distance",
    "geometric_mean",
    "nearest_class",
    "relative_spread",
]
