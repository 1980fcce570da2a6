"""Rewrite the questions of a data set and write it with the rewrites."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vantage import files
from vantage.chat.journal import Journal, digest
from vantage.chat.pictures import data_url
from vantage.errors import InputError, check_between
from vantage.questions.layouts import Columns
from vantage.questions.pictures import picture
from vantage.questions.schema import IMAGE
from vantage.rewriting import guards, replies, wordings
from vantage.rewriting.table import Item, Table, open_table

if TYPE_CHECKING:  # the client is an optional dependency, not needed for templates
    from vantage.chat.server import Server, Settings

READINGS = 3  # attempts per question while replies contain no rewrites
SPARE = 8  # rewrites checked in a reply, per requested rewrite

Families = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Outcome:
    """Result of rewriting a question.

    Attributes:
        accepted: Accepted rewrites, in the order of the reply.
        rejected: Pairs (rewrite, reason) of rejected rewrites.
        failed: Reason why there are no rewrites to check; None if there are some.
        checked: Whether a judge confirmed the meaning of the accepted rewrites.
    """

    accepted: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    failed: str | None = None
    checked: bool = False


@dataclass
class Summary:
    """Counts over all rows.

    Attributes:
        wanted: Requested rewrites per row.
        rows, expanded, partly: Number of rows, of rows with all rewrites, and with some.
        accepted: Number of accepted rewrites.
        checked: Number of accepted rewrites whose meaning a judge confirmed.
        rejected: Number of rejected rewrites by kind of reason.
        failed: Number of rows without rewrites to check, by kind of reason.
        requests: Requests sent in this run, without those that the journal answered.
        prompt_tokens, completion_tokens: Tokens of all answers, including those of the journal.
        seconds: Duration of this run.
    """

    wanted: int
    rows: int = 0
    expanded: int = 0
    partly: int = 0
    accepted: int = 0
    checked: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def kept(self) -> int:
        """Number of rows without a rewrite."""
        return self.rows - self.expanded - self.partly

    def count(self, outcome: Outcome) -> None:
        """Add the outcome of a row."""
        self.rows += 1
        self.accepted += len(outcome.accepted)
        self.checked += len(outcome.accepted) if outcome.checked else 0
        self.expanded += len(outcome.accepted) >= self.wanted
        self.partly += 0 < len(outcome.accepted) < self.wanted
        self.rejected.update(_kind(reason) for _, reason in outcome.rejected)
        self.failed.update([_kind(outcome.failed)] if outcome.failed else [])


Watch = Callable[[int, int], None]  # called with (finished questions, tokens so far)


def expand(
    data: str,
    out: Path,
    *,
    rewrites: int,
    rewriter: Settings | Families,
    split: str = "train",
    columns: Columns | None = None,
    with_pictures: bool = False,
    verify: bool = True,
    concurrency: int = 16,
    journal: Path | None = None,
    watch: Callable[[int], Watch] | None = None,
) -> Summary:
    """Write the data set with a column `new_questions` of lists of rewrites.

    Rejected rewrites, and rows without any, go to `out` + ".rejected.jsonl" with the reason. Every
    answer of the server is written to the journal before use, so an interrupted call can be
    repeated and resumes without sending answered requests again.

    Args:
        data: A file, a directory, or a data set on the Hub.
        out: Parquet file to write.
        rewrites: Rewrites per question, K.
        rewriter: Settings of a server, or families of wordings.
        split: Split of the data set.
        columns: Columns of the question, answer and images.
        with_pictures: Whether to send the images to the server.
        verify: Whether to ask the server if each rewrite means the same as the question, which
            the guards cannot tell. Has no effect with families of wordings.
        concurrency: Maximum number of simultaneous requests.
        journal: Path of the journal; defaults to `out` + ".journal.jsonl".
        watch: Takes the number of questions and returns a callback for the progress.

    Returns:
        Counts of accepted and rejected rewrites, requests and tokens.

    Raises:
        InputError: Invalid data.
        ConfigError: Invalid options, a journal in use, or a server that rejects all requests.
    """
    began = time.monotonic()
    check_between("rewrites", rewrites, 1, 1_000)
    check_between("concurrency", concurrency, 1, 10_000)
    table = open_table(data, split, columns or Columns(), out)
    summary = Summary(rewrites)
    if isinstance(rewriter, Sequence):
        outcomes: Iterator[Outcome] = (
            _from_template(item, rewrites, rewriter) for item in table.items(with_pictures=False)
        )
        _finish(table, out, outcomes, summary)
    else:
        path = journal or out.with_name(out.name + ".journal.jsonl")
        with Journal(path) as answers:
            tell = watch(len(table.rows)) if watch else lambda done, tokens: None
            asking = _Asking(rewriter, answers, summary, table, with_pictures, verify, tell)
            asyncio.run(asking.all(concurrency))
            _finish(table, out, (asking.outcomes[key] for key in asking.keys), summary)
    summary.seconds = time.monotonic() - began
    return summary


def _from_template(item: Item, rewrites: int, families: Families) -> Outcome:
    texts = wordings.rewrites(item.question, rewrites, families)
    return _guarded(item, texts) if texts else Outcome(failed="no wording matches")


def _guarded(item: Item, texts: Sequence[str]) -> Outcome:
    """Split texts into those that pass all guards and those rejected with a reason."""
    accepted: list[str] = []
    rejected: list[tuple[str, str]] = []
    taken: set[str] = set()
    for text in texts:
        reason = guards.reason(guards.Pair(item.question, text, item.answer, taken))
        if reason is None:
            accepted.append(text)
            taken.add(guards.wording(text))
        else:
            rejected.append((text, reason))
    return Outcome(tuple(accepted), tuple(rejected))


@dataclass
class _Asking:
    """Requests rewrites of all questions of a table, each distinct question once."""

    settings: Settings
    journal: Journal
    summary: Summary
    table: Table
    with_pictures: bool
    verify: bool
    tell: Watch
    keys: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _server: Server = field(init=False)

    async def all(self, concurrency: int) -> None:
        """Fill `outcomes` by key, and `keys` with the key of every row."""
        from vantage.chat.server import Server, share_out

        async with Server(self.settings) as self._server:
            await share_out(self._work, self._new(), concurrency)
        self.summary.requests = self._server.requests
        self._tell(len(self.keys))

    def _tell(self, done: int) -> None:
        self.tell(done, self.summary.prompt_tokens + self.summary.completion_tokens)

    def _new(self) -> Iterator[tuple[str, Item]]:
        """Yield distinct questions lazily; equal rows share one request."""
        begun = set()
        for item in self.table.items(with_pictures=self.with_pictures):
            key = self._key(item)
            self.keys.append(key)
            if key not in begun:
                begun.add(key)
                yield key, item

    def _key(self, item: Item) -> str:
        how = [self.settings.model, self.settings.temperature, self.summary.wanted]
        asked = [item.question, item.answer, *map(self._fingerprint, item.pictures)]
        return digest([replies.VERSION, how, asked])

    def _fingerprint(self, value: Any) -> str:
        try:
            return picture(value, self.table.unpacker.root).digest
        except InputError as error:  # reported when the question is processed
            return str(error)

    async def _work(self, keyed: tuple[str, Item]) -> None:
        key, item = keyed
        self.outcomes[key] = await self._outcome(key, item)
        self._tell(len(self.outcomes))

    async def _outcome(self, key: str, item: Item) -> Outcome:
        from vantage.chat.server import UnansweredError

        if not item.question.replace(IMAGE, "").strip():
            return Outcome(failed="empty question")
        try:
            found = await self._rewritten(key, item)
        except InputError as error:
            return Outcome(failed=f"image: {error}")
        except UnansweredError as error:
            return Outcome(failed=f"server: {error}")
        if self.verify:
            found = await self._judged(key, item, found)
        return replace(found, accepted=found.accepted[: self.summary.wanted])

    async def _rewritten(self, key: str, item: Item) -> Outcome:
        """Request rewrites and apply the guards; repeat while replies contain no rewrites."""
        urls = [data_url(shown) for shown in self.table.pictures(item)]
        messages = replies.rewriting(item.question, self.summary.wanted, urls)
        said = ""
        for number in range(READINGS):
            said = await self._answer(f"{key}/{number}", item, messages)
            if texts := replies.rewrites(said):
                return _guarded(item, texts[: SPARE * self.summary.wanted])
        kind = "refusal" if guards.is_refusal(said) else "unreadable"
        return Outcome(failed=f"{kind}: {' '.join(said.split())[:120] or 'an empty reply'}")

    async def _judged(self, key: str, item: Item, found: Outcome) -> Outcome:
        """Apply the judge to accepted rewrites until enough of them pass."""
        accepted: list[str] = []
        rejected = list(found.rejected)
        for text in found.accepted:
            if len(accepted) == self.summary.wanted:
                break
            reason = await self._verdict(key, item, text)
            if reason is None:
                accepted.append(text)
            else:
                rejected.append((text, reason))
        return replace(found, accepted=tuple(accepted), rejected=tuple(rejected), checked=True)

    async def _verdict(self, key: str, item: Item, text: str) -> str | None:
        from vantage.chat.server import UnansweredError

        messages = replies.comparing(item.question, text)
        try:
            said = await self._answer(f"{key}/{digest(messages)}", item, messages, temperature=0.0)
        except UnansweredError as error:
            return f"judge: no answer ({error})"
        verdict = replies.equivalent(said)
        if verdict is None:
            return f"judge: neither yes nor no: {' '.join(said.split())[:80]}"
        return None if verdict else "judge: not equivalent"

    async def _answer(self, key: str, item: Item, messages: list, **options: float) -> str:
        """The text of the server's answer, from the journal if it is recorded there."""
        answer = self.journal.answer(key)
        if answer is None:
            answer = await self._server.ask(messages, **options)
            self.journal.add(key, {"question": item.question, **vars(answer)})
        self.summary.prompt_tokens += answer.prompt_tokens
        self.summary.completion_tokens += answer.completion_tokens
        return answer.text


def _finish(table: Table, out: Path, outcomes: Iterator[Outcome], summary: Summary) -> None:
    """Write both files and fill in the summary."""
    rewrites = []
    beside = out.with_name(out.name + ".rejected.jsonl")
    beside.parent.mkdir(parents=True, exist_ok=True)
    with (
        files.whole(beside) as unfinished,
        unfinished.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for item, outcome in zip(table.items(with_pictures=False), outcomes, strict=True):
            summary.count(outcome)
            rewrites.append(outcome.accepted)
            file.writelines(json.dumps(line) + "\n" for line in _refused(item, outcome))
    table.write(out, rewrites)


def _refused(item: Item, outcome: Outcome) -> Iterator[dict[str, Any]]:
    pairs = [(None, outcome.failed)] if outcome.failed else outcome.rejected
    for rewrite, reason in pairs:
        yield {"row": item.row, "question": item.question, "rewrite": rewrite, "reason": reason}


def _kind(reason: str) -> str:
    return reason.partition(":")[0]
