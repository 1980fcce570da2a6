"""The directory of a model is data: no code in it is run, and no address in it is opened."""

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
# Options by which code of the hub, named as owner/name, would take the place of a layer.
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")
MOST_LAYERS = 10_000
MOST_BYTES = 100_000_000  # of settings
SECONDS = 3  # of processor time for a prompt of one word
ROOM = 2**29  # bytes of memory for the same


def check_model_files(path: str) -> None:
    """Refuse a directory whose settings name code or models elsewhere; a name on the hub passes.

    Raises:
        ConfigError: names the file.
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
            raise ConfigError(f"{folder / ADAPTERS}: {base!r} has adapters itself: merge them")
        check_model_files(base)


def base_of(folder: Path) -> str:
    """The model that adapters were trained on; it is on this machine.

    Raises:
        ConfigError: none is named, an address, or a name of the hub that was not downloaded.
    """
    place = folder / ADAPTERS
    base = _settings(place).get("base_model_name_or_path")
    if not isinstance(base, str) or not base or "\0" in base or "://" in base:
        raise ConfigError(f"{place}: base_model_name_or_path={base!r}: expected a model")
    if Path(files.home(base)).is_dir():  # of pathlib it fails where there is no such user
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
            f"{place}: {option}={value!r} is code on the hub, which a file must not name; if you "
            "trust it, remove it from the file and set model.attention"
        )
    counts = "layers" in option or "depth" in option
    if counts and isinstance(value, int | float) and value > MOST_LAYERS:
        raise ConfigError(f"{place}: {option}={value!r}: at most {MOST_LAYERS:,}")


def _options(values: Any) -> Iterator[tuple[str, Any]]:
    """Options of settings, those inside of others too."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _settings(place: Path) -> dict[str, Any]:
    """What stands in a file of settings; empty where that cannot be read, which its reader tells.

    Raises:
        ConfigError: something else than a file, or a large one.
    """
    if not place.exists():
        return {}
    if not place.is_file() or place.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{str(place)!r}: expected a file of at most {MOST_BYTES:,} bytes")
    try:
        found = json.loads(place.read_bytes())
    except RecursionError as error:
        raise ConfigError(f"{str(place)!r}: nested too deep") from error
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def reason(error: BaseException) -> str:
    """Why a library could not load a model, in one line."""
    if "trust_remote_code" in str(error):
        return "its files hold code of their own (auto_map), which is run only if you say so"
    if isinstance(error, pickle.UnpicklingError):
        return "its weights hold something other than numbers, which is not loaded"
    if isinstance(error, KeyError | IndexError | AttributeError):
        return f"{type(error).__name__} {' '.join(str(error).split())[:300]}".strip()
    return first_line(error)


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Keep the hub offline while a directory is read; a name on the hub may be downloaded."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or Path(path).is_dir()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check_template(path: str, render: Callable[[], Any]) -> None:
    """Refuse a chat template that does not end or fills the memory, by trying it in a fork.

    Any other error is left to those who use the template.

    Args:
        path: of the model.
        render: renders a prompt of one word.

    Raises:
        ConfigError: it took more than `SECONDS` of a processor, or more than `ROOM` bytes.
    """
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        _try(render, tells)
    os.close(tells)
    try:
        ready, _, _ = select.select([told], [], [], 3 * SECONDS)
        answer = os.read(told, 1) if ready else b"?"  # one that waits is no endless template
    finally:
        os.close(told)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not answer or answer == b"m":
        raise ConfigError(
            f"model {path!r}: its chat template takes more than {SECONDS} seconds or "
            f"{ROOM // 2**20} MB for a prompt of one word"
        )


def _try(render: Callable[[], Any], tells: int) -> None:
    """Render under limits, write the outcome to a pipe, and exit the process."""
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
