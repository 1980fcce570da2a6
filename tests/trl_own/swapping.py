"""Pytest plugin for TRL's own tests: our classes in the place of TRL's, and what came of it.

`TRAINER=vantage` swaps, anything else leaves TRL as it is; `HUB` holds the stand-ins, `OUTCOMES`
is the file to write.
"""

import gc
import inspect
import json
import os
from pathlib import Path

import hub
import pytest
import trl  # the installed one, before the checkout is on the path
from trl import import_utils

from vantage.errors import VantageError
from vantage.training.trl import VantageConfig, VantageTrainer

# A checkout may ask for packages of which the installed TRL does not know.
for package in ("joblib", "harbor", "openreward", "jmespath"):
    if not hasattr(import_utils, f"is_{package}_available"):
        setattr(import_utils, f"is_{package}_available", lambda: False)

if os.environ["TRAINER"] == "vantage":
    trl.GRPOTrainer, trl.GRPOConfig = VantageTrainer, VantageConfig
    # A few tests call a private method of a trainer that was never constructed, and give it what
    # TRL's method needs. This is what ours needs besides.
    VantageTrainer._turn = VantageTrainer._forward = None
    VantageTrainer.is_fsdp_enabled = False


@pytest.fixture(autouse=True)
def in_the_hub(request, monkeypatch):
    """Names of the hub are local folders here.

    A few tests need Qwen's vocabulary: for the ids, or because no response ends in so many words.
    """
    source = inspect.getsource(request.function)
    needs = str(hub.QWEN_END) in source or "mask_truncated_completions=True" in source
    monkeypatch.chdir(Path(os.environ["HUB"]) / ("large" if needs else "small"))


def refusal(error: BaseException | None) -> VantageError | None:
    """Our error at the bottom of the one that a test ended with."""
    while error is not None:
        if isinstance(error, VantageError):
            return error
        error = error.__cause__ or error.__context__
    return None


def outcome(call) -> tuple[str, str] | None:
    """What came of one phase of a test, and what it ended with; None if there is no more to say."""
    error = call.excinfo and call.excinfo.value
    if error is None:
        return ("passed", "") if call.when == "call" else None
    if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        return "skipped", str(error)
    refused = refusal(error)
    return ("refused", str(refused)) if refused else ("failed", f"{type(error).__name__}: {error}")


def pytest_collection_finish(session):
    gc.freeze()  # TRL collects garbage after each test, and would look through all modules


def pytest_runtest_makereport(item, call):
    if found := outcome(call):
        line = json.dumps([item.nodeid.partition("::")[2], *found])
        with Path(os.environ["OUTCOMES"]).open("a") as file:
            file.write(line + "\n")
