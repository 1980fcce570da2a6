"""Every answer of a server is on disk before it is used, so that it is never requested twice."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vantage import files
from vantage.chat import answer
from vantage.chat.answer import Answer
from vantage.errors import ConfigError, EngineError, InputError
from vantage.terminal import shown

LONGEST_LINE = 2**27  # bytes; no line that is written comes near
BEGINNING = b'{"key": "'  # of every line


class Journal:
    """Answers by key, in a file that only grows: one JSON object a line, synced one by one.

    A last line that a killed process left unfinished is removed. Damaged lines are skipped with a
    message, and their requests are repeated. Only one process can have a journal open.

    Raises:
        ConfigError: another process has it open, or it cannot be written.
        InputError: the file has content, and no line of it is one of a journal.
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
            self._lock()
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
        """The answer of a server to the request of that key, None where it was not given yet."""
        return answer.stored(self._records.get(key, {}))

    def responses(self, key: str, count: int) -> list[Mapping[str, Any]] | None:
        """The `count` responses of a model to the question of that key, None where there are none.

        Each has `text`, `tokens` and `failed`.
        """
        found = self._records.get(key, {}).get("responses", [])
        return found if len(found) == count else None

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record; once this returns it survives whatever happens.

        Args:
            key: the same for what is the same.
            record: the fields of an `Answer`, or `responses`; more is kept beside it.

        Raises:
            EngineError: it cannot be written, as on a full disk; what was kept before stays.
        """
        line = _line({"key": key, **record})
        end = os.fstat(self._file).st_size
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)  # half a line would join the next one
            raise EngineError(
                f"journal {str(self.path)!r} {files.unwritable(error)}; rerun the command to resume"
            ) from error
        self._records[key] = record

    def close(self) -> None:
        """Close the file, which unlocks it."""
        os.close(self._file)

    def _lock(self) -> None:
        taken = f"journal {str(self.path)!r} is in use by another process: wait until it ends"
        files.lock(self._file, taken, self.path)

    def _read(self) -> None:
        bad: list[int] = []
        rest = b""
        for number, line in enumerate(self._lines(), start=1):
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                rest = line
            elif (record := _record(line)) is None:
                bad.append(number)
            else:
                self._records[record.pop("key")] = record
        begun = rest[: len(BEGINNING)] == BEGINNING[: len(rest)]
        if (bad or not begun) and not self._records:
            raise InputError(
                f"journal {str(self.path)!r} holds no answers of a server: move the file away"
            )
        if bad or not begun:
            self._tell(len(bad) + (not begun), bad[0] if bad else number)
        self._mend(rest, begun)

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                yield line

    def _mend(self, rest: bytes, begun: bool) -> None:
        """Take off a line that was half written; what is none of ours stays, as a line."""
        if begun:
            os.ftruncate(self._file, os.fstat(self._file).st_size - len(rest))
        else:
            os.write(self._file, b"\n")

    def _tell(self, count: int, first: int) -> None:
        told = (
            f"journal {str(self.path)!r}: {count} damaged lines are skipped, the first is line "
            f"{first}; their requests are repeated"
        )
        print(shown(told), file=sys.stderr)


def digest(value: Any) -> str:
    """A key for anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _line(record: Mapping[str, Any]) -> bytes:
    written = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return (written + "\n").encode("utf-8", errors="surrogatepass")


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds, None where it is none of a journal's."""
    try:
        record = json.loads(line.decode("utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return None
    known = answer.stored(record) or _responses(record.get("responses"))
    return record if known else None


def _responses(value: Any) -> bool:
    """Whether it is a list of responses of a model."""
    return isinstance(value, list) and bool(value) and all(map(_response, value))


def _response(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"text", "tokens", "failed"}
        and isinstance(value["text"], str)
        and answer.is_count(value["tokens"])
        and isinstance(value["failed"], str | None)
    )
