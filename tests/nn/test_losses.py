from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from i2fet.heads import HeadData, HeadModel, load_head
from i2fet.nn.i2fet import Posterior
from i2fet.nn.losses import (
    VertexLoss,
    gradient_shares,
    kl_divergence,
    reconstruction_error,
    vertex_spread,
)

Faces = tuple[Tensor, Tensor, Tensor]


class CorrectiveHead(HeadModel):
    def effective_expression(self, expression: Tensor, pose: Tensor) -> Tensor:
        opening = pose[..., 3:4].clamp(0, 1)
        return torch.cat([expression[..., :1] * opening, expression[..., 1:]], dim=-1)


def random_head(vertices: int = 200, seed: int = 0) -> HeadModel:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    corners = torch.randint(vertices, (40, 3), generator=generator)
    data = HeadData(
        template=rand(vertices, 3) * 0.1,
        shape_basis=rand(100, vertices, 3) * 2e-3,
        expression_basis=rand(50, vertices, 3) * 4e-3,
        joints=rand(5, 3) * 0.05,
        joint_shape_basis=rand(100, 5, 3) * 1e-3,
        skinning_weights=rand(vertices, 5).softmax(dim=1),
        faces=corners,
        uv=torch.rand(50, 2, generator=generator),
        faces_uv=corners % 50,
        landmark_faces=torch.arange(10),
        landmark_barycentrics=torch.full((10, 3), 1 / 3),
    )
    names = tuple(f"expression{index}" for index in range(50))
    return CorrectiveHead("random", data, names, (0.0, 1.0))


def random_faces(batch: int, seed: int) -> Faces:
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(batch, 100, generator=generator)
    expression = torch.rand(batch, 2, 50, generator=generator) * 0.5
    pose = torch.randn(batch, 2, 6, generator=generator) * 0.2
    return shape, expression, pose


def brute_force(head: HeadModel, shape: Tensor, *faces: tuple[Tensor, Tensor]) -> Tensor:
    identity = shape[:, None].expand(-1, 2, -1).flatten(0, 1)
    first, second = (head(identity, *(part.flatten(0, 1) for part in face)) for face in faces)
    return nn.functional.mse_loss(first, second)


@pytest.mark.parametrize("error", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("head", [random_head(), load_head("arkit")], ids=["random", "arkit"])
def test_vertex_loss_and_gradient_equal_those_of_the_vertices(
    head: HeadModel, error: float
) -> None:
    shape, expression, pose = random_faces(5, seed=1)
    _, other, turned = random_faces(5, seed=2)
    output = (
        expression.lerp(other, error).requires_grad_(),
        pose.lerp(turned, error).requires_grad_(),
    )
    loss = VertexLoss(head)(shape, (expression, pose), output)
    exact = brute_force(
        head.double(), shape.double(), (expression.double(), pose.double()),
        (output[0].double(), output[1].double()),
    )  # fmt: skip
    head.float()
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=0)
    for ours, theirs in zip(
        torch.autograd.grad(loss, output), torch.autograd.grad(exact, output), strict=True
    ):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_vertex_loss_is_zero_for_equal_faces_and_counts_in_units_of_scale() -> None:
    head = random_head()
    shape, expression, pose = random_faces(3, seed=1)
    _, *other = random_faces(3, seed=2)
    target, output = (expression, pose), (other[0], other[1])
    metres, millimetres = VertexLoss(head), VertexLoss(head, scale=1e-3)
    assert metres(shape, target, target) == 0
    torch.testing.assert_close(
        millimetres(shape, target, output), metres(shape, target, output) * 1e6
    )


def test_vertex_loss_is_the_same_in_mixed_precision() -> None:
    loss = VertexLoss(random_head())
    shape, expression, pose = random_faces(3, seed=1)
    _, *other = random_faces(3, seed=2)
    compared = shape, (expression, pose), (other[0], other[1])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(*compared)
    assert torch.equal(mixed, loss(*compared))


def test_vertex_loss_leaves_nothing_in_checkpoints() -> None:
    assert not VertexLoss(random_head()).state_dict()


def test_vertex_spread_is_the_distance_from_the_mean_face() -> None:
    head = random_head()
    shape, expression, pose = (value.flatten(0, -2) for value in random_faces(700, seed=3))
    shape = shape.repeat(2, 1)
    spread = vertex_spread(head, shape, expression, pose)
    still = expression.mean(dim=0).expand_as(expression), pose.mean(dim=0).expand_as(pose)
    expected = (head(shape, expression, pose) - head(shape, *still)).square().mean().sqrt()
    assert spread == pytest.approx(float(expected), rel=1e-4)
    constant = tuple(value[:, None] for value in still)
    loss = VertexLoss(head, spread)(shape, (expression[:, None], pose[:, None]), constant)
    torch.testing.assert_close(loss, torch.tensor(1.0), rtol=1e-4, atol=0)


def test_kl_equals_torch_distributions() -> None:
    posterior = Posterior(torch.randn(8, 2, 16), torch.randn(8, 2, 16))
    ours = kl_divergence(posterior)
    normal = Normal(posterior.mean, (posterior.log_variance / 2).exp())
    expected = torch_kl(normal, Normal(0.0, 1.0)).sum(dim=(1, 2)).mean()
    torch.testing.assert_close(ours, expected)
    assert kl_divergence(Posterior(torch.zeros(2, 2, 3), torch.zeros(2, 2, 3))) == 0


def test_free_bits_charge_only_what_is_above_them() -> None:
    mean = torch.zeros(4, 2, 3)
    mean[:, 0, 0] = 2.0
    posterior = Posterior(mean, torch.zeros_like(mean))
    assert kl_divergence(posterior) == 2
    assert kl_divergence(posterior, free_bits=0.5) == pytest.approx(2 + 5 * 0.5)


def test_reconstruction_error_is_torchs_mse_per_element_or_per_pair() -> None:
    target, output = torch.randn(2, 8, 2, 50)
    mean = nn.functional.mse_loss(output, target)
    torch.testing.assert_close(reconstruction_error(target, output, "mean"), mean)
    per_pair = mean * prod(target.shape[1:])
    torch.testing.assert_close(reconstruction_error(target, output, "sum"), per_pair)


def test_gradient_shares() -> None:
    a, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor(3.0))
    terms = {"a": (a * torch.tensor([3.0, 4.0])).sum(), "both": 9 * a[0] + 12 * b}
    shares = gradient_shares(terms, [a, b])
    assert {name: float(share) for name, share in shares.items()} == pytest.approx(
        {"a": 5 / 20, "both": 15 / 20}
    )
    assert a.grad is None
