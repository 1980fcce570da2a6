"""Results: one line of JSON per case, written when the case ends, and a readable text."""

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
    """The case cannot be measured on this machine; the message says why."""


@dataclass(frozen=True)
class Result:
    """The result of a case.

    Attributes:
        part, case: Names of part and case; if a whole part fails, the case is empty.
        numbers: Values by name with unit.
        failed, skipped: The reason if there are no numbers.
        seconds: Duration of the case.
    """

    part: str
    case: str
    numbers: Numbers = field(default_factory=dict)
    failed: str = ""
    skipped: str = ""
    seconds: float = 0.0

    def line(self) -> str:
        """Format the result as a readable line."""
        numbers = ", ".join(f"{name} {readable(value)}" for name, value in self.numbers.items())
        why = [f"{w}: {t}" for w, t in (("FAILED", self.failed), ("skipped", self.skipped)) if t]
        return "  ".join(filter(None, [f"{self.part:12}{self.case:46}", numbers, *why]))


def readable(value: float) -> str:
    """Format a number with four digits."""
    large = abs(value) >= 1e4 and math.isfinite(value)
    return f"{value:,.0f}" if large else f"{value:.4g}"


def append(file: Path, result: Result) -> None:
    """Append a result to the file."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(result)) + "\n")


def read(file: Path) -> list[Result]:
    """Read all results so far."""
    if not file.is_file():
        return []
    return [Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def measured(part: str, cases: Iterable[Case]) -> Iterator[Result]:
    """Measure all cases; after a failure, continue with the next one."""
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
        function = None  # free the tensors that it holds
        gc.collect()
        torch.cuda.empty_cache()
