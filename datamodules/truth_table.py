"""How well perception recovers the truth about synthetic people: by action and by yaw."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation
from torch import Tensor

from datamodules.cache import Tensors
from i2fet.coefficients import FaceCoefficients
from i2fet.files import replacing
from i2fet.heads import HeadModel

YAWS = (0, 15, 30, 45, 60, 180)
"""Bounds of the ranges of yaw, to either side, degrees."""


@dataclass(frozen=True)
class ActionRow:
    """How well one action is recovered, where a face was found.

    Attributes:
        action: Its name; `jawOpen` stands for the jaw's rotation.
        spread: Standard deviation of the truth.
        error: Root of the mean squared error.
        correlation: Pearson's; NaN for an action that never moves.

    All three are NaN where no face was found.
    """

    action: str
    spread: float
    error: float
    correlation: float


@dataclass(frozen=True)
class YawRow:
    """How well heads are recovered that are turned by `lowest` to `highest` degrees.

    Attributes:
        lowest: Degrees.
        highest: Degrees.
        faces: Number of frames.
        found: Share of these in which a face was found; NaN without any frame.
        angle_error: Median angle between true and recovered rotation, degrees; NaN without any.
        action_error: Root of the mean squared error of all actions; NaN without any.
    """

    lowest: int
    highest: int
    faces: int
    found: float
    angle_error: float
    action_error: float


@dataclass(frozen=True)
class TruthTable:
    """Rows of both kinds."""

    actions: tuple[ActionRow, ...]
    yaws: tuple[YawRow, ...]

    def text(self) -> str:
        """Two tables for people to read."""
        return f"{self._by_action()}\n{self.by_yaw()}"

    def by_yaw(self) -> str:
        """The second of the two, without ranges that hold no frame."""
        table = Table("yaw, degrees", "frames", "found", "pose error, degrees", "action error")
        for row in (row for row in self.yaws if row.faces):
            errors = (_number(row.angle_error, 1), _number(row.action_error, 3))
            bounds = f"{row.lowest} to {row.highest}"
            table.add_row(bounds, str(row.faces), f"{row.found:.1%}", *errors)
        return _render(table)

    def _by_action(self) -> str:
        table = Table("action", "spread", "error", "correlation")
        for row in self.actions:
            numbers = (row.spread, row.error, row.correlation)
            table.add_row(row.action, *(_number(number, 3) for number in numbers))
        return _render(table)


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _render(table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=100).print(table)
    return text.getvalue()


def write_truth_table(table: TruthTable, folder: Path) -> None:
    """Write `truth.json`, with null for what is not known, and `truth.txt`.

    Args:
        table: From `compare_with_truth`.
        folder: One that is there.

    Raises:
        OutputError: The folder cannot be written.
    """
    # JSON knows no NaN.
    content = json.loads(json.dumps(asdict(table)), parse_constant=lambda _: None)
    with replacing(folder / "truth.json") as unfinished:
        unfinished.write_text(json.dumps(content, indent=1))
    with replacing(folder / "truth.txt") as unfinished:
        unfinished.write_text(table.text())


def compare_with_truth(tensors: Tensors, truth: FaceCoefficients, head: HeadModel) -> TruthTable:
    """Compare what was read off pictures with the truth.

    Args:
        tensors: What `extract` returned for N records.
        truth: (N,) of the same records.
        head: The head of both.
    """
    found = tensors["found"]
    perceived = FaceCoefficients(**{name: tensors[name] for name in vars(truth)})
    read, real = head.actions(perceived), head.actions(truth)
    angle = _angle_between(perceived.global_rotation, truth.global_rotation)
    error = (read - real).square().mean(1)
    yaw = truth.head_angles[:, 0].abs()
    return TruthTable(
        _action_rows(read[found], real[found], head), _yaw_rows(yaw, found, angle, error)
    )


def _action_rows(perceived: Tensor, truth: Tensor, head: HeadModel) -> tuple[ActionRow, ...]:
    spread = truth.std(0) if len(truth) > 1 else truth.new_full(truth.shape[1:], math.nan)
    columns = zip(
        head.action_names,
        spread.tolist(),
        (perceived - truth).square().mean(0).sqrt().tolist(),
        _correlations(perceived, truth).tolist(),
        strict=True,
    )
    return tuple(ActionRow(*column) for column in columns)


def _correlations(perceived: Tensor, truth: Tensor) -> Tensor:
    """(A,) Pearson's correlation of each action of (N, A)."""
    faces, actions = truth.shape
    if faces < 2:
        return torch.full((actions,), torch.nan)
    return torch.corrcoef(torch.cat([perceived.T, truth.T]))[:actions, actions:].diagonal()


def _yaw_rows(yaw: Tensor, found: Tensor, angle: Tensor, error: Tensor) -> tuple[YawRow, ...]:
    """Rows of N faces, of which (N,) the yaw, the angle and the squared error are known."""
    rows = []
    for lowest, highest in pairwise(YAWS):
        turned = (yaw >= lowest) & (yaw < highest)
        seen = turned & found
        row = YawRow(
            lowest,
            highest,
            faces=int(turned.sum()),
            found=float(found[turned].float().mean()),
            angle_error=float(angle[seen].quantile(0.5)) if seen.any() else math.nan,
            action_error=float(error[seen].mean().sqrt()),
        )
        rows.append(row)
    return tuple(rows)


def _angle_between(first: Tensor, second: Tensor) -> Tensor:
    """(N,) degrees between (N, 3) axis-angle rotations."""
    turns: Sequence[Rotation] = [Rotation.from_rotvec(r.double().numpy()) for r in (first, second)]
    return torch.from_numpy((turns[0].inv() * turns[1]).magnitude()).rad2deg()
