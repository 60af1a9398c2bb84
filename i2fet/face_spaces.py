"""Vectors of faces whose distances say how much faces differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.heads.mesh_space import MeshSpace
from i2fet.nn.i2fet import face_parameters
from i2fet.nn.scaler import CoefficientScaler

FaceSpace = Callable[[FaceCoefficients], Tensor]
"""(...,) faces to (..., K) vectors of their expressions and jaws."""

MESH, COEFFICIENTS = "mesh", "coefficients"
"""What the spaces are called in reports."""

MILLIMETRES = 1000.0


def coefficient_space(statistics: Mapping[str, Tensor]) -> FaceSpace:
    """Expression and jaw (K = 53), each in standard deviations of the training part.

    Every coefficient counts alike, one that hardly ever moves as much as a smile.

    Args:
        statistics: As for `CoefficientScaler.adopt`.
    """
    scaler = CoefficientScaler()
    scaler.adopt(statistics)

    def vectors(faces: FaceCoefficients) -> Tensor:
        return face_parameters(*scaler.standardize(faces.expression, faces.pose))

    return vectors


def mesh_space(head: HeadModel) -> FaceSpace:
    """What is seen: distances are millimetres, root mean square over the vertices of the mesh.

    The head is held still and has the mean identity.

    Args:
        head: Of the coefficients.
    """
    space = MeshSpace(head, identities=False)
    unit = MILLIMETRES / head.num_vertices**0.5

    def vectors(faces: FaceCoefficients) -> Tensor:
        still = torch.cat([torch.zeros_like(faces.jaw), faces.jaw], dim=-1)
        return unit * space(space.mean_identity, faces.expression, still).flatten(-2)

    return vectors
