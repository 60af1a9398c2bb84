from __future__ import annotations

import math

import pytest
import torch

from i2fet.nn.motionclip import MotionClip, positions, scale_latent
from i2fet.transition import straight_path


@pytest.fixture
def model() -> MotionClip:
    return MotionClip(latent=10, width=16, layers=1, feedforward=32).eval()


def test_a_straight_path_is_equation_16() -> None:
    anchors = torch.randn(3, 2, 4)
    path = straight_path(anchors, 5)
    assert path.shape == (3, 5, 4)
    torch.testing.assert_close(path[:, [0, -1]], anchors)
    for frame in range(5):
        delta = 1 - frame / 4
        expected = delta * anchors[:, 0] + (1 - delta) * anchors[:, 1]
        torch.testing.assert_close(path[:, frame], expected)


def test_positions_are_sines_and_cosines() -> None:
    table = positions(torch.zeros(1, 7, 6))
    assert table.shape == (7, 6)
    for step in range(7):
        for index in range(3):
            angle = step / 10000 ** (2 * index / 6)
            assert float(table[step, index]) == pytest.approx(math.sin(angle), abs=1e-5)
            assert float(table[step, 3 + index]) == pytest.approx(math.cos(angle), abs=1e-5)


def test_shapes_and_the_order_of_frames(model: MotionClip) -> None:
    motion = torch.randn(4, 16, 56)
    output, latent = model(motion)
    assert output.shape == motion.shape
    assert latent.shape == (4, 10)
    assert not torch.allclose(model.encode(motion.flip(1)), latent, atol=1e-4)


def test_frames_differ_by_their_place_alone(model: MotionClip) -> None:
    decoded = model.decode(torch.randn(2, 10), 6)
    assert decoded.shape == (2, 6, 56)
    assert not torch.allclose(decoded[:, 0], decoded[:, -1], atol=1e-4)


def test_text_is_the_mean_of_its_tokens(model: MotionClip) -> None:
    tokens = torch.randn(2, 5, 10)
    mask = torch.arange(5) < torch.tensor([[2], [5]])
    expected = torch.stack([tokens[0, :2].mean(dim=0), tokens[1].mean(dim=0)])
    torch.testing.assert_close(model.embed_text(tokens, mask), expected)


def test_unit_latents_have_a_mean_square_of_one() -> None:
    latents = torch.randn(3, 10) * torch.tensor([[0.1], [1], [50]])
    unit = scale_latent(latents, "unit")
    torch.testing.assert_close(unit.square().mean(dim=1), torch.ones(3))
    cosine = torch.cosine_similarity(unit, latents)
    torch.testing.assert_close(cosine, torch.ones(3))
    assert torch.equal(scale_latent(latents, "free"), latents)
