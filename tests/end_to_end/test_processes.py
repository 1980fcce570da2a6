"""Two processes train like one: same plan, same losses, same weights."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import reproducible
import torch
from launching import Launch

from vantage.record import Record

TURNS = {"prompts": 2, "transforms": {"names": ["noise-25", "clockwise"], "probability": 0.7}}
# Options of the run, its updates a rollout batch, and rows of a forward in one and two processes.
CASES = {
    "grpo, evaluated": ({"recipe": "grpo", "eval_strategy": "steps", "eval_steps": 2}, 2, (16, 8)),
    "pods with 9 rows an update and a reference": (
        {
            "recipe": {"name": "pods", "fraction": 0.75},
            "generation_batch_size": 24,
            "beta": 0.1,
            "loss_type": "grpo",
        },
        2,
        (12, 6),
    ),
    "shuffle-r1 with padding": (
        {"recipe": {"name": "shuffle-r1", "fraction": 1.0, "rounds": 4}},
        4,
        (8, 4),
    ),
    "share-shuffle with padding": (
        {"recipe": {"name": "share-shuffle", "rounds": 4}, "variants": TURNS},
        4,
        (8, 4),
    ),
    "share-grpo in 4 and 2 forwards": ({"recipe": "share-grpo", "variants": TURNS}, 2, (4, 4)),
}
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory, tiny_model, some_without_images):
    """What one and two processes did, per process, and the final weights."""
    options, updates, forwards = CASES[request.param]
    rollouts = options.get("generation_batch_size", reproducible.OPTIONS["generation_batch_size"])
    done = SimpleNamespace(name=request.param)
    for processes, forward in zip((1, 2), forwards, strict=True):
        out = tmp_path_factory.mktemp(f"processes-{processes}")
        cut = {
            "per_device_train_batch_size": forward,
            "gradient_accumulation_steps": rollouts // (updates * processes * forward),
            "per_device_eval_batch_size": 8 // processes,
            "max_steps": 3 * updates,
        }
        arguments = (out, tiny_model, some_without_images, options | cut)
        Launch(out / "log", processes, reproducible.train, *arguments).finish()
        records = [json.loads((out / f"record-{n}.json").read_text()) for n in range(processes)]
        weights = [torch.load(out / f"weights-{n}.pt") for n in range(processes)]
        setattr(done, "one" if processes == 1 else "two", records)
        setattr(done, f"weights_{processes}", weights)
        setattr(done, f"written_by_{processes}", Record(out / "run"))
    return done


def test_plan_is_the_same_for_any_world_size(case):
    (alone,) = case.one
    assert len(alone["plans"]) == 3
    for record in case.two:
        assert record["home"] == alone["home"]
        assert record["plans"] == alone["plans"]


def test_losses_match_a_single_process(case):
    (alone,) = case.one
    for record in case.two:
        for name in ("loss", "grad_norm", "reward", "plan/unscored", "kl", "eval_reward"):
            expected = [line[name] for line in alone["log"] if name in line]
            found = [line[name] for line in record["log"] if name in line]
            # Gradient norms of 20 have steps of 2e-6 in float32, several of which add up.
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_weights_match_a_single_process(case):
    (alone,) = case.weights_1
    for weights in case.weights_2:
        for name in alone:
            torch.testing.assert_close(weights[name], alone[name], **CLOSE)
    assert case.one[0]["moved"] > 1e-3


def test_record_has_the_rollouts_of_all_processes(case):
    alone, together = case.written_by_1, case.written_by_2
    assert together.steps == [0, 1, 2]
    for name in ("rollouts", "samples", "prompts"):
        expected, found = alone.table(name), together.table(name)
        approximate = ["log_prob"] if name == "rollouts" else []
        assert found.drop(approximate).to_pylist() == Same(expected.drop(approximate).to_pylist())
        for column in approximate:
            values = (table[column].to_numpy() for table in (found, expected))
            np.testing.assert_allclose(*values, **CLOSE)
    assert set(alone.validations()["metric"].to_pylist()) == set(
        together.validations()["metric"].to_pylist()
    )


class Same(list):
    """Rows that are equal when those with NaN in the same places are, too."""

    def __eq__(self, other):
        return repr(list(self)) == repr(other)

    __hash__ = None


def test_every_process_generates_its_share(case):
    (alone,) = case.one
    halves = zip(*[record["generated"] for record in case.two], strict=True)
    for whole, (first, second) in zip(alone["generated"], halves, strict=True):
        assert len(first) == len(second)
        assert first + second == whole


def test_all_processes_have_the_same_number_of_forwards(case):
    first, second = ([made[:2] for made in record["forwards"]] for record in case.two)
    assert first == second
    assert {kind for _, kind in first} >= {"update"}


def test_moved_rows_are_rebuilt_by_their_new_process(case):
    moved = sum(len(landed(record, n)) for n, record in enumerate(case.two))
    assert moved > 0
    for record in case.two:
        assert record["sent"]["objects"] > 0
        assert set(record["sent"]) <= {"objects", "0 dimensions", "1 dimensions", "2 dimensions"}


def landed(record: dict, process: int) -> list[int]:
    """Rollouts that a process trained, and another one generated."""
    rollouts = [
        plan["rollout_M"][row]
        for plan, rows in zip(record["plans"], record["trained"], strict=True)
        for row in rows
        if row >= 0
    ]
    return [rollout for rollout in rollouts if rollout not in record["generated"][0]]


def test_every_plan_row_is_trained_once_without_filler(case):
    for number, plan in enumerate(case.one[0]["plans"]):
        trains_M = ~np.array(plan["padding_M"])
        if "reference" not in case.name:  # without a KL term, rows without an advantage are skipped
            trains_M &= np.array(plan["advantage_M"]) * np.array(plan["weight_M"]) != 0
        wanted = np.flatnonzero(trains_M).tolist()
        for records in (case.one, case.two):
            trained = [row for record in records for row in record["trained"][number] if row >= 0]
            assert sorted(trained) == wanted


def test_cases_cover_the_difficult_situations(case):
    alone = case.one[0]
    assert any(line.get("plan/unscored", 0) > 0 for line in alone["log"])
    if "padding" in case.name:
        shares = [np.mean(plan["padding_M"]) for plan in alone["plans"]]
        assert {0, 1} <= set(shares)
        assert any(0 < share < 1 for share in shares) or "share" in case.name
    if "9 rows" in case.name:
        assert any(-1 in rows for record in case.two for rows in record["trained"])
