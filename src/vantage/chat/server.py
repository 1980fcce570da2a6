"""A client for servers with OpenAI's chat API, with retries, rate limits and bounded responses."""

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

LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server requests more
LONGEST_ASKED = 600.0  # maximum seconds that a server may request
SAID = 5.0  # seconds; longer waits are printed
FAILURES_TO_STOP = 40  # consecutive failed requests after which to stop

BASE_BYTES = 2**20  # of a response, in addition to the bytes of its tokens
BYTES_A_TOKEN = 256  # of JSON, where an escaped character takes six bytes
MOST_BYTES = 2**23  # of a response without a limit on its tokens
MOST_OF_AN_ERROR = 2**16  # bytes read from an error response


class UnansweredError(Exception):
    """A request failed; the text gives the reason.

    Attributes:
        refused: Whether the failure is permanent, such as a prompt that is too long.
    """

    def __init__(self, why: str, refused: bool):
        super().__init__(why)
        self.refused = refused


class StatusError(Exception):
    """A response with an HTTP status other than 200.

    Attributes:
        status: HTTP status.
        headers: Headers of the response.
        code: Error code of the server.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes):
        message, self.code = _reason(body)
        super().__init__(f"Error code: {status} - {message}")
        self.status, self.headers = status, headers


def key() -> str:
    """The API key of the environment; local servers accept any key."""
    return os.environ.get("OPENAI_API_KEY") or "none"


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        base_url, model, api_key: Address of the server, name of the model, and key.
        temperature: Default sampling temperature.
        timeout: Timeout of a request, in seconds.
        retries: Retries of a request that failed temporarily.
        per_minute: Maximum number of requests per minute; None for no limit.

    Raises:
        ConfigError: An invalid base URL, a key with invalid characters, or a number out of range.
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
        """The base URL without a trailing slash."""
        return self.base_url.rstrip("/")

    def __post_init__(self):
        if not self.base_url.startswith(("http://", "https://")) or not _host(self.base_url):
            raise ConfigError(
                f"base URL {self.base_url!r}: expected one such as http://localhost:8000/v1"
            )
        if not all("!" <= sign <= "~" for sign in self.api_key):
            raise ConfigError(
                "OPENAI_API_KEY contains a space, a line break or another character that is not "
                "valid in a key: set it again"
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
    except ValueError:  # such as a port that is not a number
        return ""


@dataclass
class Server:
    """A client of one server.

    It only connects to the base URL. Redirects are rejected, since they would pass on the key. A
    response is read in pieces up to a size limit and is never decompressed.

    Attributes:
        settings: Settings of the server.
        requests: Number of requests sent.
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
        # The client has no timeouts, since `_once` limits the whole request.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        with reading("cannot create a client: check HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE"):
            self._client = httpx2.AsyncClient(headers=headers, timeout=None, limits=limits)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, messages: list[dict[str, Any]], **options: Any) -> Answer:
        """Send a conversation and return the answer.

        Args:
            messages: The conversation.
            options: Options of the API, such as `temperature` and `max_tokens`.

        Raises:
            UnansweredError: All attempts failed.
            ConfigError: No request can succeed: a wrong key, model or URL, no credit left, or
                `FAILURES_TO_STOP` consecutive failures.
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
        """Post a body and return the body of the response.

        Raises:
            StatusError: An HTTP status other than 200.
            UnreadableError: The response has more than `most` bytes or is compressed.
        """
        url = self.settings.address + "/chat/completions"
        async with self._client.stream("POST", url, content=body) as response:
            packed = response.headers.get("content-encoding", "identity").strip().lower()
            if response.status_code != 200:
                start = b"" if packed != "identity" else await _start(response, MOST_OF_AN_ERROR)
                raise StatusError(response.status_code, response.headers, start)
            if packed != "identity":
                raise UnreadableError(f"response with unrequested compression {packed[:40]!r}")
            found = await _start(response, most + 1)
        if len(found) > most:
            raise UnreadableError(f"response of more than {most:,} bytes")
        return found

    async def _pace(self) -> None:
        if self.settings.per_minute is None:
            return
        now = time.monotonic()
        start = max(self._free, now)
        self._free = start + 60 / self.settings.per_minute
        await asyncio.sleep(start - now)

    def _say(self, state: RetryCallState) -> None:
        """Print a long wait, once for all requests that wait at the same time."""
        seconds = state.upcoming_sleep
        error = state.outcome.exception() if state.outcome else None
        until = time.monotonic() + seconds
        if seconds < SAID or error is None or time.monotonic() < self._waiting:
            return
        self._waiting = until
        left = self.settings.retries + 1 - state.attempt_number
        line = f"{self._where}: {self._told(error)}; waiting {seconds:.0f} s, {left} attempts left"
        tqdm.write(line, file=sys.stderr)

    def _give_up(self, error: Exception) -> None:
        """Raise a ConfigError if no further request can succeed."""
        status = error.status if isinstance(error, StatusError) else 0
        told = self._told(error)
        if status in (401, 403):
            why = f"the key is rejected ({told}): set OPENAI_API_KEY"
        elif status == 404:
            why = (
                f"not found ({told}): check the base URL, which usually ends in /v1, and the name "
                "of the model"
            )
        elif isinstance(error, StatusError) and 300 <= status < 400:
            why = (
                f"redirects to {error.headers.get('location', '')[:200]!r}; redirects are not "
                "followed, since they would receive the key: if that URL is right, give it as the "
                "base URL"
            )
        elif _no_credit(error):
            why = f"no credit left ({told})"
        else:
            self._failures += 1
            if self._failures < FAILURES_TO_STOP:
                return
            why = (
                f"{self._failures} requests failed in a row, the last one with: {told}; rerun the "
                "command once the server responds"
            )
        raise ConfigError(f"{self._where}: {why}") from None

    @property
    def _where(self) -> str:
        return f"{self.settings.base_url}, model {self.settings.model!r}"

    def _told(self, error: BaseException) -> str:
        """Format an error as one printable line without the key."""
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
    """Run `work` on all items, `concurrency` at a time; items are consumed lazily, in order.

    Raises:
        VantageError: Any error of `work`. Of several errors, a `VantageError` is preferred.
    """
    left = iter(items)

    async def go_on(left: Iterator[Asked]) -> None:
        for item in left:  # all workers share the iterator, so each takes the next item
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(go_on(left))
    except BaseExceptionGroup as errors:
        known = [error for error in errors.exceptions if isinstance(error, VantageError)]
        raise (known or errors.exceptions)[0] from None


def most_bytes(options: Mapping[str, Any]) -> int:
    """Maximum bytes of a response to a request with these options."""
    tokens = options.get("max_tokens")
    return MOST_BYTES if tokens is None else BASE_BYTES + BYTES_A_TOKEN * tokens


async def _start(response: httpx2.Response, most: int) -> bytes:
    """Read at most `most` bytes of a response."""
    found = bytearray()
    async for piece in response.aiter_raw(2**16):
        found += piece[: most - len(found)]
        if len(found) >= most:
            break
    return bytes(found)


def _reason(body: bytes) -> tuple[str, str | None]:
    """Message and code of an error response in JSON, or else its body as text."""
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
    """Whether an error is temporary, so that a retry may succeed."""
    if isinstance(error, StatusError):
        status = error.status
        return (status in (408, 409, 425, 429) or status >= 500) and not _no_credit(error)
    return isinstance(error, httpx2.HTTPError | UnreadableError)


def _no_credit(error: BaseException) -> bool:
    limited = isinstance(error, StatusError) and error.status == 429
    return limited and getattr(error, "code", None) == "insufficient_quota"


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    """Seconds to wait: what the server requests, or exponential backoff; both with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = asked_for(error.headers) if isinstance(error, StatusError) else None
    if asked is None:
        return _backoff(state)
    return asked + random.uniform(0, 0.1 * state.attempt_number)


def asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server requests to wait, 0 to `LONGEST_ASKED`; None if it requests none.

    `retry-after-ms` is in milliseconds. `retry-after` is in seconds or a date (RFC 9110, section
    10.2.3).
    """
    for name, seconds in (
        ("retry-after-ms", lambda told: float(told) / 1000),
        ("retry-after", float),
        ("retry-after", lambda told: parsedate_to_datetime(told).timestamp() - time.time()),
    ):
        try:
            asked = seconds(headers[name])
        except (KeyError, ValueError, TypeError, OverflowError):  # missing or invalid
            continue
        if not math.isnan(asked):
            return min(max(asked, 0.0), LONGEST_ASKED)
    return None
