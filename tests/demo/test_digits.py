"""The digits: disjoint splits, right answers, real images, equivalent wordings."""

import itertools
import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vantage.demo import digits
from vantage.errors import InputError

REAL = load_digits()
SIZES = {"cold_start": 200, "reinforcement": 1_500, "validation": 150, "test": 1_250}


@pytest.fixture(scope="module")
def drawn():
    """Questions of every split, enough to use all of its images."""
    return {name: digits.questions(name, n=n) for name, n in SIZES.items()}


def rows(questions) -> list[tuple[int, ...]]:
    return [tuple(row) for row in questions["digits"]]


def used(questions) -> set[int]:
    return set(itertools.chain.from_iterable(questions["digits"]))


def test_the_splits_cover_all_images_once_in_their_original_order():
    joined = itertools.chain.from_iterable(digits.SPLITS.values())
    assert list(joined) == list(range(len(REAL.images)))


def test_every_split_starts_at_a_writers_sheet():
    for split in digits.SPLITS.values():
        sheet = REAL.target[split.start : split.start + 30]
        assert sheet.tolist() == [*range(10)] * 3


def test_no_image_is_in_questions_of_two_splits(drawn):
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not used(one) & used(other)


@pytest.mark.parametrize("split", SIZES)
def test_questions_use_all_images_of_their_split_only(drawn, split):
    assert used(drawn[split]) == set(digits.SPLITS[split])


@pytest.mark.parametrize("split", SIZES)
def test_images_are_used_equally_often(drawn, split):
    counts = np.bincount(np.ravel(drawn[split]["digits"]), minlength=len(REAL.images))
    assert np.ptp(counts[list(digits.SPLITS[split])]) <= 2


def test_the_cold_start_has_few_images_and_reinforcement_many():
    assert 100 <= len(digits.SPLITS["cold_start"]) <= 150
    assert 950 <= len(digits.SPLITS["reinforcement"]) <= 1_050


@pytest.mark.parametrize("split", SIZES)
def test_answers_are_the_sums_of_the_labels(drawn, split):
    totals = REAL.target[np.array(drawn[split]["digits"])].sum(1)
    assert drawn[split]["answer"] == [str(total) for total in totals]


@pytest.mark.parametrize("split", SIZES)
def test_no_image_is_asked_about_twice(drawn, split):
    assert len(set(rows(drawn[split]))) == SIZES[split]
    assert all(len(set(row)) == 2 for row in rows(drawn[split]))


def test_only_the_cold_start_has_solutions(drawn):
    columns = {"question", "image", "answer", "new_questions", "digits"}
    for name, questions in drawn.items():
        extra = {"solution"} if name == "cold_start" else set()
        assert set(questions.column_names) == columns | extra


def test_solution_names_the_digits_and_boxes_their_sum(drawn):
    assert digits.solution(np.array([3, 8])) == "<think>3 + 8</think>\\boxed{11}"
    assert digits.solution(np.array([0, 0, 4])) == "<think>0 + 0 + 4</think>\\boxed{4}"
    for row in drawn["cold_start"]:
        a, b = REAL.target[row["digits"]]
        assert row["solution"] == f"<think>{a} + {b}</think>\\boxed{{{row['answer']}}}"


def test_the_seed_determines_the_questions(drawn):
    again = digits.questions("validation", n=SIZES["validation"])
    other = digits.questions("validation", n=SIZES["validation"], seed=1)
    assert again.to_list() == drawn["validation"].to_list()
    assert rows(other) != rows(drawn["validation"])


def test_a_larger_n_starts_with_the_same_questions():
    assert rows(digits.questions("test", n=20)) == rows(digits.questions("test", n=60))[:20]


def test_rewordings_are_the_other_wordings(drawn):
    assert len(set(digits.WORDINGS)) >= 6
    for wording in digits.WORDINGS:
        assert sorted([wording, *digits.rewordings(wording)]) == sorted(digits.WORDINGS)
    assert set(drawn["test"]["question"]) == set(digits.WORDINGS)
    for row in drawn["validation"].remove_columns("image"):
        assert row["new_questions"] == digits.rewordings(row["question"])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_image_shows_its_digits_in_reading_order(k):
    row_K = np.arange(40, 40 + k)
    picture = digits.picture(row_K)
    assert (picture.mode, picture.size) == ("RGB", (14 * k, 14 * k))
    grey_HW = np.asarray(picture)[..., 0].astype(float)
    top = 14 * ((k - 1) // 2)
    for column, row in enumerate(row_K):
        cell_HW = grey_HW[top : top + 14, 14 * column : 14 * column + 14]
        shrunk_HW = np.array(digits._cell(row).resize((8, 8)), float)
        assert np.corrcoef(shrunk_HW.ravel(), REAL.images[row].ravel())[0, 1] > 0.97
        np.testing.assert_array_equal(cell_HW, np.asarray(digits._cell(row)))
    outside_HW = np.delete(grey_HW, range(top, top + 14), axis=0)
    assert not outside_HW.any()


def test_resizing_keeps_the_range_of_grey_levels():
    grey = np.asarray(digits.picture(np.array([0])))
    assert grey.min() == 0
    assert grey.max() > 230


@pytest.mark.parametrize("k", [1, 3])
def test_number_of_digits(k):
    questions = digits.questions("validation", n=20, k=k)
    assert questions["answer"] == [str(REAL.target[list(row)].sum()) for row in rows(questions)]
    assert questions[0]["image"].size == (14 * k, 14 * k)


def test_every_image_of_a_split_can_be_drawn():
    assert len(set(rows(digits.questions("validation", n=130, k=1)))) == 130


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split": "tset", "n": 5}, "tset"),
        ({"split": "test", "n": 0}, "n = 0"),
        ({"split": "validation", "n": 131, "k": 1}, "n = 131"),
        ({"split": "validation", "n": math.perm(130, 2) + 1}, "n = 16771"),
        ({"split": "test", "n": 5, "k": 0}, "k = 0"),
        ({"split": "validation", "n": 5, "k": 131}, "k = 131"),
    ],
)
def test_error_names_what_cannot_be_drawn(arguments, named):
    with pytest.raises(InputError, match=named):
        digits.questions(**arguments)


def test_error_names_a_question_without_rewordings():
    with pytest.raises(InputError, match="How old is the writer"):
        digits.rewordings("How old is the writer?")
