"""Which landmarks the face network looks at closely, and how."""

from __future__ import annotations

import torch
from torch import Tensor

from i2fet.nn.close_up import Window
from i2fet.perception.descriptor import CELL, EYES, FINE_CELL, MOUTH, TINT_CELL, grids

EYE_POINTS = (
    *(33, 163, 145, 154, 133, 157, 159, 161),
    *(263, 390, 374, 381, 362, 384, 386, 388),
    *(70, 63, 105, 66, 107, 300, 293, 334, 296, 336),
    *(468, 469),
)
"""Lids, brows and irises, by MediaPipe's numbers; the irises as `fitted_points` counts them."""

MOUTH_POINTS = (
    *(61, 91, 84, 314, 321, 291, 270, 267, 37, 40),
    *(78, 88, 87, 317, 318, 308, 310, 312, 82, 80),
    *(2, 206, 426),
)
"""Outer and inner lips, below the nose, and the folds beside it."""

OTHER_POINTS = (1, 98, 327, 50, 280, 205, 425, 152, 199, 6, 168)
"""Nose, cheeks and chin."""

POINTS = (*EYE_POINTS, *MOUTH_POINTS, *OTHER_POINTS)
COARSE_SIDE, FINE_SIDE, TINT_SIDE = 5, 6, 3
"""Samples along either side of the windows."""


def views() -> list[tuple[list[Window], Tensor]]:
    """Groups of windows, and which of `POINTS` each follows: all, the eyes', the mouth's."""
    coarse, eyes, mouth, tints = (torch.from_numpy(numbers) for numbers in grids())
    whole = (0.0, 0.0)
    everywhere = [
        Window(coarse, whole, CELL, COARSE_SIDE),
        Window(tints, whole, TINT_CELL, TINT_SIDE),
    ]
    eye, below = len(EYE_POINTS), len(EYE_POINTS) + len(MOUTH_POINTS)
    return [
        (everywhere, torch.arange(len(POINTS))),
        ([Window(eyes, _corner(EYES), FINE_CELL, FINE_SIDE)], torch.arange(eye)),
        ([Window(mouth, _corner(MOUTH), FINE_CELL, FINE_SIDE)], torch.arange(eye, below)),
    ]


def _corner(part: tuple[slice, slice]) -> tuple[float, float]:
    rows, columns = part
    return float(columns.start), float(rows.start)
