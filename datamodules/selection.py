"""Which of a dataset's faces are used: those that were found, frontal, of expressive subjects."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import compress

import torch
from torch import Tensor

from datamodules.cache import Tensors
from datamodules.records import FaceRecords, Skipped, inexpressive
from i2fet.coefficients import FaceCoefficients

logger = logging.getLogger(__name__)

LISTED = 10


def select_faces(
    records: FaceRecords, tensors: Tensors, max_head_angle: float, min_expressions: int
) -> tuple[FaceRecords, FaceCoefficients]:
    """Leave out the faces that cannot be used, as the paper does (Section IV-A2).

    Args:
        records: N frames.
        tensors: What `extract` returned for them.
        max_head_angle: Largest yaw, pitch and roll, degrees.
        min_expressions: Fewest different expressions that must be left of a subject.

    Returns:
        The frames that are left, with the others among the skipped, and their coefficients.
    """
    readable, found = tensors["readable"], tensors["found"]
    coefficients = FaceCoefficients(
        **{name: tensors[name] for name in ("shape", "expression", "pose", "camera")}
    )
    turned = found & (coefficients.head_angles.abs().amax(1) > max_head_angle)
    usable = found & ~turned
    few = usable & _inexpressive(records, usable, min_expressions)
    faults = {
        "unreadable, or beyond a cut": ~readable,
        "no face found": readable & ~found,
        f"head turned by more than {max_head_angle:g} degrees": turned,
        f"subject left with fewer than {min_expressions} expressions": few,
    }
    skipped = [item for reason, rows in faults.items() for item in _skip(records, rows, reason)]
    usable &= ~few
    kept = tuple(compress(records.records, usable.tolist()))
    records = replace(records, records=kept, skipped=(*records.skipped, *skipped))
    return records, coefficients[usable]


def _inexpressive(records: FaceRecords, usable: Tensor, least: int) -> Tensor:
    """(N,) bool, the faces of subjects with too few expressions among the usable ones."""
    shown = [(r.subject, r.emotion) for r in compress(records.records, usable.tolist())]
    few = inexpressive(shown, least)
    return torch.tensor([record.subject in few for record in records.records])


def _skip(records: FaceRecords, rows: Tensor, reason: str) -> list[Skipped]:
    names = [record.name for record in compress(records.records, rows.tolist())]
    if names:
        listed = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        logger.warning("%d frames left out, %s: %s", len(names), reason, listed)
    return [Skipped(name, reason) for name in names]
