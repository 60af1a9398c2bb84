from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from i2fet.nn.histograms import DIRECTIONS, GradientHistograms


def ramps(angle: float, size: int = 32) -> Tensor:
    """(1, 3, S, S) an image that brightens towards an angle, clockwise from the right."""
    steps = torch.linspace(-0.5, 0.5, size)
    across = math.cos(angle) * steps + math.sin(angle) * steps[:, None]
    return across.expand(1, 3, size, size)


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_ramps_are_told_apart_by_direction(direction: int) -> None:
    cells = GradientHistograms()(ramps(direction * 2 * math.pi / DIRECTIONS))
    assert cells.shape == (1, DIRECTIONS, 8, 8)
    assert (cells[0, :, 1:-1, 1:-1].argmax(dim=0) == direction).all()


def test_brightness_and_contrast_hardly_matter() -> None:
    histograms = GradientHistograms()
    inside = (..., slice(2, -2), slice(2, -2))
    plain, dim = histograms(ramps(1.0)), histograms(ramps(1.0) / 2 - 0.2)
    torch.testing.assert_close(dim[inside], plain[inside], atol=0.05, rtol=0)


def test_plain_images_have_no_direction() -> None:
    assert not GradientHistograms()(torch.full((1, 3, 16, 16), 0.3)).any()


def test_mirror_images_have_mirrored_histograms() -> None:
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    histograms = GradientHistograms()
    mirrored = histograms(image.flip(-1)).flip(-1)
    opposite = (DIRECTIONS // 2 - torch.arange(DIRECTIONS)) % DIRECTIONS
    torch.testing.assert_close(mirrored[:, opposite], histograms(image), atol=1e-4, rtol=1e-4)
