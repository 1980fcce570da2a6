"""Progress and summary of the rewriting on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vantage.rewriting.run import Summary, Watch
from vantage.terminal import Console


@contextmanager
def progress() -> Iterator[Callable[[int], Watch]]:
    """A progress bar on stderr with questions, tokens and the remaining time."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("questions, {task.fields[tokens]:,} tokens,"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def watch(total: int) -> Watch:
            task = bar.add_task("", total=total, tokens=0)
            return lambda done, tokens: bar.update(task, completed=done, tokens=tokens)

        yield watch


def remark(summary: Summary) -> str | None:
    """A note if no judge confirmed the meaning of some accepted rewrites; else None."""
    unchecked = summary.accepted - summary.checked
    if not unchecked:
        return None
    return (
        f"{unchecked:,} rewrites passed the guards, but no server was asked whether they mean the "
        "same: read some of them, or run with a server and without --no-verify"
    )


def table(summary: Summary) -> Table:
    """A table of the counts of a summary."""
    rows = [
        ("rows", summary.rows),
        ("  expanded", summary.expanded),
        ("  partly expanded", summary.partly),
        ("  unchanged", summary.kept),
        *((f"    {reason}", count) for reason, count in sorted(summary.failed.items())),
        ("    all rewrites rejected", summary.kept - summary.failed.total()),
        ("rewrites accepted", summary.accepted),
        ("  meaning checked by the server", summary.checked),
        ("  meaning not checked", summary.accepted - summary.checked),
        ("rewrites rejected", summary.rejected.total()),
        *((f"  {reason}", count) for reason, count in sorted(summary.rejected.items())),
        ("requests", summary.requests),
        ("prompt tokens", summary.prompt_tokens),
        ("completion tokens", summary.completion_tokens),
        ("seconds", round(summary.seconds, 1)),
    ]
    shown = Table("what", "how many")
    for name, count in rows:
        shown.add_row(name, f"{count:,}")
    return shown
