"""Evaluate the guard that finds questions whose answer a rotation or mirror could change.

The questions and their labels are in tests/questions/data/orientation.csv. The words of the
guard were chosen on the part "tuned_on". The part "held_out" was written independently of both,
and was not used to choose words.

    python benchmarks/orientation.py
"""

from __future__ import annotations

import csv
from pathlib import Path

from vantage.questions.orientation import changing

QUESTIONS = Path(__file__).parent.parent / "tests" / "questions" / "data" / "orientation.csv"


def counts(part: str, kind: str) -> tuple[int, int, int, int]:
    """Count true positives, false positives, false negatives and true negatives in a part."""
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == part]
    pairs = [(kind in changing(r["question"], r["answer"]), r[kind] == "yes") for r in rows]
    ways = ((True, True), (True, False), (False, True), (False, False))
    hits, alarms, misses, passes = (pairs.count(way) for way in ways)
    return hits, alarms, misses, passes


def main() -> None:
    print(
        f"{'part':10} {'kind':7} {'questions':>9} {'sensitive':>9} {'precision':>9} {'recall':>7}"
    )
    for part in ("tuned_on", "held_out"):
        for kind in ("turn", "mirror"):
            hits, alarms, misses, passes = counts(part, kind)
            total, sensitive = hits + alarms + misses + passes, hits + misses
            precision, recall = hits / (hits + alarms), hits / sensitive
            print(f"{part:10} {kind:7} {total:9} {sensitive:9} {precision:9.3f} {recall:7.3f}")


if __name__ == "__main__":
    main()
