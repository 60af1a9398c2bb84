from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules.atlas import load_atlas
from datamodules.motion import HOLD_FRAMES, sample_sequence
from datamodules.people import Look, Person, photograph, sample_person
from datamodules.prototypes import Variability
from datamodules.wrinkles import FOLDS, draw_relief, fold_weights, sample_creases
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import CKPLUS_EMOTIONS, Emotion
from i2fet.heads import ArkitHead
from i2fet.rendering.mesh import Lighting


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


def neutral(who: Person, count: int = 1) -> FaceCoefficients:
    """Seen from the front, the face filling the picture's middle."""
    faces = FaceCoefficients.zeros(count)
    faces.shape[:] = who.shape
    faces.camera[:] = torch.tensor([8.0, 0, -0.11])
    return faces


def act(head: ArkitHead, faces: FaceCoefficients, **actions: float) -> FaceCoefficients:
    """Faces with actions on both sides, by their names without the side."""
    names = head.expression_names
    for action, value in actions.items():
        for name in (action, f"{action}Left", f"{action}Right"):
            if name in names:
                faces.expression[:, names.index(name)] = value
    return faces


def even_light(who: Person) -> Look:
    ambient = Lighting(torch.full((3,), 0.9), torch.tensor([[0.0, 0, 1]]), torch.zeros(1, 3))
    return replace(who.look, lighting=ambient)


def test_same_seed_same_picture(head: ArkitHead) -> None:
    first, second = (photograph(head, person(5).look, neutral(person(5)), 64) for _ in range(2))
    other = photograph(head, person(6).look, neutral(person(5)), 64)
    assert np.array_equal(first, second)
    assert abs(first.astype(int) - other).mean() > 5


def test_pupils_lie_where_the_truth_says(head: ArkitHead) -> None:
    who = person(3)
    faces = act(head, neutral(who), eyeWide=0.5)
    picture = photograph(head, even_light(who), faces, 256)[0].astype(float).mean(-1)
    pixels = project(head.vertices(faces), faces.camera, 256, 256)[0]
    for side in (-1, 1):
        pupil = (head.regions["pupil"] > 0.5) & (side * head.template[:, 0] > 0)
        x, y = pixels[pupil, :2].mean(0).tolist()
        rows, columns = np.mgrid[:256, :256] + 0.5
        near = np.hypot(columns - x, rows - y)
        dark = (255 - picture) ** 4 * (near < 4)
        assert abs((columns * dark).sum() / dark.sum() - x) < 0.7
        assert picture[near < 1.5].mean() < picture[(near > 8) & (near < 30)].mean() / 2


def mouth(head: ArkitHead, faces: FaceCoefficients, picture: NDArray[np.uint8]) -> float:
    """The brightest part within the lips, as a share of white."""
    pixels = project(head.vertices(faces), faces.camera, 256, 256)
    lips = head.landmarks(pixels)[0, [78, 81, 13, 311, 308, 402, 14, 178], :2].numpy()
    mask = np.zeros((256, 256), np.uint8)
    cv2.fillPoly(mask, [lips.round().astype(np.int32)], 1)
    inside = picture[mask > 0]
    whiteness = inside.min(1) / 255
    return float(np.sort(whiteness)[-max(len(whiteness) // 4, 1) :].mean())


@pytest.mark.parametrize("seed", range(6))
def test_teeth_show_in_a_broad_smile_alone(head: ArkitHead, seed: int) -> None:
    who = person(seed)
    red = np.array([0.5, 0.1, 0.1], np.float32)
    skin = replace(who.look.skin, lips=red, tone=red)
    make_up = replace(skin.make_up, lips=0)
    look = replace(even_light(who), skin=replace(skin, make_up=make_up))
    smile = {"mouthSmile": 0.9, "mouthUpperUp": 0.3}
    shown, hidden = act(head, neutral(who), **smile), neutral(who)
    shown.pose[:, 3] = 0.1
    pressed = act(head, neutral(who), mouthPress=1, mouthRollLower=1, mouthRollUpper=1)
    assert mouth(head, shown, photograph(head, look, shown, 256)[0]) > 0.45
    for closed in (hidden, pressed):
        assert mouth(head, closed, photograph(head, look, closed, 256)[0]) < 0.25


def test_wrinkles_change_the_picture_only_where_they_lie(head: ArkitHead) -> None:
    atlas = load_atlas(head, 256)
    creases = sample_creases(1.0, np.random.default_rng(0))
    expression = act(head, neutral(person(0)), browInnerUp=1).expression
    relief = draw_relief(head, creases, atlas, torch.cat([0 * expression, expression]))
    change = (relief[1] - relief[0]).abs().numpy()
    forehead = atlas.points[..., 1] > 0.16
    assert change[forehead].max() > 2e-4
    assert change[~forehead].max() < 1e-6


def test_folds_follow_their_side(head: ArkitHead) -> None:
    expression = torch.zeros(1, 50)
    expression[0, head.expression_names.index("mouthSmileLeft")] = 1
    left, right = fold_weights(head, expression)[0]
    assert left[list(FOLDS).index("nasolabial")] > 0.5
    assert right.max() == 0


def test_people_look_different(head: ArkitHead) -> None:
    tones = np.stack([person(seed).look.skin.tone for seed in range(30)])
    assert tones.mean(1).std() > 0.1


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
