"""Rows of a plan, dealt to processes and updates; nothing of veRL runs here."""

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
    """Rollouts of questions, prompts and a group each, some of them lost on the way."""
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


def arranged(made: Generated, name: str, updates: int, processes: int, multiple: int = 1):
    samples = make_plan(recipe(name), made, seed=3, number=7).samples
    length_M = made.lengths()[samples.rollout_M]
    layout = lay_out(
        samples, length_M, length_M, updates=updates, processes=processes, multiple=multiple
    )
    stored = distinct(made, samples, 7)
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
def test_every_row_of_the_plan_is_trained_once_in_its_update_whatever_the_processes(run):
    reward_QVG, dropped, name, updates, processes, multiple = run
    made = generated(reward_QVG, dropped)
    samples, layout, _, batch = arranged(made, name, updates, processes, multiple)
    update_M = update_of(samples, updates)
    for number in range(updates):
        rows = layout.row_UPR[number][layout.row_UPR[number] != PADDING]
        wanted = np.flatnonzero((update_M == number) & ~samples.padding_M)
        assert sorted(rows.tolist()) == wanted.tolist()
        assert layout.rows_U[number] == len(wanted)
    assert layout.row_UPR.shape[2] % multiple == 0
    assert len(batch.keys) == len(set(batch.keys)) == layout.row_UPR.size


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_rows_carry_their_advantage_and_filler_none(run):
    reward_QVG, dropped, name, updates, processes, _ = run
    made = generated(reward_QVG, dropped)
    samples, layout, stored, batch = arranged(made, name, updates, processes)
    row_B, update_B = layout.in_order()
    update_M = update_of(samples, updates)
    source = {row.key: row.response for row in [*stored.made, *batch.made]}
    for place, row in enumerate(row_B.tolist()):
        key = batch.keys[place]
        assert batch.rows_B[place] == layout.rows_U[update_B[place]]
        if row == PADDING:
            assert key.startswith("pad") and batch.advantage_B[place] == 0
            continue
        while key in source:
            key = source[key]
        assert key == made.keys[samples.rollout_M[row]]
        # By hand: an update's weights have a mean of 1 over its tokens.
        of_update = np.flatnonzero((update_M == update_B[place]) & ~samples.padding_M)
        tokens = made.lengths()[samples.rollout_M[of_update]]
        mean = (samples.weight_M[of_update] * tokens).sum() / tokens.sum()
        wanted = samples.advantage_M[row] * samples.weight_M[row] / mean
        assert batch.advantage_B[place] == pytest.approx(wanted)


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_a_worker_finds_its_part_of_every_update_where_veRL_cuts(run):
    reward_QVG, dropped, name, updates, processes, _ = run
    made = generated(reward_QVG, dropped)
    _, layout, _, _ = arranged(made, name, updates, processes)
    row_B, _ = layout.in_order()
    for process, part in enumerate(np.split(row_B, processes)):
        for number, rows in enumerate(np.split(part, updates)):
            assert rows.tolist() == layout.row_UPR[number, process].tolist()


def test_a_shared_response_stands_under_the_prompt_of_any_rollout_of_that_prompt():
    made = generated([[[1, 0], [0, 0]]], dropped={2})  # one rollout of the second prompt is lost
    samples, _, stored, _ = arranged(made, "share-grpo", 1, 1)
    assert made.keys == ["7-0_0_0", "7-0_1_0", "7-1_1_0"]
    shared = {(row.response, row.prompt): row.key for row in stored.made}
    assert shared == {
        ("7-0_0_0", "7-1_1_0"): "7-shared1_0_0",
        ("7-0_1_0", "7-1_1_0"): "7-shared1_1_0",
        ("7-1_1_0", "7-0_0_0"): "7-shared0_2_0",
    }
    # Prompts have 10 and 11 tokens, responses 1, 2 and (the fourth row) 4.
    assert stored.tag_of["7-shared1_1_0"] == {"prompt_len": 11, "response_len": 2, "seq_len": 13}
    assert stored.tag_of["7-shared0_2_0"] == {"prompt_len": 10, "response_len": 4, "seq_len": 14}
    assert len(samples) == 6


def test_a_repeat_is_a_copy_of_its_own_row():
    made = generated([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    _, layout, stored, batch = arranged(made, "shuffle-r1", 4, 2)
    assert all(row.response == row.prompt for row in batch.made)
    trained = (layout.row_UPR != PADDING).sum()
    assert len(stored.key_of) + len(batch.made) == trained
    assert len(batch.made) > 0


def test_work_is_even_over_the_processes():
    made = generated(np.random.default_rng(0).integers(0, 2, (16, 1, 8)))
    _, layout, _, _ = arranged(made, "grpo", 4, 4)
    work_UP = made.lengths("seq_len")[layout.row_UPR].sum(axis=2)
    assert (np.ptp(work_UP, axis=1) <= 31).all()  # a row has 11 to 31 tokens


def test_a_batch_without_a_score_is_filler_alone():
    made = generated(np.full((2, 1, 2), np.nan))
    _, layout, stored, batch = arranged(made, "grpo", 2, 2)
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
def test_parts_add_up_to_a_reward_or_to_none(parts, weights, total):
    assert np.array_equal(totals(np.array(parts), weights), [total], equal_nan=True)


def test_keys_say_slot_and_session():
    assert slot_and_session(f"{uid_of(12, 34)}_5_0") == (34, 5)


@given(RUNS)
@settings(max_examples=100, deadline=None)
def test_own_rows_stay_where_they_are_to_be_scored(run):
    reward_QVG, dropped, name, *_ = run
    made = generated(reward_QVG, dropped)
    samples = make_plan(recipe(name), made, seed=3, number=7).samples
    plain, scored = (distinct(made, samples, 7, own=own) for own in (False, True))
    trained = set(samples.rollout_M[~samples.padding_M].tolist())
    assert scored.own_of == {rollout: made.keys[rollout] for rollout in scored.own_of}
    assert set(scored.own_of) == set(scored.rollouts()) == trained
    assert (scored.key_of, scored.tag_of, scored.made) == (plain.key_of, plain.tag_of, plain.made)
    # Those of the plan stand in it already; without a need nothing else stays.
    assert set(scored.scored) == {made.keys[r] for r in trained} - set(plain.tag_of)
    assert set(plain.own_of.values()) == set(plain.tag_of) & set(made.keys)
    assert not plain.scored
