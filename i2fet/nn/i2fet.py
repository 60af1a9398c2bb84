"""Instruction to facial expression transition: the conditional VAE (eq. 5 to 10)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from i2fet.coefficients import EXPRESSION_SIZE, POSE_SIZE
from i2fet.nn.ifed import Ifed, TextCondition
from i2fet.nn.prior import FlowPrior, Prior


class Posterior(NamedTuple):
    """A diagonal normal distribution over latents.

    Attributes:
        mean: (B, 2, latent).
        log_variance: (B, 2, latent).
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Eq. 7's z~ for standard normal noise."""
        return torch.addcmul(self.mean, (0.5 * self.log_variance).exp(), noise)


class Reconstruction(NamedTuple):
    """What training compares and regularises.

    Attributes:
        expression: (B, 2, 50) standardised.
        pose: (B, 2, 6) standardised.
        expression_posterior: Of z_e.
        pose_posterior: Of z_p.
        expression_condition: (B, 2, 50) x_emb^e of eq. 4, for the encoder.
        latents: (2, B, 2, latent), z~_e and z~_p.
        text: (B, 2, D) text rows of the decoder's IFED.
    """

    expression: Tensor
    pose: Tensor
    expression_posterior: Posterior
    pose_posterior: Posterior
    expression_condition: Tensor
    latents: Tensor
    text: Tensor


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three layers, as the paper's encoders and decoders have."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, outputs),
    )


class ConditionalVae(nn.Module):
    """Encoder, decoder and latent projection of one kind of coefficient, applied row by row.

    Args:
        size: Of the coefficients and of their condition: 50 or 6.
        latent: Size of the latent.
        hidden: Width of the hidden layers.
    """

    def __init__(self, size: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.encoder = mlp(2 * size, hidden, 2 * latent)
        self.decoder = mlp(latent + size, hidden, size)
        self.project_latent = nn.Linear(latent, size)

    def encode(self, coefficients: Tensor, condition: Tensor) -> Posterior:
        """Eq. 5 or 6."""
        encoded = self.encoder(torch.cat([coefficients, condition], dim=-1))
        return Posterior(*encoded.chunk(2, dim=-1))

    def decode(self, latent: Tensor, condition: Tensor) -> Tensor:
        """Eq. 9 or 10."""
        return self.decoder(torch.cat([latent, condition], dim=-1))


def make_condition(text_width: int, use_ifed: bool, **caft: Any) -> Ifed | TextCondition:
    """What turns text, and with IFED the face, into the VAE's conditions."""
    return Ifed(text_width, **caft) if use_ifed else TextCondition(text_width)


def face_parameters(expression: Tensor, pose: Tensor) -> Tensor:
    """x^f: (..., 53) expression and jaw of (..., 50) and (..., 6); the head's turn is left out."""
    return torch.cat([expression, pose[..., 3:]], dim=-1)


class I2fet(nn.Module):
    """The model of Fig. 4, on standardised coefficients.

    The global rotation passes through the pose VAE alone: the first three of T_p's outputs, which
    eq. 8 hands to IFED, meet no weight there.

    Args:
        text_width: D.
        latent: Size of each latent row.
        hidden: Width of the VAEs' hidden layers.
        use_ifed: Without it the condition is a linear map of the pooled text (Table V).
        share_ifed: Whether the encoder's and the decoder's pass use the same weights.
        prior: "normal" is the paper's; "flow" learns where the posterior's latents lie.
        caft: Further arguments of `Caft`; unused without IFED.
    """

    def __init__(
        self,
        text_width: int,
        latent: int = 16,
        hidden: int = 256,
        use_ifed: bool = True,
        share_ifed: bool = True,
        prior: Prior = "normal",
        **caft: Any,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.ifed = make_condition(text_width, use_ifed, **caft)
        self.decoder_ifed = None if share_ifed else make_condition(text_width, use_ifed, **caft)
        self.expression_vae = ConditionalVae(EXPRESSION_SIZE, latent, hidden)
        self.pose_vae = ConditionalVae(POSE_SIZE, latent, hidden)
        # Only IFED reads these, and several processes wait for every gradient that there may be.
        for vae in (self.expression_vae, self.pose_vae):
            vae.project_latent.requires_grad_(use_ifed)
        self.prior = FlowPrior(latent, text_width) if prior == "flow" else None

    def decode(self, latents: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 8 to 10.

        Args:
            latents: (2, B, 2, latent), z~_e and z~_p.
            text: (B, 2, D) text rows of the decoder's IFED.

        Returns:
            Expression (B, 2, 50) and pose (B, 2, 6), standardised.
        """
        expression, pose = latents
        face = face_parameters(
            self.expression_vae.project_latent(expression), self.pose_vae.project_latent(pose)
        )
        expression_condition, pose_condition = (self.decoder_ifed or self.ifed)(face, text)
        return (
            self.expression_vae.decode(expression, expression_condition),
            self.pose_vae.decode(pose, pose_condition),
        )

    def forward(
        self,
        expression: Tensor,
        pose: Tensor,
        tokens: Tensor,
        mask: Tensor,
        instruction: Tensor,
        noise: Tensor,
    ) -> Reconstruction:
        """Encode and decode pairs of expressions.

        Args:
            expression: (B, 2, 50) standardised.
            pose: (B, 2, 6) standardised.
            tokens: (U, T, D) of the distinct instructions.
            mask: (U, T) bool.
            instruction: (B,) row of tokens for each pair.
            noise: (2, B, 2, latent) standard normal, for z_e and z_p of eq. 7.
        """
        text = self.ifed.encode_text(tokens, mask)[instruction]
        conditions = self.ifed(face_parameters(expression, pose), text)
        posteriors = (
            self.expression_vae.encode(expression, conditions[0]),
            self.pose_vae.encode(pose, conditions[1]),
        )
        latents = torch.stack([p.sample(n) for p, n in zip(posteriors, noise, strict=True)])
        if self.decoder_ifed is not None:
            text = self.decoder_ifed.encode_text(tokens, mask)[instruction]
        decoded = self.decode(latents, text)
        return Reconstruction(*decoded, *posteriors, conditions[0], latents, text)

    def generate(
        self, tokens: Tensor, mask: Tensor, instruction: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode latents of the prior; there is no encoder at use.

        Args:
            tokens: (U, T, D) of the distinct instructions.
            mask: (U, T) bool.
            instruction: (B,) row of tokens for each sample.
            noise: (2, B, 2, latent) standard normal.

        Returns:
            Expression (B, 2, 50) and pose (B, 2, 6), standardised.
        """
        text = (self.decoder_ifed or self.ifed).encode_text(tokens, mask)[instruction]
        latents = noise if self.prior is None else self.prior(noise, text)
        return self.decode(latents, text)
