"""How faces match the texts that ask for them, as the text-to-motion field measures it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.evaluation import HeldOutPairs, Score, generate_pairs, score, seed_interval
from i2fet.metrics import EmbeddingDiversity, MultimodalDistance, Multimodality, RPrecision
from i2fet.nn.matching import Matcher, draw_candidates
from i2fet.nn.pair_generator import PairGenerator

POOL = 32
"""Texts among which a face's own is to be found, as Guo et al. have it."""

TOPS = (1, 2, 3)


@dataclass(frozen=True)
class Matching:
    """Measures in an embedding trained on real faces; intervals are those of the mean over seeds.

    Attributes:
        r_precision: How often the own text is among the nearest 1, 2 and 3 of the pool.
        multimodal_distance: Mean distance to the own text.
        diversity: Mean distance between any two pairs of faces.
        multimodality: Mean distance between two pairs of faces of the same text; None where no
            text is used twice.
    """

    r_precision: tuple[Score, ...]
    multimodal_distance: Score
    diversity: Score
    multimodality: Score | None


@dataclass(frozen=True)
class MatchingEvaluation:
    """Generated faces beside the real ones of the same people.

    Attributes:
        pool: Texts of different pairs of expressions among which the own one is to be found.
        generated: Of faces made from instructions.
        real: Of the real faces.
    """

    pool: int
    generated: Matching
    real: Matching


@torch.no_grad()
def evaluate_matching(
    generator: PairGenerator, matcher: Matcher, pairs: HeldOutPairs, seeds: Iterable[int]
) -> MatchingEvaluation:
    """Measure what a model generates for the test part.

    Args:
        generator: The model.
        matcher: Trained on other people.
        pairs: What the model is asked for.
        seeds: Of the noise, at least one.
    """
    first, second = pairs.emotion.unbind(dim=1)
    label = first * len(matcher.provenance.emotions) + second
    pool = min(POOL, len(label.unique()))
    rows = draw_candidates(label, pool, torch.Generator().manual_seed(0))
    texts = matcher.embed_text(pairs.tokens, pairs.mask)[pairs.instruction]
    made = [
        measure(matcher, generate_pairs(generator, pairs, seed), texts[rows], pairs.instruction)
        for seed in seeds
    ]
    real = measure(matcher, pairs.real.faces[pairs.rows], texts[rows], pairs.instruction)
    return MatchingEvaluation(pool, _sum_up(made), _sum_up([real]))


def measure(
    matcher: Matcher, faces: FaceCoefficients, texts: Tensor, instruction: Tensor
) -> dict[str, list[float]]:
    """All measures of some faces, by the names of `Matching`.

    Args:
        matcher: Embeds the faces.
        faces: (M, 2).
        texts: (M, P, E) embedded texts, each row's own first.
        instruction: (M,) int64 numbers of the own texts.
    """
    embedded = matcher.embed_faces(faces.expression, faces.pose)
    values = {
        "r_precision": RPrecision(TOPS)(embedded, texts),
        "multimodal_distance": MultimodalDistance()(embedded, texts[:, 0]),
        "diversity": EmbeddingDiversity()(embedded),
        "multimodality": Multimodality()(embedded, instruction),
    }
    return {name: value.reshape(-1).tolist() for name, value in values.items()}


def _sum_up(seeds: list[dict[str, list[float]]]) -> Matching:
    scores = {
        name: [score(values, seed_interval(values)) for values in zip(*each, strict=True)]
        for name, each in ((name, [seed[name] for seed in seeds]) for name in seeds[0])
    }
    (multimodality,) = scores["multimodality"]
    return Matching(
        tuple(scores["r_precision"]),
        scores["multimodal_distance"][0],
        scores["diversity"][0],
        None if multimodality.mean != multimodality.mean else multimodality,
    )
