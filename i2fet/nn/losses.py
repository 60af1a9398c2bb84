"""Losses of the conditional VAE (eq. 11 to 15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.coefficients import SHAPE_SIZE
from i2fet.heads.base import JAW, HeadModel
from i2fet.heads.skinning import rotation_matrices
from i2fet.nn.i2fet import Posterior
from i2fet.precision import full_precision

Reduction = Literal["sum", "mean"]

RANK_TOLERANCE = 1e-5
"""Directions of the vertex fields below this part of the largest are left out."""


def reconstruction_error(target: Tensor, output: Tensor, reduction: Reduction) -> Tensor:
    """Squared error of (B, 2, K) coefficients, as a scalar.

    "sum" adds over rows and coefficients and averages over the batch, which with a KL factor of
    0.5 is the evidence bound of a decoder with variance 1/2; "mean" is the plain MSE.
    """
    error = F.mse_loss(output, target, reduction=reduction)
    return error / len(target) if reduction == "sum" else error


def kl_divergence(posterior: Posterior, free_bits: float = 0.0) -> Tensor:
    """KL to the standard normal in nats, summed over rows and latents, mean over the batch.

    Args:
        posterior: Of the latents.
        free_bits: Nats that each latent may have for nothing, on average over the batch.
    """
    mean, log_variance = posterior
    terms = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
    return terms.mean(dim=0).clamp(min=free_bits).sum()


def gradient_shares(
    terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]
) -> dict[str, Tensor]:
    """Norm of each term's gradient over all parameters, divided by the sum of these norms."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, wanted, retain_graph=True, allow_unused=True)
        flat = [g.flatten() for g in gradients if g is not None]
        norms[name] = torch.linalg.vector_norm(torch.cat(flat))
    total = torch.stack(list(norms.values())).sum()
    return {name: norm / total for name, norm in norms.items()}


class VertexLoss(nn.Module):
    """Mean squared distance between posed heads (eq. 14), without building their vertices.

    A posed vertex is R_g [r + w (R_j - I)(x - j)] with x the rest vertex, w its jaw weight, j the
    jaw joint and r = x minus the root; r and w (x - j) are fields over the mesh, linear in
    (1, shape, expression). Squared norms over the mesh survive an orthogonal change of basis, so
    the fields are kept as coordinates in the few hundred directions they span, and these are
    posed as if they were vertices.

    Args:
        head: Its rest shape, jaw and correctives.
        scale: Metres to count as one; the training set's `vertex_spread` makes the loss of a
            constant prediction 1.
    """

    fixed_basis: Tensor
    expression_basis: Tensor

    def __init__(self, head: HeadModel, scale: float = 1.0) -> None:
        super().__init__()
        self.head = head
        self.normalization = 1 / (3 * head.num_vertices * scale**2)
        basis = compress_fields(vertex_fields(head)).flatten(1)
        fixed, moving = basis.split([1 + SHAPE_SIZE, len(basis) - 1 - SHAPE_SIZE])
        self.register_buffer("fixed_basis", fixed.contiguous(), persistent=False)
        self.register_buffer("expression_basis", moving.contiguous(), persistent=False)

    def forward(
        self,
        shape: Tensor,
        target: tuple[Tensor, Tensor],
        output: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Compare two heads of the same identity.

        Args:
            shape: (B, 100).
            target: Expression (B, m, 50) and pose (B, m, 6), head units.
            output: As target.

        Returns:
            Scalar, the mean over coordinates, expressions and batch in units of scale squared.
        """
        with full_precision(shape):
            identity = torch.addmm(self.fixed_basis[0], shape, self.fixed_basis[1:])
            difference = self._pose(identity, *target) - self._pose(identity, *output)
        return difference.square().sum() * self.normalization / target[0].shape[:2].numel()

    def _pose(self, identity: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        weights = self.head.moving_weights(expression, pose)
        fields = (identity[:, None] + weights @ self.expression_basis).unflatten(-1, (6, -1))
        turn_head, turn_jaw = rotation_matrices(pose.unflatten(-1, (2, 3))).unbind(-3)
        opened = turn_head @ turn_jaw - turn_head
        return torch.cat([turn_head, opened], dim=-1) @ fields


def vertex_fields(head: HeadModel) -> Tensor:
    """(101 + M, 6, V) fields r and w (x - j) of the template, shape and moving components."""
    basis = torch.cat([head.template[None], head.shape_basis, head.moving_basis]).double()
    joints = torch.cat([head.joints[None], head.joint_shape_basis]).double()
    if head.joint_expression_basis is not None:
        joints = torch.cat([joints, head.joint_expression_basis])
    still = joints.new_zeros(len(basis) - len(joints), *joints.shape[1:])
    joints = torch.cat([joints, still])
    relative = basis - joints[:, None, 0]
    swinging = head.skinning_weights[:, JAW, None] * (basis - joints[:, None, JAW])
    return torch.cat([relative, swinging], dim=-1).mT


def compress_fields(fields: Tensor) -> Tensor:
    """Coordinates of fields over V vertices in the few orthonormal directions they span.

    Args:
        fields: (K, C, V) float64.

    Returns:
        (K, C, R) float32, of which every linear combination has the norm it has over the mesh.
    """
    matrix = fields.flatten(0, 1)
    energy, directions = torch.linalg.eigh(matrix @ matrix.mT)
    kept = energy > energy[-1] * RANK_TOLERANCE**2
    coordinates = directions[:, kept] * energy[kept].sqrt()
    return coordinates.unflatten(0, fields.shape[:2]).float()


@torch.no_grad()
def vertex_spread(head: HeadModel, shape: Tensor, expression: Tensor, pose: Tensor) -> float:
    """Root mean square distance of faces from their owners' average face.

    Args:
        head: The head of the coefficients.
        shape: (n, 100) of a training set.
        expression: (n, 50).
        pose: (n, 6).

    Returns:
        Metres per coordinate between each head and the same identity at the mean expression and
        pose: the root of `VertexLoss` for a constant prediction.
    """
    loss = VertexLoss(head)
    target = expression[:, None], pose[:, None]
    mean = tuple(value.mean(dim=0, keepdim=True).expand_as(value) for value in target)
    parts = zip(*(value.split(1024) for value in (shape, *target, *mean)), strict=True)
    total = sum(
        float(loss(s, (e, p), (mean_e, mean_p))) * len(s) for s, e, p, mean_e, mean_p in parts
    )
    return (total / len(shape)) ** 0.5
