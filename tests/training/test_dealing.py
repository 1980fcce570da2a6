"""Distribution of plan rows over processes, updates and forwards."""

from dataclasses import replace

import numpy as np
import pytest

from vantage.methods.rollouts import Samples
from vantage.training.dealing import PADDING, deal, loss_weights, share_of


def plan(rows: int, *, pairs: bool = False, padding=(), weight=1.0) -> Samples:
    index = np.arange(rows)
    return Samples(
        prompt_M=index,
        rollout_M=index,
        advantage_M=np.ones(rows),
        pair_M=index // 2 if pairs else np.full(rows, -1),
        padding_M=np.isin(index, list(padding)),
        weight_M=np.broadcast_to(np.asarray(weight, float), rows).copy(),
    )


def rows_of(update) -> list[int]:
    """Rows that an update trains, by process."""
    rows = update.row_PR.ravel()
    return rows[rows != PADDING].tolist()


def dealt(samples, updates, processes=1, length=3):
    return deal(samples, np.full(len(samples), length), updates, processes)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize(
    ("rows", "pairs", "padding", "updates", "expected"),
    [
        (8, False, (), 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (7, False, (), 2, [[0, 1, 2], [3, 4, 5, 6]]),
        (8, True, (2, 3, 7), 2, [[0, 1], [4, 5, 6]]),
        (6, True, (), 4, [[], [0, 1], [2, 3], [4, 5]]),
        (4, False, (0, 1, 2, 3), 2, [[], []]),
        (0, False, (), 3, [[], [], []]),
        (2, False, (), 4, [[], [0], [], [1]]),
    ],
    ids=str,
)
def test_updates_keep_plan_order_for_any_world_size(
    rows, pairs, padding, updates, expected, processes
):
    made = dealt(plan(rows, pairs=pairs, padding=padding), updates, processes)
    assert [rows_of(update) for update in made] == expected
    assert [update.rows for update in made] == [len(each) for each in expected]
    assert [update.tokens for update in made] == [3 * len(each) for each in expected]


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_processes_get_equal_rows_per_update(processes):
    for update in dealt(plan(23, padding=(4, 9)), 3, processes):
        each = (update.row_PR != PADDING).sum(axis=1)
        assert update.row_PR.shape == (processes, max(each.max(), 1))
        assert each.max() - each.min() <= 1


@pytest.mark.parametrize(
    "prompts, processes, expected",
    [
        ([0, 1, 0, 1, 0, 1, 0, 1], 2, [[0, 2, 4, 6], [1, 3, 5, 7]]),
        ([2, 0, 1, 2, 0, 1], 3, [[1, 4], [2, 5], [0, 3]]),
        ([0, 1, 1, 1, 0, 2, 2], 3, [[0, 4, 1], [2, 3], [5, 6]]),
        ([5] * 4, 3, [[0, 1], [2], [3]]),
    ],
)
def test_rows_of_a_prompt_stay_on_one_process(prompts, processes, expected):
    samples = replace(plan(len(prompts)), prompt_M=np.array(prompts))
    (update,) = dealt(samples, 1, processes)
    found = [row_R[row_R != PADDING].tolist() for row_R in update.row_PR]
    assert found == expected


def test_update_tokens_count_trained_rows():
    length_M = np.array([5, 1, 7, 2])
    first, second = deal(plan(4, padding=(1,)), length_M, 2, 1)
    assert (first.tokens, second.tokens) == (5, 9)


def test_empty_update_has_a_row_on_every_process():
    for update in dealt(plan(0), 2, processes=3):
        assert update.row_PR.tolist() == [[PADDING]] * 3


@pytest.mark.parametrize("processes", [1, 2])
def test_silent_rows_count_but_go_through_no_forward(processes):
    length_M = np.array([5, 1, 7, 2, 4, 4])
    samples = replace(plan(6), advantage_M=np.array([1.0, 0, -1, 0, 0, -0.0]))
    samples.weight_M[2] = 0.0
    first, second = deal(samples, length_M, 2, processes, skips_silent=True)
    assert (rows_of(first), rows_of(second)) == ([0], [])
    assert (first.row_N.tolist(), second.row_N.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert (first.rows, first.tokens, second.rows, second.tokens) == (3, 13, 3, 10)
    assert (first.is_empty, second.is_empty) == (False, True)
    every = deal(samples, length_M, 2, processes)
    assert [rows_of(update) for update in every] == [[0, 1, 2], [3, 4, 5]]
    weights = (loss_weights(samples, np.ones(6), made) for made in ([first, second], every))
    assert np.array_equal(*weights)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_accumulation_steps_split_forwards_and_the_last_has_one(count, parts):
    pieces = [list(range(count))[share_of(count, part, parts)] for part in range(parts)]
    assert [forward for piece in pieces for forward in piece] == list(range(count))
    assert pieces[-1]


@pytest.mark.parametrize("processes", [1, 3])
def test_loss_weights_have_a_weighted_mean_of_one_in_every_update(processes):
    samples = plan(12, padding=(3, 8), weight=[1, 0.25] * 6)
    size_M = np.arange(1.0, 13.0)
    updates = deal(samples, size_M, 3, processes)
    weight_M = loss_weights(samples, size_M, updates)
    for update in updates:
        rows = rows_of(update)
        assert (weight_M[rows] * size_M[rows]).sum() == pytest.approx(size_M[rows].sum())
        ratio = weight_M[rows] / samples.weight_M[rows]
        assert ratio == pytest.approx(ratio[0])
    assert weight_M[[3, 8]].tolist() == [0, 0]


def test_equal_weights_give_loss_weights_of_1():
    samples = plan(6, weight=0.25)
    weight_M = loss_weights(samples, np.ones(6), dealt(samples, 2))
    assert weight_M.tolist() == [1.0] * 6


def test_rows_without_tokens_give_finite_weights():
    samples = plan(4)
    weight_M = loss_weights(samples, np.zeros(4), dealt(samples, 2, length=0))
    assert weight_M.tolist() == [1.0] * 4
