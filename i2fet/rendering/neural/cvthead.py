"""CVTHead as a renderer: the photo's person, drawn point by point at each vertex of FLAME."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2fet.assets import load_weights, reading_asset
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.perception.deca import SIZE as DECA_SIZE
from i2fet.perception.deca import deca_alignment
from i2fet.rendering.neural.cvthead_networks import CvtHeadNetworks
from i2fet.rendering.neural.framing import SIZE, batches, on_white, to_tensor
from i2fet.rendering.neural.mesh_levels import read_levels
from i2fet.rendering.neural.states import check_folder, check_mesh_size, load_installed, save_state
from i2fet.rendering.portrait import Image, crop_head

NAME = "cvthead"
KIND = "the networks of CVTHead"
BESIDE = ("numpy.",)
"""How the names of classes begin that a checkpoint holds beside the networks: its best loss."""


@dataclass(frozen=True)
class CvtHeadPortrait:
    """A photo prepared for rendering.

    Attributes:
        camera: (1, 3) of the square around the head.
        depth_scale: DECA's camera scale, by which the networks measure depth.
        offsets: (1, V, 3) metres of hair and shoulders.
        descriptors: (1, V, D) what the photo shows at each vertex.
        size: Of the pictures to render, pixels.
    """

    camera: Tensor
    depth_scale: float
    offsets: Tensor
    descriptors: Tensor
    size: int


class CvtHeadRenderer:
    """Renders photos of heads with any expression, by CVTHead's networks.

    Everything after the coefficients is here: the official code reads them again from a picture.
    Hair and shoulders are added to the posed head (eq. 17), as there.

    Args:
        head: FLAME, on the CPU.
        networks: Trained ones, which move to the device.
        device: That the networks run on.

    Raises:
        AssetError: If the head has another mesh than the networks know.
    """

    def __init__(
        self, head: HeadModel, networks: CvtHeadNetworks, device: torch.device | str = "cpu"
    ) -> None:
        check_mesh_size(NAME, head, len(networks.deform_mean))
        self.head = head
        self.device = torch.device(device)
        self.networks = networks.to(self.device)

    @classmethod
    def load(cls, head: HeadModel, device: torch.device | str) -> CvtHeadRenderer:
        """With the installed checkpoint.

        Raises:
            AssetError: If it is missing or broken, or made for another head.
        """
        return cls(head, load_installed(NAME, KIND, CvtHeadNetworks.from_state_dict), device)

    @torch.inference_mode()
    def prepare(
        self, photo: Image, source: FaceCoefficients, landmarks: Tensor, size: int = SIZE
    ) -> CvtHeadPortrait:
        """Cut out the head and find what the photo shows at each vertex.

        Args:
            photo: (H, W, 3).
            source: (1,) coefficients of the head in the photo.
            landmarks: (468 or more, 2 or more) pixels at which MediaPipe saw the face.
            size: Of the pictures to render, pixels.
        """
        vertices = self.head.vertices(source)
        crop = crop_head(photo, vertices, source.camera, self.networks.size)
        picture = 2 * to_tensor(crop.image).to(self.device) - 1
        offsets = self.networks.hair_offsets(picture)
        scale = self._depth_scale(photo, source, landmarks)
        points = self._points(vertices.to(self.device) + offsets, crop.camera, scale)
        mask = self.networks.face_parsing.foreground(picture)
        descriptors = self.networks.describe(picture, mask, points)
        return CvtHeadPortrait(crop.camera, scale, offsets, descriptors, size)

    @torch.inference_mode()
    def render(self, portrait: CvtHeadPortrait, trajectory: FaceCoefficients) -> Image:
        """(T, size, size, 3) pictures of (T,) coefficients, on white."""
        frames: list[Image] = []
        for part in batches(trajectory):
            vertices = self.head.vertices(part).to(self.device) + portrait.offsets
            points = self._points(vertices, portrait.camera, portrait.depth_scale)
            descriptors = portrait.descriptors.expand(len(part), -1, -1)
            colors, mask = self.networks.draw(points, descriptors)
            frames += on_white((colors + 1) / 2, mask, portrait.size)
        return np.stack(frames)

    def _depth_scale(self, photo: Image, source: FaceCoefficients, landmarks: Tensor) -> float:
        """The camera's scale if the picture were DECA's crop."""
        zoom = float(deca_alignment(landmarks[None]).turn[0, 0, 0])
        return float(source.camera[0, 0]) * max(photo.shape[:2]) * zoom / DECA_SIZE

    def _points(self, vertices: Tensor, camera: Tensor, depth_scale: float) -> Tensor:
        """(B, V, 3) across, down and away, counted from the first pixel's centre."""
        size = self.networks.size
        camera = camera.to(vertices).expand(len(vertices), -1)
        across_down = (project(vertices, camera, size, size)[..., :2] - 0.5) / (size / 2) - 1
        return torch.cat([across_down, -depth_scale * vertices[..., 2:]], dim=-1)


def convert_cvthead(source: Path, target: Path) -> None:
    """Keep what rendering needs of CVTHead's folder `data`.

    Args:
        source: The folder, with `cvthead.pt` and `transform.pkl`.
        target: Where to write; a safetensors file.

    Raises:
        AssetError: If a file is missing, broken, or not what it should be.
    """
    check_folder(source, "CVTHead's folder `data`")
    levels = read_levels(source / "transform.pkl")
    path = source / "cvthead.pt"
    content = load_weights(path, KIND, BESIDE)
    with reading_asset(path, KIND):
        state = content["model"] | levels.state_dict(prefix="levels.")
        save_state(CvtHeadNetworks.from_state_dict(state), target)
