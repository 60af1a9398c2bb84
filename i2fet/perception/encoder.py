"""Face encoders: pictures to coefficients."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import FaceTooSmallError, NoFaceError
from i2fet.heads.arkit import ArkitHead
from i2fet.perception.fitting import (
    IRISES,
    FitSettings,
    LandmarkFitter,
    load_bias,
    residual_percent,
)
from i2fet.perception.images import Photo, Picture, load_photo
from i2fet.perception.landmarks import LANDMARKS, DetectedFace, LandmarkDetector

CODE_VERSION = "1"
"""Changes whenever the same picture gives other coefficients, which makes caches stale."""

MIN_FACE_WIDTH = 32
FIT_BATCH = 64
FITTED = [*range(IRISES[0]), *IRISES]


@dataclass(frozen=True)
class EncodedFaces:
    """The largest face of each of N pictures.

    Attributes:
        coefficients: (N,) zeros where no usable face was found.
        found: (N,) bool, a face that is large enough to read.
        residual_percent: (N,) mean distance of the fitted landmarks from the detected ones, % of
            the distance between the eyes; NaN where not found.
        faces: (N,) int64 number of faces seen.
        face_width: (N,) pixels; zero where no face was seen.
        landmarks: (N, 478, 3) pixel x and y of the picture, continuous, and depth in the same unit,
            larger nearer the viewer; NaN where not found.
    """

    coefficients: FaceCoefficients
    found: Tensor
    residual_percent: Tensor
    faces: Tensor
    face_width: Tensor
    landmarks: Tensor


class FaceEncoder(Protocol):
    """Reads the coefficients of the largest face of each picture.

    Attributes:
        name: As `load_face_encoder` knows it.
    """

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same picture would give other coefficients."""

    def encode(self, images: Sequence[Picture]) -> EncodedFaces:
        """Read N pictures (H, W, 3) RGB, of any sizes."""


class LandmarkFaceEncoder:
    """MediaPipe's landmarks and a bounded least-squares fit.

    Args:
        head: The head to fit.
        settings: Of the fit.

    Raises:
        AssetError: If the landmark bias is missing or does not belong to the head.
    """

    name = "landmarks"

    def __init__(self, head: ArkitHead, settings: FitSettings | None = None) -> None:
        self.fitter = LandmarkFitter(head, settings, load_bias(head))
        self.detector = LandmarkDetector()

    @property
    def fingerprint(self) -> str:
        parts = (self.name, CODE_VERSION, version("mediapipe"), self.fitter.head.name)
        digest = hashlib.sha256(repr((*parts, self.fitter.settings)).encode())
        for tensor in (self.fitter.basis.mean, self.fitter.basis.slopes, self.fitter.weights):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def encode(self, images: Sequence[Picture]) -> EncodedFaces:
        """Read N pictures (H, W, 3) RGB, of any sizes."""
        faces = self._detect(images)
        landmarks = torch.full((len(images), LANDMARKS, 3), torch.nan)
        encoded = EncodedFaces(
            coefficients=FaceCoefficients.zeros(len(images)),
            found=torch.tensor([f is not None and f.width >= MIN_FACE_WIDTH for f in faces]),
            residual_percent=torch.full((len(images),), torch.nan),
            faces=torch.tensor([face.faces if face else 0 for face in faces]),
            face_width=torch.tensor([face.width if face else 0.0 for face in faces]),
            landmarks=landmarks,
        )
        rows = [row for row, found in enumerate(encoded.found.tolist()) if found]
        for start in range(0, len(rows), FIT_BATCH):
            self._fit(images, faces, rows[start : start + FIT_BATCH], encoded)
        return encoded

    def _detect(self, images: Sequence[Picture]) -> list[DetectedFace | None]:
        if len(images) < 2:
            return [self.detector(image) for image in images]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(self.detector, images))

    def _fit(
        self,
        images: Sequence[Picture],
        faces: Sequence[DetectedFace | None],
        rows: list[int],
        encoded: EncodedFaces,
    ) -> None:
        """Fill the rows of `encoded`."""
        points = [face.points for row in rows if (face := faces[row]) is not None]
        landmarks = torch.from_numpy(np.stack(points))
        sizes = torch.tensor([images[row].shape[:2] for row in rows])
        targets = to_picture_frame(landmarks, sizes)[:, FITTED]
        coefficients, fitted = self.fitter(targets)
        encoded.landmarks[rows] = landmarks
        encoded.residual_percent[rows] = residual_percent(targets, fitted)
        for name, values in vars(coefficients).items():
            getattr(encoded.coefficients, name)[rows] = values


def to_picture_frame(landmarks: Tensor, sizes: Tensor) -> Tensor:
    """Pixels to half picture sides from the middle, y up: the inverse of `i2fet.camera.project`.

    Args:
        landmarks: (N, P, 3) pixel x and y, and depth in the same unit.
        sizes: (N, 2) height and width of the pictures, pixels.

    Returns:
        (N, P, 3).
    """
    half = sizes.amax(dim=1)[:, None, None] / 2
    middle = torch.stack([sizes[:, 1] / 2, sizes[:, 0] / 2, torch.zeros(len(sizes))], dim=1)
    return (landmarks - middle[:, None]) / half * torch.tensor([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class PerceivedFace:
    """The largest face of a photo.

    Attributes:
        image: (H, W, 3) uint8 RGB, the photo as it was read: upright, at most 2,048 pixels long.
        coefficients: (1,) whose camera is for `image`.
        landmarks: (468, 3) pixel x and y of `image`, and depth in the same unit.
        residual_percent: Of the fit; see `EncodedFaces`.
        faces: How many faces the photo shows; the largest was taken.
    """

    image: Picture
    coefficients: FaceCoefficients
    landmarks: Tensor
    residual_percent: float
    faces: int


def perceive(photo: Photo, encoder: FaceEncoder) -> PerceivedFace:
    """Read one photo.

    Raises:
        PhotoError: If the photo cannot be read.
        NoFaceError: If no face is found in it.
        FaceTooSmallError: If its largest face is narrower than 32 pixels.
    """
    image = load_photo(photo)
    name = photo if isinstance(photo, str | Path) else "the photo"
    encoded = encoder.encode([image])
    width = float(encoded.face_width[0])
    height, length = image.shape[:2]
    if width == 0:
        raise NoFaceError(
            f"no face was found in {name}, {length} x {height} pixels; use a photo that shows a "
            "face from the front, upright and well lit"
        )
    if not encoded.found[0]:
        raise FaceTooSmallError(
            f"the largest face in {name} is {width:.0f} pixels wide, less than {MIN_FACE_WIDTH}; "
            "use a larger or closer photo"
        )
    return PerceivedFace(
        image=image,
        coefficients=encoded.coefficients,
        landmarks=encoded.landmarks[0, : IRISES[0]],
        residual_percent=float(encoded.residual_percent[0]),
        faces=int(encoded.faces[0]),
    )
