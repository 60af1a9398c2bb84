"""How fast heads are posed, beside smplx, in one run on this machine.

    python -m experiments.skinning_speed

A batch of 256 heads of FLAME's size, with random numbers in them, so that no licensed file is
needed. Times depend on the machine and on what else it does; the ratios are what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from smplx.lbs import batch_rigid_transform, lbs
from torch import Tensor

from experiments.script import run
from i2fet.heads.base import JAW, JOINT_PARENTS, HeadData, HeadModel
from i2fet.heads.skinning import linear_blend_skinning, pose_head, rotation_matrices

HEADS, VERTICES, JOINTS, CORRECTIVES = 256, 5023, 5, 36
REPEATS = 15


def random_head(generator: torch.Generator) -> tuple[HeadModel, Tensor]:
    """A head of FLAME's size, and the (5, V) regressor that its joints were made with."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    regressor = torch.rand(JOINTS, VERTICES, generator=generator)
    regressor /= regressor.sum(1, keepdim=True)
    template = 0.1 * normal(VERTICES, 3)
    shapes, expressions = 1e-3 * normal(100, VERTICES, 3), 1e-3 * normal(50, VERTICES, 3)
    data = HeadData(
        template=template,
        shape_basis=shapes,
        expression_basis=expressions,
        joints=regressor @ template,
        joint_shape_basis=regressor @ shapes,
        skinning_weights=normal(VERTICES, JOINTS).softmax(-1),
        faces=torch.zeros(0, 3, dtype=torch.long),
        uv=torch.zeros(0, 2),
        faces_uv=torch.zeros(0, 3, dtype=torch.long),
        landmark_faces=torch.zeros(0, dtype=torch.long),
        landmark_barycentrics=torch.zeros(0, 3),
        joint_expression_basis=regressor @ expressions,
        corrective_basis=1e-3 * normal(CORRECTIVES, VERTICES, 3),
    )
    names = tuple(map(str, range(50)))
    return HeadModel("random", data, names, (-4.0, 4.0)), regressor


def smplx_skinning(rest: Tensor, joints: Tensor, rotations: Tensor, weights: Tensor) -> Tensor:
    """The part of smplx's `lbs` that follows the unposed vertices."""
    _, transforms = batch_rigid_transform(rotations, joints, torch.tensor(JOINT_PARENTS))
    blended = (weights @ transforms.flatten(2)).unflatten(-1, (4, 4))
    homogeneous = torch.cat([rest, torch.ones_like(rest[..., :1])], dim=2)
    return (blended @ homogeneous[..., None])[..., :3, 0]


def median_seconds(functions: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Each one's median, the functions taking turns so that all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(REPEATS + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    generator = torch.Generator().manual_seed(0)
    head, regressor = random_head(generator)
    shape, expression = (torch.randn(HEADS, n, generator=generator) for n in (100, 50))
    pose = 0.2 * torch.randn(HEADS, 6, generator=generator)
    still = torch.zeros_like(pose)
    full = torch.cat([pose[:, :3], still[:, :3], pose[:, 3:], still], dim=1)
    rotations = rotation_matrices(full.unflatten(-1, (JOINTS, 3)))
    rest, joints = head.rest_vertices(shape, expression), head.joint_positions(shape, expression)
    weights, plain = head.skinning_weights, rest.contiguous()
    assert head.corrective_basis is not None
    smplx_arguments = (
        torch.cat([shape, expression], dim=1),
        full,
        head.template.contiguous(),
        torch.cat([head.shape_basis, head.expression_basis]).permute(1, 2, 0).contiguous(),
        head.corrective_basis.flatten(1).contiguous(),
        regressor,
        torch.tensor(JOINT_PARENTS),
        weights,
    )
    difference = (head(shape, expression, pose) - lbs(*smplx_arguments)[0]).norm(dim=-1).max()
    seconds = median_seconds(
        {
            "smplx, skinning": lambda: smplx_skinning(plain, joints, rotations, weights),
            "ours, skinning, root and jaw": lambda: pose_head(
                rest, joints[:, 0], joints[:, JAW], weights[:, JAW], pose
            ),
            "ours, skinning, all joints": lambda: linear_blend_skinning(
                rest, joints, rotations, weights, JOINT_PARENTS
            ),
            "smplx, codes to vertices": lambda: lbs(*smplx_arguments)[0],
            "ours, codes to vertices": lambda: head(shape, expression, pose),
        }
    )
    print(f"{HEADS} heads, {torch.get_num_threads()} threads, at most {difference:.1e} m apart")
    for name, value in seconds.items():
        against = seconds["smplx, skinning" if "skinning" in name else "smplx, codes to vertices"]
        print(f"{name:32s} {1000 * value:8.1f} ms {against / value:6.1f} times smplx's speed")


if __name__ == "__main__":
    run(main)
