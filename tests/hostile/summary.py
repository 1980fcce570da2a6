"""What became of every hostile input, one line for each entry point and kind.

Run: python tests/hostile/summary.py [WORDS IN NAMES ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import cases
from arena import Outcome, run
from shared import build

HEAD = (
    f"{'entry':8}{'kind':13}{'cases':>6}{'refused':>9}{'accepted':>10}{'tracebacks':>12}"
    f"{'requests':>10}{'code run':>10}{'controls':>10}{'slowest s':>11}{'most MB':>9}"
)


def row(entry: str, kind: str, found: list[Outcome]) -> str:
    """One line of the summary."""
    refused = sum(outcome.status in (1, 2, 130) for outcome in found)
    slowest = max((o.seconds if o.status is not None else float("inf")) for o in found)
    return (
        f"{entry:8}{kind:13}{len(found):6}{refused:9}{sum(o.status == 0 for o in found):10}"
        f"{sum(bool(o.escaped) for o in found):12}{sum(bool(o.asked) for o in found):10}"
        f"{sum(o.ran or bool(o.started) for o in found):10}{sum(bool(o.raw) for o in found):10}"
        f"{slowest:11.1f}{max(o.megabytes for o in found):9.0f}"
    )


def main() -> int:
    """All cases whose name has one of the words; the number of those that did harm."""
    words = sys.argv[1:]
    chosen = [c for c in cases.every() if not words or any(word in c.id for word in words)]
    found: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    bad: list[str] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        shared, places = Path(name, "shared"), Path(name, "cases")
        shared.mkdir()
        places.mkdir()
        for case, outcome in run(chosen, places, build(shared)):
            found[case.entry, case.kind].append(outcome)
            bad += [f"{case.id}: {problem}" for problem in outcome.problems]
    print(HEAD)
    for (entry, kind), outcomes in sorted(found.items()):
        print(row(entry, kind, outcomes))
    print(row("all", "", [outcome for outcomes in found.values() for outcome in outcomes]))
    print(f"{time.monotonic() - start:.0f} s; harm: {len(bad)}")
    for line in sorted(bad):
        print(f"  {line}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
