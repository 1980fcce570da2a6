"""The report of a check, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vantage.checking.examples import Example
from vantage.checking.findings import Finding, Level
from vantage.checking.leakage import Shared
from vantage.checking.memory import FORMULA, GIB, Memory, Sampler
from vantage.checking.tokens import Lengths, LongRows
from vantage.questions import faults
from vantage.questions.faults import SHOWN, Fault
from vantage.terminal import Console, shown
from vantage.training.shape import Pace

LONGEST = 2_000  # characters of a prompt that are shown
BAR = 40  # characters of the longest bar
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


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


def show(report: CheckReport, console: Console) -> None:
    """Print a report; its verdict is the last line."""
    _say(console, f"{report.source}: {report.rows:,} usable rows")
    for name, found in {report.source: report.faults, **report.held_out_faults}.items():
        if found:
            rows = len({fault.row for fault in found})
            _say(console, f"{name}: {len(found)} faults in {rows} rows{_first(found)}")
            console.print(_faults(found))
    for example in report.examples:
        _show(console, example)
    if report.prompt_tokens and report.image_tokens:
        console.print(_summary(report.prompt_tokens, report.image_tokens))
        console.print(_histogram(report.prompt_tokens))
    if report.long and report.long.rows:
        long = report.long.rows
        _say(console, f"{len(long)} rows over {report.long.limit} tokens{_first(long)}")
        console.print(_long(report.long))
    if report.pace:
        pace = report.pace
        _say(
            console,
            f"An epoch: {pace.batches:,} rollout batches, {pace.updates:,} updates, "
            f"{pace.rollouts:,} rollouts",
        )
    if report.memory:
        console.print(_memory(report.memory))
        console.print(FORMULA, style="dim", highlight=False)
    for finding in report.findings:
        level = (finding.level, COLOURS[finding.level])
        words = Text.assemble(level, shown(f" {finding.about}: {finding.words}"))
        console.print(words, soft_wrap=True)
    console.print(report.verdict, style="bold", highlight=False, soft_wrap=True)


def write_rejects(report: CheckReport, path: Path) -> int:
    """Write the faults as JSON Lines and return their number."""
    named = {report.source: report.faults, **report.held_out_faults}
    faults.write_all(path, ((name, fault) for name, found in named.items() for fault in found))
    return sum(map(len, named.values()))


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _show(console: Console, example: Example) -> None:
    """Print a rendered prompt, the sizes of its images and its reference answer."""
    like = f"1 of {example.rows:,} with layout ({example.layout})"
    words = f"row {example.row} as the model sees it, {like}"
    title = Text(shown(words))  # rich would read markup in a str
    console.print(Panel(_short(example.text), title=title, title_align="left"))
    if example.sizes:
        _say(console, f"images: {', '.join(f'{w} x {h}' for w, h in example.sizes)}")
    if example.answer is not None:
        given = ", ".join(
            f"{name} {'fails' if value is None else f'{value:g}'}"
            for name, value in (example.earned or {}).items()
        )
        _say(console, f"reference answer: {_short(example.answer)!r}; rewards in a box: {given}")


def _short(text: str) -> str:
    """Shorten a long text in the middle."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} [...] {text[-half:]}"


def _say(console: Console, words: str) -> None:
    console.print(words, highlight=False, soft_wrap=True)


def _first(found: Sequence) -> str:
    return f", the first {SHOWN} shown" if len(found) > SHOWN else ""


def _faults(found: Sequence[Fault]) -> Table:
    table = Table("row", "column", "value", "reason")
    for fault in found[:SHOWN]:
        table.add_row(str(fault.row), fault.column, fault.value, fault.reason)
    return table


def _summary(prompt: Lengths, image: Lengths) -> Table:
    table = Table("tokens per row", "min", "median", "p95", "max", "longest row")
    for name, found in (("prompt", prompt), ("of images", image)):
        numbers = (found.least, found.median, found.p95, found.most, found.longest)
        table.add_row(name, *(f"{number:g}" for number in numbers))
    return table


def _histogram(found: Lengths) -> Table:
    table = Table("prompt tokens", "rows", "", box=None)
    most = max(found.counts)
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        bar = "█" * -(-BAR * count // most)
        table.add_row(f"{low}-{high - 1}" if high - low > 1 else str(low), f"{count:,}", bar)
    return table


def _long(long: LongRows) -> Table:
    table = Table("row", "tokens")
    for row, tokens in long.rows[:SHOWN]:
        table.add_row(str(row), f"{tokens:,}")
    return table


def _memory(memory: Memory) -> Table:
    table = Table("memory per process (estimate)", "GiB")
    for name, number in asdict(memory).items():
        table.add_row(name, f"{number / GIB:.3g}")
    table.add_row("total", f"{memory.total / GIB:.3g}", style="bold")
    return table
