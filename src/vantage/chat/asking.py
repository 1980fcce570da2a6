"""Send many requests to a server, each distinct one once, and collect the answers."""

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
    """A chat request.

    Attributes:
        key: Identifies the request; equal requests have equal keys.
        messages: Makes the conversation when the request is sent.
        options: Options of the API, such as `temperature`.
    """

    key: str
    messages: Callable[[], list[dict[str, Any]]]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Answers:
    """Outcomes of requests, by the key of the request.

    Attributes:
        found: Answers.
        refused: Reasons of permanent failures, such as a prompt that is too long.
        missing: Reasons of temporary failures.
    """

    found: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def complete(self, what: str) -> None:
        """Check that no answer is missing.

        Raises:
            EngineError: Answers are missing. Rerunning the command requests them again.
        """
        if self.missing:
            _, why = next(iter(self.missing.items()))
            raise EngineError(
                f"{what}: {len(self.missing)} answers of the server are missing; first reason: "
                f"{why}; the others are kept; rerun the command to request the missing ones"
            )


async def ask_all(
    settings: Settings,
    requests: Iterable[Request],
    *,
    concurrency: int,
    journal: Journal | None = None,
    tell: Callable[[], object] = lambda: None,
) -> Answers:
    """Send all requests that the journal does not answer; record answers before returning them.

    Args:
        settings: Settings of the server.
        requests: Requests, consumed lazily; of several with the same key, one is sent.
        concurrency: Maximum number of simultaneous requests.
        journal: Journal of answers; None records nothing.
        tell: Called after each request.

    Returns:
        The answers and the reasons of failed requests.

    Raises:
        ConfigError: No request can succeed, see `Server.ask`.
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
    """Run a coroutine to completion, also from inside a running event loop."""
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
    if journal is not None:  # an empty journal is falsy
        journal.add(request.key, vars(answer))
    return answer
