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
            *rows("shuffle-r1", [0.2, 0.6, 0.7], 128, 1.0),
            *rows("pods", [0.2, 0.3, 0.5], 64, 1.0),
        ]
    )


def cells(table: str, arm: str) -> dict[str, str]:
    head, _, *lines = ([c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines())
    return next(dict(zip(head, line, strict=True)) for line in lines if line[0] == arm)


def test_an_arm_that_learns_twice_as_fast_from_half_of_the_samples(results):
    runs = page.runs_of(results, "test")
    table = page.main_table(runs, "two", ["grpo", "shuffle-r1", "pods"])
    # Least spent in the end: 128 samples, 8 updates, 2 s (by pods, as by shuffle-r1), and
    # 2 (0.5 + 0.5 (3 + 1) 0.25 / 4) = 1.25 modelled batches.
    assert cells(table, "shuffle-r1") == {
        "arm": "shuffle-r1",
        "learning rate": "0.0001",
        "accuracy": "0.700 ± 0.000",
        "against grpo": "+10.0 (+10.0 to +10.0)",
        "at 128 samples": "0.600",
        "at 8 updates": "0.700",
        "at 2 s": "0.700",
        "at 1.25 modelled": "0.667",  # 0.6 at 0.75, 0.7 at 1.5
        "rollouts to 90 %": "0.50 (0.50 to 0.50)",
        "rollouts to all": "0.50 (0.50 to 0.50)",
        "seconds to all": "0.25 (0.25 to 0.25)",
        "modelled to all": "0.38 (0.38 to 0.38)",  # 0.75 of 2
    }


def test_what_is_never_reached_is_said_to_be_so(results):
    runs = page.runs_of(results, "test")
    found = cells(page.main_table(runs, "two", ["grpo", "pods"]), "pods")
    assert found["rollouts to all"] == "never (never to never)"
    assert found["against grpo"] == "-10.0 (-10.0 to -10.0)"


def test_where_generation_is_all_that_costs_modelled_time_is_that_of_rollouts(results):
    runs = page.runs_of(results, "test")
    found = cells(page.generation_table(runs, "two", ["shuffle-r1"]), "shuffle-r1")
    # One batch of 0.2 + 0.8 / 2, against two.
    assert found["generation 80%"].startswith("0.45 ")
    assert found["generation 33%"].startswith("0.33 ")


def test_candidates_are_compared_over_the_seeds_that_both_have(results):
    chosen = pd.concat(
        [
            *rows("share-shuffle", [0.2, 0.4, 0.6], 256, 1.0, "choice"),
            next(rows("once", [0.2, 0.5, 0.6], 256, 1.0, "choice")),
        ]
    )
    runs = page.runs_of(chosen, "choice")
    found = cells(page.candidate_table(runs, ["two"], ["once"], "share-shuffle"), "once")
    assert list(found.values()) == ["once", "1", "0.550", "+5.0"]


def test_tables_are_put_between_their_marks_and_nothing_else_changes():
    text = "a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\n<!-- end -->\n"
    filled = page.fill(text, {"one": "1", "two": "2"})
    expected = "a\n<!-- one -->\n\n1\n\n<!-- end -->\nb\n<!-- two -->\n\n2\n\n<!-- end -->\n"
    assert filled == expected
    assert page.fill(filled, {"one": "1", "two": "2"}) == expected
