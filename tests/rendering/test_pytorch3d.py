from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.rendering.rasterizer import rasterize

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def pixels(head):
    faces = FaceCoefficients.zeros(2)
    faces.camera[:] = torch.tensor([[4.0, 0.0, 0.0], [6.0, 0.02, -0.03]])
    faces.pose[:, 1] = torch.tensor([0.0, 0.5])
    pixels = project(head.vertices(faces), faces.camera, HEIGHT, WIDTH)
    pixels[1, int(head.faces[100, 0])] = torch.nan
    return pixels


@pytest.mark.parametrize("cull_backfaces", [False, True])
def test_both_backends_see_the_same(pixels, head, cull_backfaces):
    pytest.importorskip("pytorch3d")
    ours, theirs = (
        rasterize(pixels, head.faces, HEIGHT, WIDTH, cull_backfaces, backend)
        for backend in ("warp", "pytorch3d")
    )
    same = ours.pix_to_face == theirs.pix_to_face
    assert same.float().mean() > 0.998
    both = same & ours.mask
    assert both.sum() > 2000
    torch.testing.assert_close(
        ours.barycentrics[both], theirs.barycentrics[both], rtol=0, atol=5e-3
    )
    torch.testing.assert_close(ours.depth[both], theirs.depth[both], rtol=0, atol=0.05)
    nowhere = ~theirs.mask
    assert (theirs.barycentrics[nowhere] == 0).all()
    assert (theirs.depth[nowhere] == -torch.inf).all()


@pytest.mark.skipif(find_spec("pytorch3d") is not None, reason="PyTorch3D is installed")
def test_without_pytorch3d_it_cannot_be_asked_for(pixels, head):
    with pytest.raises(OptionError, match="PyTorch3D is not installed"):
        rasterize(pixels, head.faces, HEIGHT, WIDTH, backend="pytorch3d")
