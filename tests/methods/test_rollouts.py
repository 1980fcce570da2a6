"""`Rollouts` and `Samples`: accepted and rejected columns, and error messages."""

import numpy as np
import pytest
from method_cases import seeded

import vantage
from vantage.errors import InputError, VantageError
from vantage.methods import Rollouts, Samples

QUESTION, PROMPT, REWARD = [1, 1, 2, 2], [10, 11, 20, 20], [1.0, 0.0, 0.5, 0.0]
TOP = 2**63 - 1


@pytest.mark.parametrize(
    ("question_N", "prompt_N", "reward_N"),
    [
        (QUESTION, PROMPT, [1, 0, 0.5, 0]),
        (tuple(QUESTION), tuple(PROMPT), tuple(REWARD)),
        (np.array(QUESTION, np.int32), np.array(PROMPT, np.uint8), np.array(REWARD, np.float32)),
        (np.array(QUESTION, object), np.array(PROMPT, np.uint64), np.array(REWARD, object)),
        (np.array([QUESTION, QUESTION]).T[:, 0], np.array(PROMPT * 2)[:4], REWARD),
    ],
    ids=["lists", "tuples", "small arrays", "objects and unsigned", "views"],
)
def test_equivalent_columns_give_equal_rollouts(question_N, prompt_N, reward_N):
    rollouts = Rollouts(question_N=question_N, prompt_N=prompt_N, reward_N=reward_N)
    assert len(rollouts) == 4
    assert rollouts.question_N.dtype == rollouts.prompt_N.dtype == np.int64
    assert rollouts.reward_N.dtype == np.float64
    assert rollouts.question_N.tolist() == QUESTION
    assert rollouts.prompt_N.tolist() == PROMPT
    assert rollouts.reward_N.tolist() == REWARD


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("grpo", {}),
        ("pods", {}),
        ("share-grpo", {}),
        ("share-shuffle", {"fraction": 1, "rounds": 1}),
    ],
)
@pytest.mark.parametrize(
    "rename",
    [lambda id: -id, lambda id: TOP - id, lambda id: id - TOP, lambda id: (id * 41) % 101],
    ids=["negative", "huge", "hugely negative", "scattered"],
)
def test_only_the_equality_of_ids_matters(name, options, rename):
    def plan(change):
        rollouts = Rollouts(list(map(change, QUESTION)), list(map(change, PROMPT)), [3, 2, 1, 0])
        samples = vantage.recipe(name, **options).plan(rollouts, seeded())
        rows = zip(samples.prompt_M.tolist(), samples.rollout_M, samples.advantage_M, strict=True)
        return set(rows)

    assert plan(rename) == {(rename(prompt), *rest) for prompt, *rest in plan(lambda id: id)}


BAD_COLUMNS = [
    ("question_N", [1, 1, 2], ["unequal lengths", "'question_N': 3", "'reward_N': 4"]),
    ("reward_N", [1.0] * 5, ["unequal lengths", "'reward_N': 5", "'prompt_N': 4"]),
    ("question_N", [1, 1.5, 2, 2], ["question_N", "integers", "1.5 in row 1"]),
    ("question_N", [1, None, 2, 2], ["question_N", "integers", "None in row 1"]),
    ("question_N", [True, False, True, True], ["question_N", "integers", "True"]),
    ("prompt_N", ["a", "b", "c", "d"], ["prompt_N", "integers", "'a' in row 0, 1, 2, 3"]),
    ("prompt_N", [1, 2, 3, 2**63], ["prompt_N", "64-bit", f"{2**63} in row 3"]),
    ("prompt_N", [1, 2, 2**70, 3], ["prompt_N", "64-bit", f"{2**70} in row 2"]),
    ("prompt_N", [[10], [11], [20], [20]], ["prompt_N", "one dimension", "(4, 1)"]),
    ("prompt_N", [[10], [11], [20], [20, 21]], ["prompt_N"]),
    ("prompt_N", 7, ["prompt_N", "one dimension", "()"]),
    ("reward_N", [[1.0, 0.0, 0.5, 0.0]], ["reward_N", "one dimension", "(1, 4)"]),
    ("reward_N", [1.0, 0.0, np.nan, 0.0], ["reward_N", "nan in row 2"]),
    ("reward_N", [1.0, None, 0.0, None], ["reward_N", "row 1, 3"]),
    ("reward_N", [np.inf, 0.0, 0.0, 0.0], ["reward_N", "inf in row 0"]),
    ("reward_N", [0.0, 0.0, 0.0, -np.inf], ["reward_N", "-inf in row 3"]),
    ("reward_N", [0.0, 1e300, 0.0, 0.0], ["reward_N", "1e+300 in row 1", "up to 1e+30"]),
    ("reward_N", [1.0, "good", 0.0, 0.0], ["reward_N", "'good'"]),
    ("prompt_N", [10, 20, 20, 21], ["prompt 20", "two questions", "1 in row 1", "2 in row 2"]),
]


@pytest.mark.parametrize(("column", "values", "named"), BAD_COLUMNS)
def test_invalid_column_error_names_column_row_and_value(column, values, named):
    columns = {"question_N": QUESTION, "prompt_N": PROMPT, "reward_N": REWARD, column: values}
    with pytest.raises(InputError) as caught:
        Rollouts(**columns)
    assert isinstance(caught.value, VantageError)
    assert isinstance(caught.value, ValueError)
    missing = [words for words in named if words not in str(caught.value)]
    assert not missing, str(caught.value)


def test_empty_rollouts_raise():
    with pytest.raises(InputError, match="empty"):
        Rollouts([], [], [])


def test_error_names_five_bad_rows_and_counts_the_rest():
    with pytest.raises(InputError, match=r"row 0, 1, 2, 3, 4 and 95 more"):
        Rollouts([1] * 100, [1] * 100, [np.nan] * 100)


def samples_with(pair_M) -> Samples:
    count = len(pair_M)
    return Samples(
        prompt_M=np.arange(count) + 10,
        rollout_M=np.arange(count),
        advantage_M=np.ones(count),
        pair_M=np.array(pair_M, dtype=np.int64),
        padding_M=np.zeros(count, bool),
        weight_M=np.ones(count),
    )


@pytest.mark.parametrize(
    ("pair_M", "size"), [([0, 0, 1, 1], 2), ([-1, -1, -1], 1), ([], 1)], ids=str
)
def test_unit_size_is_2_for_pairs_and_1_otherwise(pair_M, size):
    assert samples_with(pair_M).unit_size == size


def test_mixing_pairs_and_single_samples_raises():
    with pytest.raises(InputError, match=r"samples 2, 5 have no pair"):
        _ = samples_with([0, 0, -1, 1, 1, -1]).unit_size


def test_take_selects_rows_and_replaces_columns():
    taken = samples_with([-1, -1, -1]).take(np.array([2, 0, 2]), advantage_M=np.array([7, 8, 9]))
    assert taken.rollout_M.tolist() == [2, 0, 2]
    assert taken.prompt_M.tolist() == [12, 10, 12]
    assert taken.advantage_M.tolist() == [7, 8, 9]
    assert len(taken) == 3
