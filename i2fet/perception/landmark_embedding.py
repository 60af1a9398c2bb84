"""Where MediaPipe's 468 landmarks lie on a head: render many heads, detect, lift to the surface."""

from __future__ import annotations

import cv2
import mediapipe as mp
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from i2fet.camera import project
from i2fet.errors import AssetError
from i2fet.heads.base import HeadModel
from i2fet.quiet import native_stderr_silenced
from i2fet.rendering.mesh import render_vertices
from i2fet.rendering.rasterizer import Fragments, rasterize

LANDMARKS = 468
SIZE = 512
LIPS = sorted({i for edge in mp.solutions.face_mesh.FACEMESH_LIPS for i in edge})
BROWS = [
    [46, 53, 52, 65, 55, 107, 66, 105, 63, 70],
    [276, 283, 282, 295, 285, 336, 296, 334, 293, 300],
]
SKIN, LIP, BROW = (0.80, 0.62, 0.53), (0.70, 0.36, 0.36), (0.22, 0.16, 0.12)
WHITE, IRIS, BLACK, DARK = (0.93, 0.92, 0.90), (0.33, 0.25, 0.17), (0.02,) * 3, (0.12, 0.05, 0.05)
PALETTE = {
    "lips": LIP,
    "brows": BROW,
    "sclera": WHITE,
    "iris": IRIS,
    "pupil": BLACK,
    "mouth_interior": DARK,
    "tongue": (0.55, 0.25, 0.25),
}


INNER = ("sclera", "iris", "pupil", "mouth_interior", "tongue")
"""Regions that no landmark lies on."""


def paint(regions: dict[str, Tensor]) -> Tensor:
    """(V, 3) plain colours of a face, enough for a landmark detector."""
    mask = next(iter(regions.values()))
    colors = torch.tensor(SKIN).expand(len(mask), 3).clone()
    for name, color in PALETTE.items():
        if name in regions:
            colors = torch.lerp(
                colors, torch.tensor(color).expand_as(colors), regions[name][:, None]
            )
    return colors


def detect(images: np.ndarray) -> tuple[Tensor, Tensor]:
    """Landmarks (N, 468, 2) in pixels and whether a face was found (N,)."""
    found = torch.zeros(len(images), dtype=torch.bool)
    points = torch.zeros(len(images), LANDMARKS, 2)
    face_mesh = mp.solutions.face_mesh.FaceMesh
    with native_stderr_silenced(), face_mesh(static_image_mode=True) as mesh:
        for row, image in enumerate(images):
            faces = mesh.process(image).multi_face_landmarks
            if faces:
                found[row] = True
                points[row] = torch.tensor([[p.x, p.y] for p in faces[0].landmark]) * SIZE
    return points, found


def sample_heads(head: HeadModel, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pixel vertices (N, V, 3) and vertices (N, V, 3); every second head opens its mouth."""
    generator = torch.Generator().manual_seed(seed)
    shape = 0.7 * torch.randn(count, 100, generator=generator)
    expression = torch.zeros(count, 50)
    pose = torch.zeros(count, 6)
    pose[:, :3] = 0.08 * torch.randn(count, 3, generator=generator)
    pose[1::2, 3] = head.jaw_open_angle * (0.3 + 0.4 * torch.rand(count // 2, generator=generator))
    vertices = head(shape, expression, pose)
    eyes = head.joint_positions(shape)[:, 3:].mean(1)
    camera = torch.cat([torch.full((count, 1), 7.0), -eyes[:, :2]], dim=1)
    camera[:, 2] += 0.03
    return project(vertices, camera, SIZE, SIZE), vertices


def lift(points: Tensor, fragments: Fragments) -> tuple[Tensor, Tensor]:
    """Face (N, L), -1 beside the head, and barycentrics (N, L, 3) under pixel positions."""
    column = points[..., 0].floor().long().clamp(0, SIZE - 1)
    row = points[..., 1].floor().long().clamp(0, SIZE - 1)
    image = torch.arange(len(points))[:, None]
    return fragments.pix_to_face[image, row, column], fragments.barycentrics[image, row, column]


def medoids(
    head: HeadModel, faces: Tensor, barycentrics: Tensor, valid: Tensor
) -> tuple[Tensor, ...]:
    """Of each landmark's valid lifts the one nearest their median: face, barycentrics, spread."""
    corners = head.template[head.faces[faces.clamp(min=0)]]
    points = (corners * barycentrics[..., None]).sum(2)
    points[~valid] = torch.nan
    median = points.nanmedian(dim=0).values
    distance = (points - median).norm(dim=-1)
    spread = distance.nanmedian(dim=0).values
    best = distance.nan_to_num(torch.inf).argmin(dim=0)
    column = torch.arange(faces.shape[1])
    return faces[best, column], barycentrics[best, column], spread


def embed_landmarks(head: HeadModel, count: int = 120, seed: int = 0) -> tuple[Tensor, ...]:
    """Detect on rendered heads and lift.

    Lips are lifted from open mouths, where upper and lower lip part; all else from closed ones.

    Returns:
        Faces (468,), barycentrics (468, 3) and spread (468,) in metres.

    Raises:
        AssetError: If the detector does not see a whole face in the head.
    """
    pixels, vertices = sample_heads(head, count, seed)
    images = render_vertices(pixels, vertices, head.faces, paint(head.regions), SIZE, SIZE)
    points, found = detect(images)
    faces, barycentrics = lift(points, rasterize(pixels, head.faces, SIZE, SIZE))
    inner = torch.stack([head.regions[name] for name in INNER if name in head.regions]).sum(0)
    on_skin = inner[head.faces].amax(1)[faces.clamp(min=0)] < 0.5
    open_mouth = (torch.arange(count) % 2 == 1)[:, None]
    wanted = torch.zeros(LANDMARKS, dtype=torch.bool)
    wanted[LIPS] = True
    valid = found[:, None] & (faces >= 0) & on_skin & (open_mouth == wanted)
    hit = found[:, None] & (faces >= 0)
    if missing := int((~hit.any(0)).sum()):
        raise AssetError(
            f"MediaPipe sees no whole face in the rendered head {head.name!r} ({missing} of "
            f"{LANDMARKS} landmarks are missing); it is no human head with its face along z"
        )
    beside = ~valid.any(0)
    lifted = medoids(head, faces, barycentrics, torch.where(beside, hit, valid))
    return _bring_to_skin(head, inner, beside, *lifted)


def _bring_to_skin(
    head: HeadModel,
    inner: Tensor,
    beside: Tensor,
    faces: Tensor,
    barycentrics: Tensor,
    spread: Tensor,
) -> tuple[Tensor, ...]:
    """Move the landmarks that were only ever seen beside the skin to its nearest vertices."""
    skin = (inner[head.faces].amax(1) < 0.5).nonzero()[:, 0]
    points = (head.template[head.faces[faces[beside]]] * barycentrics[beside, :, None]).sum(1)
    corner = torch.cdist(points, head.template[head.faces[skin]].flatten(0, 1)).argmin(1)
    faces[beside] = skin[corner // 3]
    barycentrics[beside] = functional.one_hot(corner % 3, 3).float()
    return faces, barycentrics, spread


def brow_mask(head: HeadModel, faces: Tensor, barycentrics: Tensor) -> Tensor:
    """(V,) one within the brows' landmark outlines, falling to zero over 2 mm."""
    landmarks = (head.template[head.faces[faces]] * barycentrics[..., None]).sum(1)
    mask = np.zeros(head.num_vertices, dtype=np.float32)
    for outline in BROWS:
        polygon = (landmarks[outline, :2] * 1000).numpy().astype(np.float32)
        for vertex, (x, y, _) in enumerate((head.template * 1000).tolist()):
            inside = cv2.pointPolygonTest(polygon, (x, y), measureDist=True)
            mask[vertex] = max(mask[vertex], min(max(1 + inside / 2, 0), 1))
    mask[(head.template[:, 2] < landmarks[BROWS[0] + BROWS[1], 2].min() - 0.02).numpy()] = 0
    return torch.from_numpy(mask)
