"""What became of every hostile input, one line for each entry point and kind.

Run: python tests/hostile/summary.py [WORDS IN NAMES ...]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import cases
from arena import REFUSED, Case, Outcome, run
from shared import build

INTERRUPTED = 130
HEAD = (
    f"{'entry':8}{'kind':13}{'cases':>6}{'refused':>9}{'accepted':>10}{'tracebacks':>12}"
    f"{'requests':>10}{'code run':>10}{'controls':>10}{'slowest s':>11}{'most MB':>9}"
)


def row(entry: str, kind: str, found: list[Outcome]) -> str:
    """One line of the summary."""
    refused = sum(outcome.status in (*REFUSED, INTERRUPTED) for outcome in found)
    slowest = max((o.seconds if o.status is not None else float("inf")) for o in found)
    return (
        f"{entry:8}{kind:13}{len(found):6}{refused:9}{sum(o.status == 0 for o in found):10}"
        f"{sum(bool(o.escaped) for o in found):12}{sum(bool(o.asked) for o in found):10}"
        f"{sum(o.ran or bool(o.started) for o in found):10}{sum(bool(o.raw) for o in found):10}"
        f"{slowest:11.1f}{max(o.megabytes for o in found):9.0f}"
    )


def outcomes(chosen: list[Case]) -> Iterator[tuple[Case, Outcome]]:
    """Outcomes of some cases."""
    with tempfile.TemporaryDirectory() as name:
        shared, places = Path(name, "shared"), Path(name, "cases")
        shared.mkdir()
        places.mkdir()
        yield from run(chosen, places, build(shared))


def show(found: list[tuple[Case, Outcome]], seconds: float) -> int:
    """Print the summary; how many cases did harm."""
    rows: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for case, outcome in found:
        rows[case.entry, case.kind].append(outcome)
    print(HEAD)
    for (entry, kind), outcomes in sorted(rows.items()):
        print(row(entry, kind, outcomes))
    print(row("all", "", [outcome for _, outcome in found]))
    harm = sorted((case.id, outcome.problems) for case, outcome in found if outcome.problems)
    print(f"{seconds:.0f} s; did harm: {len(harm)}")
    for name, problems in harm:
        print("".join(f"  {name}: {problem}\n" for problem in problems), end="")
    return len(harm)


def main() -> int:
    """All cases whose name has one of the words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="in the names of cases")
    parser.add_argument("--names", type=Path, help="file with the names of cases, one a line")
    parser.add_argument("--problems", type=Path, help="file for the problems of each, as JSON")
    given = parser.parse_args()
    names = given.names.read_text().splitlines() if given.names else None
    chosen = [
        case
        for case in cases.every()
        if (names is None or case.id in names)
        and (not given.words or any(word in case.id for word in given.words))
    ]
    start = time.monotonic()
    found = list(outcomes(chosen))
    if given.problems:
        given.problems.write_text(json.dumps({case.id: o.problems for case, o in found}))
    return bool(show(found, time.monotonic() - start))


if __name__ == "__main__":
    sys.exit(main())
