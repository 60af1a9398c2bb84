"""Callbacks for training: pictures for any logger, and what W&B is told."""

from callbacks.cache_samples import CacheSamples
from callbacks.confusion import ConfusionMatrices
from callbacks.cost import CallbackCost
from callbacks.curves import MetricCurves
from callbacks.identity import RunIdentity
from callbacks.latents import LatentMaps
from callbacks.progress import JsonProgress
from callbacks.review import ReviewLogger, RunArtifacts
from callbacks.termination import TerminationCheckpoint
from callbacks.transitions import RenderedTransitions

__all__ = [
    "CacheSamples",
    "CallbackCost",
    "ConfusionMatrices",
    "JsonProgress",
    "LatentMaps",
    "MetricCurves",
    "RenderedTransitions",
    "ReviewLogger",
    "RunArtifacts",
    "RunIdentity",
    "TerminationCheckpoint",
]
