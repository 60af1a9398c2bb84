from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules.motion import HOLD_FRAMES, sample_sequence
from datamodules.people import Person, hair_mask, paint, photograph, sample_person
from datamodules.prototypes import Variability
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import CKPLUS_EMOTIONS, Emotion
from i2fet.heads import ArkitHead


def person(seed: int) -> Person:
    return sample_person(np.random.default_rng(seed))


def pose(
    head: ArkitHead, who: Person, emotion: Emotion, frames: int = 4, seed: int = 0
) -> FaceCoefficients:
    rng = np.random.default_rng(seed)
    return sample_sequence(emotion, who.style, who.shape, head, frames, rng, Variability())


def pictures(head: ArkitHead) -> list[NDArray[np.uint8]]:
    people = [person(seed) for seed in range(12)]
    faces = [pose(head, who, CKPLUS_EMOTIONS[i % 7])[-1:] for i, who in enumerate(people)]
    return [
        photograph(head, who.look, face, 256)[0] for who, face in zip(people, faces, strict=True)
    ]


def test_landmark_detector_sees_people(head: ArkitHead) -> None:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    with FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True) as detector:
        found = [
            detector.process(picture).multi_face_landmarks is not None for picture in pictures(head)
        ]
    assert sum(found) >= 11


def test_regions_are_painted(head: ArkitHead) -> None:
    look = person(3).look
    colors = paint(head, look)
    assert colors.shape == (head.num_vertices, 3)
    assert 0 <= colors.min() <= colors.max() <= 1
    regions = {name: mask > 0.99 for name, mask in head.regions.items()}
    assert colors[regions["iris"]].mean(0).allclose(look.iris, atol=0.05)
    assert colors[regions["pupil"]].max() < colors[regions["sclera"]].min()
    assert colors[regions["mouth_interior"]].mean() < 0.2
    # Lips are redder than the skin.
    lips, skin = colors[regions["lips"]].mean(0), look.skin
    assert lips[0] / lips[1] > skin[0] / skin[1]


def test_hair_covers_the_scalp_and_not_the_face(head: ArkitHead) -> None:
    hair = hair_mask(head, 0.08)[:, 0]
    template = head.template
    top, back = template[:, 1].argmax(), template[:, 2].argmin()
    assert hair[top] > 0.95
    assert hair[back] > 0.95
    assert hair[head.regions["brows"] > 0.5].max() < 0.3
    assert hair[head.regions["lips"] > 0.5].max() < 0.01
    assert hair[template[:, 0].abs().argmax()] < 0.05


def test_people_look_different(head: ArkitHead) -> None:
    looks = torch.stack([paint(head, person(seed).look).mean(0) for seed in range(30)])
    assert looks.mean(1).std() > 0.05
    assert paint(head, person(5).look).equal(paint(head, person(5).look))


@pytest.mark.parametrize("frames", [4, 9])
def test_sequence_runs_from_neutral_to_apex(head: ArkitHead, frames: int) -> None:
    who = person(0)
    faces = pose(head, who, Emotion.SURPRISE, frames)
    assert faces.batch_shape == (frames,)
    assert faces.shape.equal(who.shape.expand(frames, -1))
    activity = faces.face_parameters.abs().sum(1)
    rise = activity[: frames - HOLD_FRAMES + 1]
    assert (rise.diff() > 0).all()
    apex = faces.face_parameters[-HOLD_FRAMES:]
    assert (apex - apex.mean(0)).abs().max() < 0.1
    assert faces.jaw[-1, 0] > faces.jaw[0, 0]
    assert faces.global_rotation.abs().max() < 0.4


def test_camera_holds_the_face_in_the_picture(head: ArkitHead) -> None:
    for seed in range(20):
        faces = pose(head, person(seed), Emotion.HAPPINESS, seed=seed)
        assert faces.camera.std(0).max() == 0
        landmarks = head.landmarks(project(head.vertices(faces), faces.camera, 100, 100))
        assert landmarks[..., :2].min() > 0
        assert landmarks[..., :2].max() < 100
        height = landmarks[..., 1].amax(1) - landmarks[..., 1].amin(1)
        assert ((height > 45) & (height < 85)).all()
