"""A second judge, which shares nothing with the first: no pictures, no network."""

from __future__ import annotations

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from i2fet.coefficients import FaceCoefficients

ITERATIONS = 1000


class CoefficientJudge:
    """Names expressions by a logistic regression on expression and jaw.

    Every label weighs alike, however rare it is.

    Args:
        faces: (N,) of the training part.
        emotion: (N,) int64 labels of at least two kinds.
    """

    def __init__(self, faces: FaceCoefficients, emotion: Tensor) -> None:
        regression = LogisticRegression(class_weight="balanced", max_iter=ITERATIONS)
        self._model = make_pipeline(StandardScaler(), regression)
        self._model.fit(faces.face_parameters.double().numpy(), emotion.numpy())

    def judge(self, faces: FaceCoefficients) -> Tensor:
        """(B,) int64 labels of (B,) faces."""
        return torch.from_numpy(self._model.predict(faces.face_parameters.double().numpy()))
