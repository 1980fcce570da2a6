"""Responses of hostile servers: endless, compressed, slow, redirecting or invalid."""

import asyncio
import contextlib
import gzip
import itertools
import json
import resource
import socket
import threading
import time
from email.utils import formatdate

import pytest

from vantage.chat import server
from vantage.chat.answer import Answer, UnreadableError, read
from vantage.chat.asking import Request, ask_all, wait_for
from vantage.chat.server import Settings, asked_for, most_bytes
from vantage.errors import ConfigError

KEY = "sk-secret-0123456789"


def completion(content, usage=None):
    return {"choices": [{"message": {"content": content}}], "usage": usage}


GOOD = json.dumps(completion("4", {"prompt_tokens": 7, "completion_tokens": 3})).encode()


def http(body=GOOD, status="200 OK", **headers):
    """The bytes of an HTTP response."""
    told = {"Content-Length": len(body), "Connection": "close"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body


class Wire:
    """A server that replies with the pieces of a script and records the requests."""

    def __init__(self, *scripts):
        self.scripts, self.heard, self.sent = scripts, [], 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listening.close()

    def serve(self):
        for number in itertools.count():
            try:
                asking, _ = self.listening.accept()
            except OSError:
                return
            script = self.scripts[min(number, len(self.scripts) - 1)]
            threading.Thread(target=self.say, args=(asking, script), daemon=True).start()

    def whole(self, file):
        """Read a whole request, since unread bytes would reset the connection too early."""
        lines = list(iter(file.readline, b"\r\n"))
        (length,) = (line for line in lines if line.lower().startswith(b"content-length:"))
        return b"".join(lines) + file.read(int(length.split(b":")[1]))

    def say(self, asking, script):
        with asking, contextlib.suppress(OSError):
            asking.settimeout(20)
            whole = self.whole(asking.makefile("rb"))
            self.heard.append(whole)
            for piece in script:
                asking.sendall(piece)
                self.sent += len(piece)


def ask(wire, journal=None, options=None, **settings):
    how = Settings(wire.url, "m", KEY, **{"retries": 0, "timeout": 5, **settings})
    asked = [Request("a", lambda: [{"role": "user", "content": "2 + 2?"}], options or {})]
    return wait_for(ask_all(how, asked, concurrency=1, journal=journal))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(server, "_backoff", lambda state: 0.01)


def endless(head, piece, pause=0.0):
    yield head
    while True:
        time.sleep(pause)
        yield piece


CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"
BOMB = gzip.compress(b" " * 50_000_000)

# By name: a function that makes the response to each request, and words of the error.
HOSTILE = {
    "an endless body": (
        lambda: endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65_536),
        "response of more than 8,388,608 bytes",
    ),
    "endless chunks": (
        lambda: endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK),
        "response of more than 8,388,608 bytes",
    ),
    "endless headers": (
        lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1_000 + b"\r\n"),
        "Connection error.",
    ),
    "one endless header": (
        lambda: endless(b"HTTP/1.1 200 OK\r\nX-More: ", b"x" * 65_536),
        "Connection error.",
    ),
    "endless promises": (
        lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
        "no answer within",
    ),
    "a drop at a time": (
        lambda: endless(b"HTTP/1.1 200 OK\r\n\r\n", b" ", 0.05),
        "no answer within",
    ),
    "nothing": (lambda: endless(b"", b"", 0.05), "no answer within"),
    "an endless error": (
        lambda: endless(b"HTTP/1.1 400 Bad\r\n\r\n", b"x" * 65_536),
        "Error code: 400 - xxx",
    ),
    "a length that is a lie": (
        lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}"],
        "Connection error.",
    ),
    "a length below zero": (
        lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"],
        "Connection error.",
    ),
    "no HTTP": (lambda: [b"SSH-2.0-OpenSSH_9.6\r\n"], "Connection error."),
    "hung up": (lambda: [], "Connection error."),
    "gzip": (
        lambda: [http(BOMB, Content_Encoding="gzip")],
        "response with unrequested compression 'gzip'",
    ),
    "br": (lambda: [http(b"\x0b\x02\x80", Content_Encoding="br")], "compression 'br'"),
    "an error in gzip": (
        lambda: [http(BOMB, "400 Bad", Content_Encoding="gzip")],
        "Error code: 400",
    ),
    "nested": (lambda: [http(b"[" * 100_000)], "response is not valid JSON"),
    "too many digits": (lambda: [http(b'{"choices": ' + b"9" * 9_999)], "is not valid JSON"),
    "an error without an object": (lambda: [http(b'"no"', "400 Bad")], "Error code: 400"),
    "an error that is a list": (
        lambda: [http(b'{"error": [1]}', "418 Pot")],
        "Error code: 418",
    ),
    "an error with the key in it and colours": (
        lambda: [http(f"\x1b[31mwrong key {KEY}\x07".encode(), "400 Bad")],
        r"Error code: 400 - \x1b[31mwrong key ***\x07",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_responses_are_bounded_and_reported(name):
    script, told = HOSTILE[name]
    slow = told == "no answer within"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Wire(script()) as wire:
        answers = ask(wire, timeout=0.3 if slow else 10)
        assert told in {**answers.refused, **answers.missing}["a"]
        assert wire.sent < 100e6  # includes bytes in flight that were never read
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("4", "4"),
        (None, ""),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        (["a", "b"], "ab"),
        ([{"type": "image"}], ""),
        ("half \ud83d", "half \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_texts_of_every_form_are_read(content, text):
    assert read(json.dumps(completion(content)).encode()).text == text


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": "7", "completion_tokens": 3.0}, (7, 3)),
        ({"prompt_tokens": -7, "completion_tokens": 1e400}, (0, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": float("nan")}, (0, 0)),
        ({"prompt_tokens": True, "completion_tokens": [3]}, (0, 0)),
        ({"prompt_tokens": "9" * 50, "completion_tokens": "²"}, (0, 0)),
        ("many", (0, 0)),
        (None, (0, 0)),
        ([7, 3], (0, 0)),
    ],
)
def test_token_counts_are_read_or_ignored(usage, tokens):
    said = read(json.dumps(completion("4", usage)).encode())
    assert said == Answer("4", *tokens)


@pytest.mark.parametrize(
    "body",
    [
        completion(4),
        completion({"text": "4"}),
        completion([4]),
        completion([{"text": 4}]),
        {"choices": [4]},
        {"choices": [{"message": "4"}]},
        {"choices": {"message": "4"}},
        {"error": "no"},
        "4",
        4,
    ],
)
def test_invalid_response_error_names_the_field(body):
    with pytest.raises(UnreadableError, match="response w"):
        read(json.dumps(body).encode())


def test_a_response_without_text_is_empty():
    for body in ({"choices": []}, {"choices": [{}]}, {"choices": [{"message": None}]}):
        assert read(json.dumps(body).encode()) == Answer("", 0, 0)


def test_the_size_limit_follows_from_max_tokens():
    assert most_bytes({"max_tokens": 2_048}) == 2**20 + 2_048 * 256
    with Wire(endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65_536)) as wire:
        answers = ask(wire, options={"max_tokens": 1})
    assert answers.missing["a"] == "response of more than 1,048,832 bytes"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_rejected_without_sending_the_key(status):
    with Wire([http()]) as elsewhere:
        target = elsewhere.url + "/chat/completions"
        with (
            Wire([http(b"", status, Location=target)]) as wire,
            pytest.raises(ConfigError, match=r"redirects to .*redirects are not followed"),
        ):
            ask(wire, retries=3)
        assert len(wire.heard) == 1
        assert KEY.encode() in wire.heard[0]
        assert elsewhere.heard == []


def test_requests_accept_no_compression():
    with Wire([http()]) as wire:
        assert ask(wire).found["a"] == Answer("4", 7, 3)
    assert b"accept-encoding: identity" in wire.heard[0].lower()
    assert wire.heard[0].startswith(b"POST /v1/chat/completions HTTP/1.1")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e400"}, server.LONGEST_ASKED),
        ({"retry-after": "99999999"}, server.LONGEST_ASKED),
        ({"retry-after": formatdate(0, usegmt=True)}, 0),
        ({"retry-after": formatdate(4e9, usegmt=True)}, server.LONGEST_ASKED),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Fri, 99 Nov 99999 99:99:99 GMT"}, None),
        ({"retry-after": "x" * 10_000}, None),
        ({}, None),
    ],
)
def test_retry_after_in_seconds_milliseconds_or_as_a_date(headers, seconds):
    assert asked_for(headers) == seconds


def test_a_near_retry_after_date_is_waited_for():
    asked = asked_for({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert asked == pytest.approx(100, abs=3)


def test_a_long_wait_is_printed_once_with_its_reason(monkeypatch, capsys):
    waited = []

    async def sleep(seconds, sleep=asyncio.sleep):
        waited.extend([seconds] if seconds >= 1 else [])
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    slow = http(b'{"error": {"message": "slow \\u001b[31mdown"}}', "429 Many", Retry_After="60")
    how = {"retries": 2, "timeout": 5}
    asked = [Request(str(n), lambda: [{"role": "user", "content": "?"}]) for n in range(4)]
    with Wire([slow]) as wire:
        settings = Settings(wire.url, "m", KEY, **how)
        wait_for(ask_all(settings, asked, concurrency=4))
    assert len(waited) == 8 and all(60 <= seconds < 61 for seconds in waited)
    said = [line for line in capsys.readouterr().err.splitlines() if "waiting" in line]
    assert len(said) == 1
    assert "429 - slow \\x1b[31mdown; waiting 60 s, 2 attempts left" in said[0]
    assert wire.url in said[0]


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http://", "http://[", "http://x:y", "ftp://x/v1", ""]
)
def test_an_invalid_base_url_is_rejected(url):
    with pytest.raises(ConfigError, match="expected one such as"):
        Settings(url, "m")


def test_an_invalid_key_is_rejected_without_being_shown():
    for wrong in ("sk-1\n", "sk 1", "schlüssel"):
        with pytest.raises(ConfigError, match="OPENAI_API_KEY contains") as caught:
            Settings("http://localhost:8000/v1", "m", wrong)
        assert wrong not in str(caught.value)
    assert KEY not in repr(Settings("http://localhost:8000/v1", "m", KEY))


def test_the_timeout_covers_the_whole_request():
    with Wire(endless(b"HTTP/1.1 200 OK\r\n\r\n", b" ", 0.01)) as wire:
        began = time.monotonic()
        asyncio.run(ask_all(Settings(wire.url, "m", timeout=0.5, retries=0), [], concurrency=1))
        assert "no answer within" in ask(wire, timeout=0.5).missing["a"]
        assert time.monotonic() - began < 5
