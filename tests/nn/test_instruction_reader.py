from __future__ import annotations

import torch

from i2fet.nn.instruction_reader import InstructionReader


def reader() -> InstructionReader:
    torch.manual_seed(0)
    return InstructionReader(text_width=12, width=16, heads=2, layers=1).eval()


def test_padding_changes_nothing(generator):
    tokens = torch.randn(2, 5, 12, generator=generator)
    mask = torch.ones(2, 5, dtype=torch.bool)
    padded = torch.cat([tokens, torch.randn(2, 3, 12, generator=generator)], dim=1)
    longer = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    one, other = reader()(tokens, mask), reader()(padded, longer)
    torch.testing.assert_close(one.marks, other.marks[:, :5])
    torch.testing.assert_close(one.times, other.times[:, :5])


def test_shapes():
    reading = reader()(torch.zeros(3, 77, 12), torch.ones(3, 77, dtype=torch.bool))
    assert reading.marks.shape == (3, 77, 3)
    assert reading.times.shape == (3, 77)
