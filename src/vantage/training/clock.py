"""Measures the duration of the stages of a rollout batch."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from vantage.training.planning import Plan

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

    def metrics(self, plan: Plan) -> dict[str, float]:
        """Metrics of the rollout batch that ends now."""
        self.seconds["rollout_batch"] = time.perf_counter() - self._began
        spent = {f"seconds/{stage}": self.seconds[stage] for stage in (*STAGES, "rollout_batch")}
        return spent | useful_per_second(plan, self.seconds)


def useful_per_second(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """The metric of useful rollouts per second, the same for both engines.

    The time is that of the whole rollout batch, from the start of its generation to the end of its
    last update; saving checkpoints and validation are excluded.

    Args:
        plan: Plan of the rollout batch.
        seconds: Stage -> seconds, including those of the "rollout_batch".
    """
    useful = plan.diagnosis.get("useful_rollouts", 0)
    return {"plan/useful_rollouts_per_second": useful / seconds["rollout_batch"]}
