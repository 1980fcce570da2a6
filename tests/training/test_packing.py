"""Packs contain every response once, with correct attention masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vantage.training.trl.encoding import Encoding
from vantage.training.trl.packing import (
    IGNORED,
    Cost,
    Pack,
    Segment,
    batches,
    gathered,
    lay_out,
    packs,
)

CHEAP = Cost(even=float("inf"))
NO_END = 10**9


def one_prompt(lengths, cost=CHEAP, prefix=2, budget=NO_END, images=0.0) -> list[Pack]:
    keys = [(7, rollout) for rollout in range(len(lengths))]
    return packs(keys, lengths, {7: prefix}, {7: images}, cost, budget)


# ---- how much goes into a pack -------------------------------------------------------------


def test_free_attention_packs_all_responses_of_a_prompt_together():
    (pack,) = one_prompt([3, 1, 2])
    assert pack == Pack(7, 2, (Segment(0, 3), Segment(2, 2), Segment(1, 1)))
    assert pack.tokens == 2 + 3 + 2 + 1


def test_repeated_rows_share_a_segment_and_empty_responses_take_one_token():
    keys = [(7, 0), (7, 0), (8, 0), (7, 1)]
    first, second = packs(keys, [3, 3, 3, 0], {7: 2, 8: 4}, {7: 0.0, 8: 0.0}, CHEAP, NO_END)
    assert first == Pack(7, 2, (Segment(0, 3), Segment(1, 0)))
    assert (first.tokens, second.tokens) == (2 + 3 + 1, 4 + 3)


def test_repeated_row_keeps_its_longest_length():
    (pack,) = packs([(7, 0)] * 2, [0, 3], {7: 2}, {7: 0.0}, CHEAP, 99)
    assert pack.segments == (Segment(0, 3),)


@pytest.mark.parametrize(
    ("prefix", "length", "even", "images", "count"),
    [
        # Cost of a response among c: (L + L^2 / even + images) / c with L = prefix + c * length.
        # even 100, prefix 10, length 10: 24 alone, 19.5 of two, 18.67 of three, 18.75 of four.
        (10, 10, 100.0, 0.0, 3),
        # With images of 30: 54, 34.5, 28.67, 26.25, 25.2, 24.83, 24.86.
        (10, 10, 100.0, 30.0, 6),
        # R >> P, prefix 1, length 99: 200 alone, 300 of two.
        (1, 99, 100.0, 0.0, 1),
    ],
)
def test_pack_size_minimizes_cost_per_response(prefix, length, even, images, count):
    assert Cost(even=even, most=500).responses(prefix, length, images) == count


def test_pack_length_is_bounded_by_its_mask():
    assert Cost(even=float("inf"), most=100).responses(40, 20, 0.0) == 3
    assert Cost(even=float("inf"), most=100).responses(200, 20, 0.0) == 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 40)), min_size=1),
    st.floats(1, 1000),
    st.integers(1, 200),
)
def test_every_row_has_one_segment_within_the_budget(rows, even, budget):
    keys = [(prompt, rollout) for prompt, rollout, _ in rows]
    lengths = [length for *_, length in rows]
    prefixes = {prompt: 5 * prompt + 1 for prompt in range(4)}
    made = packs(keys, lengths, prefixes, dict.fromkeys(range(4), 0.0), Cost(even), budget)
    found = [(pack.prompt, s.rollout, s.length) for pack in made for s in pack.segments]
    longest = {key: max(n for k, n in zip(keys, lengths, strict=True) if k == key) for key in keys}
    assert sorted(found) == sorted((*key, length) for key, length in longest.items())
    parts = batches([pack.tokens for pack in made], budget)
    assert sorted(number for part in parts for number in part) == list(range(len(made)))
    for part in parts:
        padded = len(part) * max(made[number].tokens for number in part)
        assert padded <= budget or len(part) == 1


# ---- what a pack looks like ----------------------------------------------------------------

PROMPT = Encoding("", [10, 11, 12], [], {"mm_token_type_ids": [0, 1, 0]})
RESPONSES = {0: torch.tensor([1, 2, 3]), 1: torch.tensor([4, 5, 99])}


def laid_out(*made: Pack):
    return lay_out(
        made, lambda prompt: PROMPT, lambda prompt: torch.arange(3), RESPONSES.__getitem__
    )


def test_example_of_the_module_docstring():
    packed = laid_out(Pack(7, 2, (Segment(0, 3), Segment(1, 2))))
    assert packed.input_ids_BT.tolist() == [[10, 11, 12, 1, 2, 12, 4]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3]]
    assert packed.labels_BT.tolist() == [[IGNORED, IGNORED, 1, 2, 3, 4, 5]]
    assert packed.types["mm_token_type_ids"].tolist() == [[0, 1, 0, 0, 0, 0, 0]]
    assert packed.start == {(7, 0): (0, 2), (7, 1): (0, 5)}
    sees = [
        "1......",
        "11.....",
        "111....",
        "1111...",
        "11111..",
        "11...1.",
        "11...11",
    ]
    expected = [[mark == "1" for mark in row] for row in sees]
    assert packed.sees[0, 0].tolist() == expected


def test_padding_attends_only_to_itself():
    two, one = Pack(7, 2, (Segment(0, 3), Segment(1, 2))), Pack(7, 2, (Segment(1, 2),))
    packed = laid_out(two, one)
    assert packed.input_ids_BT.shape == (2, 7)
    for place in (4, 5, 6):
        alone = [other == place for other in range(7)]
        assert packed.sees[1, 0, place].tolist() == alone
        assert packed.labels_BT[1, place] == IGNORED
    assert not packed.sees[1, 0, :4, 4:].any()


def test_packs_of_one_response_need_no_mask():
    packed = laid_out(Pack(7, 2, (Segment(0, 3),)), Pack(7, 2, (Segment(1, 2),)))
    assert packed.sees.tolist() == [[True] * 5, [True] * 4 + [False]]


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
    value_BT = torch.arange(7.0)[None].requires_grad_()
    keys = [(7, 1), (7, 0), (7, 1)]
    rows = gathered(value_BT, packed, keys, [2, 3, 0], width=4)
    assert rows.tolist() == [[5, 6, 0, 0], [2, 3, 4, 0], [0, 0, 0, 0]]
    gathered(value_BT, packed, [(7, 0)] * 3, [3, 3, 1], width=3).sum().backward()
    assert value_BT.grad.tolist() == [[0, 0, 3, 2, 2, 0, 0]]


def test_lengths_may_be_numpy_or_tensors():
    packed = laid_out(Pack(7, 2, (Segment(0, 3),)))
    value_BT = torch.arange(5.0)[None]
    for lengths in ([3], np.array([3]), torch.tensor([3])):
        assert gathered(value_BT, packed, [(7, 0)], lengths, 3).tolist() == [[2, 3, 4]]
