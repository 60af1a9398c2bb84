from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD

from experiments.ship_encoder import LARGEST, compress
from i2fet.nn.face_network import FaceNetwork
from i2fet.perception.descriptor import descriptor_size
from i2fet.perception.network import build_face_network

WIDTH = 40
CONFIG = {
    "first": {"units": 3, "widths": [WIDTH], "features": 16, "hidden": 24},
    "second": {"units": 3, "width": WIDTH, "features": 16, "hidden": 24},
}


@pytest.fixture
def network() -> FaceNetwork:
    torch.manual_seed(0)
    return build_face_network(**CONFIG).eval()


@pytest.fixture
def descriptors() -> torch.Tensor:
    return torch.randint(256, (70, descriptor_size()), dtype=torch.uint8)


def layer_outputs(network: FaceNetwork, descriptors: torch.Tensor) -> list[np.ndarray]:
    seen: list[np.ndarray] = []
    for name in LARGEST:
        layer = network.get_submodule(name)
        layer.register_forward_hook(lambda _, __, output: seen.append(output.numpy()))
    with torch.no_grad():
        network.features(descriptors)
    return seen


def test_the_product_keeps_the_outputs_principal_directions(
    network: FaceNetwork, descriptors: torch.Tensor
) -> None:
    smaller, config = compress(network, CONFIG, descriptors, 8)
    assert [options["rank"] for options in config.values()] == [8, 8]
    # The second layer's inputs follow landmarks that the first one locates.
    full, low = (layer_outputs(each, descriptors)[0] for each in (network, smaller))
    svd = TruncatedSVD(8, algorithm="arpack").fit(full)
    np.testing.assert_allclose(low, svd.inverse_transform(svd.transform(full)), atol=1e-2)
    assert np.abs(low - full).max() > 1


def test_products_of_full_rank_change_nothing(
    network: FaceNetwork, descriptors: torch.Tensor
) -> None:
    smaller, config = compress(network, CONFIG, descriptors, 1000)
    assert [options["rank"] for options in config.values()] == [WIDTH, WIDTH]
    with torch.no_grad():
        expected, seen = network(descriptors), smaller(descriptors)
    torch.testing.assert_close(seen.sigma, expected.sigma)
    for one, other in zip(
        vars(seen.coefficients).values(), vars(expected.coefficients).values(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
