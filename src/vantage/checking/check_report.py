"""The report of a check as a data class."""

from __future__ import annotations

from dataclasses import dataclass, field

from vantage.checking.examples import Example
from vantage.checking.findings import Finding, Level
from vantage.checking.leakage import Shared
from vantage.checking.memory import Memory, Sampler
from vantage.checking.tokens import Lengths, LongRows
from vantage.questions.faults import Fault
from vantage.training.shape import Pace


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        source, model: The data set and the model that were checked.
        rows: Number of usable training rows.
        faults: Faults of the training rows.
        held_out_faults: Faults of each held-out data set, by name.
        findings: Findings, in the order of the checks.
        prompt_tokens, image_tokens: Token statistics of the longest prompt of each row; None if
            the processor cannot encode the rows.
        long: Rows longer than the limit; None without a limit.
        shared: Rows of each held-out data set that are also training rows, by name.
        memory: Estimated memory; None if the prompt lengths or the engine are unknown.
        sampler: The sampler that shares the GPU; None without one.
        pace: Batches, updates and rollouts of an epoch; None without rows.
        examples: One rendered prompt of each layout.
        summary: Settings of the planned run, by name; empty unless this is a dry run.
    """

    source: str
    model: str
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
    summary: dict[str, str] = field(default_factory=dict)

    def of(self, level: Level) -> list[Finding]:
        """Findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def status(self) -> int:
        """Exit status: 1 if there is an error, else 0."""
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
