from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from i2fet.nn.caft import Attention, Caft, CaftLayer, CrossAttention, Exchange, TransformerEncoder

EXCHANGES = get_args(Exchange)


def copy_attention(source: Attention, target: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        target.in_proj_weight.copy_(torch.cat([source.query.weight, source.key_value.weight]))
        target.in_proj_bias.copy_(torch.cat([source.query.bias, source.key_value.bias]))
    target.out_proj.load_state_dict(source.output.state_dict())


@pytest.mark.parametrize("queries", [1, 2])
def test_attention_equals_torchs_where_the_inner_width_is_the_outer(queries: int) -> None:
    ours = Attention(32)
    torchs = nn.MultiheadAttention(32, ours.heads, batch_first=True)
    copy_attention(ours, torchs)
    query, context = torch.randn(5, queries, 32), torch.randn(5, 3, 32)
    torch.testing.assert_close(ours(query, context), torchs(query, context, context)[0])


@pytest.mark.parametrize(("width", "heads", "inner"), [(53, 4, 64), (384, 6, 384), (768, 12, 768)])
def test_inner_widths(width: int, heads: int, inner: int) -> None:
    attention = Attention(width)
    assert (attention.heads, attention.output.in_features) == (heads, inner)
    assert attention(torch.randn(2, 2, width), torch.randn(2, 2, width)).shape == (2, 2, width)


def test_encoder_equals_torchs_pre_norm_layer() -> None:
    ours = TransformerEncoder(32)
    torchs = nn.TransformerEncoderLayer(
        32, ours.attention.heads, 128, 0.0, "gelu", batch_first=True, norm_first=True
    )
    norm, expand, _, contract = ours.feed_forward
    copy_attention(ours.attention, torchs.self_attn)
    pairs = [
        (ours.attention_norm, torchs.norm1),
        (norm, torchs.norm2),
        (expand, torchs.linear1),
        (contract, torchs.linear2),
    ]
    for source, target in pairs:
        target.load_state_dict(source.state_dict())
    rows = torch.randn(4, 2, 32)
    torch.testing.assert_close(ours(rows), torchs(rows))


def test_cross_attention_is_equation_2_spelled_out() -> None:
    cross = CrossAttention(53, 32)
    attention = nn.MultiheadAttention(32, cross.attention.heads, batch_first=True)
    copy_attention(cross.attention, attention)
    row, context = torch.randn(6, 1, 53), torch.randn(6, 1, 32)
    asking = cross.project(row)
    tokens = cross.norm(torch.cat([asking, context], dim=1))
    expected = cross.back_project(asking + attention(tokens[:, :1], tokens, tokens)[0])
    torch.testing.assert_close(cross(row, context), expected)


def test_paper_exchange_leaves_the_second_row_to_its_own_branch() -> None:
    layer = CaftLayer(32, 53, 2, "paper")
    face, text = torch.randn(3, 2, 53), torch.randn(3, 2, 32)
    fused_face, fused_text = layer(face, text)
    assert torch.equal(fused_face[:, 1], layer.face_encoders(face)[:, 1])
    assert torch.equal(fused_text[:, 1], text[:, 1])


def test_symmetric_exchange_does_to_both_rows_what_the_paper_does_to_the_first() -> None:
    symmetric, paper = CaftLayer(32, 53, 1, "symmetric"), CaftLayer(32, 53, 1, "paper")
    paper.load_state_dict(symmetric.state_dict())
    face, text = torch.randn(3, 2, 53), torch.randn(3, 2, 32)
    both = symmetric(face, text)
    first, swapped = paper(face, text), paper(face.flip(1), text.flip(1))
    for branch in range(2):
        torch.testing.assert_close(both[branch][:, 0], first[branch][:, 0])
        torch.testing.assert_close(both[branch][:, 1], swapped[branch][:, 0])


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("layers", [1, 2])
def test_shapes_and_gradients(exchange: Exchange, layers: int) -> None:
    caft = Caft(24, layers=layers, face_encoders=1, text_encoders=2, exchange=exchange)
    face, text = caft(torch.randn(4, 2, 53), caft.encode_text(torch.randn(4, 2, 24)))
    assert (face.shape, text.shape) == ((4, 2, 53), (4, 2, 24))
    (face.square().sum() + text.square().sum()).backward()
    dead = [name for name, p in caft.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize(("exchange", "reached"), [("paper", False), ("symmetric", True)])
def test_only_the_symmetric_exchange_carries_text_to_the_second_face(
    exchange: Exchange, reached: bool
) -> None:
    caft = Caft(24, exchange=exchange)
    face, text = torch.randn(1, 2, 53), torch.randn(1, 2, 24, requires_grad=True)
    caft(face, text)[0][:, 1].square().sum().backward()
    assert (text.grad is not None and bool(text.grad.any())) is reached


def test_unknown_exchange_is_refused() -> None:
    with pytest.raises(ValueError, match="'both'"):
        Caft(24, exchange="both")  # type: ignore[arg-type]
