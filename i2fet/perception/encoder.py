"""Face encoders: pictures to coefficients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from i2fet.coefficients import EXPRESSION_SIZE, FaceCoefficients
from i2fet.errors import FaceTooSmallError, NoFaceError, OptionError
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

CODE_VERSION = "3"
"""Changes whenever the same picture gives other coefficients, which makes caches stale."""

MIN_FACE_WIDTH = 32
"""Pixels."""

BATCH = 64
FITTED = [*range(IRISES[0]), *IRISES]
"""The landmarks that are fitted: the face's, and the irises' centres without their outlines."""


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
        confidence: (N, 51) probability that an action and, last, the jaw's opening as a share of
            jawOpen are right within 0.1; NaN where not found or not known.
    """

    coefficients: FaceCoefficients
    found: Tensor
    residual_percent: Tensor
    faces: Tensor
    face_width: Tensor
    landmarks: Tensor
    confidence: Tensor

    @classmethod
    def cat(cls, parts: Sequence[EncodedFaces]) -> EncodedFaces:
        """Join along the pictures."""
        names = [field.name for field in fields(cls) if field.name != "coefficients"]
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        coefficients = FaceCoefficients.cat([part.coefficients for part in parts])
        return cls(coefficients=coefficients, **tensors)

    def batches(self) -> Iterator[list[int]]:
        """The rows with a face, some at a time."""
        rows = self.found.nonzero()[:, 0].tolist()
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]

    def put(self, rows: list[int], coefficients: FaceCoefficients, residual: Tensor) -> None:
        """Fill rows with what was read."""
        self.residual_percent[rows] = residual
        for name, values in vars(coefficients).items():
            getattr(self.coefficients, name)[rows] = values


def find_faces(detector: LandmarkDetector, images: Sequence[Picture]) -> EncodedFaces:
    """The largest faces of N pictures and their landmarks, not yet read."""
    faces = _detect(detector, images)
    found = [face is not None and face.width >= MIN_FACE_WIDTH for face in faces]
    landmarks = torch.full((len(images), LANDMARKS, 3), torch.nan)
    for row, face in enumerate(faces):
        if face is not None and found[row]:
            landmarks[row] = torch.from_numpy(face.points)
    return EncodedFaces(
        coefficients=FaceCoefficients.zeros(len(images)),
        found=torch.tensor(found, dtype=torch.bool),
        residual_percent=torch.full((len(images),), torch.nan),
        faces=torch.tensor([face.faces if face else 0 for face in faces]),
        face_width=torch.tensor([face.width if face else 0.0 for face in faces]),
        landmarks=landmarks,
        confidence=torch.full((len(images), EXPRESSION_SIZE + 1), torch.nan),
    )


def _detect(detector: LandmarkDetector, images: Sequence[Picture]) -> list[DetectedFace | None]:
    if len(images) < 2:
        return [detector(image) for image in images]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(detector, images))


class FaceEncoder(Protocol):
    """Reads the coefficients of the largest face of each picture.

    Attributes:
        name: As `load_face_encoder` knows it.
    """

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same picture would give other coefficients."""

    def encode(self, images: Sequence[Picture], neutral: Picture | None = None) -> EncodedFaces:
        """Read N pictures (H, W, 3) RGB, of any sizes.

        Args:
            images: The pictures.
            neutral: The person of all of them at rest, if known.

        Raises:
            NoFaceError: If `neutral` shows no face that is large enough.
            OptionError: If there is a `neutral` and the encoder has no use for it.
        """


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
        return encoder_hash(self.name, self.fitter)

    def encode(self, images: Sequence[Picture], neutral: Picture | None = None) -> EncodedFaces:
        """As `FaceEncoder.encode` says; there is no use for a neutral picture."""
        if neutral is not None:
            raise OptionError(
                "the face encoder 'landmarks' has no use for a neutral photo; leave it out or use "
                "`--encoder learned`"
            )
        faces = find_faces(self.detector, images)
        for rows in faces.batches():
            sizes = torch.tensor([images[row].shape[:2] for row in rows])
            targets = to_picture_frame(faces.landmarks[rows], sizes)[:, FITTED]
            coefficients, fitted = self.fitter(targets)
            faces.put(rows, coefficients, residual_percent(targets, fitted))
        return faces


def encoder_hash(name: str, fitter: LandmarkFitter, *tensors: Tensor) -> str:
    """Hash of all that decides what an encoder reads.

    Args:
        name: The encoder's.
        fitter: What it fits landmarks with.
        tensors: Its other parameters.
    """
    parts = (name, CODE_VERSION, version("mediapipe"), fitter.head.name, fitter.settings)
    digest = hashlib.sha256(repr(parts).encode())
    for tensor in (fitter.basis.mean, fitter.basis.slopes, fitter.weights, *tensors):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


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


def encode_photo(
    photo: Photo, encoder: FaceEncoder, neutral: Picture | None = None
) -> tuple[Picture, EncodedFaces]:
    """Read one photo.

    Args:
        photo: A path, a picture array or a PIL image.
        encoder: What reads it.
        neutral: The same person at rest, if known.

    Returns:
        The photo as it was read, and its largest face.

    Raises:
        PhotoError: If the photo cannot be read.
        NoFaceError: If no face is found in it.
        FaceTooSmallError: If its largest face is narrower than 32 pixels.
        OptionError: If there is a neutral photo and the encoder has no use for it.
    """
    image = load_photo(photo)
    name = photo if isinstance(photo, str | Path) else "the photo"
    encoded = encoder.encode([image], neutral)
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
    return image, encoded


def perceive(photo: Photo, encoder: FaceEncoder, neutral: Photo | None = None) -> PerceivedFace:
    """Read one photo, which is to be moved.

    Args:
        photo: A path, a picture array or a PIL image.
        encoder: What reads it.
        neutral: The same person at rest, if known.

    Raises:
        I2fetError: As `encode_photo` raises it, for the neutral photo as well.
    """
    at_rest = None if neutral is None else encode_photo(neutral, encoder)[0]
    image, encoded = encode_photo(photo, encoder, at_rest)
    return PerceivedFace(
        image=image,
        coefficients=encoded.coefficients,
        landmarks=encoded.landmarks[0, : IRISES[0]],
        residual_percent=float(encoded.residual_percent[0]),
        faces=int(encoded.faces[0]),
    )
