"""Measures the duration of the stages of a rollout batch."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

STAGES = ("generate", "reward", "plan", "log_probs", "update")


class Clock:
    """Stopwatch of named stages.

    Attributes:
        seconds: Stage -> seconds since the last restart.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._began = time.perf_counter()

    def restart(self) -> None:
        """Reset all stages and start the time of a new rollout batch."""
        self.seconds.clear()
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent in the context to a stage."""
        began = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - began

    def metrics(self, useful: float) -> dict[str, float]:
        """Metrics of the rollout batch that ends now, with `useful` useful rollouts."""
        self.seconds["rollout_batch"] = time.perf_counter() - self._began
        return {
            **{f"seconds/{stage}": self.seconds[stage] for stage in (*STAGES, "rollout_batch")},
            "plan/useful_rollouts_per_second": useful / self.seconds["rollout_batch"],
        }
