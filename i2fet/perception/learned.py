"""The learned face encoder: a network reads aligned crops, landmarks put the mesh on the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from i2fet.camera import project
from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.errors import NoFaceError
from i2fet.heads.arkit import ArkitHead
from i2fet.nn.face_network import FaceNetwork, Reading
from i2fet.perception.crop import CROP_SIZE, Aligner, Alignment, cut, in_picture
from i2fet.perception.descriptor import describe, mirrored_places
from i2fet.perception.encoder import (
    FITTED,
    MIN_FACE_WIDTH,
    EncodedFaces,
    encoder_hash,
    find_faces,
    to_picture_frame,
)
from i2fet.perception.fitting import (
    Belief,
    FitSettings,
    LandmarkFitter,
    load_bias,
    residual_percent,
)
from i2fet.perception.images import Picture
from i2fet.perception.landmarks import LandmarkDetector
from i2fet.perception.mirror import Mirror
from i2fet.perception.network import NETWORK_FILE, load_face_network

HOLD = 1000.0
"""How much the network's word on an expression counts against landmarks, which err together."""

SWAY_GIVE = 0.0016
"""Radians by which landmarks may turn the jaw about its other axes."""

TURN_GIVE = 0.001
"""The same of the head, whose rotation they tell less well than the network."""

REFINEMENT = FitSettings(noise=0.002, steps=3)


class LearnedFaceEncoder:
    """MediaPipe finds and aligns the face, a network reads its crop, a fit puts it on the photo.

    Each crop is read together with its mirror image, so that a mirrored photo gives the mirrored
    face.

    Args:
        head: The head whose coefficients the network gives.
        network: Which network; by default the one that comes with the package.
        refine: Whether each face is read again in a crop aligned by what was read first, both
            readings are averaged, and identity, head pose and camera are fitted to the landmarks
            from where the network sees them. It takes as long again.

    Raises:
        AssetError: If the network or the landmark bias is missing or does not belong to the head.
    """

    name = "learned"

    def __init__(
        self, head: ArkitHead, network: FaceNetwork | None = None, refine: bool = True
    ) -> None:
        self.network = network or load_face_network(NETWORK_FILE, head)
        self.refine = refine
        self.fitter = LandmarkFitter(head, REFINEMENT, load_bias(head))
        self.detector = LandmarkDetector()
        self.aligner, self.mirror = Aligner(head), Mirror(head)
        self.mirrored_places = torch.from_numpy(mirrored_places())

    @property
    def fingerprint(self) -> str:
        name = f"{self.name}, {'mean of two crops, refined' if self.refine else 'not refined'}"
        return encoder_hash(name, self.fitter, *self.network.state_dict().values())

    @torch.no_grad()
    def encode(self, images: Sequence[Picture], neutral: Picture | None = None) -> EncodedFaces:
        """As `FaceEncoder.encode` says."""
        at_rest = None if neutral is None else self._features_at_rest(neutral)
        faces = find_faces(self.detector, images)
        for rows in faces.batches():
            self._read([images[row] for row in rows], at_rest, rows, faces)
        return faces

    def _features_at_rest(self, neutral: Picture) -> Tensor:
        """(2, 1, F) of the crop of a face and of its mirror image."""
        faces = find_faces(self.detector, [neutral])
        if not faces.found.all():
            height, width = neutral.shape[:2]
            raise NoFaceError(
                f"the neutral photo, {width} x {height} pixels, shows no face at least "
                f"{MIN_FACE_WIDTH} pixels wide; use one that shows the face from the front"
            )
        alignment = self.aligner.align(faces.landmarks)
        if self.refine:
            first = self._look([neutral], alignment)
            alignment = self._nearer(first.coefficients).after(alignment)
        return self._features(cut_all([neutral], alignment))

    def _look(
        self, images: Sequence[Picture], alignment: Alignment, at_rest: Tensor | None = None
    ) -> Reading:
        return self.read_crops(cut_all(images, alignment), at_rest)

    def _nearer(self, faces: FaceCoefficients) -> Alignment:
        """From (N,) crops to others, aligned by the landmarks that the network saw in them.

        These lie nearer to the head's own than MediaPipe's.
        """
        head = self.fitter.head
        seen = project(head.landmarks(head.vertices(faces)), faces.camera, *CROP_SIZE)
        return self.aligner.align(seen)

    def _features(self, crops: Sequence[Picture]) -> Tensor:
        """(2, N, F) of N crops and of their mirror images."""
        descriptors = torch.from_numpy(np.stack([describe(crop) for crop in crops]))
        both = torch.cat([descriptors, descriptors[:, self.mirrored_places]])
        return self.network.features(both).unflatten(0, (2, len(crops)))

    def read_crops(self, crops: Sequence[Picture], at_rest: Tensor | None = None) -> Reading:
        """The mean of what the network reads from crops and from their mirror images.

        Args:
            crops: N, each (160, 128, 3) RGB.
            at_rest: (2, 1, F) features of the same person at rest.
        """
        features = self._features(crops)
        neutral = None if at_rest is None else at_rest.expand_as(features).flatten(0, 1)
        reading = self.network.read(features.flatten(0, 1), neutral)
        seen, mirrored = reading.coefficients[: len(crops)], reading.coefficients[len(crops) :]
        sigma, other = reading.sigma.split(len(crops))
        back = Reading(self.mirror(mirrored), self.mirror.swap(other))
        return mean_reading(Reading(seen, sigma), back)

    def _read(
        self,
        images: Sequence[Picture],
        at_rest: Tensor | None,
        rows: list[int],
        encoded: EncodedFaces,
    ) -> None:
        """Fill the rows of `encoded`, in which the landmarks are known."""
        landmarks = encoded.landmarks[rows]
        sizes = torch.tensor([image.shape[:2] for image in images])
        alignment = self.aligner.align(landmarks)
        reading = self._look(images, alignment, at_rest)
        if self.refine:
            nearer = self._nearer(reading.coefficients)
            again = self._look(images, nearer.after(alignment), at_rest)
            back = in_picture(
                again.coefficients, nearer, torch.tensor([CROP_SIZE]), self.fitter.head
            )
            reading = mean_reading(reading, Reading(back, again.sigma))
        faces = in_picture(reading.coefficients, alignment, sizes, self.fitter.head)
        faces = self.fitter.clamp(faces)
        targets = to_picture_frame(landmarks, sizes)[:, FITTED]
        if self.refine:
            faces, fitted = self.fitter(targets, self._belief(faces, reading.sigma))
        else:
            fitted = self.fitter.fitted(self.fitter.as_estimate(faces))
        encoded.put(rows, faces, residual_percent(targets, fitted))
        encoded.confidence[rows] = self.network.confidence(reading.sigma)

    def _belief(self, faces: FaceCoefficients, sigma: Tensor) -> Belief:
        """What the network knows of expression and pose; shape as the fit's settings say."""
        shape = sigma.new_full((len(sigma), SHAPE_SIZE), self.fitter.settings.shape_ridge)
        held = HOLD / sigma.square()
        opening = held[:, EXPRESSION_SIZE:] / self.fitter.head.jaw_open_angle**2
        sway = sigma.new_full((len(sigma), 2), 1 / SWAY_GIVE**2)
        turn = sigma.new_full((len(sigma), 3), 1 / TURN_GIVE**2)
        parts = [shape, held[:, :EXPRESSION_SIZE], opening, sway, turn]
        return Belief(faces, torch.cat(parts, dim=1))


def cut_all(images: Sequence[Picture], alignment: Alignment) -> list[Picture]:
    """(160, 128, 3) RGB crops of N pictures."""
    return [cut(image, alignment, row) for row, image in enumerate(images)]


def mean_reading(one: Reading, other: Reading) -> Reading:
    """The mean of two readings of the same faces in the same crops."""
    pairs = zip(vars(one.coefficients).values(), vars(other.coefficients).values(), strict=True)
    mean = FaceCoefficients(*((first + second) / 2 for first, second in pairs))
    return Reading(mean, (one.sigma + other.sigma) / 2)
