"""Question sampling: choose the next questions from the outcomes of earlier ones.

To add one, write a class like `SkipSilent` and register it in `SAMPLINGS`, or keep it in
your own file and name it in YAML as `my_file.py:MyClass`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vantage import plugins
from vantage.errors import ConfigError, nearest
from vantage.methods.recipe import name_and_options

# Separates this random stream from others with the same (seed, epoch, question).
SKIPS = 1


class Asked(NamedTuple):
    """A drawn question.

    Attributes:
        question: Row number in the data set.
        epoch: Number of completed epochs.
    """

    question: int
    epoch: int


class Sampling(Protocol):
    """The interface of a question sampling.

    `sampling` calls the class with the number of questions, the seed (None keeps the order of the
    data) and the options of the configuration.

    Every process runs its own copy. All copies record the same outcomes and must draw the same
    questions.
    """

    def draw(self, count: int) -> list[Asked]:
        """Draw the next questions."""

    def record(self, asked: Sequence[Asked], reward_QR: Sequence[np.ndarray]) -> None:
        """Record the outcomes of drawn questions.

        Args:
            asked: The questions.
            reward_QR: For each question, the rewards of its scored rollouts; possibly empty.
        """

    def metrics(self) -> dict[str, float]:
        """Metrics to log, since the last call."""

    def state_dict(self) -> dict[str, Any]:
        """The complete state, JSON-serializable, for the checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""


class Shuffle:
    """Every question once per epoch, in an order seeded by (seed, epoch).

    A batch may span two epochs, so no question is dropped.

    Args:
        questions: Number of questions.
        seed: Seed of the shuffle; None keeps the order of the data.
    """

    def __init__(self, questions: int, seed: int | None):
        self.questions, self.seed = questions, seed
        self._place = 0
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=np.int64))

    def draw(self, count: int) -> list[Asked]:
        """Draw the next questions in order."""
        return [self._next() for _ in range(count)]

    def record(self, asked: Sequence[Asked], reward_QR: Sequence[np.ndarray]) -> None:
        """Do nothing; the order does not depend on outcomes."""

    def metrics(self) -> dict[str, float]:
        """The epoch, with its fraction."""
        return {"epoch": self._place / self.questions}

    def state_dict(self) -> dict[str, Any]:
        """The number of questions drawn so far."""
        return {"place": self._place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the number of questions drawn so far."""
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
    """A shuffle that skips questions whose recent rewards were all equal.

    Equal rewards give zero advantages and no gradient ("silent"). After z silent times in a row, a
    question is drawn with probability `explore**z`. If a whole epoch is skipped, the next question
    is drawn regardless.
    Source: GRESO, https://arxiv.org/abs/2506.02177, sec. 4.

    Args:
        questions: As in `Shuffle`.
        seed: As in `Shuffle`.
        explore: Base of the probability, 0 to 1. 1 never skips a question; 0 skips it forever
            after its first silent time.

    Raises:
        ConfigError: `explore` is out of range.
    """

    def __init__(self, questions: int, seed: int | None, explore: float = 0.5):
        super().__init__(questions, seed)
        if not 0 <= explore <= 1:
            raise ConfigError(f"sampling 'skip-silent': explore={explore!r}, expected 0 to 1")
        self.explore = explore
        self._silent: dict[int, int] = {}
        self._skipped = 0

    def draw(self, count: int) -> list[Asked]:
        """Draw the next questions that are not skipped, without repeats while others remain."""
        drawn: dict[Asked, None] = {}
        while len(drawn) < count:
            drawn[self._next_worthwhile({question for question, _ in drawn})] = None
        return list(drawn)

    def record(self, asked: Sequence[Asked], reward_QR: Sequence[np.ndarray]) -> None:
        """Count silent times in a row; a question without scored rollouts keeps its count."""
        for (question, _), reward_R in zip(asked, reward_QR, strict=True):
            if len(reward_R):
                again = self._silent.get(question, 0) + 1
                self._silent[question] = again if np.ptp(reward_R) == 0 else 0

    def metrics(self) -> dict[str, float]:
        """The epoch, and the number of questions skipped since the last call."""
        skipped, self._skipped = self._skipped, 0
        return {**super().metrics(), "skipped": skipped}

    def state_dict(self) -> dict[str, Any]:
        """The number of questions drawn so far, and the silent times of each question."""
        return {**super().state_dict(), "silent": sorted(self._silent.items())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
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
    """Make the sampling that a configuration names.

    Args:
        spec: A name from `SAMPLINGS`, your own class as "file.py:Class", or
            {name: ..., option: value}.
        questions: Number of questions.
        seed: Seed of all draws; None keeps the order of the data.

    Raises:
        ConfigError: An unknown name or option, or a class without a method of `Sampling`.
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
