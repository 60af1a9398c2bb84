"""Evaluation of a model on the test part of a data module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from torch.utils.data import DataLoader

from datamodules.expression import ALL_EMOTIONS, ExpressionDataModule, View
from datamodules.pairs import Batch, PairDataset, split_sizes
from i2fet.coefficient_judge import CoefficientJudge
from i2fet.errors import DatasetError, OptionError
from i2fet.evaluation import (
    Evaluation,
    HeldOutPairs,
    LabelledFaces,
    NamesExpressions,
    SubjectFaces,
    evaluate,
    name_expressions,
)
from i2fet.face_spaces import COEFFICIENTS, MESH, coefficient_space, mesh_space
from i2fet.heads import load_head
from i2fet.judge import ExpressionJudge
from i2fet.matching import MatchingEvaluation, evaluate_matching
from i2fet.nn.matching import Matcher
from i2fet.nn.pair_generator import PairGenerator
from i2fet.tasks.base import provenance_of


def load_pairs(config: Path, overrides: Mapping[str, Any]) -> ExpressionDataModule:
    """As `load_data`, of a model that learns from pairs."""
    return load_data(config, overrides, "pairs")


def load_data(config: Path, overrides: Mapping[str, Any], view: View) -> ExpressionDataModule:
    """The data that a model was trained on, set up.

    Args:
        config: A configuration file of `i2fet fit`.
        overrides: Arguments of `ExpressionDataModule` that win over it.
        view: What the samples must be.

    Raises:
        OptionError: The file is missing or broken, or is about other samples.
        DatasetError: The dataset is missing, unfinished or not what was asked for.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ExpressionDataModule)
    try:
        settings = yaml.safe_load(config.read_text())["data"]["init_args"]
        values = parser.parse_object({**settings, **overrides}).as_dict()
    except OSError as error:
        raise OptionError(
            f"{config} cannot be read ({error.strerror}); give the model's configuration file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ArgumentError) as error:
        raise OptionError(
            f"{config} holds no valid settings of ExpressionDataModule under `data` "
            f"({' '.join(str(error).split())}); give the file that the model was trained with"
        ) from error
    if values["view"] != view:
        raise OptionError(
            f"{config} is about {values['view']} but the model is evaluated on {view}; "
            "give the file that the model was trained with, not the judge's"
        )
    data = ExpressionDataModule(**values)
    data.prepare_data()
    data.setup()
    return data


def load_strangers(
    data: ExpressionDataModule, config: Path, overrides: Mapping[str, Any], root: Path
) -> ExpressionDataModule:
    """Everybody of another folder, with as many pairs as the test part has.

    Args:
        data: What the model was trained on, set up.
        config: Its configuration file.
        overrides: As for `load_pairs`.
        root: The other folder.

    Raises:
        DatasetError: The folder holds the same people, or is missing or unfinished.
    """
    samples = split_sizes(data.num_samples)["test"]
    there = {"root": str(root), "split": "test", "samples": samples}
    strangers = load_pairs(config, {**overrides, **there})
    if strangers.population == data.population:
        raise DatasetError(
            f"{root} holds the people of {data.root}, on whom the model was trained; give others, "
            "such as a synthetic corpus of another seed"
        )
    return strangers


def evaluate_held_out(
    generator: PairGenerator,
    judge: ExpressionJudge,
    data: ExpressionDataModule,
    test: ExpressionDataModule,
    seeds: Iterable[int],
) -> Evaluation:
    """Evaluate a model with two judges, one of images and one of coefficients.

    Args:
        generator: The model.
        judge: The first judge; the second learns from the training part.
        data: Pairs on which the model was trained, set up.
        test: Pairs whose test part is judged: the same, or `load_strangers`.
        seeds: Of the noise.

    Raises:
        CheckpointError: The model or the judge was made for another head or label set, or the
            judge was trained on people of the test part.
        DatasetError: A label is shown by a single face of the test part.
        OptionError: The data has no training part.
    """
    if data.split == "test":
        raise OptionError(
            "the judge of coefficients learns from the training part, which --data.split test "
            "leaves empty; use subject"
        )
    generator.provenance.check(provenance_of(data))
    judge.check(data.head_name, data.emotions)
    judge.training_part.check_unseen(test.population, test.subjects["test"])
    labels = generator.provenance.emotions
    training = labelled_faces(data, "train", labels)
    judges: dict[str, NamesExpressions] = {
        "judge of images": partial(name_expressions, judge, labels),
        "judge of coefficients": CoefficientJudge(training.faces, training.emotion).judge,
    }
    pairs, known = held_out_pairs(test), training_pairs(data)
    spaces = {
        COEFFICIENTS: coefficient_space(data.statistics),
        MESH: mesh_space(load_head(data.head_name)),
    }
    return evaluate(generator, judges, pairs, known, spaces, labels, seeds)


def match_held_out(
    generator: PairGenerator, matcher: Matcher, data: ExpressionDataModule, seeds: Iterable[int]
) -> MatchingEvaluation:
    """Match what a model generates for the test part with the texts that ask for it.

    Args:
        generator: The model.
        matcher: The embedding.
        data: Pairs, set up.
        seeds: Of the noise.

    Raises:
        CheckpointError: The matcher was made for another head, label set or text encoder, or was
            trained on people of the test part.
    """
    matcher.provenance.check(provenance_of(data))
    matcher.training_part.check_unseen(data.population, data.subjects["test"], "matcher")
    return evaluate_matching(generator, matcher, held_out_pairs(data), seeds)


def labelled_faces(data: ExpressionDataModule, part: str, labels: Sequence[str]) -> SubjectFaces:
    """The faces of one part that show one of the labels, once each."""
    position = {label: index for index, label in enumerate(labels)}
    index = torch.tensor([position.get(emotion, -1) for emotion in ALL_EMOTIONS])
    rows = data.rows[part]
    rows = rows[index[data.faces.emotion[rows]] >= 0]
    faces = data.faces
    return SubjectFaces(faces.coefficients[rows], index[faces.emotion[rows]], faces.subject[rows])


def held_out_pairs(data: ExpressionDataModule) -> HeldOutPairs:
    """The samples of the test part."""
    pairs = _pairs(data.test_dataloader())
    used, rows = pairs.rows.unique(return_inverse=True)
    return HeldOutPairs(
        real=LabelledFaces(pairs.faces.coefficients[used], pairs.faces.emotion[used]),
        rows=rows,
        subject=pairs.faces.subject[pairs.rows[:, 0]],
        tokens=pairs.tokens,
        mask=pairs.mask,
        instruction=pairs.samples.instruction,
    )


def training_pairs(data: ExpressionDataModule) -> LabelledFaces:
    """The (M, 2) faces of the samples of the training part."""
    pairs = _pairs(data.train_dataloader())
    return LabelledFaces(pairs.faces.coefficients[pairs.rows], pairs.faces.emotion[pairs.rows])


def _pairs(loader: DataLoader[Batch]) -> PairDataset:
    assert isinstance(loader.dataset, PairDataset)
    return loader.dataset
