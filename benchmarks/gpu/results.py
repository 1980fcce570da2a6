"""What was measured: a line of JSON for each case, written when it ends, and a readable text."""

from __future__ import annotations

import gc
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

Numbers = dict[str, float]
Case = tuple[str, Callable[[], Numbers]]


class Skipped(Exception):  # noqa: N818
    """A case that cannot be measured here; its text says why."""


@dataclass(frozen=True)
class Result:
    """What came out of a case.

    Attributes:
        part, case: what was measured; a part that failed as a whole has no case.
        numbers: name with unit -> value.
        failed, skipped: why there are none.
        seconds: that it took.
    """

    part: str
    case: str
    numbers: Numbers = field(default_factory=dict)
    failed: str = ""
    skipped: str = ""
    seconds: float = 0.0

    def line(self) -> str:
        """For a person."""
        numbers = ", ".join(f"{name} {readable(value)}" for name, value in self.numbers.items())
        why = [f"{w}: {t}" for w, t in (("FAILED", self.failed), ("skipped", self.skipped)) if t]
        return "  ".join(filter(None, [f"{self.part:10}{self.case:46}", numbers, *why]))


def readable(value: float) -> str:
    """A number in four digits."""
    large = abs(value) >= 1e4 and math.isfinite(value)
    return f"{value:,.0f}" if large else f"{value:.4g}"


def append(file: Path, result: Result) -> None:
    """Add a line; it is on disk when this returns."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(result)) + "\n")


def read(file: Path) -> list[Result]:
    """All results so far."""
    if not file.is_file():
        return []
    return [Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def measured(part: str, cases: Iterable[Case]) -> Iterator[Result]:
    """Measure case after case; one that fails costs no other."""
    iterator = iter(cases)
    while True:
        name, began = "", time.perf_counter()
        try:
            name, function = next(iterator)
            result = Result(part, name, function())
        except StopIteration:
            return
        except Skipped as why:
            result = Result(part, name, skipped=str(why))
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            text = " ".join(str(error).split())[:300]
            result = Result(part, name, failed=f"{type(error).__name__}: {text}")
        yield Result(**{**asdict(result), "seconds": time.perf_counter() - began})
        function = None  # with it goes what it holds
        gc.collect()
        torch.cuda.empty_cache()
