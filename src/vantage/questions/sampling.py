"""Which questions come next: outcomes in, questions out, the state in the checkpoint.

To add a way, write a class like `SkipSilent` and name it in `SAMPLINGS`, or keep it in a file
of your own and name it in YAML as `my_file.py:MyClass`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vantage import plugins
from vantage.errors import ConfigError, nearest
from vantage.methods.recipe import name_and_options

# Keeps these draws apart from others that are keyed by seed, epoch and question.
SKIPS = 1


class Asked(NamedTuple):
    """A question that is asked: its number in the data, and how often the data went round."""

    question: int
    epoch: int


class Sampling(Protocol):
    """What a run asks of a sampling. Equal on all processes, which see the same outcomes."""

    def draw(self, count: int) -> list[Asked]:
        """The next questions."""

    def record(self, asked: Sequence[Asked], reward_QR: Sequence[np.ndarray]) -> None:
        """What became of them: the rewards of the scored rollouts of each, possibly none."""

    def metrics(self) -> dict[str, float]:
        """Numbers for the log since they were last asked for."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next draws depend on, as JSON."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class Shuffle:
    """Every question once an epoch, in an order drawn on (seed, epoch).

    Draws run on over the end of an epoch, nothing is dropped.

    Args:
        questions: number of questions there are.
        seed: of the shuffle; None keeps the order of the data.
    """

    def __init__(self, questions: int, seed: int | None):
        self.questions, self.seed = questions, seed
        self._place = 0
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=np.int64))

    def draw(self, count: int) -> list[Asked]:
        """The next questions in order."""
        return [self._next() for _ in range(count)]

    def record(self, asked: Sequence[Asked], reward_QR: Sequence[np.ndarray]) -> None:
        """Nothing to remember."""

    def metrics(self) -> dict[str, float]:
        """Epochs begun."""
        return {"epoch": self._place / self.questions}

    def state_dict(self) -> dict[str, Any]:
        """The place in the endless order."""
        return {"place": self._place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        self._place = state["place"]

    def _next(self) -> Asked:
        epoch, place = divmod(self._place, self.questions)
        if self._order[0] != epoch:
            self._order = (epoch, self._shuffled(epoch))
        self._place += 1
        return Asked(int(self._order[1][place]), epoch)

    def _shuffled(self, epoch: int) -> np.ndarray:
        if self.seed is None:
            return np.arange(self.questions)
        return np.random.default_rng([self.seed, epoch]).permutation(self.questions)


class SkipSilent(Shuffle):
    """A shuffle that passes over questions whose rewards were all equal the last times.

    After z silent times in a row a question is asked with probability `explore**z`. When a
    whole epoch was passed over, the next question is asked whatever its past.
    Source: GRESO, https://arxiv.org/abs/2506.02177, sec. 4.

    Args:
        questions: as `Shuffle`.
        seed: as `Shuffle`.
        explore: 1 never passes over a question, 0 for ever after its first silent time.
    """

    def __init__(self, questions: int, seed: int | None, explore: float = 0.5):
        super().__init__(questions, seed)
        if not 0 <= explore <= 1:
            raise ConfigError(f"sampling 'skip-silent': explore={explore!r}, expected 0 to 1")
        self.explore = explore
        self._silent: dict[int, int] = {}
        self._skipped = 0

    def draw(self, count: int) -> list[Asked]:
        """The next questions that are worth a try, each once while there are others."""
        drawn: dict[Asked, None] = {}
        while len(drawn) < count:
            drawn[self._next_worthwhile({question for question, _ in drawn})] = None
        return list(drawn)

    def record(self, asked: Sequence[Asked], reward_QR: Sequence[np.ndarray]) -> None:
        """Count silent times in a row; a question without a scored rollout keeps its count."""
        for (question, _), reward_R in zip(asked, reward_QR, strict=True):
            if len(reward_R):
                again = self._silent.get(question, 0) + 1
                self._silent[question] = again if np.ptp(reward_R) == 0 else 0

    def metrics(self) -> dict[str, float]:
        """Epochs begun, and questions passed over."""
        skipped, self._skipped = self._skipped, 0
        return {**super().metrics(), "skipped": skipped}

    def state_dict(self) -> dict[str, Any]:
        """The place, and the silent times of each question."""
        return {**super().state_dict(), "silent": sorted(self._silent.items())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._silent = dict(state["silent"])

    def _next_worthwhile(self, drawn: set[int]) -> Asked:
        for _ in range(self.questions):
            asked = self._next()
            if asked.question not in drawn and self._is_worthwhile(asked):
                return asked
            self._skipped += 1
        return self._next()

    def _is_worthwhile(self, asked: Asked) -> bool:
        times = self._silent.get(asked.question, 0)
        if not times:
            return True
        rng = np.random.default_rng([SKIPS, self.seed or 0, asked.epoch, asked.question])
        return rng.random() < self.explore**times


WAYS = ("draw", "record", "metrics", "state_dict", "load_state_dict")  # of every sampling
SAMPLINGS: dict[str, Callable[..., Sampling]] = {"shuffle": Shuffle, "skip-silent": SkipSilent}


def sampling(spec: str | Mapping[str, Any], questions: int, seed: int | None) -> Sampling:
    """The sampling that a configuration names.

    Args:
        spec: one of `SAMPLINGS`, or a class of your own as "file.py:Class"; or
            {name: ..., option: value}.
        questions: number of questions there are.
        seed: of every draw; None keeps the order of the data.

    Raises:
        ConfigError: unknown name or option.
    """
    name, options = name_and_options("sampling", spec)
    kind = plugins.load(name) if plugins.is_own(name) else SAMPLINGS.get(name)
    if kind is None:
        raise ConfigError(f"unknown sampling {name!r}: {nearest(name, SAMPLINGS)}")
    with plugins.failing(f"sampling {name!r} failed", [plugins.file_of(name)]):
        try:
            made = kind(questions, seed, **options)
        except TypeError as error:
            raise ConfigError(f"sampling {name!r}: {error}") from error
    lacking = [way for way in WAYS if not callable(getattr(made, way, None))]
    if lacking:
        raise ConfigError(f"sampling {name!r} returned {type(made).__name__}, without {lacking[0]}")
    return made
