"""The chat template of a model, which is a program of whoever made the model.

Jinja's sandbox keeps it from files and from Python, and bounds neither its time nor its memory.
"""

from __future__ import annotations

import os
import resource
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vantage.errors import ConfigError

SECONDS = 5.0
ROOM = 1 << 29  # bytes above what the process has
LONGEST = 10**6  # characters around a short question
WRITTEN, FAILED, TOO_LARGE = 0, 1, 2


def check_bounded(processor: Any, name: str) -> None:
    """Refuse a chat template that writes a short question without end, or at any length.

    It is tried in a process that is ended. One that fails is told of where a question of the user
    is written; one that is bounded with a short question need not be so with another.

    Args:
        processor: processor or tokenizer; one without a template is fine.
        name: of the model, for the message.

    Raises:
        ConfigError: names the model.
    """
    if not getattr(processor, "chat_template", None):
        return
    trial = get_context("fork").Process(target=_write, args=(processor,), daemon=True)
    trial.start()
    trial.join(SECONDS)
    if trial.is_alive():
        trial.kill()
        trial.join()
        raise ConfigError(
            f"{name}: its chat template takes over {SECONDS:g} s for a short question"
        )
    if trial.exitcode not in (WRITTEN, FAILED):
        raise ConfigError(
            f"{name}: its chat template writes more than {LONGEST:,} characters around a short "
            "question, or takes too much memory"
        )


def _write(processor: Any) -> None:
    """Write a short question; the exit status says how it went. Nothing is printed."""
    held = Path("/proc/self/statm")  # of Linux
    if held.exists():
        limit = int(held.read_text().split()[0]) * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        text = processor.apply_chat_template(
            [{"role": "user", "content": "?"}], tokenize=False, add_generation_prompt=True
        )
        status = WRITTEN if len(text) <= LONGEST else TOO_LARGE
    except MemoryError:
        status = TOO_LARGE
    except BaseException:
        status = FAILED
    os._exit(status)
