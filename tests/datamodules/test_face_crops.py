from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.face_crops import DETECTED, SHIFT, TILT, ZOOMED, sample_misalignment, soften
from datamodules.scenes import sample_scene
from experiments.alignment_errors import AlignmentErrors, errors_of, measure
from experiments.synthetic_faces import take_photos
from i2fet.heads import ArkitHead

YAW = 0.2


@pytest.fixture(scope="module")
def drawn() -> AlignmentErrors:
    yaw = np.tile([YAW, -YAW], 2000)
    off = sample_misalignment(yaw, np.random.default_rng(0))
    return errors_of(off, torch.from_numpy(yaw))


def test_crops_are_drawn_as_far_off_as_mediapipe_aligns_them(
    drawn: AlignmentErrors, head: ArkitHead
) -> None:
    photos = take_photos(60, 1, (YAW / 2, 1.5 * YAW))
    detected = measure(photos, head)
    assert len(detected) > 50
    assert drawn.drag == pytest.approx(DETECTED * detected.drag, abs=0.4)
    for ours, theirs in zip(drawn.spread, detected.spread, strict=True):
        assert theirs / 2 < ours < 1.2 * theirs


def test_misalignment_turns_and_zooms_about_the_eyes(drawn: AlignmentErrors) -> None:
    assert all(ours < most for ours, most in zip(drawn.spread, (SHIFT, ZOOMED, TILT), strict=True))
    values = torch.stack([drawn.towards, drawn.down, drawn.zoom, drawn.tilt])
    assert (torch.corrcoef(values) - torch.eye(4)).abs().max() < 0.1


def test_soft_pictures_have_less_detail() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(32, rng) for _ in range(50)]
    softened = [soften(scene, rng) for scene in scenes]
    assert np.mean([scene.detail for scene in softened]) < 0.8
    assert np.mean([scene.blur for scene in softened]) > 0.4
    assert all(
        scene.lighting is soft.lighting for scene, soft in zip(scenes, softened, strict=True)
    )
