from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from i2fet.rendering.neural.cvthead_networks import SelfAttention, UNet, splat, waves
from i2fet.rendering.neural.hair import hair_offsets
from i2fet.rendering.neural.layers import StandardizedConv2d
from i2fet.rendering.neural.rome_networks import TextureEncoder, harmonics
from i2fet.rendering.neural.rome_networks import UNet as RomeUNet


def test_standardised_kernels_have_no_mean_and_unit_deviation():
    layer = StandardizedConv2d(2, 5, 3)
    impulses = torch.eye(18).view(18, 2, 3, 3)
    kernels = (layer(impulses).flatten(1) - layer.bias).T.detach().numpy()
    weight = layer.weight.detach().flatten(1).numpy()
    expected = (weight - weight.mean(1, keepdims=True)) / weight.std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(kernels, expected, rtol=1e-3, atol=1e-5)


def test_attention_is_that_of_torch():
    own, reference = SelfAttention(8), nn.MultiheadAttention(8, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(own.to_qkv.weight)
        reference.in_proj_bias.zero_()
        reference.out_proj.weight.copy_(own.to_out[0].weight)
        reference.out_proj.bias.copy_(own.to_out[0].bias)
    tokens = torch.randn(2, 7, 8)
    torch.testing.assert_close(own(tokens), reference(tokens, tokens, tokens)[0])


def test_positions_become_sines_and_cosines_in_turn():
    encoded = waves(torch.tensor([0.3]), 6)[0].tolist()
    angles = [2 * math.pi * 0.3 / 10_000 ** (octave / 6) for octave in (0, 2, 4)]
    expected = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
    assert encoded == pytest.approx(expected, abs=1e-6)


def test_harmonics_keep_the_values_in_front():
    values = torch.randn(3, 2)
    encoded = harmonics(values)
    assert encoded.shape == (3, 26)
    torch.testing.assert_close(encoded[:, :2], values)
    torch.testing.assert_close(encoded[:, -2:], (32 * values).cos())


def test_near_points_are_drawn_over_far_ones(generator):
    size = 8
    points = 2.4 * torch.rand(2, 60, 3, generator=generator) - 1.2
    features = torch.rand(2, 60, 4, generator=generator)
    drawn = splat(points, features, size)
    expected = torch.zeros(2, 5, size, size)
    expected[:, 0] = -2
    for image in range(2):
        for vertex in points[image, :, 2].argsort(descending=True).tolist():
            across, down, away = points[image, vertex].tolist()
            column, row = (
                round(min(max(value * size / 2 + size / 2, 0), size - 1))
                for value in (across, down)
            )
            expected[image, 0, row, column] = away
            expected[image, 1:, row, column] = features[image, vertex]
    torch.testing.assert_close(drawn, expected)


def test_hair_and_shoulders_are_a_mean_and_a_basis():
    weights, basis, mean = torch.randn(2, 3), torch.randn(5, 3, 3), torch.randn(5, 3)
    expected = mean.numpy() + np.tensordot(weights.numpy(), basis.numpy(), axes=(1, 2))
    np.testing.assert_allclose(hair_offsets(weights, basis, mean), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "inputs", "outputs"),
    [(UNet(3, 2, 2), 3, 2), (RomeUNet(3, 2, 2), 3, 2), (TextureEncoder(5, 2, 16), 4, 5)],
)
def test_networks_of_pictures_keep_their_size(network, inputs, outputs):
    pictures = torch.rand(1, inputs, 32, 48)
    assert network.eval()(pictures).shape == (1, outputs, 32, 48)
