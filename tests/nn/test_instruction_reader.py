from __future__ import annotations

import torch

from i2fet.nn.instruction_reader import MAX_STEPS, InstructionReader, InstructionReading


def reader() -> InstructionReader:
    torch.manual_seed(0)
    return InstructionReader(text_width=12, width=16, heads=2, layers=1).eval()


def test_padding_changes_nothing(generator):
    tokens = torch.randn(2, 5, 12, generator=generator)
    mask = torch.ones(2, 5, dtype=torch.bool)
    padded = torch.cat([tokens, torch.randn(2, 3, 12, generator=generator)], dim=1)
    longer = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    one, other = reader()(tokens, mask), reader()(padded, longer)
    for name in ("present", "emotions", "log_intensity"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_shapes():
    reading = reader()(torch.zeros(3, 77, 12), torch.ones(3, 77, dtype=torch.bool))
    assert reading.places.shape == (3, 77, 1 + MAX_STEPS)
    assert reading.present.shape == reading.log_intensity.shape == (3, MAX_STEPS)
    assert reading.emotions.shape == (3, MAX_STEPS, 8)
    assert reading.confidence.shape == reading.asking.shape == (3,)


def test_emotions_are_told_from_the_tokens_of_the_step(generator):
    tokens = torch.randn(1, 6, 12, generator=generator)
    mask = torch.ones(1, 6, dtype=torch.bool)
    places = torch.tensor([[0, 1, 1, 0, 2, -100]])
    network = reader()
    reading = network(tokens, mask, places)
    torch.testing.assert_close(reading.emotions[0, 0], network.emotion(tokens[0, 1:3].mean(0)))
    torch.testing.assert_close(reading.emotions[0, 1], network.emotion(tokens[0, 4]))


def test_steps_are_counted_up_to_the_first_gap():
    present = torch.tensor([[0.9, 0.8, 0.1, 0.7, 0.0, 0.0], [0.2, 0.9, 0.9, 0.9, 0.9, 0.9]])
    emotions = torch.zeros(2, 6, 8)
    emotions[..., 3] = 50.0
    reading = InstructionReading(torch.zeros(2, 4, 7), present, emotions, torch.zeros(2, 6))
    assert reading.steps.tolist() == [2, 0]
    expected = torch.tensor([0.9 * 0.8 * 0.9 * 0.3, 0.8 * 0.1**5])
    torch.testing.assert_close(reading.confidence, expected)
