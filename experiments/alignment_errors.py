"""How far off the crops lie that MediaPipe's landmarks align, on photos of synthetic people.

    python -m experiments.alignment_errors

`datamodules.face_crops` draws its crops as this says, so that the face encoder is trained on crops
like those it is used on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from scipy.stats import median_abs_deviation
from torch import Tensor

from datamodules.corpus import corpus_head
from experiments.script import run
from experiments.synthetic_faces import SIZE, Photos, take_photos
from i2fet.camera import project
from i2fet.heads import ArkitHead
from i2fet.markdown import markdown_table
from i2fet.perception.crop import BETWEEN_EYES, Aligner, Alignment
from i2fet.perception.encoder import find_faces
from i2fet.perception.landmarks import LandmarkDetector

YAWS = ((0.0, 0.3), (0.3, 0.6), (0.6, 1.0))
"""Ranges to either side, radians."""


@dataclass(frozen=True)
class AlignmentErrors:
    """From crops aligned by the true landmarks to those aligned by MediaPipe's, about the eyes.

    Attributes:
        towards: (N,) crop pixels to the side to which the head's yaw is positive, or, where it is
            negative, to the other.
        down: (N,) crop pixels.
        zoom: (N,) natural logarithm.
        tilt: (N,) radians.
    """

    towards: Tensor
    down: Tensor
    zoom: Tensor
    tilt: Tensor

    def __len__(self) -> int:
        return len(self.zoom)

    @property
    def drag(self) -> float:
        """Mean pixels that the crop lies off to the side, with the turn of the face."""
        return float(self.towards.mean())

    @property
    def spread(self) -> tuple[float, float, float]:
        """Standard deviations of shift, pixels, of zoom and of tilt, hardly moved by outliers."""
        aside = torch.cat([self.towards - self.towards.median(), self.down])
        parts = (aside, self.zoom, self.tilt)
        shift, zoom, tilt = (float(median_abs_deviation(part, scale="normal")) for part in parts)
        return shift, zoom, tilt


def measure(photos: Photos, head: ArkitHead) -> AlignmentErrors:
    """Align the photos by what is detected in them and by the truth."""
    aligner, truth = Aligner(head), photos.truth
    faces = find_faces(LandmarkDetector(), photos.pictures)
    found = faces.found
    seen = project(head.landmarks(head.vertices(truth)), truth.camera, SIZE, SIZE)[found]
    off = aligner.align(faces.landmarks[found]).after(aligner.align(seen).inverse())
    return errors_of(off, truth.global_rotation[found, 1])


def errors_of(off: Alignment, yaw: Tensor) -> AlignmentErrors:
    """How far (N,) similarities move well aligned crops of faces of (N,) yaw, radians."""
    eyes = torch.tensor(BETWEEN_EYES).expand(len(yaw), 1, 2)
    shift = (off(eyes) - eyes)[:, 0]
    zoom = torch.linalg.det(off.turn).sqrt().log()
    tilt = torch.atan2(off.turn[:, 1, 0], off.turn[:, 0, 0])
    return AlignmentErrors(shift[:, 0] * yaw.sign(), shift[:, 1], zoom, tilt)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faces", type=int, default=500, help="people for each range of yaw")
    parser.add_argument("--seed", type=int, default=7000)
    options = parser.parse_args(argv)
    head = corpus_head()
    rows = []
    for least, most in YAWS:
        errors = measure(take_photos(options.faces, options.seed, (least, most)), head)
        shift, zoom, tilt = errors.spread
        rows.append(
            [
                f"{least} to {most}",
                str(len(errors)),
                f"{errors.drag:.2f}",
                f"{shift:.2f}",
                f"{zoom:.3f}",
                f"{tilt:.3f}",
            ]
        )
    print(markdown_table(["yaw", "faces", "drag, px", "shift, px", "zoom", "tilt"], rows))


if __name__ == "__main__":
    run(main)
