"""MediaPipe Tasks' face landmarker as a face encoder: its scores are ARKit's actions by name."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from i2fet.assets import digest, find_asset, reading_asset
from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.errors import OptionError
from i2fet.heads.arkit import ArkitHead
from i2fet.heads.base import JAW_OPEN
from i2fet.perception.encoder import (
    FITTED,
    EncodedFaces,
    encoder_hash,
    find_faces,
    to_picture_frame,
)
from i2fet.perception.fitting import Belief, LandmarkFitter, load_bias, residual_percent
from i2fet.perception.images import Picture
from i2fet.perception.landmarks import CROP_SIDES, FaceBox, LandmarkDetector
from i2fet.quiet import native_stderr_silenced

if TYPE_CHECKING:
    from mediapipe.tasks.python.components.containers.category import Category
    from mediapipe.tasks.python.vision import FaceLandmarker

ASSET = "mediapipe_tasks"
KIND = "MediaPipe's face_landmarker.task"
BLENDSHAPES = "face_blendshapes.tflite"
"""The part of the file that gives the scores."""

HOLD = 1e5
"""Precision with which the fit keeps to the scores, which it is not to change."""


def check_task(path: Path) -> None:
    """Make sure that a file is a face landmarker that gives scores.

    Raises:
        AssetError: If it is not.
    """
    with reading_asset(path, KIND), zipfile.ZipFile(path) as bundle:
        bundle.getinfo(BLENDSHAPES)
        if broken := bundle.testzip():
            raise ValueError(f"its part {broken} is damaged")


def convert_task(source: Path, target: Path) -> None:
    """Check a face landmarker and copy it.

    Raises:
        AssetError: If it is none.
    """
    check_task(source)
    shutil.copyfile(source, target)


def read_scores(scores: Iterable[Category], head: ArkitHead) -> tuple[Tensor, float]:
    """The head's coefficients that MediaPipe's scores stand for.

    50 of the 52 scores are the head's actions by name. `jawOpen` becomes the jaw's rotation, as the
    exports turn it back; `_neutral` says nothing more and is dropped.

    Args:
        scores: Of one face, in any order.
        head: The ARKit head.

    Returns:
        (50,) expression in [0, 1], and the jaw's rotation about x, radians.

    Raises:
        KeyError: If an action has no score.
    """
    by_name = {score.category_name: score.score for score in scores}
    expression = torch.tensor([float(by_name[name]) for name in head.expression_names])
    return expression, float(by_name[JAW_OPEN]) * head.jaw_open_angle


class BlendshapeFaceEncoder:
    """MediaPipe Tasks reads the expression; identity, head pose and camera are fitted around it.

    Args:
        head: The head whose coefficients it gives.

    Raises:
        AssetError: If `face_landmarker.task` is missing or broken, or the landmark bias does not
            belong to the head.
    """

    name = "mediapipe"

    def __init__(self, head: ArkitHead) -> None:
        self.path = find_asset(ASSET)
        check_task(self.path)
        self.fitter = LandmarkFitter(head, bias=load_bias(head))
        self.detector = LandmarkDetector()

    @cached_property
    def fingerprint(self) -> str:
        """As in `FaceEncoder`."""
        return encoder_hash(f"{self.name}, {digest(self.path)}", self.fitter)

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        """The opened file."""
        # Imported here, since it takes seconds.
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.path)), output_face_blendshapes=True
        )
        with reading_asset(self.path, KIND), native_stderr_silenced():
            return FaceLandmarker.create_from_options(options)

    def encode(self, images: Sequence[Picture], neutral: Picture | None = None) -> EncodedFaces:
        """As `FaceEncoder.encode` says; there is no use for a neutral picture.

        A face in which MediaPipe Tasks finds none counts as not there.
        """
        if neutral is not None:
            raise OptionError(
                f"the face encoder {self.name!r} has no use for a neutral photo; leave it out or "
                "use `--encoder learned`"
            )
        faces = find_faces(self.detector, images)
        scores: dict[int, list[Category]] = {}
        for row in faces.found.nonzero()[:, 0].tolist():
            found = self._score(images[row], faces.landmarks[row], float(faces.face_width[row]))
            if found:
                scores[row] = found[0]
            else:
                faces.found[row], faces.face_width[row] = False, 0
        for rows in faces.batches():
            sizes = torch.tensor([images[row].shape[:2] for row in rows])
            targets = to_picture_frame(faces.landmarks[rows], sizes)[:, FITTED]
            coefficients, fitted = self.place(targets, [scores[row] for row in rows])
            faces.put(rows, coefficients, residual_percent(targets, fitted))
        return faces

    def _score(self, image: Picture, landmarks: Tensor, width: float) -> list[list[Category]]:
        """The scores of the face in a crop, in a list that is empty where none is found."""
        from mediapipe import Image, ImageFormat

        low, high = landmarks[:, :2].aminmax(dim=0)
        x, y = ((low + high) / 2).tolist()
        crop = FaceBox(x, y, width, score=1.0).window(CROP_SIDES[0]).cut(image)
        return self.landmarker.detect(Image(ImageFormat.SRGB, crop)).face_blendshapes

    def place(
        self, targets: Tensor, scores: Sequence[Iterable[Category]]
    ) -> tuple[FaceCoefficients, Tensor]:
        """Fit identity, head pose and camera to landmarks, with the expression of the scores.

        Args:
            targets: (N, 470, 3) as for `LandmarkFitter`.
            scores: Of the N faces.

        Returns:
            (N,) coefficients, and (N, 470, 3) the fitted points in the targets' frame.
        """
        read = [read_scores(each, self.fitter.head) for each in scores]
        expression = torch.stack([values for values, _ in read])
        jaw = torch.tensor([[opening, 0.0, 0.0] for _, opening in read])
        start = _with_expression(self.fitter(targets)[0], expression, jaw)
        precision = torch.zeros(len(targets), SHAPE_SIZE + EXPRESSION_SIZE + 6)
        precision[:, :SHAPE_SIZE] = self.fitter.settings.shape_ridge
        precision[:, SHAPE_SIZE:-3] = HOLD
        faces, fitted = self.fitter(targets, Belief(start, precision))
        return _with_expression(faces, expression, jaw), fitted


def _with_expression(faces: FaceCoefficients, expression: Tensor, jaw: Tensor) -> FaceCoefficients:
    pose = torch.cat([faces.global_rotation, jaw], dim=1)
    return replace(faces, expression=expression, pose=pose)
