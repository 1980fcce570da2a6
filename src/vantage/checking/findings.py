"""What a check found, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vantage.checking.examples import Example
from vantage.checking.leakage import Shared
from vantage.checking.levels import Level
from vantage.checking.memory import Memory, Sampler
from vantage.checking.tokens import Lengths, LongRows
from vantage.questions.faults import Fault
from vantage.training.shape import Pace, Shape


@dataclass(frozen=True)
class Finding:
    """One thing to know about data or model.

    Attributes:
        level: an error keeps it from training or makes the result wrong.
        about: what it is about, in a word or two.
        words: what was found, and what to do.
    """

    level: Level
    about: str
    words: str


@dataclass(frozen=True)
class CheckReport:
    """All that a check found.

    Attributes:
        source, model: what was checked.
        shape: of a rollout batch.
        rows: how many rows can be trained.
        faults: of the training rows; held_out_faults: of each other set, by its name.
        findings: in the order of the checks.
        prompt_tokens, image_tokens: lengths of the longest prompt of each row; None where the
            processor cannot read the rows.
        long: rows over the limit; None without a limit.
        shared: rows of each held-out set that stand among the training rows, by its name.
        memory: the estimate; None where a length or the model is not known.
        sampler: what samples on the same GPU, if anything does.
        examples: one finished prompt of each layout.
        pace: batches, updates and rollouts of an epoch; None without rows.
    """

    source: str
    model: str
    shape: Shape
    rows: int
    faults: list[Fault] = field(default_factory=list)
    held_out_faults: dict[str, list[Fault]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    prompt_tokens: Lengths | None = None
    image_tokens: Lengths | None = None
    long: LongRows | None = None
    shared: dict[str, Shared] = field(default_factory=dict)
    memory: Memory | None = None
    sampler: Sampler | None = None
    pace: Pace | None = None
    examples: list[Example] = field(default_factory=list)

    def plus(self, findings: Iterable[Finding], **values: Any) -> CheckReport:
        """The report with more findings, and other values of its attributes."""
        return replace(self, findings=[*self.findings, *findings], **values)

    def of(self, level: Level) -> list[Finding]:
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def status(self) -> int:
        """Exit status: 1 with an error, else 0."""
        return int(bool(self.of("error")))

    @property
    def verdict(self) -> str:
        """The result in one line."""
        errors, warnings = self.of("error"), self.of("warning")
        if errors:
            about = ", ".join(dict.fromkeys(finding.about for finding in errors))
            return f"Not ready to train: {_counted(len(errors), 'error')} ({about})."
        if warnings:
            return f"Ready to train, with {_counted(len(warnings), 'warning')}."
        return "Ready to train."


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
