"""Losses of the conditional VAE (eq. 11 to 15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2fet.heads.base import HeadModel
from i2fet.heads.mesh_space import MeshSpace
from i2fet.nn.i2fet import Posterior
from i2fet.precision import full_precision

Reduction = Literal["sum", "mean"]


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

    Args:
        head: Its rest shape, jaw and correctives.
        scale: Metres to count as one; the training set's `vertex_spread` makes the loss of a
            constant prediction 1.
    """

    def __init__(self, head: HeadModel, scale: float = 1.0) -> None:
        super().__init__()
        self.space = MeshSpace(head)
        self.normalization = 1 / (3 * head.num_vertices * scale**2)

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
            identity = self.space.identity(shape)[:, None]
            difference = self.space(identity, *target) - self.space(identity, *output)
        return difference.square().sum() * self.normalization / target[0].shape[:2].numel()


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
