"""Aligned crops of synthetic people as the face encoder will see them, with the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from datamodules.motion import IN_THE_WILD
from datamodules.people import Person, photograph, sample_person
from datamodules.prototypes import ActionMap, Array, Variability, sample_expression
from datamodules.scenes import Scene, film, sample_scene
from i2fet.camera import project
from i2fet.coefficients import EXPRESSION_SIZE, FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.heads import ArkitHead
from i2fet.perception.crop import BETWEEN_EYES, CROP_SIZE, Aligner, Alignment, in_crop
from i2fet.perception.fitting import SIDED

TURN = (0.14, 0.20, 0.06)
"""Standard deviations of pitch, yaw and roll of most faces, radians."""

WIDE, WIDE_YAW = 0.15, 1.0
"""Share of the faces that are turned anywhere, and how far at most, radians."""

ACTIVE, MIRRORED, OPEN_JAW = 0.12, 0.6, 0.4
EMOTIONAL = 0.5
"""Share of the faces that show an emotion; the others show actions drawn by chance."""

MOVES = 0.35
"""Share of the people who are photographed in two places, the face at rest in either."""

COARSE = 0.75
"""Share of the places where a pixel is one sample: four times as fast, with jagged edges."""

JAW_SWAY = 0.01
"""Standard deviation of the open jaw's other rotations, radians."""

PICTURE = 256

DETECTED, NEAR = 0.67, 0.35
"""Share of the crops that are aligned as by MediaPipe, and how far off the others are beside these:
as crops are that are cut again by what the network saw in the first."""

SHIFT, ZOOMED, TILT = 0.75, 0.03, 0.016
"""Standard deviations of MediaPipe's alignment of faces from the front: crop pixels, logarithm of
the zoom, radians; the last two about the eyes. `experiments.alignment_errors` measures them."""

DRAG, MOST_DRAG = -4.3, 1.5
"""Crop pixels by which it lies off sideways for each radian of yaw, and at most."""

WIDE_ERROR = 1.3
"""By how much, for a squared radian of yaw, it varies more."""

SOFT = 0.5
"""Share of the places where pictures are as soft as those of small faces, enlarged."""

ZOOM = 8.0


def sample_actions(names: tuple[str, ...], rng: Generator) -> Array:
    """(51,) sparse actions in [0, 1], the jaw's opening last; most pairs alike on both sides."""
    actions = rng.random(EXPRESSION_SIZE) * (rng.random(EXPRESSION_SIZE) < ACTIVE)
    for row, name in enumerate(names):
        mirrored = name.removesuffix("Left") + "Right"
        paired = name.endswith("Left") and name not in SIDED and mirrored in names
        if paired and not name.startswith("eyeLook") and rng.random() < MIRRORED:
            actions[names.index(mirrored)] = min(actions[row] * rng.uniform(0.8, 1.2), 1)
    return np.append(actions, rng.random() * (rng.random() < OPEN_JAW))


def sample_faces(person: Person, count: int, head: ArkitHead, rng: Generator) -> FaceCoefficients:
    """Faces of one person as a picture of `PICTURE` pixels shows them, the first one at rest."""
    rest = perform(person.style.rest, head)
    shown = [_sample_shown(person, rest, head, rng) for _ in range(count - 1)]
    actions = np.stack([rest, *shown]).clip(0, 1)
    pose = np.zeros((count, 6))
    pose[:, :3] = rng.standard_normal((count, 3)) * TURN
    wide = rng.random(count) < WIDE
    pose[wide, 1] = rng.uniform(-WIDE_YAW, WIDE_YAW, wide.sum())
    pose[:, 3] = actions[:, -1] * head.jaw_open_angle
    pose[:, 4:] = rng.normal(0, JAW_SWAY, (count, 2)) * actions[:, -1:]
    return FaceCoefficients(
        person.shape.expand(count, -1).contiguous(),
        torch.from_numpy(actions[:, :-1]).float(),
        torch.from_numpy(pose).float(),
        torch.tensor([[ZOOM, 0.0, 0.0]]).repeat(count, 1),
    )


def _sample_shown(person: Person, rest: Array, head: ArkitHead, rng: Generator) -> Array:
    """(51,) an emotion, or actions by chance on top of the resting face."""
    if rng.random() > EMOTIONAL:
        return rest + sample_actions(head.expression_names, rng)
    emotion = list(Emotion)[rng.integers(len(Emotion))]
    variability = IN_THE_WILD if rng.random() < 0.5 else Variability()
    return perform(sample_expression(emotion, person.style, rng, variability), head)


def perform(units: Array, head: ArkitHead) -> Array:
    """(51,) actions and the jaw's opening for (A, 2) action units."""
    expression, opening = ActionMap(head.expression_names)(units[None])
    return np.append(expression[0], opening[0])


def sample_misalignment(yaw: Array, rng: Generator) -> Alignment:
    """Similarities from well aligned crops to those that are cut around detected landmarks.

    How far these lie off was measured with MediaPipe on pictures of synthetic people.

    Args:
        yaw: (N,) of the faces, radians.
        rng: Of the draw.
    """
    count = len(yaw)
    degree = np.where(rng.random(count) < DETECTED, 1, NEAR)
    spread = degree * (1 + WIDE_ERROR * yaw**2)
    zoom, tilt = spread * rng.normal(0, (ZOOMED, TILT), (count, 2)).T
    shift = spread[:, None] * rng.normal(0, SHIFT, (count, 2))
    shift[:, 0] += degree * (DRAG * yaw).clip(-MOST_DRAG, MOST_DRAG)
    factor = np.exp(zoom + 1j * tilt)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]]).transpose(2, 0, 1)
    shift += BETWEEN_EYES - turn @ BETWEEN_EYES
    return Alignment(torch.from_numpy(turn).float(), torch.from_numpy(shift).float())


def soften(scene: Scene, rng: Generator) -> Scene:
    """The scene as a camera sees it that is out of focus, or far away."""
    return replace(scene, blur=rng.uniform(0, 1.2), detail=rng.uniform(0.35, 1))


class Studio:
    """Photographs people and cuts their faces out as the encoder will see them."""

    def __init__(self, head: ArkitHead) -> None:
        self.head = head
        self.aligner = Aligner(head)

    def faces(self, person: Person, count: int, rng: Generator) -> FaceCoefficients:
        """(count,) coefficients in the crops' frame, the first one at rest."""
        faces = sample_faces(person, count, self.head, rng)
        vertices = self.head.vertices(faces)
        landmarks = self.head.landmarks(project(vertices, faces.camera, PICTURE, PICTURE))
        off = sample_misalignment(faces.global_rotation[:, 1].double().numpy(), rng)
        alignment = off.after(self.aligner.align(landmarks))
        return in_crop(faces, alignment, torch.tensor([[PICTURE, PICTURE]]), self.head)

    def crops(self, person: Person, faces: FaceCoefficients, rng: Generator) -> NDArray[np.uint8]:
        """(T, 160, 128, 3) RGB, taken in one place or in two."""
        height, width = CROP_SIZE
        size = max(CROP_SIZE)
        margin = (size - width) // 2
        crops = np.empty((len(faces), height, width, 3), np.uint8)
        places = rng.integers(2, size=len(faces)) * (rng.random() < MOVES)
        for place in range(2):
            rows = np.flatnonzero(places == place)
            if len(rows) == 0:
                continue
            scene = sample_scene(size, rng)
            if rng.random() < SOFT:
                scene = soften(scene, rng)
            look = replace(person.look, lighting=scene.lighting)
            pictures = photograph(
                self.head,
                look,
                faces[torch.from_numpy(rows)],
                size,
                scene.background,
                supersample=int(rng.choice([1, 2], p=[COARSE, 1 - COARSE])),
            )
            crops[rows] = film(pictures, scene, rng)[:, :, margin : margin + width]
        return crops

    def people(
        self, count: int, faces: int, rng: Generator
    ) -> tuple[FaceCoefficients, NDArray[np.uint8]]:
        """Truth and (count * faces, 160, 128, 3) crops of some people, each at rest first."""
        truth, crops = [], []
        for _ in range(count):
            person = sample_person(rng)
            truth.append(self.faces(person, faces, rng))
            crops.append(self.crops(person, truth[-1], rng))
        return FaceCoefficients.cat(truth), np.concatenate(crops)
