from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional as F

from i2fet.coefficients import FaceCoefficients
from i2fet.nn.face_network import MAX_LOG_SIGMA, MIN_LOG_SIGMA, FaceNetwork, PatchLinear, Reading

PLACES = torch.cat([torch.arange(40).unfold(0, 12, 7), torch.tensor([[37, 38, 39] + 9 * [-1]])])


@pytest.fixture
def network() -> FaceNetwork:
    network = FaceNetwork(PLACES, units=5, widths=(32, 24), features=16, hidden=24, dropout=0.1)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return network.eval()


def descriptors(count: int) -> torch.Tensor:
    return torch.randint(256, (count, 40), dtype=torch.uint8)


def tensors(reading: Reading) -> list[torch.Tensor]:
    return [*vars(reading.coefficients).values(), reading.sigma]


def test_patches_of_equal_weights_are_a_convolution() -> None:
    image = torch.randn(2, 3, 10, 13)
    numbers = torch.arange(image[0].numel()).view(image.shape[1:])
    squares = numbers.unfold(1, 4, 3).unfold(2, 4, 3).movedim(0, 2)
    linear = PatchLinear(squares.flatten(0, 1).flatten(1), units=6)
    with torch.no_grad():
        linear.weight[:] = linear.weight[0].clone()
    kernel = linear.weight[0].T.view(6, 3, 4, 4)
    expected = F.conv2d(image, kernel, stride=3).flatten(2).mT.flatten(1)
    torch.testing.assert_close(linear(image.flatten(1)), expected)


def test_patches_have_weights_of_their_own_and_none_for_nothing() -> None:
    linear = PatchLinear(PLACES, units=5)
    values = torch.randn(3, 40)
    last = values[:, 37:] @ linear.weight[-1, :3]
    torch.testing.assert_close(linear(values)[:, -5:], last)
    third = values[:, 14:26] @ linear.weight[2]
    torch.testing.assert_close(linear(values)[:, 10:15], third)


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
    unknown = network.read(features, network.unknown.expand_as(features))
    torch.testing.assert_close(unknown.sigma, plain.sigma)


def test_untrained_outputs_spread_about_the_typical_faces(network: FaceNetwork) -> None:
    typical = FaceCoefficients.zeros(50).map(lambda t: t + 3 + 0.1 * torch.randn_like(t))
    network.adopt(descriptors(50), typical)
    for values, seen in zip(vars(typical).values(), tensors(network(descriptors(5))), strict=False):
        assert (seen.mean() - values.mean()).abs() < 0.3


def test_inputs_are_read_in_units_of_typical_ones() -> None:
    network = FaceNetwork(PLACES, units=5, widths=(32,), features=16)
    typical = descriptors(5000)
    network.adopt(typical, FaceCoefficients.zeros(5000))
    units = (typical.float() - network.center) / network.spread
    assert units.mean().abs() < 0.01
    assert 0.9 < units.std() < 1


def test_confidence_is_the_calibrated_logistic_curve(network: FaceNetwork) -> None:
    network.calibration.copy_(torch.tensor([0.4, 1.7]))
    sigma = torch.tensor([0.02, 0.1, 0.5])
    expected = expit(0.4 + 1.7 * np.log(0.1 / sigma.numpy()))
    np.testing.assert_allclose(network.confidence(sigma), expected, rtol=1e-5)


def test_gradients_reach_every_parameter(network: FaceNetwork) -> None:
    network.train()
    features = network.features(descriptors(4))
    plain, informed = network.read(features), network.read(features, features[:1].expand(4, -1))
    sum(t.square().sum() for t in tensors(plain) + tensors(informed)).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
