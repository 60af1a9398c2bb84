from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.heads.base import JAW_OPEN
from i2fet.perception import EncodedFaces
from i2fet.perception.readout import Readout, describe, to_records


@pytest.fixture
def faces(head: ArkitHead) -> EncodedFaces:
    """A frontal smile read with confidence."""
    coefficients = FaceCoefficients.zeros(1)
    coefficients.expression[0, head.expression_names.index("mouthSmileLeft")] = 0.8
    coefficients.pose[0, 3] = 0.25 * head.jaw_open_angle
    one = torch.ones(1)
    return EncodedFaces(
        coefficients,
        one.bool(),
        one,
        one.long(),
        200 * one,
        torch.zeros(1, 478, 3),
        torch.full((1, 51), 0.9),
    )


def test_what_is_shown_is_named_the_strongest_first(faces: EncodedFaces, head: ArkitHead) -> None:
    lines = describe(faces, head).splitlines()
    assert lines[0].split() == ["mouthSmileLeft", "0.80", "90", "%", "sure"]
    assert lines[1].split()[:2] == [JAW_OPEN, "0.25"]
    assert "200 pixels wide" in lines[3]
    assert "doubtful" not in describe(faces, head)


def test_each_doubt_is_said(faces: EncodedFaces, head: ArkitHead) -> None:
    turned = replace(faces.coefficients, pose=torch.tensor([[0, -0.9, 0, 0, 0, 0.0]]))
    confidence = faces.confidence.clone()
    mouth = [i for i, name in enumerate(head.action_names) if name.startswith(("mouth", "jaw"))]
    confidence[:, mouth] = 0.3
    doubts = {
        "profile, turned by 52 degrees": replace(faces, coefficients=turned),
        "small face": replace(faces, face_width=torch.tensor([40.0])),
        "mesh beside the face": replace(faces, residual_percent=torch.tensor([7.0])),
        "covered or unclear mouth (30 % sure)": replace(faces, confidence=confidence),
        "3 faces, the largest read": replace(faces, faces=torch.tensor([3])),
    }
    for doubt, seen in doubts.items():
        last = describe(seen, head).splitlines()[-1]
        assert last.startswith("  doubtful")
        assert doubt in last
        assert ";" not in last


def test_what_is_not_known_is_left_out(faces: EncodedFaces, head: ArkitHead) -> None:
    unknown = replace(faces, confidence=torch.full((1, 51), torch.nan))
    assert "sure" not in describe(unknown, head)
    readout = Readout(Path("a.png"), unknown, np.zeros((4, 4, 3), np.uint8), 0)
    record = next(to_records(readout, head))
    assert set(record["confidence"].values()) == {None}
    assert record["expression"]["mouthSmileLeft"] == 0.8


def test_frames_of_a_video_are_numbered(faces: EncodedFaces, head: ArkitHead) -> None:
    three = EncodedFaces.cat([faces, replace(faces, found=torch.tensor([False])), faces])
    readout = Readout(Path("a.mp4"), three, np.zeros((4, 4, 3), np.uint8), 2)
    assert [record["frame"] for record in to_records(readout, head)] == [0, 2]
    assert "2 of 3 with a face" in describe(three, head)


def test_the_jaw_is_a_share_of_its_opening(faces: EncodedFaces, head: ArkitHead) -> None:
    assert head.actions(faces.coefficients)[0, -1] == pytest.approx(0.25)
    assert head.action_names[-1] == JAW_OPEN
