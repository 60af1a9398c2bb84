"""Small synthetic files in the formats of FLAME, DECA, EMOCA and CLIP, none of which is needed."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from scipy import sparse

from i2fet.heads import ArkitHead
from i2fet.heads.base import JOINT_NAMES
from i2fet.perception.deca import PARTS, DecaNetwork
from i2fet.text.clip import build_tower

VERTICES = 5023


class Ch:
    """Pickled as chumpy pickles its arrays."""

    def __init__(self, x: np.ndarray) -> None:
        self.__dict__.update(x=x, _dirty_vars=set(), _itr=None)


@contextmanager
def chumpy_installed() -> Iterator[type]:
    """A module of chumpy's name, which pickling looks up and which is gone when reading."""
    module = ModuleType("chumpy.ch")
    kind = type("Ch", (Ch,), {"__module__": "chumpy.ch"})
    module.Ch = kind  # type: ignore[attr-defined]
    modules = {"chumpy": ModuleType("chumpy"), "chumpy.ch": module}
    sys.modules.update(modules)
    try:
        yield kind
    finally:
        for name in modules:
            del sys.modules[name]


def flame_arrays(head: ArkitHead, seed: int = 0) -> dict[str, Any]:
    """What `generic_model.pkl` holds, with the ARKit head's face and made-up pose correctives."""
    rng = np.random.default_rng(seed)
    kept = np.sort(head.template[:, 2].numpy().argsort()[-VERTICES:])
    number = np.full(head.num_vertices, -1)
    number[kept] = np.arange(VERTICES)
    faces = number[head.faces.numpy()]
    shapes = np.zeros((VERTICES, 3, 400))
    shapes[..., :100] = head.shape_basis[:, kept].permute(1, 2, 0)
    shapes[..., 300:350] = head.expression_basis[:, kept].permute(1, 2, 0)
    template, regressor = head.template.numpy()[kept].astype(float), np.zeros((5, VERTICES))
    for joint, place in enumerate(head.joints.numpy()):
        regressor[joint, np.linalg.norm(template - place, axis=1).argsort()[:20]] = 1 / 20
    return {
        "v_template": template,
        "shapedirs": shapes,
        "posedirs": rng.normal(0, 1e-3, (VERTICES, 3, 36)),
        "J_regressor": sparse.csc_matrix(regressor),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], dtype=np.uint32),
        "weights": head.skinning_weights.numpy()[kept].astype(float),
        "f": faces[(faces >= 0).all(1)].astype(np.uint32),
        "bs_type": "lrotmin",
    }


@cache
def random_flame_arrays(seed: int = 0) -> Mapping[str, Any]:
    """The same with random numbers of FLAME's size, as of no head, and single precision."""
    rng = np.random.default_rng(seed)
    weights = rng.random((VERTICES, len(JOINT_NAMES)))
    regressor = rng.random((len(JOINT_NAMES), VERTICES))
    return {
        "v_template": rng.normal(0, 0.1, (VERTICES, 3)),
        "shapedirs": 1e-3 * rng.standard_normal((VERTICES, 3, 400), np.float32),
        "posedirs": rng.normal(0, 1e-3, (VERTICES, 3, 36)),
        "J_regressor": sparse.csc_matrix(regressor / regressor.sum(1, keepdims=True)),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], dtype=np.uint32),
        "weights": weights / weights.sum(1, keepdims=True),
        "f": rng.integers(0, VERTICES, (9976, 3)).astype(np.uint32),
        "bs_style": "lbs",
    }


def write_pickle(path: Path, arrays: Mapping[str, Any], protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(dict(arrays), protocol=protocol))
    return path


def write_flame(path: Path, head: ArkitHead) -> Path:
    """With chumpy's arrays among them, as the real file has."""
    with chumpy_installed() as ch:
        arrays = flame_arrays(head)
        return write_pickle(path, {**arrays, "shapedirs": ch(arrays["shapedirs"])})


def deca_network(seed: int = 0) -> DecaNetwork:
    """Random, but with a camera that sees a head."""
    torch.manual_seed(seed)
    network = DecaNetwork(sum(PARTS.values())).eval()
    last = network.layers[2]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight[-30:-27] = 0
        last.bias[-30:-27] = torch.tensor([8.0, 0.0, 0.0])
    return network


def write_deca(path: Path, network: DecaNetwork) -> Path:
    torch.save({"E_flame": network.state_dict(), "E_detail": {}, "D_detail": {}}, path)
    return path


def write_clip(path: Path, width: int = 64, layers: int = 1) -> Path:
    """A state dict of open_clip's, with something of the image network."""
    torch.manual_seed(0)
    state = build_tower(width, width // 64, layers).state_dict()
    save_file({**state, "visual.proj": torch.zeros(2, 2), "logit_scale": torch.zeros(1)}, path)
    return path
