"""Ways to read photos that the perception report compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from experiments.synthetic_faces import SIZE, Photos
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.perception import EncodedFaces, FaceEncoder
from i2fet.perception.crop import Aligner
from i2fet.perception.encoder import find_faces
from i2fet.perception.fitting import fitted_points
from i2fet.perception.landmarks import LandmarkDetector

See = Callable[[Photos], tuple[Tensor, Tensor]]
"""(N, P, 2 or more) landmarks, pixels, and (N,) bool where there are any."""


@dataclass(frozen=True)
class Reading:
    """What a reader makes of N photos.

    Attributes:
        actions: (N, 51) the actions and the jaw's opening as a share of jawOpen.
        found: (N,) bool, where a face was found.
        faces: (N,) coefficients, of readers that give them all.
    """

    actions: Tensor
    found: Tensor
    faces: FaceCoefficients | None = None


class Reader(Protocol):
    """Reads actions from photos; `timed` says whether it starts from pictures."""

    name: str
    timed: bool

    def read(self, photos: Photos) -> Reading:
        """Read N photos."""


class EncoderReader:
    """A face encoder.

    Args:
        name: In the report.
        encoder: The encoder.
        head: Its head.
        informed: Whether it is shown each person at rest.
    """

    timed = True

    def __init__(
        self, name: str, encoder: FaceEncoder, head: ArkitHead, informed: bool = False
    ) -> None:
        self.name, self.encoder, self.head, self.informed = name, encoder, head, informed

    def read(self, photos: Photos) -> Reading:
        """Read N photos."""
        if self.informed:
            pairs = zip(photos.pictures, photos.neutrals, strict=True)
            faces = EncodedFaces.cat([self.encoder.encode([one], rest) for one, rest in pairs])
        else:
            faces = self.encoder.encode(photos.pictures)
        return Reading(self.head.actions(faces.coefficients), faces.found, faces.coefficients)


class LandmarkRegression:
    """Ridge regression from aligned landmarks to actions.

    Args:
        name: In the report.
        see: Where the landmarks come from.
        head: The head of the actions.
        photos: Other people, to learn from.
        timed: Whether `see` starts from pictures.
    """

    def __init__(
        self, name: str, see: See, head: ArkitHead, photos: Photos, timed: bool = False
    ) -> None:
        self.name, self.see, self.timed = name, see, timed
        self.aligner = Aligner(head)
        ridge = RidgeCV(alphas=np.logspace(-2, 5, 15))
        points, found = self._aligned(photos)
        truth = head.actions(photos.truth)[found]
        self.model = make_pipeline(StandardScaler(), ridge).fit(points[found], truth)

    def _aligned(self, photos: Photos) -> tuple[Tensor, Tensor]:
        """(N, 2 P) and (N,) bool."""
        points, found = self.see(photos)
        return self.aligner.align(points)(points[..., :2]).flatten(1).nan_to_num(), found

    def read(self, photos: Photos) -> Reading:
        """Read N photos."""
        points, found = self._aligned(photos)
        values = torch.from_numpy(self.model.predict(points.numpy())).float()
        return Reading(values.clamp(0, 1), found)


def see_true_landmarks(head: ArkitHead) -> See:
    """The head's own landmarks and irises, without error."""

    def see(photos: Photos) -> tuple[Tensor, Tensor]:
        points = fitted_points(head, head.vertices(photos.truth))
        found = torch.ones(len(photos), dtype=torch.bool)
        return project(points, photos.truth.camera, SIZE, SIZE), found

    return see


def see_detected_landmarks() -> See:
    """MediaPipe's landmarks."""
    detector = LandmarkDetector()

    def see(photos: Photos) -> tuple[Tensor, Tensor]:
        faces = find_faces(detector, photos.pictures)
        return faces.landmarks, faces.found

    return see
