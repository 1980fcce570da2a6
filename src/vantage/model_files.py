"""Checks model directories, which are untrusted data: runs no code of theirs, opens no URL."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vantage import files
from vantage.errors import ConfigError, first_line

ADAPTERS = "adapter_config.json"
SETTINGS = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
)
# Options that would replace a layer with code from the hub if their value is "owner/name".
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")
MOST_LAYERS = 10_000
MOST_BYTES = 100_000_000  # per file of settings
SECONDS = 3  # of CPU time to render a one-word prompt
ROOM = 2**29  # bytes of memory to render a one-word prompt


def check_model_files(path: str) -> None:
    """Reject a model directory whose settings refer to code or models elsewhere.

    A name on the hub passes unchecked.

    Raises:
        ConfigError: A file refers to code or to a model that is not on this machine, has an
            option out of range, or is not a regular file; names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        return
    for place in (*folder.iterdir(), *(folder / "additional_chat_templates").glob("*")):
        files.check_readable(place, "model")
    for place in (folder / name for name in SETTINGS):
        for option, value in _options(_settings(place)):
            _check_option(place, option, value)
    if (folder / ADAPTERS).is_file():
        base = base_of(folder)
        if Path(base).is_dir() and (Path(base) / ADAPTERS).is_file():
            raise ConfigError(f"{folder / ADAPTERS}: {base!r} is itself an adapter: merge it")
        check_model_files(base)


def base_of(folder: Path) -> str:
    """The base model of an adapter directory: a local directory, or a hub name in the cache.

    Raises:
        ConfigError: No base model is named, or it is a URL or a hub model that is not in the
            cache.
    """
    place = folder / ADAPTERS
    base = _settings(place).get("base_model_name_or_path")
    if not isinstance(base, str) or not base or "\0" in base or "://" in base:
        raise ConfigError(f"{place}: base_model_name_or_path={base!r}: expected a model")
    if Path(files.home(base)).is_dir():
        return files.home(base)
    if not _is_cached(base):
        raise ConfigError(
            f"{place}: the adapters belong to {base!r}, which is not on this machine; nothing "
            "that a file names is downloaded. If you trust it, run: hf download " + ascii(base)
        )
    return base


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False


def _check_option(place: Path, option: str, value: Any) -> None:
    named = value.values() if isinstance(value, Mapping) else (value,)
    if option in KERNELS and any("/" in str(one) for one in named):
        raise ConfigError(
            f"{place}: {option}={value!r} refers to code on the hub; if you trust it, remove the "
            "option from the file and set model.attention instead"
        )
    counts = "layers" in option or "depth" in option
    if counts and isinstance(value, int | float) and value > MOST_LAYERS:
        raise ConfigError(f"{place}: {option}={value!r}: at most {MOST_LAYERS:,}")


def _options(values: Any) -> Iterator[tuple[str, Any]]:
    """All options in settings, nested ones included."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _settings(place: Path) -> dict[str, Any]:
    """The content of a file of settings; empty if it is missing or not JSON.

    The library that loads the model reports unreadable files.

    Raises:
        ConfigError: The path is not a regular file, or the file is too large or nested too deeply.
    """
    if not place.exists():
        return {}
    if not place.is_file() or place.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{str(place)!r}: expected a file of at most {MOST_BYTES:,} bytes")
    try:
        found = json.loads(place.read_bytes())
    except RecursionError as error:
        raise ConfigError(f"{str(place)!r}: nested too deeply") from error
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def reason(error: BaseException) -> str:
    """Explain in one line why a library could not load a model."""
    if "trust_remote_code" in str(error):
        return "its files include custom code (auto_map), which is not run without your consent"
    if isinstance(error, pickle.UnpicklingError):
        return "its weights contain objects other than tensors, which are not loaded"
    if isinstance(error, KeyError | IndexError | AttributeError):
        return f"{type(error).__name__} {' '.join(str(error).split())[:300]}".strip()
    return first_line(error)


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Keep the hub client offline while a local directory is read; hub names may download."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or Path(path).is_dir()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check_template(path: str, render: Callable[[], Any]) -> None:
    """Reject a chat template that loops forever or exhausts memory, by rendering it in a fork.

    Other errors pass, since the code that uses the template reports them.

    Args:
        path: Path or name of the model, for the error message.
        render: Renders a one-word prompt.

    Raises:
        ConfigError: It took more than `SECONDS` of CPU time, or more than `ROOM` bytes.
    """
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        _try(render, tells)
    os.close(tells)
    try:
        ready, _, _ = select.select([told], [], [], 3 * SECONDS)
        # RLIMIT_CPU kills an endless loop. A child that merely waits, as on a lock that the fork
        # copied, is no fault of the template.
        answer = os.read(told, 1) if ready else b"?"
    finally:
        os.close(told)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not answer or answer == b"m":
        raise ConfigError(
            f"model {path!r}: its chat template takes more than {SECONDS} seconds or "
            f"{ROOM // 2**20} MB for a one-word prompt"
        )


def _try(render: Callable[[], Any], tells: int) -> None:
    """Render under resource limits, write the outcome to a pipe, and exit the process."""
    answer = b"."
    try:
        with Path("/proc/self/statm").open("rb") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        seconds = int(used) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        render()
    except MemoryError:
        answer = b"m"
    except BaseException:
        answer = b"."
    finally:
        os.write(tells, answer)
        os._exit(0)
