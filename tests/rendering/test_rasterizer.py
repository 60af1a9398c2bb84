from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from i2fet.rendering.rasterizer import Fragments, interpolate, rasterize

SQUARE = torch.tensor([[[2.0, 2.0, 0.0], [14.0, 2.0, 0.0], [14.0, 14.0, 0.0], [2.0, 14.0, 0.0]]])
SQUARE_FACES = torch.tensor([[0, 2, 1], [0, 3, 2]])


def random_mesh(
    seed: int, vertices: int = 30, faces: int = 40, size: int = 40
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(1, vertices, 3, generator=generator) * (size * 1.4) - size * 0.2
    indices = [torch.randperm(vertices, generator=generator)[:3] for _ in range(faces)]
    return pixels, torch.stack(indices).sort(dim=1).values.unique(dim=0)


def brute_force(pixels: Tensor, faces: Tensor, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Barycentric weights of every face at every pixel, by solving for them in float64."""
    corners = pixels[0][faces].double().numpy()
    matrices = np.concatenate([corners[..., :2], np.ones((len(faces), 3, 1))], -1).swapaxes(1, 2)
    y, x = np.mgrid[:height, :width] + 0.5
    points = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    weights = np.einsum("fij,pj->pfi", np.linalg.inv(matrices), points)
    depth = np.where(weights.min(-1) >= 0, (weights * corners[..., 2]).sum(-1), -np.inf)
    nearest = depth.argmax(1)
    covered = np.isfinite(depth.max(1))
    # The kernel snaps corners to a fine grid: leave out pixels within a thousandth of an edge.
    doubtful = (np.abs(weights).min(-1) < 1e-3).any(1)
    seen = weights[np.arange(len(points)), nearest]
    return np.where(covered, nearest, -1), seen, depth.max(1), ~doubtful


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_brute_force(seed: int) -> None:
    pixels, faces = random_mesh(seed)
    face, weights, depth, sure = brute_force(pixels, faces, 40, 48)
    fragments = rasterize(pixels, faces, 40, 48)
    assert sure.mean() > 0.5
    found = fragments.pix_to_face.flatten().numpy()
    np.testing.assert_array_equal(found[sure], face[sure])
    inside = sure & (face >= 0)
    found_weights = fragments.barycentrics.view(-1, 3).numpy()
    np.testing.assert_allclose(found_weights[inside], weights[inside], atol=5e-3)
    np.testing.assert_allclose(fragments.depth.flatten().numpy()[sure], depth[sure], atol=0.05)


def test_background() -> None:
    fragments = rasterize(SQUARE, SQUARE_FACES, 16, 20)
    outside = ~fragments.mask[0]
    assert outside.sum() == 16 * 20 - 12 * 12
    assert (fragments.pix_to_face[0][outside] == -1).all()
    assert (fragments.barycentrics[0][outside] == 0).all()
    assert (fragments.depth[0][outside] == -torch.inf).all()


def test_covers_exactly_the_pixels_whose_centres_are_inside() -> None:
    square = SQUARE.clone()
    square[..., :2] += 0.49
    mask = rasterize(square, SQUARE_FACES, 16, 16).mask[0]
    assert mask[2:14, 2:14].all()
    assert mask.sum() == 144


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.1, 2.0])
@pytest.mark.parametrize("scale", [0.7, 3.3])
def test_a_fine_grid_has_no_holes(angle: float, scale: float) -> None:
    steps = torch.arange(33.0) - 16
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([x, y, torch.zeros_like(x)], -1).view(1, -1, 3) * scale
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float32)
    pixels = grid @ turn.T + 32 + torch.tensor([0.123, 0.456, 0])
    index = torch.arange(33 * 33).view(33, 33)
    a, b, c, d = (
        i.flatten() for i in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])
    )
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)])
    outline = pixels[:, [0, 32, 33 * 32, 33 * 33 - 1]]
    whole = torch.tensor([[0, 1, 2], [1, 3, 2]])
    assert torch.equal(
        rasterize(pixels, faces, 64, 64).mask, rasterize(outline, whole, 64, 64).mask
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_face_is_seen_in_any_order(order: tuple[int, int]) -> None:
    far, near = SQUARE - torch.tensor([0, 0, 5.0]), SQUARE + torch.tensor([0, 0, 5.0])
    stacks = [far, near]
    pixels = torch.cat([stacks[i] for i in order], dim=1)
    faces = torch.cat([SQUARE_FACES, SQUARE_FACES + 4])
    fragments = rasterize(pixels, faces, 16, 16)
    depth = fragments.depth[fragments.mask]
    torch.testing.assert_close(depth, torch.full_like(depth, 5.0))
    assert (fragments.pix_to_face[fragments.mask] // 2 == order.index(1)).all()


def test_ties_go_to_the_lower_face() -> None:
    faces = SQUARE_FACES.repeat(3, 1)
    fragments = rasterize(SQUARE, faces, 16, 16)
    assert set(fragments.pix_to_face[fragments.mask].tolist()) == {0, 1}


def test_culling_leaves_out_faces_turned_away() -> None:
    # Counter-clockwise with y up is clockwise in pixel coordinates: 0 -> 3 -> 2 faces the viewer.
    assert rasterize(SQUARE, SQUARE_FACES[1:], 16, 16, cull_backfaces=True).mask.any()
    assert not rasterize(SQUARE, SQUARE_FACES[1:].flip(1), 16, 16, cull_backfaces=True).mask.any()
    assert rasterize(SQUARE, SQUARE_FACES[1:].flip(1), 16, 16).mask.any()


@pytest.mark.parametrize(
    "corner", [[torch.nan, 5, 0], [5, 5, torch.nan], [torch.inf, 5, 0], [1e30, 5, 0], [5, 5, 1e39]]
)
def test_undrawable_corners_harm_no_other_face(corner: list[float]) -> None:
    pixels = torch.cat([SQUARE, torch.tensor([[corner]])], dim=1)
    faces = torch.cat([torch.tensor([[0, 1, 4]]), SQUARE_FACES])
    fragments = rasterize(pixels, faces, 16, 16)
    assert torch.equal(fragments.mask, rasterize(SQUARE, SQUARE_FACES, 16, 16).mask)
    assert (fragments.pix_to_face[fragments.mask] > 0).all()


def test_degenerate_and_off_screen_faces_are_not_seen() -> None:
    line = torch.tensor([[[1.5, 1.5, 0], [8.5, 8.5, 0], [4.5, 4.5, 0], [-9.0, 3, 0]]])
    assert not rasterize(line, torch.tensor([[0, 1, 2], [0, 0, 1], [3, 3, 3]]), 16, 16).mask.any()
    for shift in ([-100, 0, 0], [100, 0, 0], [0, -100, 0], [0, 100, 0]):
        moved = SQUARE + torch.tensor(shift)
        assert not rasterize(moved, SQUARE_FACES, 16, 16).mask.any()


def test_large_faces_reach_across_the_picture() -> None:
    pixels = SQUARE * torch.tensor([2000.0, 2000.0, 1]) - torch.tensor([15000.0, 15000.0, 0])
    assert rasterize(pixels, SQUARE_FACES, 16, 16).mask.all()


def test_batch_equals_single_images_whatever_the_threads() -> None:
    pixels, faces = random_mesh(0)
    batch = torch.cat([pixels + shift for shift in range(5)])
    threads = torch.get_num_threads()
    singles = [rasterize(image[None], faces, 40, 40) for image in batch]
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            together = rasterize(batch, faces, 40, 40)
            for key, value in vars(together).items():
                assert torch.equal(value, torch.cat([getattr(single, key) for single in singles]))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("images", "faces"), [(0, 2), (1, 0), (0, 0), (3, 0)])
def test_nothing_to_draw(images: int, faces: int) -> None:
    fragments = rasterize(SQUARE.repeat(images, 1, 1), SQUARE_FACES[:faces], 8, 8)
    assert fragments.pix_to_face.shape == (images, 8, 8)
    assert not fragments.mask.any()


@pytest.mark.parametrize(
    ("pixels", "faces", "message"),
    [
        (SQUARE[0], SQUARE_FACES, "vertices have shape"),
        (SQUARE[..., :2], SQUARE_FACES, "vertices have shape"),
        (SQUARE, SQUARE_FACES.flatten(), "faces have shape"),
        (SQUARE, SQUARE_FACES + 2, "outside the mesh's 4 vertices"),
        (SQUARE, SQUARE_FACES - 1, "outside the mesh's 4 vertices"),
    ],
)
def test_wrong_input(pixels: Tensor, faces: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterize(pixels, faces, 16, 16)


class TestInterpolate:
    def test_linear_attributes_are_reproduced(self) -> None:
        pixels, faces = random_mesh(3)
        fragments = rasterize(pixels, faces, 40, 40)
        y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
        seen = interpolate(pixels, faces, fragments)[fragments.mask]
        expected = torch.stack([x, y], -1)[None][fragments.mask]
        torch.testing.assert_close(seen[:, :2], expected, atol=0.02, rtol=0)
        torch.testing.assert_close(seen[:, 2], fragments.depth[fragments.mask], atol=1e-3, rtol=0)

    def test_background_is_zero(self) -> None:
        fragments = rasterize(SQUARE, SQUARE_FACES, 16, 16)
        values = interpolate(torch.ones(4, 2), SQUARE_FACES, fragments)
        torch.testing.assert_close(values[..., 0], fragments.mask.float())
        assert (values[~fragments.mask] == 0).all()

    def test_shared_and_per_image_attributes(self) -> None:
        batch = torch.cat([SQUARE, SQUARE + 1])
        fragments = rasterize(batch, SQUARE_FACES, 16, 16)
        attributes = torch.rand(4, 5)
        shared = interpolate(attributes, SQUARE_FACES, fragments)
        stacked = torch.stack([attributes, 2 * attributes])
        per_image = interpolate(stacked, SQUARE_FACES, fragments)
        torch.testing.assert_close(per_image[0], shared[0])
        torch.testing.assert_close(per_image[1], 2 * shared[1])

    def test_gradient(self) -> None:
        fragments = rasterize(SQUARE, SQUARE_FACES, 16, 16)
        attributes = torch.rand(4, 1, requires_grad=True)
        interpolate(attributes, SQUARE_FACES, fragments).sum().backward()
        assert attributes.grad is not None
        torch.testing.assert_close(attributes.grad.sum(), torch.tensor(144.0))


@pytest.mark.slow
def test_prints_nothing() -> None:
    code = (
        "import torch; from i2fet.rendering.rasterizer import rasterize;"
        "rasterize(torch.rand(1, 3, 3) * 9, torch.tensor([[0, 1, 2]]), 9, 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu() -> None:
    pixels, faces = random_mesh(1)
    here: Fragments = rasterize(pixels, faces, 40, 40)
    there = rasterize(pixels.cuda(), faces.cuda(), 40, 40)
    assert torch.equal(here.pix_to_face, there.pix_to_face.cpu())
    torch.testing.assert_close(here.barycentrics, there.barycentrics.cpu())
