"""Measure the time to make a plan against the number of rollouts, on one core.

Run: python benchmarks/plan.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import numpy as np

import vantage

GROUP = 16
SIZES = (8_192, 65_536, 262_144, 1_000_000)
REPEATS = 7


def batch(size: int, prompts: int = 2) -> vantage.Rollouts:
    """Make `size` rollouts in random order, with rewards 0.9 * accuracy + 0.1 * format."""
    rng = np.random.default_rng(0)
    row_N = rng.permutation(size)
    question_N = row_N // GROUP
    return vantage.Rollouts(
        question_N=question_N,
        prompt_N=question_N * prompts + row_N % prompts,
        reward_N=0.9 * rng.integers(0, 2, size) + 0.1 * rng.integers(0, 2, size),
    )


def seconds(recipe: vantage.Recipe, rollouts: vantage.Rollouts) -> list[float]:
    times = []
    for seed in range(REPEATS):
        start = time.perf_counter()
        recipe.plan(rollouts, rng=np.random.default_rng(seed))
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    print(
        f"{'recipe':14} {'rollouts':>10} {'median ms':>10} {'min':>8} {'max':>8} {'ns/rollout':>11}"
    )
    for name in ("grpo", "shuffle-r1", "share-grpo", "share-shuffle"):
        recipe = vantage.recipe(name)
        for size in SIZES:
            times = [1e3 * second for second in seconds(recipe, batch(size))]
            median = statistics.median(times)
            print(
                f"{name:14} {size:10,} {median:10.1f} {min(times):8.1f} {max(times):8.1f}"
                f" {1e6 * median / size:11.0f}"
            )


if __name__ == "__main__":
    main()
