"""DECA's face encoder, from the `deca_model.tar` that its users obtain; EMOCA's as an option."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet50

from i2fet.assets import check_state, find_asset, load_weights, reading_asset
from i2fet.coefficients import (
    CAMERA_SIZE,
    EXPRESSION_SIZE,
    POSE_SIZE,
    SHAPE_SIZE,
    FaceCoefficients,
)
from i2fet.errors import AssetError, OptionError
from i2fet.heads.base import HeadModel
from i2fet.perception.crop import Alignment, in_picture
from i2fet.perception.encoder import EncodedFaces, find_faces, to_picture_frame
from i2fet.perception.fitting import IRISES, residual_percent
from i2fet.perception.images import Picture
from i2fet.perception.landmarks import LandmarkDetector

CODE_VERSION = "1"
"""Changes whenever the same picture gives other coefficients, which makes caches stale."""

SIZE = 224
PARTS = {
    "shape": SHAPE_SIZE,
    "texture": 50,
    "expression": EXPRESSION_SIZE,
    "pose": POSE_SIZE,
    "camera": CAMERA_SIZE,
    "light": 27,
}
"""DECA's codes in their order."""

FEATURES, HIDDEN = 2048, 1024
DECA_PREFIX, EMOCA_PREFIX = "E_flame", "deca.E_expression."
EMOCA_SETTINGS = (
    *("omegaconf.", "gdl.", "gdl_apps.", "pytorch_lightning.", "pathlib."),
    *("typing.Any", "collections.defaultdict", "builtins.dict", "builtins.list"),
)
"""How the names of classes begin that EMOCA's checkpoints hold beside the networks."""

MARGIN = 1.1 * 1.25
"""Side of the crop in mean sides of the landmarks' box."""

BOXED = (
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
)
"""Jaw line and brows, which bound the 68 landmarks that DECA crops by."""


class DecaNetwork(nn.Module):
    """ResNet-50 and two linear layers, with the names of DECA's own.

    Args:
        codes: K, how many numbers it gives.
    """

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.encoder = resnet50()
        self.encoder.fc = nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, codes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, K) codes of (B, 3, 224, 224) RGB in [0, 1]."""
        codes: Tensor = self.layers(self.encoder(images))
        return codes


def convert_deca(source: Path, target: Path) -> None:
    """Keep the coarse encoder of `deca_model.tar`.

    Raises:
        AssetError: If the file is missing, broken, hostile, or not DECA's.
    """
    kind = "DECA's deca_model.tar"
    weights = load_weights(source, kind)
    with reading_asset(source, kind):
        _save(weights[DECA_PREFIX], sum(PARTS.values()), target)


def convert_emoca(source: Path, target: Path) -> None:
    """Keep the expression encoder of an EMOCA checkpoint.

    Raises:
        AssetError: If the file is missing, broken, hostile, or not EMOCA's.
    """
    kind = "a checkpoint of EMOCA"
    weights = load_weights(source, kind, EMOCA_SETTINGS)
    with reading_asset(source, kind):
        state = {
            name.removeprefix(EMOCA_PREFIX): values
            for name, values in weights["state_dict"].items()
            if name.startswith(EMOCA_PREFIX)
        }
        _save(state, EXPRESSION_SIZE, target)


def _save(state: Mapping[str, Tensor], codes: int, target: Path) -> None:
    with torch.device("meta"):
        check_state(state, DecaNetwork(codes))
    save_file({name: values.contiguous() for name, values in state.items()}, target)


def load_deca_network(path: Path, codes: int) -> DecaNetwork:
    """Read an installed network, ready to use on the CPU.

    Raises:
        AssetError: If the file is broken.
    """
    with torch.device("meta"):
        network = DecaNetwork(codes)
    try:
        network.load_state_dict(load_file(path), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise AssetError(
            f"{path} is broken ({str(error).splitlines()[0]}); run "
            f"`i2fet assets add {path.stem} PATH` again"
        ) from error
    return network.eval().requires_grad_(False)


class DecaFaceEncoder:
    """Reads FLAME 2020 coefficients off crops around MediaPipe's landmarks.

    DECA's camera and frame are ours: scale and shift of the crop, y upwards, the head turning
    about FLAME's root joint.

    Args:
        head: FLAME.
        emoca: Whether EMOCA's network reads the expression.
        device: Where the networks run.

    Raises:
        AssetError: If a network's file is missing or broken.
    """

    def __init__(
        self, head: HeadModel, emoca: bool = False, device: torch.device | str = "cpu"
    ) -> None:
        self.name = "emoca" if emoca else "deca"
        self.head, self.device = head, torch.device(device)
        network = load_deca_network(find_asset("deca"), sum(PARTS.values()))
        self.network = network.to(self.device)
        self.expression_network = None
        if emoca:
            expressive = load_deca_network(find_asset("emoca"), EXPRESSION_SIZE)
            self.expression_network = expressive.to(self.device)
        self.detector = LandmarkDetector()

    @cached_property
    def fingerprint(self) -> str:
        """As in `FaceEncoder`."""
        parts = (self.name, CODE_VERSION, version("mediapipe"), self.head.name)
        digest = hashlib.sha256(repr(parts).encode())
        for network in (self.network, self.expression_network):
            for values in network.state_dict().values() if network else ():
                digest.update(values.cpu().numpy().tobytes())
        return digest.hexdigest()

    def encode(self, images: Sequence[Picture], neutral: Picture | None = None) -> EncodedFaces:
        """As `FaceEncoder.encode` says; there is no use for a neutral picture."""
        if neutral is not None:
            raise OptionError(
                f"the face encoder {self.name!r} has no use for a neutral photo; leave it out"
            )
        faces = find_faces(self.detector, images)
        for rows in faces.batches():
            sizes = torch.tensor([images[row].shape[:2] for row in rows])
            landmarks = faces.landmarks[rows]
            alignment = deca_alignment(landmarks)
            crops = cut_crops([images[row] for row in rows], alignment)
            read = in_picture(self.read_crops(crops), alignment, sizes, self.head, (SIZE, SIZE))
            seen = to_picture_frame(landmarks, sizes)
            faces.put(rows, read, residual_percent(seen, self._placed_landmarks(read)))
        return faces

    @torch.no_grad()
    def read_crops(self, crops: Tensor) -> FaceCoefficients:
        """(N,) coefficients, whose cameras are for the crops, of (N, 3, 224, 224) in [0, 1]."""
        crops = crops.to(self.device)
        codes = self.network(crops).cpu()
        parts = dict(zip(PARTS, codes.split(list(PARTS.values()), dim=1), strict=True))
        if self.expression_network is not None:
            parts["expression"] = self.expression_network(crops).cpu()
        return FaceCoefficients(
            *(parts[name] for name in ("shape", "expression", "pose", "camera"))
        )

    @torch.no_grad()
    def _placed_landmarks(self, faces: FaceCoefficients) -> Tensor:
        """(N, 468, 3) in half picture sides from the middle, y up."""
        landmarks = self.head.landmarks(self.head.vertices(faces))[:, : IRISES[0]]
        shift = functional.pad(faces.camera[:, 1:], (0, 1))
        return faces.camera[:, None, :1] * (landmarks + shift[:, None])


def deca_alignment(landmarks: Tensor) -> Alignment:
    """From pictures to DECA's crops, for (N, 468 or more, 2 or more) landmarks in pixels."""
    points = landmarks[:, list(BOXED), :2]
    low, high = points.amin(1), points.amax(1)
    side = (MARGIN * (high - low).mean(1)).floor().clamp(min=1)
    zoom = (SIZE - 1) / side
    corner = (low + high - side[:, None]) / 2
    return Alignment(zoom[:, None, None] * torch.eye(2), -zoom[:, None] * corner)


def cut_crops(images: Sequence[Picture], alignment: Alignment) -> Tensor:
    """(N, 3, 224, 224) in [0, 1] of N pictures; black beyond them."""
    back = alignment.inverse()
    steps = torch.arange(SIZE, dtype=torch.float32)
    crops = []
    for image, turn, shift in zip(images, back.turn, back.shift, strict=True):
        x, y = (steps * turn.diagonal()[axis] + shift[axis] - 0.5 for axis in (0, 1))
        height, width = image.shape[:2]
        grid = torch.stack(torch.meshgrid(x / (width - 1), y / (height - 1), indexing="xy"), -1)
        picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        crops.append(functional.grid_sample(picture, 2 * grid[None] - 1, align_corners=True))
    return torch.cat(crops)
