"""Every answer of a server on disk before it is used, so that it is never asked for twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vantage import files
from vantage.errors import ConfigError, EngineError, InputError


class Journal:
    """Answers by key, in a file that only grows: one JSON object a line, synced one by one.

    A last line that a killed process left half written is taken off. Only one process can have
    a journal open.

    Raises:
        ConfigError: another process has it open, or it cannot be written.
        InputError: a line that is none of a journal's.
    """

    def __init__(self, path: Path):
        self.path = path
        self._answers: dict[str, Mapping[str, Any]] = {}
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
        return len(self._answers)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The answer of that key, None where it was not given yet."""
        return self._answers.get(key)

    def add(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep an answer; once this returns it survives whatever happens.

        Raises:
            EngineError: the disk is full, or gone; the answers before stay.
        """
        line = json.dumps({"key": key, **answer}, ensure_ascii=False) + "\n"
        end = os.fstat(self._file).st_size
        rest = line.encode("utf-8", errors="surrogatepass")
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)  # half a line would join the next one
            raise EngineError(
                f"journal {str(self.path)!r} {files.unwritable(error)}; rerun the command to resume"
            ) from error
        self._answers[key] = answer

    def close(self) -> None:
        """Let others have it."""
        os.close(self._file)

    def _lock(self) -> None:
        taken = f"journal {str(self.path)!r} is in use by another process: wait until it ends"
        files.lock(self._file, taken, self.path)

    def _read(self) -> None:
        end = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                record = self._record(number, line)
                self._answers[record.pop("key")] = record
                end += len(line)
        os.ftruncate(self._file, end)

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line.decode("utf-8", errors="surrogatepass"))
            if isinstance(record, dict) and isinstance(record.get("key"), str):
                return record
        except ValueError:
            pass
        raise InputError(
            f"journal {str(self.path)!r}: line {number} is no answer of a server: take the "
            "line out, or move the file away"
        )


def digest(value: Any) -> str:
    """A key for anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
