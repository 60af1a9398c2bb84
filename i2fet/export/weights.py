"""Coefficients as weights of named blendshapes, which is what other programs animate."""

from __future__ import annotations

import torch
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel


def blendshape_weights(head: HeadModel, coefficients: FaceCoefficients) -> Tensor:
    """Weights of the head's `action_names` for a sequence of coefficients.

    Expressions are those in effect, with correctives already scaled. Of the jaw only its rotation
    about x is kept, and only its opening.

    Args:
        head: The head that the coefficients belong to.
        coefficients: (T,) of them.

    Returns:
        (T, 51), the expressions in the head's own range and jawOpen from 0.
    """
    expression = head.effective_expression(coefficients.expression, coefficients.pose)
    opening = (coefficients.jaw[:, :1] / head.jaw_open_angle).clamp(min=0)
    return torch.cat([expression, opening], dim=-1)
