from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn
from torch.nn import functional as F

from i2fet.coefficients import FaceCoefficients
from i2fet.nn.face_network import (
    LEVEL,
    MAX_LOG_SIGMA,
    MIN_LOG_SIGMA,
    SPREAD,
    Block,
    Convolution,
    FaceNetwork,
    Reading,
    convolve,
    count_outputs,
)

SHAPES = ((2, 8, 6), (2, 3, 5), (2, 4, 4), (3, 2, 2))
INPUTS = sum(torch.Size(shape).numel() for shape in SHAPES) - 1


def maps() -> list[torch.Tensor]:
    """Places one after another, but for the first map's first number, which is nowhere."""
    numbers = torch.arange(-1, INPUTS).split([torch.Size(shape).numel() for shape in SHAPES])
    return [own.view(shape) for own, shape in zip(numbers, SHAPES, strict=True)]


@pytest.fixture
def network() -> FaceNetwork:
    torch.manual_seed(0)
    network = FaceNetwork(maps(), [(6, 1), (8, 2)], [(5, 1)], features=16, hidden=24, dropout=0.1)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return network.eval()


def descriptors(count: int) -> torch.Tensor:
    return torch.randint(256, (count, INPUTS), dtype=torch.uint8)


def tensors(reading: Reading) -> list[torch.Tensor]:
    return [*vars(reading.coefficients).values(), reading.sigma]


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_a_convolution_is_torchs(side: int, stride: int) -> None:
    ours = Convolution(3, 4, side, stride)
    theirs = nn.Conv2d(3, 4, side, stride, padding=side // 2)
    with torch.no_grad():
        ours.bias.normal_()
        theirs.weight.copy_(ours.weight.view_as(theirs.weight))
        theirs.bias.copy_(ours.bias)
    images = torch.randn(2, 3, 7, 10)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("outputs", "stride"), [(3, 1), (5, 1), (5, 2), (3, 2)])
def test_a_block_starts_by_passing_its_inputs_on(outputs: int, stride: int) -> None:
    torch.manual_seed(0)
    block, images = Block(3, outputs, stride), torch.randn(2, 3, 7, 10)
    passed = images
    if block.shortcut is not None:
        active = F.avg_pool2d(images.relu(), stride, ceil_mode=True)
        passed = torch.einsum("oi,nihw->nohw", block.shortcut.weight, active)
    torch.testing.assert_close(block(images), passed)
    torch.nn.init.normal_(block.second.weight)
    assert not torch.allclose(block(images), passed)


@pytest.mark.parametrize("sides", [(7, 10), (1, 2), (8, 5)])
@pytest.mark.parametrize("stages", [[(3, 1)], [(3, 1), (4, 2)], [(2, 1), (3, 1), (5, 1)]])
def test_outputs_are_counted(sides: tuple[int, int], stages: list[tuple[int, int]]) -> None:
    outputs = convolve(2, stages).eval()(torch.rand(1, 2, *sides))
    assert outputs.shape[1] == count_outputs(sides, stages)


def test_maps_hold_each_number_in_its_place(network: FaceNetwork) -> None:
    numbers = descriptors(3)
    flat = torch.cat([seen.flatten(1) for seen in network._maps(numbers)], dim=1)
    assert (flat[:, 0] == 0).all()
    torch.testing.assert_close(flat[:, 1:] * SPREAD + LEVEL, numbers.float())


def test_shapes_and_range_of_sigma(network: FaceNetwork) -> None:
    reading = network(descriptors(3))
    assert reading.coefficients.batch_shape == (3,)
    assert reading.sigma.shape == (3, 51)
    low, high = torch.tensor([MIN_LOG_SIGMA, MAX_LOG_SIGMA]).exp()
    assert low <= reading.sigma.min() <= reading.sigma.max() <= high


def test_a_descriptor_is_read_alike_alone_and_among_others(network: FaceNetwork) -> None:
    numbers = descriptors(4)
    for alone, together in zip(
        tensors(network(numbers[1:2])), tensors(network(numbers)), strict=True
    ):
        torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-4)


def test_the_face_at_rest_changes_the_reading(network: FaceNetwork) -> None:
    features = network.features(descriptors(2))
    plain, informed = network.read(features), network.read(features, features.flip(0))
    for one, other in zip(tensors(plain), tensors(informed), strict=True):
        assert not torch.allclose(one, other)
    unknown = network.read(features, network.head.unknown.expand_as(features))
    torch.testing.assert_close(unknown.sigma, plain.sigma)


def test_untrained_outputs_spread_about_the_typical_faces(network: FaceNetwork) -> None:
    typical = FaceCoefficients.zeros(50).map(lambda t: t + 3 + 0.1 * torch.randn_like(t))
    network.adopt(typical)
    for values, seen in zip(vars(typical).values(), tensors(network(descriptors(5))), strict=False):
        assert (seen.mean() - values.mean()).abs() < 0.3


def test_confidence_is_the_calibrated_logistic_curve(network: FaceNetwork) -> None:
    network.calibration.copy_(torch.tensor([0.4, 1.7]))
    sigma = torch.tensor([0.02, 0.1, 0.5])
    expected = expit(0.4 + 1.7 * np.log(0.1 / sigma.numpy()))
    np.testing.assert_allclose(network.confidence(sigma), expected, rtol=1e-5)


def test_gradients_reach_every_parameter(network: FaceNetwork) -> None:
    for block in network.modules():
        if isinstance(block, Block):
            nn.init.normal_(block.second.weight)
    network.train()
    features = network.features(descriptors(4))
    plain, informed = network.read(features), network.read(features, features[:1].expand(4, -1))
    sum(t.square().sum() for t in tensors(plain) + tensors(informed)).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
