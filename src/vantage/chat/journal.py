"""A journal of server answers, written before use, so that no answer is requested twice."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vantage import files
from vantage.chat import answer
from vantage.chat.answer import Answer
from vantage.errors import ConfigError, EngineError, InputError
from vantage.terminal import shown

LONGEST_LINE = 2**27  # bytes; far more than any line of a journal
BEGINNING = b'{"key": "'  # how every line begins


class Journal:
    """Answers by key in an append-only file, with one JSON object per line, each synced to disk.

    An incomplete last line of a killed process is removed. Damaged lines are skipped with a message
    and their requests are repeated. Only one process can open a journal at a time.

    Raises:
        ConfigError: Another process has the journal open, or it cannot be written.
        InputError: The file has content but no valid line of a journal.
    """

    def __init__(self, path: Path):
        self.path = path
        self._records: dict[str, Mapping[str, Any]] = {}
        files.check_readable(path, "journal")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ConfigError(f"journal {str(path)!r} {files.unwritable(error)}") from error
        try:
            taken = f"journal {str(path)!r} is in use by another process: wait until it ends"
            files.lock(self._file, taken, path)
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._records)

    def answer(self, key: str) -> Answer | None:
        """The answer to a request; None if it is not recorded."""
        return answer.stored(self._records.get(key, {}))

    def responses(self, key: str, count: int) -> list[Mapping[str, Any]] | None:
        """The `count` responses of a model to a question; None if they are not recorded.

        Each response has `text`, `tokens` and `failed`.
        """
        found = self._records.get(key, {}).get("responses", [])
        return found if len(found) == count else None

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a record to disk; it is durable once this returns.

        Args:
            key: Identifies the request.
            record: Fields of an `Answer` or `responses`; further fields are stored as well.

        Raises:
            EngineError: The record cannot be written, for example on a full disk. Earlier records
                are unaffected.
        """
        line = _line({"key": key, **record})
        end = os.fstat(self._file).st_size
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)  # a partial line would merge with the next one
            raise EngineError(
                f"journal {str(self.path)!r} {files.unwritable(error)}; rerun the command to resume"
            ) from error
        self._records[key] = record

    def close(self) -> None:
        """Close the file and release its lock."""
        os.close(self._file)

    def _read(self) -> None:
        bad: list[int] = []
        rest = b""
        with self.path.open("rb") as file:
            lines = iter(partial(file.readline, LONGEST_LINE), b"")
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    rest = line
                elif (record := _record(line)) is None:
                    bad.append(number)
                else:
                    self._records[record.pop("key")] = record
        begun = rest[: len(BEGINNING)] == BEGINNING[: len(rest)]
        if (bad or not begun) and not self._records:
            raise InputError(
                f"journal {str(self.path)!r} is not a journal of server answers: move the file away"
            )
        if bad or not begun:
            told = (
                f"journal {str(self.path)!r}: {len(bad) + (not begun)} damaged lines are skipped, "
                f"the first is line {bad[0] if bad else number}; their requests are repeated"
            )
            print(shown(told), file=sys.stderr)
        # Remove a partial journal line at the end; keep any other text as a terminated line.
        if begun:
            os.ftruncate(self._file, os.fstat(self._file).st_size - len(rest))
        else:
            os.write(self._file, b"\n")


def digest(value: Any) -> str:
    """SHA-256 of a JSON-serializable value, used as a key."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _line(record: Mapping[str, Any]) -> bytes:
    written = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return (written + "\n").encode("utf-8", errors="surrogatepass")


def _record(line: bytes) -> dict[str, Any] | None:
    """Parse a line; None if it is not a valid journal record."""
    try:
        record = json.loads(line.decode("utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return None
    known = answer.stored(record) or _responses(record.get("responses"))
    return record if known else None


def _responses(value: Any) -> bool:
    """Whether a value is a list of model responses."""
    return isinstance(value, list) and bool(value) and all(map(_response, value))


def _response(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"text", "tokens", "failed"}
        and isinstance(value["text"], str)
        and answer.is_count(value["tokens"])
        and isinstance(value["failed"], str | None)
    )
