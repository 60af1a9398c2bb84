from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.truth_table import YAWS, compare_with_truth, write_truth_table
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead

COUNT = 400


@pytest.fixture
def truth(generator: torch.Generator) -> FaceCoefficients:
    """Heads turned by 5, 20, 35 and 50 degrees, that nod and move their faces."""
    faces = FaceCoefficients.zeros(COUNT)
    faces.expression[:] = torch.rand(COUNT, 50, generator=generator)
    faces.expression[:, 7] = 0
    faces.pose[:, 3] = torch.rand(COUNT, generator=generator) * 0.3
    yaw = torch.tensor([5.0, -20.0, 35.0, -50.0]).repeat(COUNT // 4)
    faces.pose[:, 1] = yaw.deg2rad()
    return faces


def perceive(truth: FaceCoefficients, **changes: Tensor) -> dict[str, Tensor]:
    found = torch.ones(COUNT, dtype=torch.bool)
    return {**{k: v.clone() for k, v in vars(truth).items()}, "found": found, **changes}


def test_perfect_perception(truth: FaceCoefficients, head: ArkitHead) -> None:
    table = compare_with_truth(perceive(truth), truth, head)
    assert [row.action for row in table.actions] == [*head.expression_names, "jawOpen"]
    assert max(row.error for row in table.actions) == 0
    moving = [row for row in table.actions if row.action != head.expression_names[7]]
    assert min(row.correlation for row in moving) > 0.999
    assert math.isnan(table.actions[7].correlation)
    assert [(row.lowest, row.faces) for row in table.yaws] == list(
        zip(YAWS, [100, 100, 100, 100, 0], strict=False)
    )
    assert all(row.found == 1 and row.angle_error < 1e-3 for row in table.yaws[:4])


def test_errors_against_numpy(
    truth: FaceCoefficients, head: ArkitHead, generator: torch.Generator
) -> None:
    noisy = truth.expression + 0.2 * torch.randn(COUNT, 50, generator=generator)
    table = compare_with_truth(perceive(truth, expression=noisy), truth, head)
    for column in (0, 20, 49):
        true, read = truth.expression[:, column].numpy(), noisy[:, column].numpy()
        row = table.actions[column]
        assert row.correlation == pytest.approx(np.corrcoef(true, read)[0, 1], abs=1e-5)
        assert row.error == pytest.approx(np.sqrt(np.mean((true - read) ** 2)), abs=1e-5)
        assert row.spread == pytest.approx(true.std(ddof=1), abs=1e-5)
    for start, row in enumerate(table.yaws[:4]):
        errors = (noisy - truth.expression)[start::4].square().sum(1) / 51
        assert row.action_error == pytest.approx(float(errors.mean().sqrt()), abs=1e-5)


def test_pose_error_and_missing_faces(truth: FaceCoefficients, head: ArkitHead) -> None:
    pose = truth.pose.clone()
    pose[:, 1] += math.radians(3)
    found = torch.ones(COUNT, dtype=torch.bool)
    found[2::8] = False
    found[3::4] = False
    pose[~found] = 0
    table = compare_with_truth(perceive(truth, pose=pose, found=found), truth, head)
    assert [row.found for row in table.yaws[:4]] == [1, 1, 0.5, 0]
    assert [row.angle_error for row in table.yaws[:3]] == pytest.approx([3, 3, 3], abs=1e-3)
    assert math.isnan(table.yaws[3].angle_error)
    text = table.text()
    assert "jawOpen" in text
    assert "50.0%" in text
    assert "nan" not in text


def test_files(truth: FaceCoefficients, head: ArkitHead, tmp_path: Path) -> None:
    table = compare_with_truth(perceive(truth), truth, head)
    write_truth_table(table, tmp_path)
    assert (tmp_path / "truth.txt").read_text() == table.text()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads((tmp_path / "truth.json").read_text(), parse_constant=refuse)
    assert content["actions"][7] == {**vars(table.actions[7]), "correlation": None}
    assert content["yaws"][0] == vars(table.yaws[0])


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_face(truth: FaceCoefficients, head: ArkitHead, count: int) -> None:
    table = compare_with_truth(perceive(truth, found=torch.arange(COUNT) < count), truth, head)
    assert all(math.isnan(row.correlation) for row in table.actions)
    assert [row.found for row in table.yaws[:4]] == pytest.approx([count / 100, 0, 0, 0])
    assert "0 to 15" in table.text()
