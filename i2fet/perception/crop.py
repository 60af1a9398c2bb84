"""Upright crops in which eyes and nose always lie in the same place."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.perception.images import Picture

CROP_SIZE = (160, 128)
"""Height and width, pixels."""

STEADY = (33, 133, 362, 263, 168, 6, 1, 2, 98, 327)
"""Landmarks that hardly move with the expression: corners of the eyes, and the nose."""

OTHER_SIDE = (3, 2, 1, 0, 4, 5, 6, 7, 9, 8)
"""Of `STEADY`, the place of each one's counterpart on the other side."""

PIXELS_PER_METRE = 800.0
BETWEEN_EYES = (0.5 * CROP_SIZE[1], 0.3 * CROP_SIZE[0])
"""Where the crop has the middle between the eyes, pixels right and down."""


@dataclass(frozen=True)
class Alignment:
    """Similarities from pictures to crops: a pixel p of the picture lands at turn p + shift.

    Attributes:
        turn: (N, 2, 2) rotation and scale.
        shift: (N, 2) crop pixels.
    """

    turn: Tensor
    shift: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """(N, P, 2) pixels of the pictures to pixels of the crops."""
        return points @ self.turn.mT + self.shift[:, None]

    def after(self, first: Alignment) -> Alignment:
        """From the pictures of `first` to these crops, where `first` leads to these pictures."""
        return Alignment(self.turn @ first.turn, self(first.shift[:, None])[:, 0])

    def inverse(self) -> Alignment:
        """From the crops to the pictures."""
        back = torch.linalg.inv(self.turn)
        return Alignment(back, -(back @ self.shift[..., None])[..., 0])


class Aligner:
    """Finds and cuts aligned crops.

    Args:
        head: Whose mean face seen from the front shows where the landmarks belong.
    """

    def __init__(self, head: HeadModel) -> None:
        points = head.landmarks(head.template[None])[0, list(STEADY), :2]
        # Symmetric, so that the crop of a mirrored picture is the mirrored crop.
        points = (points + points[list(OTHER_SIDE)] * torch.tensor([-1.0, 1.0])) / 2
        eyes = points[:4].mean(0)
        flip = torch.tensor([1.0, -1.0])
        self.targets = (points - eyes) * PIXELS_PER_METRE * flip + torch.tensor(BETWEEN_EYES)

    def align(self, landmarks: Tensor) -> Alignment:
        """The similarities that bring (N, 468 or more, 2 or more) landmarks nearest their place.

        Args:
            landmarks: Pixels of the pictures, continuous: the first pixel's centre is at 0.5.
        """
        points = landmarks[:, list(STEADY), :2]
        middle, target_middle = points.mean(1), self.targets.mean(0)
        # Complex numbers: a similarity is one factor, found by least squares.
        seen = torch.view_as_complex((points - middle[:, None]).contiguous())
        wanted = torch.view_as_complex((self.targets - target_middle).contiguous())
        factor = (seen.conj() * wanted).sum(1) / seen.abs().square().sum(1)
        a, b = factor.real, factor.imag
        turn = torch.stack([a, -b, b, a], dim=1).view(-1, 2, 2)
        return Alignment(turn, target_middle - (turn @ middle[..., None])[..., 0])


def cut(picture: Picture, alignment: Alignment, row: int = 0) -> Picture:
    """(160, 128, 3) RGB crop of a picture by one of the alignments; beyond it, its edges."""
    height, width = CROP_SIZE
    turn = alignment.turn[row].double().numpy()
    shrink = 1 / np.sqrt(np.linalg.det(turn))
    if shrink > 2:
        # What is finer than the crop's pixels would otherwise alias.
        factor = 1 / np.floor(shrink)
        smaller = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        scale = np.array(picture.shape[1::-1]) / smaller.shape[1::-1]
        picture, turn = np.asarray(smaller, np.uint8), turn * scale
    shift = alignment.shift[row].double().numpy()
    # OpenCV counts from the first pixel's centre, landmarks from its corner.
    centre = turn @ np.array([0.5, 0.5]) + shift - 0.5
    matrix = np.concatenate([turn, centre[:, None]], axis=1)
    crop = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(crop, np.uint8)


def in_crop(
    faces: FaceCoefficients, alignment: Alignment, sizes: Tensor, head: HeadModel
) -> FaceCoefficients:
    """Coefficients of faces in N pictures as those of the same faces in their crops.

    Args:
        faces: (N,) as seen in the pictures.
        alignment: Of the pictures.
        sizes: (N, 2) height and width of the pictures, pixels.
        head: The head, which turns about its root.
    """
    return _moved(faces, alignment, sizes, torch.tensor([CROP_SIZE]), head)


def in_picture(
    faces: FaceCoefficients,
    alignment: Alignment,
    sizes: Tensor,
    head: HeadModel,
    crop_size: tuple[int, int] = CROP_SIZE,
) -> FaceCoefficients:
    """The inverse of `in_crop`, for crops of any size."""
    return _moved(faces, alignment.inverse(), torch.tensor([crop_size]), sizes, head)


def _moved(
    faces: FaceCoefficients,
    alignment: Alignment,
    sizes: Tensor,
    new_sizes: Tensor,
    head: HeadModel,
) -> FaceCoefficients:
    """As seen in another picture of (N, 2) or (1, 2) new sizes, to which `alignment` leads."""
    zoom = torch.linalg.det(alignment.turn).sqrt()
    angle = torch.atan2(alignment.turn[:, 1, 0], alignment.turn[:, 0, 0])
    # Pixel rows run downwards: what turns clockwise there turns the other way about the z axis.
    roll = Rotation.from_rotvec(np.outer(-angle.numpy(), [0, 0, 1]))
    rotation = roll * Rotation.from_rotvec(faces.global_rotation.numpy())
    root = head.joint_positions(faces.shape)[:, 0, :2]
    flip, scale = torch.tensor([1.0, -1.0]), faces.camera[:, :1]
    half, new_half = sizes.amax(1, keepdim=True) / 2, new_sizes.amax(1, keepdim=True) / 2
    pixel = sizes.flip(1) / 2 + half * scale * (root + faces.camera[:, 1:]) * flip
    pixel = alignment(pixel[:, None])[:, 0]
    scale = scale * half * zoom[:, None] / new_half
    place = (pixel - new_sizes.flip(1) / 2) * flip / (new_half * scale) - root
    turn = torch.from_numpy(rotation.as_rotvec()).to(faces.pose)
    return FaceCoefficients(
        faces.shape,
        faces.expression,
        torch.cat([turn, faces.jaw], dim=1),
        torch.cat([scale, place], dim=1),
    )
