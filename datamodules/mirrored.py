"""Mirror images of training samples: as right as the originals, and twice as many."""

from __future__ import annotations

from dataclasses import replace

import torch

from datamodules.pairs import FaceTable, PairDataset
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.heads.base import HeadModel
from i2fet.perception.mirror import Mirror, other_sides


def mirror_half(pairs: PairDataset, head: HeadModel, seed: int) -> PairDataset:
    """Show every sample, at random, as it is or as a mirror would.

    Args:
        pairs: The samples.
        head: Whose expression components have a side in their names.
        seed: Of the draw.

    Raises:
        OptionError: The head's expression components have no sides.
    """
    names = head.expression_names
    if other_sides(names) == list(range(len(names))):
        raise OptionError(
            "faces of this head cannot be mirrored, since its expression components have no sides; "
            "leave out --data.mirror"
        )
    both = _with_mirror_images(pairs.faces, Mirror(head))
    generator = torch.Generator().manual_seed(seed)
    mirrored = torch.randint(2, (len(pairs), 1), generator=generator)
    rows = pairs.samples.faces + mirrored * len(pairs.faces.subject)
    return PairDataset(both, replace(pairs.samples, faces=rows), pairs.tokens, pairs.mask)


def _with_mirror_images(faces: FaceTable, mirror: Mirror) -> FaceTable:
    """The same faces, then their mirror images."""
    coefficients = FaceCoefficients.cat([faces.coefficients, mirror(faces.coefficients)])
    return FaceTable(coefficients, faces.subject.repeat(2), faces.emotion.repeat(2))
