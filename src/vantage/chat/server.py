"""A server that speaks OpenAI's chat protocol, asked until it answers or cannot be asked."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from vantage.errors import ConfigError, VantageError

LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server asks for more
LONGEST_ASKED = 600.0  # seconds that a server may ask for
FAILURES_TO_STOP = 40  # requests without an answer, one after another, after which it stops


class UnansweredError(Exception):
    """The server gave no answer to a request; the text says why.

    Attributes:
        refused: whether it will never answer this request, as one that is too long.
    """

    def __init__(self, why: str, refused: bool):
        super().__init__(why)
        self.refused = refused


class UnreadableError(Exception):
    """An answer that is none of the protocol's."""


def key() -> str:
    """The user's key; local servers want any."""
    return os.environ.get("OPENAI_API_KEY") or "none"


@dataclass(frozen=True)
class Settings:
    """Where and how to ask.

    Attributes:
        base_url, model, api_key: of the server.
        temperature: of the sampling, where a request does not say another.
        timeout: seconds for one request.
        retries: further attempts at a request that failed for a passing reason.
        per_minute: most requests a minute, None for no limit.
    """

    base_url: str
    model: str
    api_key: str = "none"
    temperature: float = 1.0
    timeout: float = 120.0
    retries: int = 5
    per_minute: float | None = None

    def __post_init__(self):
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"base URL {self.base_url!r}: expected one such as http://localhost:8000/v1"
            )


@dataclass(frozen=True)
class Answer:
    """What a server said; tokens as it counts them."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Server:
    """Asks one server.

    Attributes:
        settings: where and how.
        requests: how many were sent.
    """

    settings: Settings
    requests: int = 0
    _failures: int = 0
    _free: float = 0.0
    _client: openai.AsyncOpenAI = field(init=False)

    def __post_init__(self):
        asked = self.settings
        self._client = openai.AsyncOpenAI(
            base_url=asked.base_url, api_key=asked.api_key, timeout=asked.timeout, max_retries=0
        )

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, messages: list[dict[str, Any]], **options: Any) -> Answer:
        """The server's answer to a conversation.

        Args:
            messages: the conversation.
            options: of the protocol, such as `temperature` and `max_tokens`.

        Raises:
            UnansweredError: it gave none, at any attempt.
            ConfigError: no request can succeed: a wrong key, model or URL, no credit left, or
                `FAILURES_TO_STOP` requests in succession without an answer.
        """
        attempts = AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=_wait,
            stop=stop_after_attempt(self.settings.retries + 1),
            reraise=True,
        )
        try:
            answer: Answer = await attempts(self._once, messages, options)
        except (openai.OpenAIError, UnreadableError) as error:
            self._give_up(error)
            raise UnansweredError(_told(error), refused=not _passes(error)) from error
        self._failures = 0
        return answer

    async def _once(self, messages: list[Any], options: dict[str, Any]) -> Answer:
        await self._pace()
        self.requests += 1
        asked = self.settings
        create: Any = self._client.chat.completions.create
        try:
            # A limit of our own: a client's is for the silence between two pieces of an answer.
            async with asyncio.timeout(asked.timeout):
                completion = await create(
                    model=asked.model,
                    messages=messages,
                    **{"temperature": asked.temperature, **options},
                )
        except json.JSONDecodeError as error:
            raise UnreadableError(f"an answer that is no JSON: {error}") from error
        except TimeoutError as error:
            raise UnreadableError(f"no answer within {asked.timeout:g} seconds") from error
        return _read(completion)

    async def _pace(self) -> None:
        if self.settings.per_minute is None:
            return
        now = time.monotonic()
        start = max(self._free, now)
        self._free = start + 60 / self.settings.per_minute
        await asyncio.sleep(start - now)

    def _give_up(self, error: Exception) -> None:
        """Stop it all where no further request can succeed."""
        where = f"{self.settings.base_url}, model {self.settings.model!r}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            raise ConfigError(
                f"{where}: the key is refused ({_told(error)}): set OPENAI_API_KEY"
            ) from error
        if isinstance(error, openai.NotFoundError):
            raise ConfigError(
                f"{where}: not found ({_told(error)}): check the address of the server, which "
                "mostly ends in /v1, and the name of the model"
            ) from error
        if _no_credit(error):
            raise ConfigError(f"{where}: no credit left ({_told(error)})") from error
        self._failures += 1
        if self._failures >= FAILURES_TO_STOP:
            raise ConfigError(
                f"{where}: the last {self._failures} requests failed, the last one with: "
                f"{_told(error)}; rerun the command once the server answers"
            ) from error


Asked = TypeVar("Asked")


async def share_out(
    work: Callable[[Asked], Awaitable[None]], items: Iterable[Asked], concurrency: int
) -> None:
    """Work on all items, `concurrency` at a time; they are taken one by one, in order.

    Raises:
        VantageError: whatever the work raises; of several errors one that is on purpose.
    """
    left = iter(items)

    async def go_on(left: Iterator[Asked]) -> None:
        for item in left:  # shared by all that work, so that each takes the next one
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(go_on(left))
    except BaseExceptionGroup as errors:
        known = [error for error in errors.exceptions if isinstance(error, VantageError)]
        raise (known or errors.exceptions)[0] from None


def _read(completion: Any) -> Answer:
    """The text of a completion, empty where the model said nothing.

    Raises:
        UnreadableError: it is none.
    """
    if not isinstance(getattr(completion, "choices", None), list):
        raise UnreadableError(f"an answer without choices: {str(completion)[:80]!r}")
    message = getattr(completion.choices[0], "message", None) if completion.choices else None
    usage = getattr(completion, "usage", None)
    return Answer(
        str(getattr(message, "content", None) or getattr(message, "refusal", None) or ""),
        getattr(usage, "prompt_tokens", None) or 0,
        getattr(usage, "completion_tokens", None) or 0,
    )


def _passes(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        return (status in (408, 409, 425, 429) or status >= 500) and not _no_credit(error)
    return isinstance(error, openai.APIConnectionError | UnreadableError)


def _no_credit(error: BaseException) -> bool:
    return isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota"


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    """As long as the server asks for, or up to twice as long as last time; with jitter."""
    error = state.outcome.exception() if state.outcome else None
    response = getattr(error, "response", None)
    try:
        asked = float(response.headers.get("retry-after") if response is not None else "")
    except (TypeError, ValueError):  # none, or a date
        return _backoff(state)
    return min(max(asked, 0.0), LONGEST_ASKED) + random.uniform(0, 0.1 * state.attempt_number)


def _told(error: Exception) -> str:
    """An error in one line, with what is behind a failed connection."""
    cause = error.__cause__
    why = str(error) if cause is None or isinstance(error, UnreadableError) else f"{error} {cause}"
    return " ".join(why.split())[:200]
