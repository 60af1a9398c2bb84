"""State dicts of official checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from i2fet.assets import check_state, find_asset, reading_asset
from i2fet.errors import AssetError
from i2fet.heads.base import HeadModel

Network = TypeVar("Network", bound=nn.Module)


def with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def fill(network: Network, state: Mapping[str, Tensor]) -> Network:
    """Put a checkpoint's tensors into a network, and make it ready for use.

    Args:
        network: Whose tensors bear the checkpoint's names.
        state: May hold more than the network takes.

    Raises:
        ValueError: If a tensor is missing or not as it should be.
    """
    known = {name: state[name] for name in network.state_dict() if name in state}
    check_state(known, network)
    network.load_state_dict(known, strict=False)
    return network.eval().requires_grad_(False)


def save_state(network: nn.Module, path: Path) -> None:
    """Write a network's tensors as safetensors."""
    save_file({name: values.contiguous() for name, values in network.state_dict().items()}, path)


def load_installed(
    name: str, kind: str, build: Callable[[Mapping[str, Tensor]], Network]
) -> Network:
    """Read an installed network.

    Args:
        name: Of its asset.
        kind: What it should be, for the error.
        build: From the tensors.

    Raises:
        AssetError: If it is not installed, or broken.
    """
    path = find_asset(name)
    try:
        with reading_asset(path, kind):
            return build(load_file(path))
    except SafetensorError as error:
        raise AssetError(
            f"{path} is broken ({error}); run `i2fet assets add {name} PATH` again"
        ) from error


def check_folder(path: Path, what: str) -> None:
    """Make sure that a path is a folder.

    Raises:
        AssetError: If it is not; says what it should be.
    """
    if not path.is_dir():
        raise AssetError(f"{path} is no folder; give the path of {what}")


def check_mesh_size(renderer: str, head: HeadModel, vertices: int) -> None:
    """Make sure that a renderer's networks know the head's mesh.

    Raises:
        AssetError: If they do not.
    """
    if head.num_vertices != vertices:
        raise AssetError(
            f"the renderer {renderer!r} knows a mesh of {vertices} vertices, and the head "
            f"{head.name!r} has {head.num_vertices}; use a model that was trained for FLAME"
        )
