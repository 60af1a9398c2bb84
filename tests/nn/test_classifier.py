from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model

from i2fet.nn.classifier import Backbone, ExpressionClassifier


def pictures(count: int, size: int) -> Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8)


def test_it_is_torchvisions_resnet() -> None:
    classifier = ExpressionClassifier(8, "resnet18").eval()
    resnet = get_model("resnet18", weights=None, num_classes=8).eval()
    features = [value for key, value in resnet.state_dict().items() if not key.startswith("fc")]
    own = list(classifier.features.state_dict().values())
    for mine, value in zip(own, features, strict=True):
        mine.copy_(value)
    with torch.no_grad():
        resnet.fc.weight.copy_(classifier.classify.weight[..., 0, 0])
        resnet.fc.bias.copy_(classifier.bias[:, 0, 0])
        images = pictures(2, 64)
        expected = resnet(images / 255 * 2 - 1)
        torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("small_images", "side"), [(False, 2), (True, 4)])
def test_small_images_keep_larger_maps(small_images: bool, side: int) -> None:
    classifier = ExpressionClassifier(5, "resnet18", small_images=small_images).eval()
    with torch.no_grad():
        maps = classifier.activation_maps(pictures(1, 64))
    assert maps.shape == (1, 5, side, side)


def test_logits_are_the_maps_means() -> None:
    classifier = ExpressionClassifier(5, "resnet18").eval()
    images = pictures(2, 96)
    with torch.no_grad():
        maps = classifier.activation_maps(images)
        torch.testing.assert_close(classifier(images), maps.mean(dim=(2, 3)))


def test_histograms_have_a_single_map_place() -> None:
    classifier = ExpressionClassifier(5, "histograms", image_size=64).eval()
    with torch.no_grad():
        assert classifier.activation_maps(pictures(3, 64)).shape == (3, 5, 1, 1)


@pytest.mark.parametrize("backbone", get_args(Backbone))
def test_every_backbone_has_a_logit_for_each_class(backbone: Backbone) -> None:
    classifier = ExpressionClassifier(8, backbone, image_size=32).eval()
    with torch.no_grad():
        assert classifier(pictures(1, 32)).shape == (1, 8)


def test_each_class_starts_as_unlikely_as_one_of_all() -> None:
    classifier = ExpressionClassifier(8, "resnet18").eval()
    assert torch.sigmoid(classifier.bias).flatten().tolist() == pytest.approx([1 / 8] * 8)


@pytest.mark.parametrize("backbone", ["histograms", "resnet18"])
def test_it_fits_a_batch(backbone: Backbone) -> None:
    classifier = ExpressionClassifier(2, backbone, image_size=32)
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    images[4:, :, :16] = 255
    labels = torch.arange(8) // 4
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3)
    for _ in range(6):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(images), labels).backward()
        optimizer.step()
    assert classifier(images).argmax(dim=1).tolist() == labels.tolist()
