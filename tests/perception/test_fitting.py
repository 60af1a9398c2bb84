from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.optimize import lsq_linear

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import AssetError
from i2fet.heads import ArkitHead
from i2fet.heads.arkit import load_arkit_head
from i2fet.perception.encoder import to_picture_frame
from i2fet.perception.fitting import (
    LINEAR_SIZE,
    SHAPE_SIZE,
    Belief,
    FitSettings,
    LandmarkFitter,
    align,
    fitted_points,
    load_bias,
    residual_percent,
)

SIZE = 512
SURE = FitSettings(noise=5e-4, depth_weight=1.0, mirror_ridge=0.0, steps=10)


@pytest.fixture(scope="module")
def head() -> ArkitHead:
    return load_arkit_head()


@pytest.fixture(scope="module")
def faces(head: ArkitHead) -> FaceCoefficients:
    generator = torch.Generator().manual_seed(0)
    faces = FaceCoefficients.zeros(6)
    faces.shape[:] = 0.7 * torch.randn(6, 100, generator=generator)
    active = torch.rand(6, 50, generator=generator) < 0.15
    faces.expression[:] = active * torch.rand(6, 50, generator=generator)
    faces.pose[:, :3] = 0.3 * torch.randn(6, 3, generator=generator)
    faces.pose[:, 3] = head.jaw_open_angle * torch.linspace(0, 0.9, 6)
    faces.camera[:] = torch.tensor([6.0, 0.02, -0.1])
    return faces


def see(head: ArkitHead, faces: FaceCoefficients) -> torch.Tensor:
    pixels = project(fitted_points(head, head.vertices(faces)), faces.camera, SIZE, SIZE)
    return to_picture_frame(pixels, torch.full((len(faces), 2), SIZE))


def test_true_landmarks_give_the_truth_back(head: ArkitHead, faces: FaceCoefficients) -> None:
    fitted, points = LandmarkFitter(head, SURE)(see(head, faces))
    assert residual_percent(see(head, faces), points).max() < 0.3
    torch.testing.assert_close(fitted.pose[:, :4], faces.pose[:, :4], atol=0.03, rtol=0)
    pair = torch.stack([fitted.expression.flatten(), faces.expression.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.95


def test_coefficients_project_onto_the_fitted_points(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    fitted, points = LandmarkFitter(head)(see(head, faces))
    torch.testing.assert_close(see(head, fitted)[..., :2], points[..., :2], atol=1e-5, rtol=0)


def test_bounds_hold_for_landmarks_of_no_face(head: ArkitHead) -> None:
    noise = torch.randn(3, 470, 3, generator=torch.Generator().manual_seed(1))
    fitted, _ = LandmarkFitter(head, FitSettings(noise=1e-4))(noise)
    assert fitted.shape.abs().max() <= 3
    assert 0 <= fitted.expression.min() <= fitted.expression.max() <= 1
    assert 0 <= fitted.jaw[:, 0].min() <= fitted.jaw[:, 0].max() <= 1.2 * head.jaw_open_angle


def test_a_batch_is_fitted_like_single_faces(head: ArkitHead, faces: FaceCoefficients) -> None:
    fitter, targets = LandmarkFitter(head), see(head, faces)
    together, _ = fitter(targets)
    for row in range(2):
        alone, _ = fitter(targets[row : row + 1])
        torch.testing.assert_close(alone.expression[0], together.expression[row], atol=2e-3, rtol=0)


def test_the_linear_part_matches_scipy(head: ArkitHead, faces: FaceCoefficients) -> None:
    """At the estimate's pose and jaw the coefficients solve a bounded linear problem."""
    settings = FitSettings(mirror_ridge=0.0, steps=12)
    fitter = LandmarkFitter(head, settings)
    targets = see(head, faces)[4:5]
    estimate = fitter.estimate(targets)
    still = replace(estimate, linear=torch.zeros_like(estimate.linear))
    at_zero = fitter.fitted(still)
    units = torch.eye(LINEAR_SIZE)[:, None]
    columns = torch.stack([fitter.fitted(replace(still, linear=u)) - at_zero for u in units], -1)
    weights = (fitter.weights[:, None] * fitter.axis_weights).sqrt() / estimate.scale
    ridges = fitter.prior.diagonal()[:LINEAR_SIZE].sqrt()
    rows = [(weights[..., None] * columns[0]).reshape(-1, LINEAR_SIZE), torch.diag(ridges)]
    right = [(weights * (targets - at_zero)[0]).flatten(), torch.zeros(LINEAR_SIZE)]
    bounds = fitter.low[:LINEAR_SIZE].numpy(), fitter.high[:LINEAR_SIZE].numpy()
    a, b = torch.cat(rows).double().numpy(), torch.cat(right).double().numpy()
    reference = lsq_linear(a, b, bounds, tol=1e-12).x
    np.testing.assert_allclose(estimate.linear[0], reference, atol=5e-3)


def believe(faces: FaceCoefficients, shape: float, rest: float) -> Belief:
    precision = torch.full((len(faces), 156), rest)
    precision[:, :SHAPE_SIZE] = shape
    return Belief(faces, precision)


def test_coefficients_become_the_estimate_they_came_from(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    fitter = LandmarkFitter(head)
    seen = fitter.fitted(fitter.as_estimate(faces))
    torch.testing.assert_close(seen[..., :2], see(head, faces)[..., :2], atol=1e-4, rtol=0)
    again = fitter._coefficients(fitter.as_estimate(faces))
    for name, values in vars(faces).items():
        torch.testing.assert_close(getattr(again, name), values, atol=1e-4, rtol=1e-4)


def test_what_is_believed_firmly_is_kept_while_the_rest_is_fitted(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    """The belief knows expression and pose, the landmarks tell identity and camera."""
    guess = replace(faces, shape=torch.zeros_like(faces.shape), camera=1.2 * faces.camera)
    fitted, points = LandmarkFitter(head, SURE)(see(head, faces), believe(guess, 0.6, 1e9))
    torch.testing.assert_close(fitted.expression, faces.expression, atol=1e-3, rtol=0)
    torch.testing.assert_close(fitted.pose, faces.pose, atol=1e-3, rtol=0)
    assert residual_percent(see(head, faces), points).max() < 0.3
    torch.testing.assert_close(fitted.camera[:, 0], faces.camera[:, 0], atol=0.4, rtol=0)
    pair = torch.stack([fitted.shape[:, :8].flatten(), faces.shape[:, :8].flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_a_wrong_belief_yields_to_landmarks_as_its_precision_allows(
    head: ArkitHead, faces: FaceCoefficients
) -> None:
    wrong = replace(faces, expression=1 - faces.expression)
    fitter, targets = LandmarkFitter(head, SURE), see(head, faces)
    away = [
        (fitter(targets, believe(wrong, 0.6, precision))[0].expression - wrong.expression).abs()
        for precision in (0.1, 1e3, 1e9)
    ]
    assert away[0].mean() > 2 * away[1].mean() > 4 * away[2].mean()


def test_mouth_close_does_nothing_on_a_closed_jaw(head: ArkitHead) -> None:
    column = SHAPE_SIZE + head.expression_names.index("mouthClose")
    fitter = LandmarkFitter(head)
    targets = see(head, FaceCoefficients.zeros(1))
    estimate = fitter.estimate(targets)
    closed = replace(estimate, jaw=torch.zeros(1, 3))
    pressed = replace(closed, linear=closed.linear + torch.eye(LINEAR_SIZE)[column])
    torch.testing.assert_close(fitter.fitted(pressed), fitter.fitted(closed))


def test_align_recovers_a_similarity() -> None:
    generator = torch.Generator().manual_seed(2)
    points = torch.randn(2, 20, 3, generator=generator)
    turn = torch.linalg.qr(torch.randn(2, 3, 3, generator=generator)).Q
    turn = turn * torch.linalg.det(turn)[:, None, None]
    scale, shift = torch.tensor([0.5, 3.0]), torch.randn(2, 3, generator=generator)
    targets = scale[:, None, None] * points @ turn.mT + shift[:, None]
    for found, true in zip(
        align(points, targets, torch.ones(20)), (turn, scale, shift), strict=True
    ):
        torch.testing.assert_close(found, true, atol=1e-5, rtol=1e-5)


def test_a_missing_bias_is_named(head: ArkitHead, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="landmark_bias"):
        load_bias(head, tmp_path / "none.safetensors")


def test_a_broken_bias_is_refused(head: ArkitHead, tmp_path: Path) -> None:
    path = tmp_path / "bias.safetensors"
    path.write_bytes(b"broken")
    with pytest.raises(AssetError, match="broken"):
        load_bias(head, path)


def test_a_bias_for_other_landmarks_is_refused(head: ArkitHead, tmp_path: Path) -> None:
    path = tmp_path / "bias.safetensors"
    save_file({"bias": torch.zeros(470, 3)}, path, {"embedding": "another"})
    with pytest.raises(AssetError, match="other landmarks"):
        load_bias(head, path)
