"""Packs contain every response once, at its positions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vantage.training.trl.attention import Layout
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.packing import (
    IGNORED,
    Pack,
    Segment,
    batches,
    gathered,
    lay_out,
    packs,
)

NO_END = 10**9


def one_prompt(lengths, prefix=2, budget=NO_END) -> list[Pack]:
    keys = [(7, rollout) for rollout in range(len(lengths))]
    return packs(keys, lengths, {7: prefix}, budget)


# ---- how much goes into a pack -------------------------------------------------------------


def test_all_responses_to_a_prompt_are_packed_together():
    (pack,) = one_prompt([3, 1, 2])
    assert pack == Pack(7, 2, (Segment(0, 3), Segment(2, 2), Segment(1, 1)))
    assert pack.tokens == 2 + 3 + 2 + 1


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (8, [[3, 2, 1]]),
        (7, [[3, 1], [2]]),  # 2 + 3 + 1 tokens, and 2 + 2
        (5, [[3], [2], [1]]),
        (1, [[3], [2], [1]]),  # a response that is too long has a pack of its own
    ],
)
def test_packs_have_similar_lengths_within_the_budget(budget, expected):
    made = one_prompt([3, 1, 2], budget=budget)
    assert [pack.lengths for pack in made] == expected


def test_repeated_rows_share_a_segment_and_empty_responses_take_one_token():
    keys = [(7, 0), (7, 0), (8, 0), (7, 1)]
    first, second = packs(keys, [3, 3, 3, 0], {7: 2, 8: 4}, NO_END)
    assert first == Pack(7, 2, (Segment(0, 3), Segment(1, 0)))
    assert (first.tokens, second.tokens) == (2 + 3 + 1, 4 + 3)


def test_repeated_row_keeps_its_longest_length():
    (pack,) = packs([(7, 0)] * 2, [0, 3], {7: 2}, 99)
    assert pack.segments == (Segment(0, 3),)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 40)), min_size=1),
    st.integers(1, 200),
)
def test_every_row_has_one_segment_within_the_budget(rows, budget):
    keys = [(prompt, rollout) for prompt, rollout, _ in rows]
    lengths = [length for *_, length in rows]
    made = packs(keys, lengths, {prompt: 5 * prompt + 1 for prompt in range(4)}, budget)
    found = [(pack.prompt, s.rollout, s.length) for pack in made for s in pack.segments]
    longest = {key: max(n for k, n in zip(keys, lengths, strict=True) if k == key) for key in keys}
    assert sorted(found) == sorted((*key, length) for key, length in longest.items())
    assert all(pack.tokens <= budget or len(pack.segments) == 1 for pack in made)


@given(st.lists(st.integers(1, 40), min_size=1), st.integers(1, 200), st.booleans())
def test_every_pack_or_row_is_in_one_batch_within_the_budget(tokens, budget, padded):
    parts = batches(tokens, budget, padded=padded)
    assert sorted(number for part in parts for number in part) == list(range(len(tokens)))
    for part in parts:
        inside = [tokens[number] for number in part]
        size = len(inside) * max(inside) if padded else sum(inside)
        assert size <= budget or len(part) == 1


# ---- what a pack looks like ----------------------------------------------------------------

PROMPT = Encoding("", [10, 11, 12], [], {"mm_token_type_ids": [0, 1, 0]})
RESPONSES = {0: torch.tensor([1, 2, 3]), 1: torch.tensor([4, 5, 99])}


def laid_out(*made: Pack):
    return lay_out(
        made, lambda prompt: PROMPT, lambda prompt: torch.arange(3), RESPONSES.__getitem__
    )


def test_example_of_the_module_docstring():
    packed = laid_out(Pack(7, 2, (Segment(0, 3), Segment(1, 2))))
    assert packed.input_ids_1T.tolist() == [[10, 11, 12, 1, 2, 12, 4]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3]]
    assert packed.labels_1T.tolist() == [[IGNORED, IGNORED, 1, 2, 3, 4, 5]]
    assert packed.types["mm_token_type_ids"].tolist() == [[0, 1, 0, 0, 0, 0, 0]]
    assert packed.start == {(7, 0): 2, (7, 1): 5}
    assert packed.layout == Layout(((2, (3, 2)),))


def test_packs_follow_each_other_without_padding():
    two, one = Pack(7, 2, (Segment(0, 3), Segment(1, 2))), Pack(8, 2, (Segment(1, 0),))
    packed = laid_out(two, one)
    assert packed.input_ids_1T.tolist() == [[10, 11, 12, 1, 2, 12, 4, 10, 11, 12]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 0, 1, 2]]
    assert packed.labels_1T.tolist()[0][-3:] == [IGNORED] * 3
    assert packed.layout == Layout(((2, (3, 2)), (2, (1,))))
    assert packed.start[8, 1] == 9
    assert packed.layout.tokens == 10


def test_multimodal_positions_continue_after_the_maximum():
    places = torch.tensor([[0, 1, 4], [0, 2, 4], [0, 3, 4]])
    made = (Pack(7, 2, (Segment(0, 3),)),)
    packed = lay_out(made, lambda prompt: PROMPT, lambda prompt: places, RESPONSES.__getitem__)
    assert packed.position_ids.shape == (3, 1, 5)
    assert packed.position_ids[:, 0].tolist() == [
        [0, 1, 4, 5, 6],
        [0, 2, 4, 5, 6],
        [0, 3, 4, 5, 6],
    ]


def test_gathered_rows_sum_gradients_of_repeats():
    packed = laid_out(Pack(7, 2, (Segment(0, 3), Segment(1, 2))))
    value_1T = torch.arange(7.0)[None].requires_grad_()
    keys = [(7, 1), (7, 0), (7, 1)]
    rows = gathered(value_1T, packed, keys, [2, 3, 0], width=4)
    assert rows.tolist() == [[5, 6, 0, 0], [2, 3, 4, 0], [0, 0, 0, 0]]
    gathered(value_1T, packed, [(7, 0)] * 3, [3, 3, 1], width=3).sum().backward()
    assert value_1T.grad.tolist() == [[0, 0, 3, 2, 2, 0, 0]]


def test_lengths_may_be_numpy_or_tensors():
    packed = laid_out(Pack(7, 2, (Segment(0, 3),)))
    value_1T = torch.arange(5.0)[None]
    for lengths in ([3], np.array([3]), torch.tensor([3])):
        assert gathered(value_1T, packed, [(7, 0)], lengths, 3).tolist() == [[2, 3, 4]]
