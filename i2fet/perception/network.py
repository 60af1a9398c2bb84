"""The face encoder's network and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2fet.errors import AssetError
from i2fet.files import replacing
from i2fet.heads.arkit import ArkitHead
from i2fet.nn.face_network import FaceNetwork
from i2fet.nn.packed_weights import BYTE, GROUP, HALF_BYTE, pack, unpack
from i2fet.perception.descriptor import grids
from i2fet.perception.fitting import embedding_hash

NETWORK_FILE = Path(__file__).with_name("face_network.safetensors")
REMEDY = "`make train-encoder` trains it, and the encoder 'landmarks' needs none"

LARGE, LARGEST = 200_000, 1_000_000
"""Matrices of more entries are kept as bytes, and as half bytes."""

STEPS = ".steps"


def build_face_network(**options: Any) -> FaceNetwork:
    """An untrained network that looks at what `describe` tells.

    Args:
        **options: Of `FaceNetwork`, but for its maps.
    """
    return FaceNetwork([torch.from_numpy(numbers) for numbers in grids()], **options)


def save_face_network(
    network: FaceNetwork, config: Mapping[str, Any], path: Path, head: ArkitHead, **metadata: str
) -> None:
    """Write a network as safetensors; its matrices in half precision, large ones in fewer bits.

    Args:
        network: The network.
        config: Arguments of `build_face_network` with which it was built.
        path: Ends in .safetensors.
        head: Whose coefficients it reads.
        **metadata: What else is to be recorded, such as the training's seed.
    """
    state: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        if value.ndim > 1 and value.numel() > LARGE and value.shape[-1] % GROUP == 0:
            levels = HALF_BYTE if value.numel() > LARGEST else BYTE
            state[key], state[key + STEPS] = pack(value, levels)
        else:
            state[key] = (value.half() if value.ndim > 1 else value).contiguous()
    known = {"config": json.dumps(config), "embedding": embedding_hash(head), "head": head.name}
    with replacing(path) as unfinished:
        save_file(state, unfinished, {**metadata, **known})


def load_face_network(path: Path, head: ArkitHead) -> FaceNetwork:
    """Read a network, ready to use on the CPU.

    Raises:
        AssetError: If the file is missing, broken, or made for other landmarks.
    """
    if not path.is_file():
        raise AssetError(f"the face network {path} is missing; {REMEDY}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for key in [key for key in state if key.endswith(STEPS)]:
            packed = key.removesuffix(STEPS)
            state[packed] = unpack(state[packed], state.pop(key))
        network = build_face_network(**json.loads(metadata["config"]))
        network.load_state_dict(state)
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise AssetError(f"the face network {path} is broken ({reason}); {REMEDY}") from error
    if metadata.get("embedding") != embedding_hash(head):
        raise AssetError(f"the face network {path} is for other landmarks of the head; {REMEDY}")
    return network.eval()
