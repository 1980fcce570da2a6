"""vLLM beside the trainer: what it samples from is what is trained, for every family.

One process a family, which starts the engine once and trains several times (sampling.py).
"""

import functools
import json
import math
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import on_a_cpu
import pytest
from sampling import stock

HERE = Path(__file__).parent
MEASURED = HERE.parent / "models" / "sampler.json"
# Nats, the most of any token, by what vLLM computes in; the trainer computes in 32 bits.
CLOSE = {"torch.float32": 1e-4, "torch.bfloat16": 0.2}
SECONDS = 600
BROKEN = "Qwen2.5-VL"  # the family whose hand-over is broken on purpose
POOL = ThreadPoolExecutor(2)


def ran(family: str) -> Path:
    """Directory of what the runs of a family saw."""
    out = Path(tempfile.mkdtemp())
    command = [sys.executable, str(HERE / "sampling.py"), family, str(out)]
    with (out / "log").open("wb") as log:
        subprocess.run(
            command + ["--broken"] * (family == BROKEN),
            env=on_a_cpu.environment(out / "site"),
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
        )
    return out


@functools.cache
def started() -> dict[str, Future]:
    """All families, two at a time."""
    return {family: POOL.submit(ran, family) for family in stock.FAMILIES}


def saw(family: str, run: str) -> dict:
    """What a run of a family saw; skipped where the first one ended, as the table says."""
    out = started()[family].result()
    if (out / "reason.txt").exists():
        pytest.skip((out / "reason.txt").read_text())
    found = out / f"{run}.json"
    if not found.exists():
        failed = out / "failed.txt"
        pytest.fail((failed if failed.exists() else out / "log").read_text()[-3000:])
    return json.loads(found.read_text())


def differences(found: dict) -> list[float]:
    """The largest difference of any token, by rollout batch."""
    return [max(apart for _, apart in rows) for rows in found["rows"]]


@pytest.mark.parametrize("family", stock.FAMILIES)
def test_both_batches_are_sampled_from_what_is_trained(family):
    found = saw(family, "grpo")
    assert len(found["rows"]) == 2
    assert max(differences(found)) < CLOSE[found["dtype"]]
    images = {count for rows in found["rows"] for count, _ in rows}
    assert images in ({0, 1, 2}, {0})
    assert found["moved"]["text"] > 1e-3
    assert (found["moved"]["tower"] > 1e-3) == (images == {0, 1, 2})
    assert found["unscored"] == [0, 0]  # no token of a picture was sampled
    assert len(found["kl"]) == len(found["difference"]) == len(found["largest_ratio"]) == 2
    assert 0 <= max(found["kl"]) < CLOSE[found["dtype"]]


@pytest.mark.parametrize("family", stock.FAMILIES)
def test_a_shared_row_takes_the_ratio_of_its_rollout(family):
    found = saw(family, "shared")
    assert max(differences(found)) < CLOSE[found["dtype"]]
    own = {rollout: ratio for rollout, mine, ratio in found["ratios"] if mine}
    shared = [(rollout, ratio) for rollout, mine, ratio in found["ratios"] if not mine]
    assert own and shared
    for rollout, ratio in shared:
        assert ratio == pytest.approx(own.get(rollout, 1), abs=CLOSE[found["dtype"]])


@pytest.mark.parametrize("family", stock.FAMILIES)
def test_log_probs_of_a_sampler_that_cuts_the_vocabulary_are_higher_by_what_it_cuts(family):
    found = saw(family, "cut_off")
    most = -math.log(0.9) + CLOSE[found["dtype"]]
    assert 0 < max(differences(found)) < most
    assert all(0 < difference < most for difference in found["difference"])


@pytest.mark.parametrize("family", stock.FAMILIES)
def test_adapters_are_sampled_from_and_their_base_keeps_every_bit(family):
    found = saw(family, "adapted")
    assert max(differences(found)) < CLOSE[found["dtype"]]
    assert found["moved"]["text"] > 1e-3
    assert found["base"] > 0 and found["changed"] == []


@pytest.mark.parametrize(
    ("run", "batches", "message"),
    [
        ("expanded_twice", 0, "vLLM reads a prompt of"),
        ("expanded_twice_unseen", 1, "differ by"),
        ("stale_weights", 2, "differ by"),
        ("stale_pictures", 2, "differ by"),
        ("renormalised", 1, "differ by"),
    ],
)
def test_a_broken_hand_over_ends_the_run_in_its_batch(run, batches, message):
    found = saw(BROKEN, run)
    assert found["error"] is not None and found["batches"] == batches
    assert message in found["error"]
    for named in ("'qwen2_5_vl'", "vllm 0.30.0", "transformers 5.23.0", "trl.use_vllm"):
        assert named in found["error"]


def test_the_column_of_the_docs_is_what_was_measured():
    """tests/models writes it beside the other columns."""
    measured = {}
    for family in stock.FAMILIES:
        out = started()[family].result()
        why = out / "reason.txt"
        measured[family] = why.read_text() if why.exists() else "yes"
    before = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    MEASURED.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    assert before == measured, f"{MEASURED.name} was not what was measured; it is now"
