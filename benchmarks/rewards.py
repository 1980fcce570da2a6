"""Measure the rewards per second on plain answers, on one core.

All pairs of answer and reference are different, so that caches have no effect. Half of the answers
are right.

Run: python benchmarks/rewards.py
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from vantage.rewards import REWARDS

RESPONSES = 20_000
REPEATS = 5
THOUGHT = "<think>\n" + "The angle at B is half of the arc. " * 40 + "\n</think>\n"
UNITS = ("cm", "km", "kg", "degrees", "apples")

KINDS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "whole": lambda rng: (str(rng.randrange(10**6)),) * 2,
    "decimal": lambda rng: (f"{rng.uniform(0, 1000):.2f}",) * 2,
    "other form": lambda rng: _other_form(rng.randrange(1, 999), rng.randrange(2, 999)),
    "unit": lambda rng: _with_unit(rng.randrange(10**6), rng.choice(UNITS)),
    "letter": lambda rng: _letter(rng.choice("ABCDE")),
    "word": lambda rng: ("".join(rng.choices("abcdefgh", k=8)),) * 2,
}


def _other_form(up: int, down: int) -> tuple[str, str]:
    return f"\\frac{{{up}}}{{{down}}}", f"{2 * up}/{2 * down}"


def _with_unit(value: int, unit: str) -> tuple[str, str]:
    return f"{value} \\text{{ {unit}}}", str(value)


def _letter(name: str) -> tuple[str, str]:
    return f"({name})", name


def pairs(kind: str, count: int) -> tuple[list[str], list[str]]:
    """Make responses and references; every second response has the answer of another pair."""
    rng = random.Random(kind)
    made = [KINDS[kind](rng) for _ in range(count)]
    given = [made[n - 1 if n % 2 else n][0] for n in range(count)]
    return [f"{THOUGHT}<answer>\\boxed{{{answer}}}</answer>" for answer in given], [
        truth for _, truth in made
    ]


def rate(reward: Callable, responses: list[str], references: list[str]) -> tuple[float, float]:
    """Return the median rate in rewards per second, and the mean reward."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        earned = reward(responses, answer=references)
        times.append(time.perf_counter() - began)
    return len(responses) / statistics.median(times), statistics.fmean(earned)


def main() -> None:
    print(f"{'reward':12} {'answers':12} {'per s':>10} {'mean':>6}")
    for name, reward in REWARDS.items():
        for kind in KINDS:
            speed, mean = rate(reward, *pairs(kind, RESPONSES))
            print(f"{name:12} {kind:12} {speed:10,.0f} {mean:6.2f}")


if __name__ == "__main__":
    main()
