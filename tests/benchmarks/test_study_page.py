"""The tables of the learning study, against cells worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from study import page

SEEDS = (0, 1)


def rows(arm: str, accuracy: list[float], samples: float, seconds: float, stage: str = "test"):
    """Two batches of 256 rollouts and 4 updates, the same for both seeds."""
    batch = np.arange(3)
    logged = dict.fromkeys(
        ["silent_rollouts", "silent_samples", "grad_norm", "entropy", "clipped"], 0.25
    ) | dict.fromkeys([f"seconds_{n}" for n in ("generate", "plan", "log_probs", "update")], 0.5)
    for seed in SEEDS:
        yield pd.DataFrame(
            {
                "stage": stage,
                "task": "two",
                "arm": arm,
                "seed": seed,
                "learning_rate": 1e-4,
                "batch": batch,
                "rollouts": 256 * batch,
                "updates": 4 * batch,
                "samples": [np.nan, samples, samples],
                "distinct": [np.nan, samples, samples],
                "seconds": [np.nan, seconds, seconds],
                "accuracy": accuracy,
                **logged,
            }
        )


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return pd.concat(
        [
            *rows("grpo", [0.2, 0.4, 0.6], 256, 2.0),
            *rows("shuffle-r1", [0.2, 0.6, 0.7], 112, 1.0),
            *rows("pods", [0.2, 0.3, 0.5], 64, 1.0),
        ]
    )


def cells(table: str, arm: str) -> dict[str, str]:
    head, _, *lines = ([c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines())
    return next(dict(zip(head, line, strict=True)) for line in lines if line[0] == arm)


def test_an_arm_that_learns_twice_as_fast_from_fewer_samples(results):
    runs = page.runs_of(results, "test")
    table = page.main_table(runs, "two", ["grpo", "shuffle-r1", "pods"])
    # Least spent in the end: 128 samples, 8 updates, 2 s, and by pods
    # 2 (0.5 + 0.5 (3 + 1) 0.25 / 4) = 1.25 modelled batches.
    assert cells(table, "shuffle-r1") == {
        "arm": "shuffle-r1",
        "learning rate": "0.0001",
        "accuracy": "0.700 ± 0.000",
        "against grpo": "+10.0 (+10.0 to +10.0)",
        "against its control": "",
        "at 128 samples": "0.614",
        "at 8 updates": "0.700",
        "at 2 s": "0.700",
        "at 1.25 modelled": "0.674",  # 0.6 at 0.71875, 0.7 at twice that
        "rollouts to 90 %": "0.50 (0.50 to 0.50)",
        "seconds to 90 %": "0.25 (0.25 to 0.25)",
        "modelled to 90 %": "0.36 (0.36 to 0.36)",
        "rollouts to all": "0.50 (0.50 to 0.50)",
        "seconds to all": "0.25 (0.25 to 0.25)",
        "modelled to all": "0.36 (0.36 to 0.36)",  # 0.71875 of 2
    }


def test_what_is_never_reached_is_said_to_be_so(results):
    runs = page.runs_of(results, "test")
    found = cells(page.main_table(runs, "two", ["grpo", "pods"]), "pods")
    assert found["rollouts to all"] == "never (never to never)"
    assert found["against grpo"] == "-10.0 (-10.0 to -10.0)"


def test_where_generation_is_all_that_costs_modelled_time_is_that_of_rollouts(results):
    runs = page.runs_of(results, "test")
    found = cells(page.generation_table(runs, "two", ["shuffle-r1"]), "shuffle-r1")
    # Half of the rollouts, at 0.8 + 0.2 * 0.4375 and 1 / 3 + 2 / 3 * 0.4375 a batch.
    assert found["generation 80%"] == "0.44 (0.44 to 0.44)"
    assert found["generation 33%"] == "0.31 (0.31 to 0.31)"


def test_the_start_is_no_late_accuracy():
    once = next(rows("pods", [0.2, np.nan, 0.6], 64, 1.0))
    assert page.Run(once).late == 0.6


def test_candidates_are_compared_over_the_seeds_that_both_have(results):
    chosen = pd.concat(
        [
            *rows("share-shuffle", [0.2, 0.4, 0.6], 256, 1.0, "choice"),
            next(rows("once", [0.2, 0.5, 0.6], 256, 1.0, "choice")),
        ]
    )
    runs = page.runs_of(chosen, "choice")
    found = cells(page.candidate_table(runs, ["two"], ["once"], "share-shuffle"), "once")
    assert list(found.values()) == ["once", "1", "+5.0"]


def test_accuracies_are_those_at_the_budget_where_a_recipe_generated_more(results):
    more = next(rows("dapo-filter", [0.2, 0.4, 0.6], 256, 1.0))
    more["rollouts"] = [0, 6_400, 19_200]
    assert page.Run(more).final == pytest.approx(0.5)  # half of the way from 6,400 to 19,200


def test_two_trainings_of_a_seed_are_told_apart_from_one(results):
    again = results[results["arm"] == "grpo"].assign(learning_rate=2e-4)
    with pytest.raises(ValueError, match=r"grpo.*two.*twice.*0.0001, 0.0002"):
        page.runs_of(pd.concat([results, again]), "test")


def test_a_disturbed_training_is_charged_the_seconds_of_the_seed_in_the_middle(results):
    slow = results[results["arm"] == "grpo"].copy()
    three = pd.concat([slow, slow[slow["seed"] == 1].assign(seed=2, seconds=9.0)])
    runs = page.runs_of(three, "test")["two", "grpo"]
    assert [run.spent["seconds"].iloc[-1] for run in runs] == pytest.approx([4, 4, 4])


def test_tables_are_put_between_their_marks_and_nothing_else_changes():
    text = "a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\n<!-- end -->\n"
    filled = page.fill(text, {"one": "1", "two": "2"})
    with pytest.raises(KeyError, match="two"):
        page.fill(text, {"one": "1"})
    expected = "a\n<!-- one -->\n\n1\n\n<!-- end -->\nb\n<!-- two -->\n\n2\n\n<!-- end -->\n"
    assert filled == expected
    assert page.fill(filled, {"one": "1", "two": "2"}) == expected
