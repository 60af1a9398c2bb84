from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.special import expit
from torch.nn import functional as F

from i2fet.coefficients import FaceCoefficients
from i2fet.nn.close_up import LEVEL, SPREAD, CloseUp, Window
from i2fet.nn.face_network import (
    MAX_LOG_SIGMA,
    MIN_LOG_SIGMA,
    FaceNetwork,
    FirstLook,
    PatchLinear,
    Reading,
    SecondLook,
)

PLACES = torch.cat([torch.arange(40).unfold(0, 12, 7), torch.tensor([[37, 38, 39] + 9 * [-1]])])


def first_look() -> FirstLook:
    return FirstLook(PLACES, units=5, widths=(32, 24), features=16, hidden=24, dropout=0.1)


def second_look() -> SecondLook:
    window = Window(torch.arange(40).view(2, 4, 5), (3.0, 1.0), cell=2.0, side=3)
    views = [([window, window], torch.arange(3)), ([window], torch.tensor([2]))]
    return SecondLook(views, 3, first=16, units=4, width=20, features=12, hidden=24, dropout=0.1)


@pytest.fixture(params=["one look", "two looks"])
def network(request: pytest.FixtureRequest) -> FaceNetwork:
    torch.manual_seed(0)
    second = second_look() if request.param == "two looks" else None
    network = FaceNetwork(first_look(), second)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and "offsets" not in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    if second is not None:
        second.middle.copy_(torch.tensor([[5.0, 4.0], [8.0, 5.0], [11.0, 3.0]]))
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
    looks = [network.first] if network.second is None else [network.first, network.second]
    nobody = torch.cat([look.head.unknown for look in looks])
    unknown = network.read(features, nobody.expand_as(features))
    torch.testing.assert_close(unknown.sigma, plain.sigma)


def test_untrained_outputs_spread_about_the_typical_faces(network: FaceNetwork) -> None:
    typical = FaceCoefficients.zeros(50).map(lambda t: t + 3 + 0.1 * torch.randn_like(t))
    network.adopt(typical)
    network.first.adopt(descriptors(50))
    for values, seen in zip(vars(typical).values(), tensors(network(descriptors(5))), strict=False):
        assert (seen.mean() - values.mean()).abs() < 0.3


def test_inputs_are_read_in_units_of_typical_ones() -> None:
    look, typical = first_look(), descriptors(5000)
    look.adopt(typical)
    units = (typical.float() - look.center) / look.spread
    assert units.mean().abs() < 0.01
    assert 0.9 < units.std() < 1


def test_what_both_looks_read_is_averaged() -> None:
    torch.manual_seed(0)
    network = FaceNetwork(first_look(), second_look()).eval()
    numbers = descriptors(4)
    first = network.first(numbers)
    second = network.second(numbers, network.second.locate(first))
    one, other = network.first.head(first)[0], network.second.head(second)[0]
    seen = torch.cat(list(vars(network(numbers).coefficients).values()), dim=1)
    torch.testing.assert_close(seen, (one + other) / 2)


def test_the_second_look_finds_landmarks_in_units_of_typical_ones() -> None:
    look = second_look()
    landmarks = torch.randn(500, 3, 2) * torch.tensor([2.0, 5.0]) + torch.randn(3, 2)
    look.adopt(landmarks)
    torch.testing.assert_close(look.middle, landmarks.mean(0))
    torch.testing.assert_close(look.reach, torch.tensor([2.0, 5.0]), atol=0.5, rtol=0)
    located = look.locate(torch.zeros(1, 16)) - look.middle
    assert located.shape == (1, 3, 2)
    assert (located.abs() < 2 * look.reach).all()


def test_the_second_look_follows_the_landmarks() -> None:
    """What moves together with its landmarks looks the same from around them."""
    torch.manual_seed(0)
    window = Window(torch.arange(400).view(1, 20, 20), (0.0, 0.0), cell=2.0, side=3)
    close_up = CloseUp([window], torch.tensor([0]), units=6)
    spot = torch.zeros(2, 20, 20)
    spot[0, 6:9, 5:8] = spot[1, 9:12, 9:12] = torch.rand(3, 3) * 255
    places = torch.tensor([[[13.0, 15.0]], [[21.0, 21.0]]])
    seen = close_up(spot.flatten(1), places)
    torch.testing.assert_close(seen[0], seen[1])
    assert not torch.allclose(seen[0], close_up(spot.flatten(1), places + 2)[0])


def test_windows_sample_as_scipy_does() -> None:
    torch.manual_seed(0)
    numbers = torch.arange(60).view(2, 5, 6)
    close_up = CloseUp([Window(numbers, (7.0, 3.0), 4.0, 3)], torch.tensor([1, 0]), units=2)
    values = torch.rand(1, 60) * 255
    places = torch.tensor([[[20.3, 11.9], [8.0, 22.0]]])
    seen = close_up(values, places).view(2, 2)
    maps = ((values[0] - LEVEL) / SPREAD)[numbers].double().numpy()
    for row, (x, y) in enumerate([(8.0, 22.0), (20.3, 11.9)]):
        rows, columns = np.mgrid[-1:2, -1:2]
        at = [(y - 3) / 4 + rows - 0.5, (x - 7) / 4 + columns - 0.5]
        sampled = [map_coordinates(m, at, order=1, mode="grid-constant") for m in maps]
        around = np.stack(sampled, axis=-1).reshape(-1)
        expected = around @ close_up.weight[row].detach().double().numpy()
        np.testing.assert_allclose(seen[row].detach(), expected, rtol=1e-4, atol=1e-5)


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
