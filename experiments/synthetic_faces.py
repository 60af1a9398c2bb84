"""Photos of synthetic people with known truth, to calibrate and to measure perception."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from datamodules.corpus import corpus_head
from datamodules.face_crops import perform, sample_actions
from datamodules.motion import sample_camera
from datamodules.parallel import count_workers, share_out
from datamodules.people import Person, photograph, sample_person
from datamodules.prototypes import Style, Variability, sample_expression, sample_style
from datamodules.scenes import film, sample_scene
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.heads import ArkitHead
from i2fet.perception import Picture

SIZE = 256
PITCH_ROLL = 0.15
FRONTAL = (0.0, 0.3)
"""Least and largest yaw to either side, radians."""

NO_EMOTION = -1
REST_TURN = 0.08
ZOOM = 0.75
LIPS = (61, 291, 0, 17)
COVER = 1.3
"""Width of what covers a mouth, in mouth widths."""


@dataclass(frozen=True)
class Photos:
    """One photo of each of N people, and perhaps one of the same person at rest.

    Attributes:
        pictures: (SIZE, SIZE, 3) RGB.
        neutrals: (SIZE, SIZE, 3) RGB, elsewhere and in another light; none where not asked for.
        truth: (N,) coefficients in `pictures`.
        emotions: (N,) place in `Emotion`, or -1 where the actions were drawn by chance.
    """

    pictures: tuple[Picture, ...]
    neutrals: tuple[Picture, ...]
    truth: FaceCoefficients
    emotions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def first(self) -> Photos:
        """Of the first person alone."""
        return Photos(self.pictures[:1], self.neutrals[:1], self.truth[:1], self.emotions[:1])

    @classmethod
    def cat(cls, parts: Sequence[Photos]) -> Photos:
        """Join."""
        return cls(
            tuple(picture for part in parts for picture in part.pictures),
            tuple(picture for part in parts for picture in part.neutrals),
            FaceCoefficients.cat([part.truth for part in parts]),
            np.concatenate([part.emotions for part in parts]),
        )


@dataclass(frozen=True)
class Sitting:
    """One person's appointment; see `take_photos`."""

    seed: int
    number: int
    yaw: tuple[float, float]
    at_rest: bool


def take_photos(
    count: int, seed: int, yaw: tuple[float, float] = FRONTAL, at_rest: bool = False
) -> Photos:
    """Photograph new people: every other one shows an emotion, the others actions by chance.

    Args:
        count: Of people.
        seed: Same seed, same photos.
        yaw: Least and largest yaw to either side, radians.
        at_rest: Whether to photograph each person at rest as well.
    """
    sittings = [Sitting(seed, number, yaw, at_rest) for number in range(count)]
    return Photos.cat(list(share_out(_take, sittings, count_workers(None, count))))


def _take(sitting: Sitting) -> Photos:
    rng, head = np.random.default_rng([sitting.seed, sitting.number + 1]), corpus_head()
    person = sample_person(rng)
    emotion = int(rng.integers(len(Emotion))) if sitting.number % 2 else NO_EMOTION
    turn = rng.uniform(-1, 1, 3) * PITCH_ROLL
    turn[1] = rng.uniform(*sitting.yaw) * rng.choice([-1, 1])
    actions = _sample_face(emotion, person.style, head, rng)
    face = make_face(person, actions, turn, head, rng)
    picture = _film(person, face, head, rng)
    neutrals: tuple[Picture, ...] = ()
    if sitting.at_rest:
        turn = rng.uniform(-1, 1, 3) * REST_TURN
        rest = make_face(person, perform(person.style.rest, head), turn, head, rng)
        neutrals = (_film(person, rest, head, rng),)
    return Photos((picture,), neutrals, face, np.array([emotion]))


def _sample_face(
    emotion: int, style: Style, head: ArkitHead, rng: Generator
) -> NDArray[np.float64]:
    """(51,) actions and the jaw's opening."""
    if emotion == NO_EMOTION:
        return (sample_actions(head.expression_names, rng) + perform(style.rest, head)).clip(0, 1)
    return perform(sample_expression(list(Emotion)[emotion], style, rng, Variability()), head)


def make_face(
    person: Person,
    actions: NDArray[np.float64],
    turn: NDArray[np.float64],
    head: ArkitHead,
    rng: Generator,
) -> FaceCoefficients:
    """(1,) coefficients of a person before a camera drawn by chance."""
    values = torch.from_numpy(actions).float()
    pose = torch.zeros(1, 6)
    pose[0, :3] = torch.from_numpy(turn)
    pose[0, 3] = head.jaw_open_angle * values[-1]
    camera = sample_camera(head, person.shape, rng) * torch.tensor([ZOOM, 1, 1])
    return FaceCoefficients(person.shape[None], values[None, :-1], pose, camera[None])


def _film(person: Person, face: FaceCoefficients, head: ArkitHead, rng: Generator) -> Picture:
    """One picture in a scene of its own, with nothing before the face."""
    scene = sample_scene(SIZE, rng)
    scene = replace(scene, covered=np.zeros_like(scene.covered))
    look = replace(person.look, lighting=scene.lighting)
    picture: Picture = film(photograph(head, look, face, SIZE, scene.background), scene, rng)[0]
    return picture


def sample_faces(
    head: ArkitHead, count: int, size: int, seed: int
) -> Iterator[tuple[FaceCoefficients, Picture]]:
    """Each a new person in a studio: (1,) coefficients and (size, size, 3) RGB."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        person = sample_person(rng)
        turn = rng.uniform(-1, 1, 3) * (PITCH_ROLL, FRONTAL[1], PITCH_ROLL)
        face = make_face(person, sample_actions(head.expression_names, rng), turn, head, rng)
        yield face, photograph(head, person.look, face, size)[0]


def sample_emotions(
    head: ArkitHead, count: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N, 51) actions and jaw of people who each show an emotion, and (N,) which one."""
    rng = np.random.default_rng([seed, 0, 1])
    labels = rng.integers(len(Emotion), size=count)
    faces = [_sample_face(label, sample_style(rng), head, rng) for label in labels]
    return np.stack(faces), labels


def cover_mouths(photos: Photos, head: ArkitHead, seed: int) -> Photos:
    """The same photos with something of one colour before each mouth."""
    rng = np.random.default_rng([seed, 0, 2])
    vertices = head.landmarks(head.vertices(photos.truth))
    mouths = project(vertices, photos.truth.camera, SIZE, SIZE)[:, list(LIPS), :2]
    covered = [_cover(*pair, rng) for pair in zip(photos.pictures, mouths, strict=True)]
    return replace(photos, pictures=tuple(covered))


def _cover(picture: Picture, mouth: Tensor, rng: Generator) -> Picture:
    place = mouth.mean(0) + torch.from_numpy(rng.normal(0, 3, 2))
    width = float((mouth[0] - mouth[1]).norm().clamp(min=SIZE / 12)) * COVER
    axes = int(width / 2), int(width / 2 * rng.uniform(0.7, 1))
    color = [int(value) for value in rng.uniform(10, 245, 3)]
    centre = [round(value) for value in place.tolist()]
    angle = rng.uniform(-30, 30)
    covered = cv2.ellipse(picture.copy(), centre, axes, angle, 0, 360, color, cv2.FILLED)
    return np.asarray(covered, np.uint8)
