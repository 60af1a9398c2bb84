"""Heads as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2fet.files import replacing
from i2fet.heads.base import HeadData, HeadModel

REGION_PREFIX = "region."


@dataclass(frozen=True)
class StoredHead:
    """What a file holds of a head.

    Attributes:
        data: Its arrays.
        regions: Its regions by name.
        extra: Further tensors by name.
        metadata: Text.
    """

    data: HeadData
    regions: dict[str, Tensor]
    extra: dict[str, Tensor]
    metadata: dict[str, str]


def save_head_file(
    path: Path,
    head: HeadModel,
    metadata: Mapping[str, str],
    extra: Mapping[str, Tensor] | None = None,
    half: bool = False,
) -> None:
    """Write a head.

    Args:
        path: Ends in .safetensors.
        head: The head.
        metadata: Text to keep with it.
        extra: Further tensors.
        half: Whether its two largest bases are kept in half precision.
    """
    tensors = {field.name: getattr(head, field.name) for field in fields(HeadData)}
    tensors |= extra or {}
    tensors |= {REGION_PREFIX + name: mask for name, mask in head.regions.items()}
    kept = {
        key: (value.float() if value.is_floating_point() else value.to(torch.int32)).contiguous()
        for key, value in tensors.items()
        if value is not None
    }
    if half:
        for basis in ("shape_basis", "expression_basis"):
            kept[basis] = kept[basis].half()
    with replacing(path) as unfinished:
        save_file(kept, unfinished, dict(metadata))


def load_head_file(path: Path) -> StoredHead:
    """Read a head.

    Raises:
        SafetensorError: If the file is no safetensors file.
        TypeError: If arrays of the head are missing.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors = {k: v.float() if v.is_floating_point() else v.long() for k, v in tensors.items()}
    names = [field.name for field in fields(HeadData)]
    data = HeadData(**{name: tensors.pop(name) for name in names if name in tensors})
    regions = {
        key.removeprefix(REGION_PREFIX): tensors.pop(key)
        for key in list(tensors)
        if key.startswith(REGION_PREFIX)
    }
    return StoredHead(data, regions, tensors, metadata)
