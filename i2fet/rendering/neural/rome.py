"""ROME as a renderer: FLAME with the photo's hair and a neural texture, drawn by a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from i2fet.assets import find_asset, load_weights, reading_asset
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import AssetError, OptionError
from i2fet.heads.base import HeadModel
from i2fet.heads.flame_pickle import read_pickle
from i2fet.heads.skinning import rotation_matrices
from i2fet.rendering.mesh import vertex_normals
from i2fet.rendering.neural.framing import (
    SIZE,
    Matting,
    align,
    batches,
    crop_face,
    on_white,
    person_mask,
    to_tensor,
)
from i2fet.rendering.neural.rome_networks import RomeNetworks
from i2fet.rendering.neural.states import check_folder, check_mesh_size, load_installed, save_state
from i2fet.rendering.portrait import Crop, Image
from i2fet.rendering.rasterizer import interpolate, rasterize

NAME = "rome"
KIND = "the networks of ROME"
TEXTURE_ASSET = "flame_uv"
MASK_THRESHOLD = 0.6
SPECK = 9
"""Pixels; what is thinner is no part of the person."""

HELD = (
    *(3383, 3385, 3387, 3389, 3392, 3393, 3395, 3397, 3399, *range(3413, 3425), *range(3441, 3462)),
    *(3578, 3579, 3581, 3583, 3587, 3594, 3595, 3598, 3600, 3630, *range(3634, 3638), 3643, 3644),
    *(3646, 3649, 3650, 3652, 3673, *range(3676, 3682), 3685, 3691, 3693, 3695, 3697, 3698, 3701),
    *(3703, 3707, 3709),
)
"""Vertices of the neck that ROME's deformers leave where they are."""

Hair = Literal["linear", "network"]


@dataclass(frozen=True)
class RomePortrait:
    """A photo prepared for rendering.

    Attributes:
        camera: (1, 3) of the square around the face.
        texture: (1, C, H, W) neural texture.
        offsets: (1, V, 3) metres of hair and shoulders by the linear model.
        size: Of the pictures to render, pixels.
    """

    camera: Tensor
    texture: Tensor
    offsets: Tensor
    size: int


class RomeRenderer:
    """Renders photos of heads with any expression, by ROME's networks.

    Everything after the coefficients is here: the official code reads them again from a picture.
    Hair and shoulders are added in the head's own frame, before it turns.

    Args:
        head: FLAME with its own texture coordinates, on the CPU.
        networks: Trained ones, which move to the device.
        device: That the networks run on.
        hair: Hair and shoulders by the linear model (eq. 17), or by the two deformers of
            `rome.pth`, as the official code does by default.
        matting: What shows the networks where the person is. ROME was trained with MODNet's mattes,
            which a function that calls your clone of github.com/ZHKKKe/MODNet can supply; the
            default is what MediaPipe carries.

    Raises:
        AssetError: If the head has another mesh or other texture coordinates than the networks
            know.
        OptionError: If `hair` is neither.
    """

    def __init__(
        self,
        head: HeadModel,
        networks: RomeNetworks,
        device: torch.device | str = "cpu",
        hair: Hair = "linear",
        matting: Matting = person_mask,
    ) -> None:
        if hair not in get_args(Hair):
            raise OptionError(f"hair is {hair!r}; it can be {' or '.join(get_args(Hair))}")
        check_mesh_size(NAME, head, len(networks.deform_mean))
        if int(networks.mesh.uv_faces.max()) >= len(head.uv):
            raise AssetError(
                f"the head {head.name!r} lacks the texture coordinates that the renderer {NAME!r} "
                f"draws on; run `i2fet assets add {TEXTURE_ASSET} PATH` with head_template.obj"
            )
        self.head = head
        self.device = torch.device(device)
        self.networks = networks.to(self.device)
        self.hair = hair
        self.matting = matting
        self.uv = (2 * head.uv - 1).to(self.device) * torch.tensor([1, -1], device=self.device)

    @classmethod
    def load(cls, head: HeadModel, device: torch.device | str) -> RomeRenderer:
        """With the installed checkpoint.

        Raises:
            AssetError: If it is missing or broken, or made for another head.
        """
        find_asset(TEXTURE_ASSET)
        return cls(head, load_installed(NAME, KIND, RomeNetworks.from_state_dict), device)

    @torch.inference_mode()
    def prepare(
        self, photo: Image, source: FaceCoefficients, landmarks: Tensor, size: int = SIZE
    ) -> RomePortrait:
        """Cut out the face, and find its texture, hair and shoulders.

        Args:
            photo: (H, W, 3).
            source: (1,) coefficients of the head in the photo.
            landmarks: (468 or more, 2 or more) pixels at which MediaPipe saw the face.
            size: Of the pictures to render, pixels.
        """
        crop = crop_face(photo, landmarks, source.camera)
        mask = np.asarray(self.matting(crop.image), np.float32)[..., None]
        seen = torch.cat([to_tensor(crop.image), to_tensor(mask)], dim=1)
        aligned = align(seen, _in_crop(landmarks, crop)).to(self.device)
        picture, mask_seen = aligned.split((3, 1), dim=1)
        return RomePortrait(
            crop.camera,
            self.networks.texture(picture, mask_seen),
            self.networks.hair_offsets(picture),
            size,
        )

    @torch.inference_mode()
    def render(self, portrait: RomePortrait, trajectory: FaceCoefficients) -> Image:
        """(T, size, size, 3) pictures of (T,) coefficients, on white."""
        frames: list[Image] = []
        for part in batches(trajectory):
            vertices = self._vertices(portrait, part)
            mesh = self.networks.mesh
            pixels = self._project(vertices, portrait, part)
            fragments = rasterize(pixels, mesh.faces, SIZE, SIZE)
            seen_at = interpolate(self.uv, mesh.uv_faces, fragments)
            texture = portrait.texture.expand(len(part), -1, -1, -1)
            texture = F.grid_sample(texture, seen_at, align_corners=False)
            normals = interpolate(vertex_normals(vertices, mesh.faces), mesh.faces, fragments)
            colors, mask = self.networks.draw(texture * fragments.mask[:, None], normals)
            frames += on_white(colors, without_specks(mask > MASK_THRESHOLD), portrait.size)
        return np.stack(frames)

    def _vertices(self, portrait: RomePortrait, part: FaceCoefficients) -> Tensor:
        """(B, V, 3) metres in the head's own frame, with hair and shoulders."""
        pose = torch.cat([torch.zeros_like(part.global_rotation), part.jaw], dim=1)
        vertices = self.head.vertices(replace(part, pose=pose)).to(self.device)
        if self.hair == "linear":
            return vertices + portrait.offsets
        mesh = self.networks.mesh
        texture = portrait.texture.expand(len(part), -1, -1, -1)
        positions = self._in_texture(vertices, texture.shape[-1])
        normals = vertex_normals(vertices, mesh.faces)
        return vertices + self.networks.normal_offsets(texture, positions) * normals

    def _in_texture(self, vertices: Tensor, side: int) -> Tensor:
        """(B, side, side, 3) the point of the surface at each place of the texture."""
        mesh = self.networks.mesh
        flat = F.pad((self.uv + 1) * side / 2, (0, 1)).expand(len(vertices), -1, -1)
        fragments = rasterize(flat, mesh.uv_faces, side, side)
        # FLAME's texture has edges that run through the middle of pixels, which the rasteriser that
        # the networks were trained with leaves empty.
        inside = (fragments.barycentrics > 0).all(-1, keepdim=True)
        return interpolate(vertices, mesh.faces, fragments) * inside

    def _project(self, vertices: Tensor, portrait: RomePortrait, part: FaceCoefficients) -> Tensor:
        """(B, V, 3) pixels and depth of a head that turns about its root."""
        root = self.head.joint_positions(part.shape, part.expression)[:, :1].to(self.device)
        turn = rotation_matrices(part.global_rotation).to(self.device)
        turned = (vertices - root) @ turn.mT + root
        camera = portrait.camera.to(self.device).expand(len(part), -1)
        return project(turned, camera, SIZE, SIZE)


def _in_crop(landmarks: Tensor, crop: Crop) -> Tensor:
    """Pixels of the crop."""
    matrix = torch.from_numpy(crop.matrix)
    return landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]


def without_specks(mask: Tensor) -> Tensor:
    """(B, 1, H, W) bool masks as floats, without what is thinner than 9 pixels."""
    kernel = np.ones((SPECK, SPECK), np.uint8)
    opened = [
        cv2.morphologyEx(each, cv2.MORPH_OPEN, kernel) for each in mask[:, 0].byte().cpu().numpy()
    ]
    return torch.from_numpy(np.stack(opened)[:, None]).to(mask.device, torch.float32)


def convert_rome(source: Path, target: Path) -> None:
    """Keep what rendering needs of ROME's folder `data`.

    Args:
        source: The folder, with `rome.pth` and `linear_hair.pth`.
        target: Where to write; a safetensors file.

    Raises:
        AssetError: If a file is missing, broken, or not what it should be.
    """
    check_folder(source, "ROME's folder `data`")
    networks = load_weights(source / "rome.pth", KIND)
    hair = load_weights(source / "linear_hair.pth", "ROME's model of hair and shoulders")
    mean, basis = (_load_tensor(source / name, 2) for name in ("mean_deform.pt", "u_full.pt"))
    mesh = _read_mesh(source)
    with reading_asset(source, "ROME's folder `data`"):
        state = {
            **networks,
            **{f"hair_model.{name}": tensor for name, tensor in hair.items()},
            **{f"mesh.{name}": tensor for name, tensor in mesh.items()},
            "deform_mean": mean,
            "deform_basis": basis.unflatten(0, (-1, 3)),
        }
        kept = RomeNetworks.from_state_dict(state)
        if not 0 <= mesh["faces"].min() <= mesh["faces"].max() < len(mean):
            raise ValueError(f"its triangles name vertices beyond the {len(mean)}")
        save_state(kept, target)


def _read_mesh(source: Path) -> dict[str, Tensor]:
    """The tensors of a `RomeMesh`."""
    vertex_uv = _load_tensor(source / "vertex_uvcoords.pth", 3)[0]
    movable = torch.zeros(len(vertex_uv), 1)
    for name in ("hair_list.pkl", "neck_list.pkl"):
        with reading_asset(source / name, "a list of ROME's vertices"):
            movable[[int(vertex) for vertex in read_pickle(source / name)]] = 1
    held = torch.tensor(HELD)
    movable[held[held < len(movable)]] = 0
    return {
        "faces": _load_tensor(source / "faces_v2.pth", 3)[0],
        "uv_faces": _load_tensor(source / "uvfaces_v2.pth", 3)[0],
        "vertex_uv": vertex_uv,
        "movable": movable,
    }


def _load_tensor(path: Path, dimensions: int) -> Tensor:
    with reading_asset(path, "a tensor of ROME"):
        tensor = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tensor, Tensor) or tensor.ndim != dimensions:
            raise ValueError(f"it is no tensor of {dimensions} dimensions")
    return tensor
