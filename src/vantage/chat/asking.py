"""Many requests to a server, each asked once, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vantage.chat.answer import Answer
from vantage.chat.journal import Journal
from vantage.chat.server import Server, Settings, UnansweredError, share_out
from vantage.errors import EngineError


@dataclass(frozen=True)
class Request:
    """Something to ask.

    Attributes:
        key: the same for what is the same.
        messages: makes the conversation, once it is its turn.
        options: of the protocol, such as `temperature`.
    """

    key: str
    messages: Callable[[], list[dict[str, Any]]]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Answers:
    """What a server said, by the key of the request.

    Attributes:
        found: its answers.
        refused: why it will never answer, as where a prompt is too long.
        missing: why it has not answered yet.
    """

    found: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def complete(self, what: str) -> None:
        """Whether nothing is missing.

        Raises:
            EngineError: something is; the same command asks for it again.
        """
        if self.missing:
            _, why = next(iter(self.missing.items()))
            raise EngineError(
                f"{what}: {len(self.missing)} answers of the server are missing, one of them "
                f"because of: {why}; the others are kept; rerun the command to ask for these again"
            )


async def ask_all(
    settings: Settings,
    requests: Iterable[Request],
    *,
    concurrency: int,
    journal: Journal | None = None,
    tell: Callable[[], object] = lambda: None,
) -> Answers:
    """Ask for all that is not in the journal; each answer is there before it is used.

    Args:
        settings: of the server.
        requests: taken one by one; of several with the same key one is asked.
        concurrency: requests under way at a time.
        journal: None to keep nothing.
        tell: called after each.

    Raises:
        ConfigError: the server cannot be asked.
    """
    answers = Answers()

    async def ask(request: Request) -> None:
        try:
            answers.found[request.key] = await _answer(server, request, journal)
        except UnansweredError as error:
            kind = answers.refused if error.refused else answers.missing
            kind[request.key] = str(error)
        tell()

    async with Server(settings) as server:
        await share_out(ask, _once(requests), concurrency)
    return answers


def wait_for(asking: Coroutine[Any, Any, Answers]) -> Answers:
    """The answers, whether or not the caller runs inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(asking)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asking).result()


def _once(requests: Iterable[Request]) -> Iterator[Request]:
    begun: set[str] = set()
    for request in requests:
        if request.key not in begun:
            begun.add(request.key)
            yield request


async def _answer(server: Server, request: Request, journal: Journal | None) -> Answer:
    known = None if journal is None else journal.answer(request.key)
    if known is not None:
        return known
    answer = await server.ask(request.messages(), **request.options)
    if journal is not None:  # an empty one is false
        journal.add(request.key, vars(answer))
    return answer
