"""A learned prior: a flow from the standard normal to the latents that real faces have."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Prior = Literal["normal", "flow"]

FREQUENCIES = tuple(2.0**octave for octave in range(-2, 4))
"""Of the sines and cosines that tell the time, in half turns from beginning to end."""


class FlowPrior(nn.Module):
    """Rectified flow over the latents of a pair, given the instruction's text rows.

    A KL term that is strong enough to make the posterior's latents standard normal also makes them
    forget how people differ; with a weak one they remember, but standard normal noise is no longer
    what the decoder has learned from. The flow makes up the difference: its velocity carries noise
    (time 0) along nearly straight lines to the latents of real faces (time 1).

    Args:
        latent: Size of each of the 2 x 2 latents of a pair.
        text_width: D.
        hidden: Width of the layers.
        depth: Number of residual blocks.
        steps: Of Heun's method, from noise to latents.
    """

    frequencies: Tensor

    def __init__(
        self, latent: int, text_width: int, hidden: int = 512, depth: int = 3, steps: int = 8
    ) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("frequencies", torch.pi * torch.tensor(FREQUENCIES), persistent=False)
        self.condition = nn.Sequential(
            nn.LayerNorm(2 * text_width), nn.Linear(2 * text_width, hidden)
        )
        self.input = nn.Linear(4 * latent + 2 * len(FREQUENCIES), hidden)
        self.blocks = nn.ModuleList(_block(hidden) for _ in range(depth))
        self.output = nn.Linear(hidden, 4 * latent)

    def error(self, latents: Tensor, text: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Squared error of the velocity on the way to some latents.

        Args:
            latents: (2, B, 2, latent), z_e and z_p of real faces.
            text: (B, 2, D).
            noise: (2, S B, 2, latent) standard normal, S starts of each in turn.
            time: (S B,) uniform in [0, 1], when its velocity is asked for.

        Returns:
            Scalar, summed over latents, mean over starts and batch.
        """
        starts = len(time) // len(text)
        start, end = _flatten(noise), _flatten(latents).repeat(starts, 1)
        between = torch.lerp(start, end, time[:, None])
        condition = self.condition(text.flatten(1)).repeat(starts, 1)
        velocity = self._velocity(between, time, condition)
        return F.mse_loss(velocity, end - start, reduction="sum") / len(start)

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        """Carry (2, B, 2, latent) standard normal noise to latents, given (B, 2, D) text rows."""
        condition = self.condition(text.flatten(1))
        latents = _flatten(noise)
        times = torch.linspace(0, 1, self.steps + 1, device=noise.device)
        for now, then in pairwise(times):
            step = then - now
            velocity = self._velocity(latents, now.expand(len(latents)), condition)
            ahead = latents + step * velocity
            later = self._velocity(ahead, then.expand(len(latents)), condition)
            latents = latents + 0.5 * step * (velocity + later)
        return latents.unflatten(1, (2, 2, -1)).transpose(0, 1)

    def _velocity(self, latents: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        phase = time[:, None] * self.frequencies
        hidden = self.input(torch.cat([latents, phase.sin(), phase.cos()], dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden + condition)
        return self.output(hidden)


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
    )


def _flatten(latents: Tensor) -> Tensor:
    """(2, B, 2, latent) to (B, 4 latent)."""
    return latents.transpose(0, 1).flatten(1)
