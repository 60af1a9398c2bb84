from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.spatial.transform import Rotation, Slerp

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.transition import Easing, RotationPath, anchor_frames, interpolate, make_anchors


def random_anchors(count: int, seed: int = 0) -> FaceCoefficients:
    generator = torch.Generator().manual_seed(seed)
    source = FaceCoefficients.zeros().map(
        lambda zero: torch.rand(zero.shape, generator=generator) - 0.5
    )
    expression = torch.rand(count - 1, 50, generator=generator)
    pose = torch.randn(count - 1, 6, generator=generator) * 0.5
    return make_anchors(source, expression, pose, "generated")


def test_source_head_pose_keeps_the_photos_rotation_and_the_generated_jaw() -> None:
    source = FaceCoefficients.zeros().map(lambda zero: torch.rand_like(zero))
    expression, pose = torch.rand(2, 50), torch.rand(2, 6)
    anchors = make_anchors(source, expression, pose)
    assert torch.equal(anchors.global_rotation, source.global_rotation.expand(3, 3))
    assert torch.equal(anchors.jaw, torch.cat([source.jaw[None], pose[:, 3:]]))
    generated = make_anchors(source, expression, pose, "generated")
    assert torch.equal(generated.pose[1:], pose)
    for result in (anchors, generated):
        assert torch.equal(result.expression, torch.cat([source.expression[None], expression]))
        assert torch.equal(result.shape, source.shape.expand(3, 100))
        assert torch.equal(result.camera, source.camera.expand(3, 3))


def test_linear_is_equation_16() -> None:
    anchors = random_anchors(2)
    frames = interpolate(anchors, 5)
    for k, delta in enumerate((1.0, 0.75, 0.5, 0.25, 0.0)):
        for name in ("expression", "pose"):
            first, second = getattr(anchors, name)
            expected = delta * first + (1 - delta) * second
            torch.testing.assert_close(getattr(frames, name)[k], expected)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(2, 6),
    extra=st.integers(0, 20),
    hold=st.integers(0, 4),
    easing=st.sampled_from(["linear", "smooth"]),
    rotation=st.sampled_from(["linear", "slerp"]),
)
def test_anchors_are_met_exactly_and_held(
    count: int, extra: int, hold: int, easing: Easing, rotation: RotationPath
) -> None:
    anchors = random_anchors(count)
    total = count + hold * (count - 1) + extra
    frames = interpolate(anchors, total, easing, rotation, hold)
    assert len(frames) == total
    for index, frame in enumerate(anchor_frames(count, total, hold)):
        for held in range(frame, frame + (hold if index else 0) + 1):
            assert torch.equal(frames.expression[held], anchors.expression[index])
            assert torch.equal(frames.pose[held], anchors.pose[index])
    assert torch.equal(frames.shape, anchors.shape[:1].expand(total, -1))
    assert torch.equal(frames.camera, anchors.camera[:1].expand(total, -1))


def test_piecewise_path_equals_scipys() -> None:
    anchors = random_anchors(4)
    knots = anchor_frames(4, 31)
    assert knots == [0, 10, 20, 30]
    reference = interp1d(knots, anchors.face_parameters.numpy(), axis=0)
    result = interpolate(anchors, 31).face_parameters
    torch.testing.assert_close(result, torch.from_numpy(reference(np.arange(31))).float())


def test_slerp_turns_at_constant_speed_along_the_shortest_way() -> None:
    anchors = random_anchors(3)
    frames = interpolate(anchors, 21, rotation="slerp")
    for part in (slice(0, 3), slice(3, 6)):
        keys = Rotation.from_rotvec(anchors.pose[:, part].numpy())
        expected = Slerp([0, 10, 20], keys)(np.arange(21))
        turned = Rotation.from_rotvec(frames.pose[:, part].numpy())
        assert (expected.inv() * turned).magnitude().max() < 1e-5
        steps = np.asarray((turned[:-1].inv() * turned[1:]).magnitude())
        np.testing.assert_allclose(steps[:10], steps[0], rtol=1e-3)
    torch.testing.assert_close(frames.expression, interpolate(anchors, 21).expression)


def test_smooth_motion_rests_at_the_anchors_and_stays_between_them() -> None:
    anchors = random_anchors(3)
    expression = interpolate(anchors, 61, "smooth").expression
    speed = expression.diff(dim=0).norm(dim=1)
    assert max(speed[0], speed[29], speed[30], speed[59]) < 0.1 * speed.max()
    middle = (anchors.expression[0] + anchors.expression[1]) / 2
    torch.testing.assert_close(expression[15], middle)


@pytest.mark.parametrize(("frames", "hold", "needed"), [(2, 0, 3), (0, 0, 3), (6, 2, 7)])
def test_too_few_frames_names_how_many_are_needed(frames: int, hold: int, needed: int) -> None:
    with pytest.raises(ValueError, match=f"^{frames} frames are too few.*at least {needed}$"):
        interpolate(random_anchors(3), frames, hold=hold)


@pytest.mark.parametrize("option", [{"easing": "cubic"}, {"rotation": "straight"}, {"hold": -1}])
def test_wrong_options_are_named(option: dict[str, Any]) -> None:
    (name, value), *_ = option.items()
    with pytest.raises(OptionError, match=f"^{name} is {value!r}"):
        interpolate(FaceCoefficients.zeros(2), 10, **option)


def test_a_wrong_head_pose_is_named() -> None:
    with pytest.raises(OptionError, match="it can be source or generated"):
        make_anchors(
            FaceCoefficients.zeros(), torch.zeros(1, 50), torch.zeros(1, 6), cast(Any, "photo")
        )
