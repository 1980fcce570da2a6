"""A server that speaks OpenAI's chat protocol, asked until it answers or cannot be asked."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential
from tqdm.auto import tqdm

from vantage.chat.answer import Answer, UnreadableError, parsed, read
from vantage.errors import ConfigError, VantageError, check_between, reading

LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server asks for more
LONGEST_ASKED = 600.0  # seconds that a server may ask for
SAID = 5.0  # seconds; longer waits are printed
FAILURES_TO_STOP = 40  # requests without an answer, one after another, after which it stops

BASE_BYTES = 2**20  # of an answer that may have so many tokens, beside their own
BYTES_A_TOKEN = 256  # of JSON, where six stand for a character that is escaped
MOST_BYTES = 2**23  # of an answer whose tokens are not bounded
MOST_OF_AN_ERROR = 2**16  # bytes of the answer to a request that failed


class UnansweredError(Exception):
    """The server gave no answer to a request; the text says why.

    Attributes:
        refused: whether it will never answer this request, as one that is too long.
    """

    def __init__(self, why: str, refused: bool):
        super().__init__(why)
        self.refused = refused


class StatusError(Exception):
    """An answer with a status other than 200.

    Attributes:
        status: of HTTP.
        headers: of the answer.
        code: of the error, as the server calls it.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes):
        message, self.code = _reason(body)
        super().__init__(f"Error code: {status} - {message}")
        self.status, self.headers = status, headers


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

    Raises:
        ConfigError: no address of a server, a key that no request can carry, or a number out of
            bounds.
    """

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False)
    temperature: float = 1.0
    timeout: float = 120.0
    retries: int = 5
    per_minute: float | None = None

    @property
    def address(self) -> str:
        """The base URL; a slash at its end makes no other."""
        return self.base_url.rstrip("/")

    def __post_init__(self):
        if not self.base_url.startswith(("http://", "https://")) or not _host(self.base_url):
            raise ConfigError(
                f"base URL {self.base_url!r}: expected one such as http://localhost:8000/v1"
            )
        if not all("!" <= sign <= "~" for sign in self.api_key):
            raise ConfigError(
                "OPENAI_API_KEY holds a space, a line break or another sign that no key has: "
                "set it again"
            )
        check_between("temperature", self.temperature, 0, 100)
        check_between("timeout", self.timeout, 0.01, 86_400)
        check_between("retries", self.retries, 0, 1_000)
        if self.per_minute is not None:
            check_between("requests_per_minute", self.per_minute, 0.01, 1e9)


def _host(url: str) -> str:
    try:
        read = urlsplit(url)
        return (read.hostname or "") if read.port != 0 else ""
    except ValueError:  # such as a port that is no number
        return ""


@dataclass
class Server:
    """Asks one server.

    It asks the address of its settings and no other: a redirect is refused, since the key would go
    along. An answer is read piece by piece up to a bound, and never unpacked.

    Attributes:
        settings: where and how.
        requests: how many were sent.
    """

    settings: Settings
    requests: int = 0
    _failures: int = 0
    _free: float = 0.0
    _waiting: float = 0.0  # end of the last wait that was printed
    _client: httpx2.AsyncClient = field(init=False)

    def __post_init__(self):
        headers = {
            "Authorization": f"Bearer {self.settings.api_key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        # No time limits of the client: there is one for the whole request.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        with reading("no client can be made: look at HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE"):
            self._client = httpx2.AsyncClient(headers=headers, timeout=None, limits=limits)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

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
            before_sleep=self._say,
            reraise=True,
        )
        try:
            answer: Answer = await attempts(self._once, messages, options)
        except (StatusError, UnreadableError, httpx2.HTTPError) as error:
            self._give_up(error)
            raise UnansweredError(self._told(error), refused=not _passes(error)) from error
        self._failures = 0
        return answer

    async def _once(self, messages: list[Any], options: dict[str, Any]) -> Answer:
        await self._pace()
        self.requests += 1
        asked = self.settings
        body = {
            "model": asked.model,
            "messages": messages,
            **{"temperature": asked.temperature, **options},
        }
        try:
            async with asyncio.timeout(asked.timeout):
                return read(await self._sent(json.dumps(body).encode(), most_bytes(options)))
        except TimeoutError as error:
            raise UnreadableError(f"no answer within {asked.timeout:g} seconds") from error

    async def _sent(self, body: bytes, most: int) -> bytes:
        """The body of the answer.

        Raises:
            StatusError: it is the answer to a request that failed.
            UnreadableError: it is longer than `most` bytes, or packed.
        """
        url = self.settings.address + "/chat/completions"
        async with self._client.stream("POST", url, content=body) as response:
            packed = response.headers.get("content-encoding", "identity").strip().lower()
            if response.status_code != 200:
                start = b"" if packed != "identity" else await _start(response, MOST_OF_AN_ERROR)
                raise StatusError(response.status_code, response.headers, start)
            if packed != "identity":
                raise UnreadableError(f"an answer packed as {packed[:40]!r}, not asked for")
            found = await _start(response, most + 1)
        if len(found) > most:
            raise UnreadableError(f"an answer of more than {most:,} bytes")
        return found

    async def _pace(self) -> None:
        if self.settings.per_minute is None:
            return
        now = time.monotonic()
        start = max(self._free, now)
        self._free = start + 60 / self.settings.per_minute
        await asyncio.sleep(start - now)

    def _say(self, state: RetryCallState) -> None:
        """Print a long wait, once for all requests that wait together."""
        seconds = state.upcoming_sleep
        error = state.outcome.exception() if state.outcome else None
        until = time.monotonic() + seconds
        if seconds < SAID or error is None or time.monotonic() < self._waiting:
            return
        self._waiting = until
        left = self.settings.retries + 1 - state.attempt_number
        where = f"{self.settings.base_url}, model {self.settings.model!r}"
        line = f"{where}: {self._told(error)}; waiting {seconds:.0f} s, {left} attempts left"
        tqdm.write(line, file=sys.stderr)

    def _give_up(self, error: Exception) -> None:
        """Raise if no further request can succeed."""
        where = f"{self.settings.base_url}, model {self.settings.model!r}"
        status = error.status if isinstance(error, StatusError) else 0
        told = self._told(error)
        if status in (401, 403):
            raise ConfigError(f"{where}: the key is refused ({told}): set OPENAI_API_KEY") from None
        if status == 404:
            raise ConfigError(
                f"{where}: not found ({told}): check the address of the server, which "
                "mostly ends in /v1, and the name of the model"
            ) from None
        if isinstance(error, StatusError) and 300 <= status < 400:
            target = error.headers.get("location", "")
            raise ConfigError(
                f"{where}: redirects to {target[:200]!r}, where neither questions nor the key are "
                "sent: give that address as the base URL if it is right"
            ) from None
        if _no_credit(error):
            raise ConfigError(f"{where}: no credit left ({told})") from None
        self._failures += 1
        if self._failures >= FAILURES_TO_STOP:
            raise ConfigError(
                f"{where}: the last {self._failures} requests failed, the last one with: {told}; "
                "rerun the command once the server answers"
            ) from None

    def _told(self, error: BaseException) -> str:
        """An error as one printable line without the key."""
        why = str(error) or type(error).__name__
        if isinstance(error, httpx2.HTTPError):
            why = f"Connection error. {why}"
        if len(self.settings.api_key) >= 8:
            why = why.replace(self.settings.api_key, "***")
        line = " ".join(why.split())[:200]
        return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


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


def most_bytes(options: Mapping[str, Any]) -> int:
    """Bytes of the longest answer that is read to a request with these options."""
    tokens = options.get("max_tokens")
    return MOST_BYTES if tokens is None else BASE_BYTES + BYTES_A_TOKEN * tokens


async def _start(response: httpx2.Response, most: int) -> bytes:
    """The first bytes of an answer, as they come; no more than `most` are kept."""
    found = bytearray()
    async for piece in response.aiter_raw(2**16):
        found += piece[: most - len(found)]
        if len(found) >= most:
            break
    return bytes(found)


def _reason(body: bytes) -> tuple[str, str | None]:
    """Message and code of an error that a server tells as JSON, or else the body as text."""
    try:
        told = parsed(body)
    except UnreadableError:
        told = None
    error = told.get("error", told) if isinstance(told, dict) else None
    if isinstance(error, dict):
        message, code = error.get("message"), error.get("code")
        if isinstance(message, str):
            return message, code if isinstance(code, str) else None
    return (error if isinstance(error, str) else body.decode("utf-8", "replace")), None


def _passes(error: BaseException) -> bool:
    """Whether an error is temporary, so that another attempt may succeed."""
    if isinstance(error, StatusError):
        status = error.status
        return (status in (408, 409, 425, 429) or status >= 500) and not _no_credit(error)
    return isinstance(error, httpx2.HTTPError | UnreadableError)


def _no_credit(error: BaseException) -> bool:
    limited = isinstance(error, StatusError) and error.status == 429
    return limited and getattr(error, "code", None) == "insufficient_quota"


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    """As long as the server asks for, or up to twice as long as last time; with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = asked_for(error.headers) if isinstance(error, StatusError) else None
    if asked is None:
        return _backoff(state)
    return asked + random.uniform(0, 0.1 * state.attempt_number)


def asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, from 0 to `LONGEST_ASKED`; None where it does not.

    `retry-after-ms` counts milliseconds; `retry-after` counts seconds or is a date (RFC 9110,
    section 10.2.3).
    """
    for name, seconds in (
        ("retry-after-ms", lambda told: float(told) / 1000),
        ("retry-after", float),
        ("retry-after", lambda told: parsedate_to_datetime(told).timestamp() - time.time()),
    ):
        try:
            asked = seconds(headers[name])
        except (KeyError, ValueError, TypeError, OverflowError):  # not there, or something else
            continue
        if not math.isnan(asked):
            return min(max(asked, 0.0), LONGEST_ASKED)
    return None
