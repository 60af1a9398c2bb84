from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from i2fet.checkpoint import Provenance
from i2fet.coefficients import FaceCoefficients
from i2fet.nn.ned import FINE, Ned, NeutralGenerator

PROVENANCE = {
    "head": "arkit",
    "expression_range": (0.0, 1.0),
    "emotions": ("anger", "neutral"),
    "encoder": "true",
    "text": "none",
    "text_width": 0,
    "synthetic": True,
    "description": "fakes",
    "population": "fakes",
}


@pytest.fixture
def generator() -> NeutralGenerator:
    provenance = asdict(Provenance.from_values(PROVENANCE))
    hparams: dict[str, Any] = {"hidden": 8, "latent": 4, "dropout": 0.0, "provenance": provenance}
    generator = NeutralGenerator(hparams)
    generator.mean_expression.fill_(0.05)
    generator.scaler.expression_std.fill_(0.3)
    return generator.eval()


def test_there_are_four_layers_in_and_four_for_each_decoder() -> None:
    ned = Ned(hidden=8, latent=4)
    for part, ends in ((ned.encoder, (56, 4)), (ned.expression, (4, 50)), (ned.pose, (4, 6))):
        layers = [layer for layer in part if isinstance(layer, nn.Linear)]
        assert len(layers) == 4
        assert (layers[0].in_features, layers[-1].out_features) == ends


def test_the_network_corrects_the_mean_neutral_face(generator: NeutralGenerator) -> None:
    for decoder in (generator.model.expression, generator.model.pose):
        nn.init.zeros_(decoder[-1].weight)
        nn.init.constant_(decoder[-1].bias, 0.5)
    expression, pose = generator(torch.rand(3, 50), torch.randn(3, 6))
    torch.testing.assert_close(expression, torch.full((3, 50), 0.05 + 0.5 * FINE * 0.3))
    torch.testing.assert_close(pose, torch.full((3, 6), 0.5 * FINE))


def test_expressions_stay_in_the_heads_range(generator: NeutralGenerator) -> None:
    nn.init.constant_(generator.model.expression[-1].bias, -1000)
    assert generator(torch.rand(3, 50), torch.randn(3, 6))[0].eq(0).all()


def test_relaxed_faces_keep_their_identity_and_view(generator: NeutralGenerator) -> None:
    faces = FaceCoefficients(
        torch.randn(3, 100), torch.rand(3, 50), torch.randn(3, 6), torch.rand(3, 3)
    )
    relaxed = generator.relax(faces)
    assert torch.equal(relaxed.shape, faces.shape)
    assert torch.equal(relaxed.camera, faces.camera)
    expression, pose = generator(faces.expression, faces.pose)
    torch.testing.assert_close((relaxed.expression, relaxed.pose), (expression, pose))
