"""What an evaluation needs of a data module: the pairs of the test part and faces of any part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from datamodules.expression import ALL_EMOTIONS, ExpressionDataModule
from datamodules.pairs import PairDataset
from i2fet.errors import OptionError
from i2fet.evaluation import HeldOutPairs, TrueFaces


def load_pairs(config: Path, overrides: Mapping[str, Any]) -> ExpressionDataModule:
    """The data that a model was trained on, set up.

    Args:
        config: A configuration file of `i2fet fit`.
        overrides: Arguments of `ExpressionDataModule` that win over it.

    Raises:
        OptionError: The file is missing or broken, or is not about pairs.
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
    if values["view"] != "pairs":
        raise OptionError(
            f"{config} is about {values['view']} but models are evaluated on pairs; "
            "give the file that the model was trained with, not the judge's"
        )
    data = ExpressionDataModule(**values)
    data.prepare_data()
    data.setup()
    return data


def true_faces(data: ExpressionDataModule, part: str, labels: Sequence[str]) -> TrueFaces:
    """The faces of one part that show one of the labels, once each."""
    position = {label: index for index, label in enumerate(labels)}
    index = torch.tensor([position.get(emotion, -1) for emotion in ALL_EMOTIONS])
    rows = data.rows[part]
    rows = rows[index[data.faces.emotion[rows]] >= 0]
    return TrueFaces(data.faces.coefficients[rows], index[data.faces.emotion[rows]])


def held_out_pairs(data: ExpressionDataModule) -> HeldOutPairs:
    """The samples of the test part."""
    pairs = data.test_dataloader().dataset
    assert isinstance(pairs, PairDataset)
    used, rows = pairs.rows.unique(return_inverse=True)
    return HeldOutPairs(
        real=TrueFaces(pairs.faces.coefficients[used], pairs.faces.emotion[used]),
        rows=rows,
        subject=pairs.faces.subject[pairs.rows[:, 0]],
        tokens=pairs.tokens,
        mask=pairs.mask,
        instruction=pairs.samples.instruction,
    )
