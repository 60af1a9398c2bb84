from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from datamodules.pairs import (
    FaceTable,
    PairDataset,
    Samples,
    all_pairs,
    draw_samples,
    split_sizes,
    split_subjects,
    transition_index,
)
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import DatasetError

faces_of_subjects = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=25
)


def table(subject: Tensor, emotion: Tensor) -> FaceTable:
    """Faces whose first coefficients are their own row, so that gathers can be checked."""
    coefficients = FaceCoefficients.zeros(len(subject))
    for values in (coefficients.shape, coefficients.expression, coefficients.pose):
        values[:, 0] = torch.arange(len(subject))
    return FaceTable(coefficients, subject, emotion)


@pytest.fixture
def faces() -> FaceTable:
    """60 subjects with one to three of seven emotions, three frames of each, and neutral frames."""
    generator = torch.Generator().manual_seed(1)
    subject, emotion = [], []
    for number in range(60):
        shown = torch.randperm(7, generator=generator)[: 1 + number % 3].tolist()
        emotion += [label for label in shown for _ in range(3)] + [7]
        subject += [number] * (3 * len(shown) + 1)
    return table(torch.tensor(subject), torch.tensor(emotion))


@given(faces_of_subjects)
def test_all_pairs_are_those_of_two_loops(rows: list[tuple[int, int]]) -> None:
    subject, emotion = torch.tensor(rows).unbind(1)
    expected = {
        (i, j)
        for i, j in permutations(range(len(rows)), 2)
        if rows[i][0] == rows[j][0] and rows[i][1] != rows[j][1]
    }
    found = [tuple(pair) for pair in all_pairs(subject, emotion).tolist()]
    assert len(found) == len(expected)
    assert set(found) == expected


@pytest.mark.parametrize("count", [2, 7, 8])
def test_transitions_count_as_permutations(count: int) -> None:
    pairs = torch.tensor(list(permutations(range(count), 2)))
    index = transition_index(pairs[:, 0], pairs[:, 1], count)
    assert index.tolist() == list(range(len(pairs)))


def test_samples_name_their_own_emotions(faces: FaceTable) -> None:
    samples = draw_samples(faces, torch.arange(len(faces.subject)), 5000, 7, 5, seed=0)
    sentences = [(*pair, k) for pair in permutations(range(7), 2) for k in range(5)]
    said = torch.tensor([sentences[row] for row in samples.instruction.tolist()])
    assert torch.equal(said[:, :2], faces.emotion[samples.faces])
    assert said[:, 2].bincount().min() > 800
    assert faces.subject[samples.faces[:, 0]].equal(faces.subject[samples.faces[:, 1]])


def test_pairs_serve_equally_often(faces: FaceTable) -> None:
    everything = torch.arange(len(faces.subject))
    labelled = everything[faces.emotion < 7]
    pairs = len(all_pairs(faces.subject[labelled], faces.emotion[labelled]))
    samples = draw_samples(faces, everything, 2 * pairs + 5, 7, 5, seed=0)
    _, uses = samples.faces.unique(dim=0, return_counts=True)
    assert len(uses) == pairs
    assert sorted(uses.unique().tolist()) == [2, 3]
    assert uses.eq(3).sum() == 5


def test_draws_follow_the_seed(faces: FaceTable) -> None:
    everything = torch.arange(len(faces.subject))
    first, again, other = (
        draw_samples(faces, everything, 100, 7, 5, seed=seed) for seed in (3, 3, 4)
    )
    assert first.faces.equal(again.faces)
    assert first.instruction.equal(again.instruction)
    assert not first.faces.equal(other.faces)


def test_no_pairs() -> None:
    lonely = table(torch.tensor([0, 1]), torch.tensor([2, 3]))
    with pytest.raises(DatasetError, match="two emotions"):
        draw_samples(lonely, torch.arange(2), 10, 7, 5, seed=0)


def test_papers_sizes() -> None:
    assert split_sizes(26352) == {"train": 21345, "val": 2372, "test": 2635}


@pytest.mark.parametrize("seed", range(5))
def test_subjects_stay_in_one_part(faces: FaceTable, seed: int) -> None:
    parts = split_subjects(faces.subject, faces.emotion, seed)
    rows = torch.cat(list(parts.values()))
    assert rows.sort().values.equal(torch.arange(len(faces.subject)))
    owners = [set(faces.subject[part].tolist()) for part in parts.values()]
    assert sum(map(len, owners)) == 60
    assert len(set.union(*owners)) == 60
    assert 4 <= len(set(faces.subject[parts["test"]].tolist())) <= 8


def test_parts_have_every_emotion(faces: FaceTable) -> None:
    for rows in split_subjects(faces.subject, faces.emotion, seed=0).values():
        assert set(faces.emotion[rows].tolist()) == set(range(8))


def test_too_few_subjects() -> None:
    with pytest.raises(DatasetError, match="2 subjects"):
        split_subjects(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), seed=0)


def test_batch_contract(faces: FaceTable) -> None:
    samples = draw_samples(faces, torch.arange(len(faces.subject)), 500, 7, 5, seed=0)
    tokens = torch.arange(210.0)[:, None, None].expand(210, 77, 6)
    mask = torch.arange(77) < torch.arange(210)[:, None]
    dataset = PairDataset(faces, samples, tokens, mask)
    indices = list(range(0, 500, 4))
    batch = dataset.__getitems__(indices)
    rows, sentence = samples.faces[indices], samples.instruction[indices]
    assert batch["sample"].tolist() == indices
    assert batch["shape"][:, 0].equal(rows[:, 0].float())
    assert batch["expression"][..., 0].equal(rows.float())
    assert batch["pose"][..., 0].equal(rows.float())
    assert batch["emotion"].equal(faces.emotion[rows])
    assert batch["tokens"][batch["instruction"], 0, 0].equal(sentence.float())
    assert batch["token_mask"][batch["instruction"]].sum(1).equal(sentence.clamp(max=77))
    assert len(batch["tokens"]) == len(set(sentence.tolist()))
    assert {name: tuple(value.shape[1:]) for name, value in batch.items()} == {
        "sample": (),
        "shape": (100,),
        "expression": (2, 50),
        "pose": (2, 6),
        "emotion": (2,),
        "tokens": (77, 6),
        "token_mask": (77,),
        "instruction": (),
    }


def test_single_item_is_a_batch_of_one() -> None:
    faces = table(torch.tensor([0, 0]), torch.tensor([0, 1]))
    samples = Samples(torch.tensor([[0, 1]]), torch.tensor([3]))
    dataset = PairDataset(faces, samples, torch.zeros(10, 77, 2), torch.ones(10, 77).bool())
    assert dataset[0]["expression"].shape == (1, 2, 50)
