"""Random faces with known truth, to calibrate and to measure perception."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from datamodules.motion import sample_camera
from datamodules.people import photograph, sample_person
from i2fet.coefficients import EXPRESSION_SIZE, FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.perception.fitting import SIDED

ACTIVE, MIRRORED, JAW_OPEN = 0.12, 0.5, 0.5
PITCH_YAW_ROLL = (0.15, 0.26, 0.15)
ZOOM = 0.75


def sample_actions(names: tuple[str, ...], rng: Generator) -> NDArray[np.float64]:
    """(50,) sparse actions in [0, 1], half of the pairs shown alike on both sides."""
    actions = rng.random(EXPRESSION_SIZE) * (rng.random(EXPRESSION_SIZE) < ACTIVE)
    for row, name in enumerate(names):
        mirrored = name.removesuffix("Left") + "Right"
        paired = name.endswith("Left") and name not in SIDED and mirrored in names
        if paired and not name.startswith("eyeLook") and rng.random() < MIRRORED:
            actions[names.index(mirrored)] = min(actions[row] * rng.uniform(0.8, 1.2), 1)
    return actions


def sample_faces(
    head: ArkitHead, count: int, size: int, seed: int
) -> Iterator[tuple[FaceCoefficients, NDArray[np.uint8]]]:
    """Each a new person: (1,) coefficients and (size, size, 3) RGB; yaw within 15 degrees."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        person = sample_person(rng)
        pose = torch.zeros(1, 6)
        pose[0, :3] = torch.from_numpy(rng.uniform(-1, 1, 3) * PITCH_YAW_ROLL)
        pose[0, 3] = head.jaw_open_angle * rng.random() * (rng.random() < JAW_OPEN)
        actions = torch.from_numpy(sample_actions(head.expression_names, rng)).float()
        camera = sample_camera(head, person.shape, rng) * torch.tensor([ZOOM, 1, 1])
        face = FaceCoefficients(person.shape[None], actions[None], pose, camera[None])
        yield face, photograph(head, person.look, face, size)[0]
