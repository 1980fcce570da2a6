"""Tests how the rows of a plan are distributed over processes and updates, without veRL."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vantage.methods.ordering import update_of
from vantage.methods.recipe import recipe
from vantage.training.dealing import PADDING
from vantage.training.planning import make_plan, totals
from vantage.training.verl.arrangement import (
    Generated,
    distinct,
    lay_out,
    ordered,
    slot_and_session,
    uid_of,
)


def generated(reward_QVG, dropped=()) -> Generated:
    """Rollouts with rewards of shape (questions, prompts, group), without the dropped ones."""
    reward_QVG = np.asarray(reward_QVG, dtype=float)
    prompts = reward_QVG.shape[1]
    question_N, slot_N, number_N = (
        a.reshape(-1) for a in np.meshgrid(*map(np.arange, reward_QVG.shape), indexing="ij")
    )
    slot_N = question_N * prompts + slot_N
    keep = [row for row in range(reward_QVG.size) if row not in dropped]
    keys = [f"{uid_of(7, slot_N[row])}_{number_N[row]}_0" for row in keep]
    tags = [
        {
            "prompt_len": 10 + int(slot_N[row]),
            "response_len": 1 + row % 5,
            "seq_len": 11 + int(slot_N[row]) + row % 5,
        }
        for row in keep
    ]
    reward_N = reward_QVG.reshape(-1)[keep]
    return Generated(question_N[keep], slot_N[keep], reward_N, reward_N[:, None], keys, tags)


def arranged(
    rollouts: Generated, name: str, updates: int, processes: int, multiple: int = 1, **options
):
    samples = make_plan(recipe(name), rollouts, seed=3, number=7).samples
    length_M = rollouts.lengths()[samples.rollout_M]
    sizes = {"updates": updates, "processes": processes, "multiple": multiple}
    layout = lay_out(samples, length_M, length_M, **sizes, **options)
    stored = distinct(rollouts, samples.take(layout.forwarded), 7)
    padding = [(f"pad_{n}_0", {"response_len": 1}) for n in range(layout.padding)]
    return samples, layout, stored, ordered(layout, samples, stored, padding, 7)


RUNS = st.tuples(
    st.lists(
        st.lists(
            st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=4,
    ),
    st.sets(st.integers(0, 31), max_size=5),
    st.sampled_from(["grpo", "shuffle-r1", "share-grpo", "share-shuffle", "dapo-filter", "pods"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
)


@given(RUNS)
@settings(max_examples=150, deadline=None)
def test_every_row_of_the_plan_is_trained_once_in_its_update_on_any_number_of_processes(run):
    reward_QVG, dropped, name, updates, processes, multiple = run
    rollouts = generated(reward_QVG, dropped)
    samples, layout, _, batch = arranged(rollouts, name, updates, processes, multiple)
    update_M = update_of(samples, updates)
    for number in range(updates):
        rows = layout.row_UPR[number][layout.row_UPR[number] != PADDING]
        expected = np.flatnonzero((update_M == number) & ~samples.padding_M)
        assert sorted(rows.tolist()) == expected.tolist()
        assert layout.rows_U[number] == len(expected)
    assert layout.row_UPR.shape[2] % multiple == 0
    assert len(batch.keys) == len(set(batch.keys)) == layout.row_UPR.size


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_silent_rows_leave_the_batch_but_count_in_every_denominator(run):
    reward_QVG, dropped, name, updates, processes, multiple = run
    rollouts = generated(reward_QVG, dropped)
    samples, every, _, _ = arranged(rollouts, name, updates, processes, multiple)
    _, layout, stored, batch = arranged(
        rollouts, name, updates, processes, multiple, skips_silent=True
    )
    live_M = ~samples.padding_M & (samples.advantage_M * samples.weight_M != 0)
    assert layout.forwarded.tolist() == np.flatnonzero(live_M).tolist()
    assert layout.rows_U.tolist() == every.rows_U.tolist()
    assert layout.tokens_U.tolist() == every.tokens_U.tolist()
    assert layout.advantage_M.tolist() == every.advantage_M.tolist()
    live = samples.take(np.flatnonzero(live_M))
    keys = {*zip(live.prompt_M.tolist(), live.rollout_M.tolist(), strict=True)}
    assert stored.key_of.keys() == keys
    row_B, update_B = layout.in_order()
    assert (batch.advantage_B != 0).tolist() == (row_B != PADDING).tolist()
    assert batch.tokens_B.tolist() == every.tokens_U[update_B].tolist()


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_rows_have_their_advantage_and_padding_has_none(run):
    reward_QVG, dropped, name, updates, processes, _ = run
    rollouts = generated(reward_QVG, dropped)
    samples, layout, stored, batch = arranged(rollouts, name, updates, processes)
    row_B, update_B = layout.in_order()
    update_M = update_of(samples, updates)
    source = {row.key: row.response for row in [*stored.joined, *batch.copies]}
    for position, row in enumerate(row_B.tolist()):
        key = batch.keys[position]
        assert batch.rows_B[position] == layout.rows_U[update_B[position]]
        if row == PADDING:
            assert key.startswith("pad") and batch.advantage_B[position] == 0
            continue
        while key in source:
            key = source[key]
        assert key == rollouts.keys[samples.rollout_M[row]]
        # The weights of an update have a mean of 1 over its tokens.
        of_update = np.flatnonzero((update_M == update_B[position]) & ~samples.padding_M)
        tokens = rollouts.lengths()[samples.rollout_M[of_update]]
        mean = (samples.weight_M[of_update] * tokens).sum() / tokens.sum()
        expected = samples.advantage_M[row] * samples.weight_M[row] / mean
        assert batch.advantage_B[position] == pytest.approx(expected)


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_veRL_splits_the_batch_into_the_updates_of_each_process(run):
    reward_QVG, dropped, name, updates, processes, _ = run
    rollouts = generated(reward_QVG, dropped)
    _, layout, _, _ = arranged(rollouts, name, updates, processes)
    row_B, _ = layout.in_order()
    for process, part in enumerate(np.split(row_B, processes)):
        for number, rows in enumerate(np.split(part, updates)):
            assert rows.tolist() == layout.row_UPR[number, process].tolist()


def test_a_shared_response_takes_its_new_prompt_from_any_rollout_of_that_prompt():
    # The first rollout of the second prompt is missing.
    rollouts = generated([[[1, 0], [0, 0]]], dropped={2})
    samples, _, stored, _ = arranged(rollouts, "share-grpo", 1, 1)
    assert rollouts.keys == ["7-0_0_0", "7-0_1_0", "7-1_1_0"]
    shared = {(row.response, row.prompt): row.key for row in stored.joined}
    assert shared == {
        ("7-0_0_0", "7-1_1_0"): "7-shared1_0_0",
        ("7-0_1_0", "7-1_1_0"): "7-shared1_1_0",
        ("7-1_1_0", "7-0_0_0"): "7-shared0_2_0",
    }
    # Prompts have 10 and 11 tokens, responses 1, 2 and (the fourth row) 4.
    assert stored.tag_of["7-shared1_1_0"] == {"prompt_len": 11, "response_len": 2, "seq_len": 13}
    assert stored.tag_of["7-shared0_2_0"] == {"prompt_len": 10, "response_len": 4, "seq_len": 14}
    assert len(samples) == 6


def test_a_row_that_is_trained_again_is_copied():
    rollouts = generated([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    _, layout, stored, batch = arranged(rollouts, "shuffle-r1", 4, 2)
    assert all(row.response == row.prompt for row in batch.copies)
    trained = (layout.row_UPR != PADDING).sum()
    assert len(stored.key_of) + len(batch.copies) == trained
    assert len(batch.copies) > 0


def test_processes_have_equal_work_up_to_one_row():
    rollouts = generated(np.random.default_rng(0).integers(0, 2, (16, 1, 8)))
    _, layout, _, _ = arranged(rollouts, "grpo", 4, 4)
    work_UP = rollouts.lengths("seq_len")[layout.row_UPR].sum(axis=2)
    assert (np.ptp(work_UP, axis=1) <= 31).all()  # a row has 11 to 31 tokens


def test_a_batch_without_rewards_has_only_padding():
    rollouts = generated(np.full((2, 1, 2), np.nan))
    _, layout, stored, batch = arranged(rollouts, "grpo", 2, 2)
    assert not stored.key_of and (layout.row_UPR == PADDING).all()
    assert batch.rows_B.tolist() == [0, 0, 0, 0]
    assert batch.advantage_B.tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("parts", "weights", "total"),
    [
        ([[1.0, 1.0]], [0.9, 0.1], 1.0),
        ([[1.0, np.nan]], [0.9, 0.1], np.nan),
        ([[np.nan, 1.0]], [0.9, 0.1], np.nan),
        ([[1.0, np.nan]], [1.0, 0.0], 1.0),
        ([[np.nan, np.nan]], [0.9, 0.1], np.nan),
        ([[np.inf, 0.0]], [0.9, 0.1], np.nan),
    ],
)
def test_the_total_reward_is_missing_if_a_weighted_part_is_missing(parts, weights, total):
    assert np.array_equal(totals(np.array(parts), weights), [total], equal_nan=True)


def test_a_key_contains_slot_and_rollout_number():
    assert slot_and_session(f"{uid_of(12, 34)}_5_0") == (34, 5)


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_own_rows_are_kept_if_their_log_probs_are_needed(run):
    reward_QVG, dropped, name, *_ = run
    rollouts = generated(reward_QVG, dropped)
    samples = make_plan(recipe(name), rollouts, seed=3, number=7).samples
    plain, scored = (distinct(rollouts, samples, 7, own=own) for own in (False, True))
    trained = set(samples.rollout_M[~samples.padding_M].tolist())
    assert scored.own_of == {rollout: rollouts.keys[rollout] for rollout in scored.own_of}
    assert set(scored.own_of) == set(scored.rollouts()) == trained
    for field in ("key_of", "tag_of", "joined"):
        assert getattr(scored, field) == getattr(plain, field)
    # Rows that the plan trains are kept in any case.
    assert set(scored.scored) == {rollouts.keys[r] for r in trained} - set(plain.tag_of)
    assert set(plain.own_of.values()) == set(plain.tag_of) & set(rollouts.keys)
    assert not plain.scored
