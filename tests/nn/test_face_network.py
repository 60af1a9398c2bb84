from __future__ import annotations

import pytest
import torch

from i2fet.coefficients import FaceCoefficients
from i2fet.nn.face_network import MAX_LOG_SIGMA, MIN_LOG_SIGMA, FaceNetwork, Reading


@pytest.fixture
def network() -> FaceNetwork:
    network = FaceNetwork((64, 32), widths=(8, 12), blocks=(1, 2), features=16, hidden=24)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return network.eval()


def tensors(reading: Reading) -> list[torch.Tensor]:
    return [*vars(reading.coefficients).values(), reading.sigma]


def test_shapes_and_range_of_sigma(network: FaceNetwork) -> None:
    reading = network(torch.rand(3, 3, 64, 32))
    assert reading.coefficients.batch_shape == (3,)
    assert reading.sigma.shape == (3, 51)
    low, high = torch.tensor([MIN_LOG_SIGMA, MAX_LOG_SIGMA]).exp()
    assert low <= reading.sigma.min() <= reading.sigma.max() <= high


def test_a_crop_is_read_alike_alone_and_among_others(network: FaceNetwork) -> None:
    crops = torch.rand(4, 3, 64, 32)
    for alone, together in zip(tensors(network(crops[1:2])), tensors(network(crops)), strict=True):
        torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-4)


def test_the_face_at_rest_changes_the_reading(network: FaceNetwork) -> None:
    features = network.features(torch.rand(2, 3, 64, 32))
    plain, informed = network.read(features), network.read(features, features.flip(0))
    for one, other in zip(tensors(plain), tensors(informed), strict=True):
        assert not torch.allclose(one, other)
    unknown = network.read(features, network.unknown.expand_as(features))
    torch.testing.assert_close(unknown.sigma, plain.sigma)


def test_untrained_outputs_spread_about_the_typical_faces(network: FaceNetwork) -> None:
    typical = FaceCoefficients.zeros(50).map(lambda t: t + 3 + 0.1 * torch.randn_like(t))
    network.adopt(typical)
    for values, seen in zip(
        vars(typical).values(), tensors(network(torch.rand(5, 3, 64, 32))), strict=False
    ):
        assert (seen.mean() - values.mean()).abs() < 0.3


def test_gradients_reach_every_parameter(network: FaceNetwork) -> None:
    network.train()
    features = network.features(torch.rand(4, 3, 64, 32))
    plain, informed = network.read(features), network.read(features, features[:1].expand(4, -1))
    sum(t.square().sum() for t in tensors(plain) + tensors(informed)).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
