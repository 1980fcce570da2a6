"""Measure the work of the veRL driver per rollout batch, and how it grows.

    .venv-verl/bin/python benchmarks/verl_driver.py [--rollouts 8192,65536] [--rows 512]

Three parts are measured, and scaled to larger runs:

- planning: from rewards and ids to the order of the rows on all workers;
- the columns that the driver itself reads and writes (rewards, masks, advantages), for rows of
  text in a real store;
- rows that movers write (responses under other prompts, repeats), with payloads of text and of
  images, in a real store. A large run does not fit on one machine, so `--rows` rows are moved and
  the result is scaled.

One machine runs store, mover and driver at the same time, so rates are lower bounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from pathlib import Path

import torch

os.environ.setdefault("RAY_ADDRESS", "local")
if not torch.cuda.is_available():  # veRL on a CPU, as in the tests
    tests = str(Path(__file__).parents[1] / "tests" / "verl")
    os.environ |= {
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "cpu_cluster",
        "PYTHONPATH": tests,
    }
    sys.path.append(tests)

import numpy as np
import psutil
import ray
import transfer_queue as tq
from tensordict import TensorDict
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from vantage.methods.recipe import recipe
from vantage.training.planning import make_plan
from vantage.training.verl.arrangement import (
    Generated,
    Joined,
    distinct,
    lay_out,
    ordered,
    uid_of,
)
from vantage.training.verl.rows import Movers
from vantage.training.verl.store import PARTITION

GROUP, PROMPTS, PROCESSES = 8, 2, 64
PROMPT, RESPONSE = 1_400, 1_024  # tokens; 1,296 of the prompt are an image of one megapixel
PATCHES, WIDTH = 5_184, 1_176  # patches and their width for that image in Qwen2.5-VL


def generated(rollouts: int) -> Generated:
    """Make synthetic rollouts."""
    rng = np.random.default_rng(0)
    slot_N = np.repeat(np.arange(rollouts // GROUP), GROUP)
    reward_N = rng.integers(0, 2, rollouts) * 1.0
    keys = [f"{uid_of(0, slot)}_{row % GROUP}_0" for row, slot in enumerate(slot_N.tolist())]
    length_N = rng.integers(64, RESPONSE, rollouts).tolist()
    tags = [
        {"prompt_len": PROMPT, "response_len": n, "seq_len": PROMPT + n, "status": "success"}
        for n in length_N
    ]
    return Generated(slot_N // PROMPTS, slot_N, reward_N, reward_N[:, None], keys, tags)


def planning(name: str, rollouts: int) -> tuple[float, int, int]:
    """Plan a batch; return seconds, rows of the batch, and rows to be written."""
    made = generated(rollouts)
    began = time.perf_counter()
    samples = make_plan(recipe(name), made, 0, 0).samples
    length_M = made.lengths()[samples.rollout_M]
    layout = lay_out(samples, length_M, PROMPT + length_M, updates=4, processes=PROCESSES)
    stored = distinct(made, samples, 0)
    padding = [(f"pad_{n}_0", {}) for n in range(layout.padding)]
    batch = ordered(layout, samples, stored, padding, 0)
    return time.perf_counter() - began, len(batch.keys), len(stored.joined) + len(batch.copies)


def row(length: int, pixels: bool) -> dict:
    """Make a row with the fields that veRL stores."""
    whole = PROMPT + length
    fields = {
        "prompts": torch.ones(PROMPT, dtype=torch.int64),
        "responses": torch.ones(length, dtype=torch.int64),
        "response_mask": torch.ones(length, dtype=torch.int64),
        "loss_mask": torch.ones(length, dtype=torch.int64),
        "input_ids": torch.ones(whole, dtype=torch.int64),
        "position_ids": torch.ones(4, whole, dtype=torch.int64),
        "rollout_log_probs": torch.zeros(length),
        "rm_scores": torch.zeros(length),
        "extra_fields": {"reward_extra_info": {"accuracy": 1.0, "score": 1.0}},
    }
    seen = {"pixel_values": torch.zeros(PATCHES, WIDTH)} if pixels else {}
    return fields | {"multi_modal_inputs": seen}


def size_of(fields: dict) -> int:
    tensors = [value for value in fields.values() if torch.is_tensor(value)]
    tensors += fields["multi_modal_inputs"].values()
    return sum(tensor.nbytes for tensor in tensors)


def put(count: int, pixels: bool, start: int = 0) -> list[str]:
    keys = [f"0-{start + number}_0_0" for number in range(count)]
    for first in range(0, count, 16):
        part = keys[first : first + 16]
        rows = [row(RESPONSE // 2 + number % 64, pixels) for number in range(len(part))]
        tags = [{"status": "success"} for _ in part]
        tq.kv_batch_put(
            keys=part, partition_id=PARTITION, fields=list_of_dict_to_tensordict(rows), tags=tags
        )
    return keys


def columns(count: int) -> tuple[float, int]:
    """Read rewards and masks, write advantages; return seconds and bytes of memory used."""
    keys = put(count, pixels=False)
    held = psutil.Process().memory_info().rss
    began = time.perf_counter()
    data = tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=["extra_fields"])
    assert len([one["reward_extra_info"] for one in list(data["extra_fields"])]) == count
    data = tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=["response_mask"])
    fields = {"advantages": data["response_mask"] * 1.0}
    tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=TensorDict(fields, batch_size=count))
    seconds = time.perf_counter() - began
    held = psutil.Process().memory_info().rss - held
    tq.kv_clear(keys=keys, partition_id=PARTITION)
    return seconds, held


def movement(count: int, pixels: bool, movers: Movers) -> float:
    """Seconds for movers to write `count` responses under other prompts."""
    keys = put(count, pixels)
    made = [
        Joined(f"0-shared{number}_0_0", key, keys[(number + 1) % count])
        for number, key in enumerate(keys)
    ]
    began = time.perf_counter()
    movers.write(made, {one.key: {} for one in made})
    seconds = time.perf_counter() - began
    tq.kv_clear(keys=[*keys, *(one.key for one in made)], partition_id=PARTITION)
    return seconds


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", default="8192,65536")
    parser.add_argument("--rows", type=int, default=256)
    options = parser.parse_args()
    sizes = [int(text) for text in options.rollouts.split(",")]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"prompts of {PROMPT} tokens, responses up to {RESPONSE}; {PROMPTS} prompts per question")

    print("\nplanning, only the driver (best of 3)")
    print(
        f"{'recipe':>14} {'rollouts':>9} {'seconds':>8} {'batch':>8} {'written':>8} {'peak GB':>8}"
    )
    written: dict[tuple[str, int], int] = {}
    for rollouts in sizes:
        for name in ("grpo", "shuffle-r1", "share-grpo", "share-shuffle"):
            runs = [planning(name, rollouts) for _ in range(3)]
            seconds, batch, made = min(runs)
            written[name, rollouts] = made
            print(f"{name:>14} {rollouts:9} {seconds:8.2f} {batch:8} {made:8} {peak_gb():8.2f}")

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    tq.init()
    movers = Movers()
    movement(8, False, movers)  # start the movers
    print("\ncolumns that the driver reads and writes, rows of text")
    count = min(options.rows * 8, 4096)
    seconds, held = columns(count)
    print(f"{count} rows: {seconds:.2f} s, {count / seconds:.0f} rows/s; scaled:")
    for rollouts in sizes:
        times = rollouts / count
        print(f"{rollouts:9} rows: {times * seconds:.1f} s, {times * held / 2**30:.2f} GB")

    print(f"\nrows written by one mover, {options.rows} measured")
    rates = {}
    for kind, pixels in (("text", False), ("an image", True)):
        size = size_of(row(RESPONSE // 2, pixels)) / 2**20
        moved = options.rows if not pixels else max(8, options.rows // 4)
        seconds = movement(moved, pixels, movers)
        rates[kind] = (size, moved / seconds)
        print(
            f"{kind:>10}: {size:6.2f} MB per row, {moved} rows in {seconds:.2f} s: "
            f"{moved / seconds:.0f} rows/s, {size * moved / seconds:.0f} MB/s"
        )

    print("\nscaled: rows written per batch, and seconds by number of movers")
    print(
        f"{'recipe':>14} {'rollouts':>9} {'payload':>10} {'GB':>7} {'1':>8} {'64':>8} {'1000':>8}"
    )
    for (name, rollouts), made in written.items():
        for kind, (size, rate) in rates.items():
            if made:
                times = " ".join(f"{made / rate / movers_:8.1f}" for movers_ in (1, 64, 1000))
                print(f"{name:>14} {rollouts:9} {kind:>10} {made * size / 2**10:7.1f} {times}")
    ray.shutdown()


if __name__ == "__main__":
    main()
