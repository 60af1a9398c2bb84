"""Faces as a mirror shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.spatial import KDTree
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel

FLIP = torch.tensor([-1.0, 1.0, 1.0])
"""Of points in the picture's frame."""

TURN_FLIP = torch.tensor([1.0, -1.0, -1.0])
"""Of rotation vectors: what nods keeps its sense, what turns or tilts does not."""


class Mirror:
    """Turns coefficients of faces into those of their mirror images, in pictures as in crops.

    Args:
        head: Whose vertices lie nearly alike on both sides.
    """

    def __init__(self, head: HeadModel) -> None:
        self.actions = torch.tensor(other_sides(head.expression_names))
        nearest = KDTree(head.template.numpy()).query((head.template * FLIP).numpy())[1]
        self.shapes = mirrored_codes(head.shape_basis, torch.from_numpy(nearest))
        sided = any(name.endswith("Left") for name in head.expression_names)
        self.expressions = (
            torch.eye(len(self.actions))[self.actions]
            if sided
            else mirrored_codes(head.expression_basis, torch.from_numpy(nearest))
        )

    def __call__(self, faces: FaceCoefficients) -> FaceCoefficients:
        """(N,) to the same."""
        return FaceCoefficients(
            faces.shape @ self.shapes,
            faces.expression @ self.expressions,
            torch.cat([faces.global_rotation * TURN_FLIP, faces.jaw * TURN_FLIP], dim=1),
            faces.camera * torch.tensor([1.0, -1.0, 1.0]),
        )

    def swap(self, values: Tensor) -> Tensor:
        """(N, 51) values of the actions and the jaw's opening, each to the other side."""
        return torch.cat([values[:, self.actions], values[:, -1:]], dim=1)


def mirrored_codes(basis: Tensor, nearest: Tensor) -> Tensor:
    """The matrix that takes codes to those of the mirror image, by least squares.

    Args:
        basis: (K, V, 3) of the codes.
        nearest: (V,) vertex nearest each one's mirror image.

    Returns:
        (K, K), for codes in rows.
    """
    mirrored = (basis[:, nearest] * FLIP).flatten(1)
    solution: Tensor = torch.linalg.lstsq(basis.flatten(1).T, mirrored.T).solution
    return solution.T


def other_sides(names: Sequence[str]) -> list[int]:
    """For each action, where its counterpart on the other side is; itself where there is none."""
    sides = {"Left": "Right", "Right": "Left"}
    places = {name: place for place, name in enumerate(names)}

    def counterpart(name: str) -> str:
        for side, other in sides.items():
            if name.endswith(side):
                return name.removesuffix(side) + other
        return name

    return [places.get(counterpart(name), places[name]) for name in names]
