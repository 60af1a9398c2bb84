from __future__ import annotations

import pytest
import torch

from i2fet.nn.low_rank import adapt
from i2fet.nn.word_namer import WordNamer


class Language(torch.nn.Module):
    """A small model of the shape of MiniLM."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(30, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids, mask):
        return self.encoder(self.words(ids), src_key_padding_mask=~mask)


@pytest.fixture
def namer():
    torch.manual_seed(0)
    return WordNamer(Language(), 16, rank=2, hidden=8).eval()


def test_at_first_an_adapted_network_is_as_it_was():
    language = Language().eval()
    ids, mask = torch.arange(8).view(2, 4), torch.ones(2, 4, dtype=torch.bool)
    before = language(ids, mask)
    adapt(language.encoder, rank=2)
    torch.testing.assert_close(language(ids, mask), before)


def test_changes_have_the_rank_that_was_asked_for():
    layer = torch.nn.Linear(12, 9)
    before = layer.weight.detach().clone()
    adapt(layer, rank=3)
    torch.nn.init.normal_(layer.parametrizations.weight[0].up)
    assert torch.linalg.matrix_rank(layer.weight - before) == 3


def test_only_the_changes_and_the_head_are_trained(namer):
    ids, mask = torch.arange(8).view(2, 4), torch.ones(2, 4, dtype=torch.bool)
    logits, log_intensity = namer(ids, mask)
    assert (logits.shape, log_intensity.shape) == ((2, 9), (2,))
    (logits.sum() + log_intensity.sum()).backward()
    told = {name for name, one in namer.named_parameters() if one.grad is not None}
    assert told == set(namer.learned())
    assert not any("bias" in name or "norm" in name for name in told if "language" in name)


def test_padding_changes_nothing(namer):
    ids, mask = torch.arange(8).view(2, 4), torch.ones(2, 4, dtype=torch.bool)
    longer = torch.nn.functional.pad(mask, (0, 3))
    for one, other in zip(
        namer(ids, mask), namer(torch.nn.functional.pad(ids, (0, 3)), longer), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_what_was_learned_is_taken_over(namer):
    other = WordNamer(Language(), 16, rank=2, hidden=8)
    other.load_learned(namer.learned())
    torch.testing.assert_close(other.learned(), namer.learned())
    with pytest.raises(RuntimeError, match="meaning"):
        other.load_learned({name: one for name, one in namer.learned().items() if "up" in name})
