"""Compare answer parsers on `tests/rewards/verdicts.csv`, to show why `rewards.expressions` exists.

The readers are math-verify on the whole answer, SymPy's `sympify` on both sides, and `accuracy`,
for which the table is a test. A false right is a reward for a wrong answer.

Run: python benchmarks/readers.py
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

from vantage.rewards.accuracy import correct

TABLE = Path(__file__).parents[1] / "tests/rewards/verdicts.csv"
SECONDS = 5  # time limit per verdict; a timeout counts as wrong


def by_math_verify(answer: str, reference: str) -> bool:
    from math_verify import parse, verify

    read = [parse(text, parsing_timeout=None) for text in (f"${reference}$", f"${answer}$")]
    return bool(verify(*read, timeout_seconds=None))


def by_sympy(answer: str, reference: str) -> bool:
    import sympy

    one, other = sympy.sympify(answer), sympy.sympify(reference)
    return bool(sympy.simplify(one - other) == 0)


READERS: dict[str, Callable[[str, str], bool]] = {
    "sympy": by_sympy,
    "math-verify": by_math_verify,
    "accuracy": correct,
}


def verdict(reader: Callable[[str, str], bool], answer: str, reference: str) -> bool:
    """Verdict of a reader; an error or timeout counts as wrong."""
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return reader(answer, reference)
    except Exception:
        return False
    finally:
        signal.alarm(0)


def _ring(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _ring)
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [
            (row["answer"], row["reference"], row["right"] == "yes") for row in csv.DictReader(file)
        ]
    right = sum(wanted for *_, wanted in rows)
    print(f"{len(rows)} pairs, {right} right")
    print(f"{'reader':12} {'false right':>12} {'false wrong':>12} {'per s':>9}")
    for name, reader in READERS.items():
        began = time.perf_counter()
        said = [(verdict(reader, answer, truth), wanted) for answer, truth, wanted in rows]
        seconds = time.perf_counter() - began
        paid = sum(one and not wanted for one, wanted in said)
        missed = sum(wanted and not one for one, wanted in said)
        print(f"{name:12} {paid:12} {missed:12} {len(rows) / seconds:9,.0f}", flush=True)


if __name__ == "__main__":
    main()
