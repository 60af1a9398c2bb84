from __future__ import annotations

import pytest
import torch

from datamodules.mirrored import mirror_half
from datamodules.pairs import FaceTable, PairDataset, Samples
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OptionError
from i2fet.heads.base import HeadModel
from i2fet.perception.mirror import Mirror


def some_pairs(samples: int = 200) -> PairDataset:
    people = 5
    coefficients = FaceCoefficients(
        torch.randn(people, 100),
        torch.rand(people, 50),
        torch.randn(people, 6) * 0.1,
        torch.zeros(people, 3),
    )
    faces = FaceTable(coefficients, torch.arange(people), torch.arange(people) % 3)
    rows = torch.randint(people, (samples, 2))
    instruction = torch.randint(4, (samples,))
    return PairDataset(
        faces, Samples(rows, instruction), torch.randn(4, 7, 8), torch.ones(4, 7, dtype=torch.bool)
    )


def test_every_sample_is_itself_or_its_mirror_image(head: HeadModel) -> None:
    pairs = some_pairs()
    mirrored = mirror_half(pairs, head, seed=0)
    everything = list(range(len(pairs)))
    before, after = pairs.__getitems__(everything), mirrored.__getitems__(everything)
    images = Mirror(head)(pairs.faces.coefficients)
    same = (after["expression"] == before["expression"]).flatten(1).all(dim=1)
    flipped = (after["expression"] == images.expression[pairs.rows]).flatten(1).all(dim=1)
    assert (same ^ flipped).all()
    assert 0.35 < float(flipped.float().mean()) < 0.65
    assert torch.equal(after["shape"][flipped], images.shape[pairs.rows[flipped, 0]])
    assert torch.equal(after["pose"][flipped], images.pose[pairs.rows[flipped]])
    for name in ("sample", "emotion", "tokens", "instruction"):
        assert torch.equal(after[name], before[name])


def test_the_draw_depends_on_the_seed_alone(head: HeadModel) -> None:
    pairs = some_pairs()
    first, again, other = (mirror_half(pairs, head, seed).rows for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_head_without_sides_is_refused(head: HeadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"component {number}" for number in range(50))
    monkeypatch.setattr(head, "expression_names", names)
    with pytest.raises(OptionError, match="no sides"):
        mirror_half(some_pairs(), head, seed=0)
