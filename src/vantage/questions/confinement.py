"""Confine a data set to its directory: it may open no file outside and no URL.

`datasets` follows whatever the card of a directory names: files anywhere, URLs, symbolic links.
These checks run before it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import DatasetBuilder
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from vantage.errors import ConfigError, InputError
from vantage.questions.pictures import stays
from vantage.yaml_values import value_of

# Readers of `datasets` that open only their own files. HDF5, for example, links to other files.
READERS = ("arrow", "csv", "imagefolder", "json", "parquet", "text", "webdataset")
CARD, SETTINGS = "README.md", ".huggingface.yaml"
MOST_CARD = 10_000_000  # bytes
# An archive is rejected if it exceeds both an unpacked size and a compression ratio.
MOST_UNPACKED = 1_000_000_000  # bytes
TIGHTEST = 100


def refuse_address(source: str) -> None:
    """Reject a source that is a URL and not a path or a data set on the Hub.

    Raises:
        InputError: A URL or a chain of them.
    """
    if is_address(source):
        raise InputError(
            f"{source[:80]!r} is a URL, which is not downloaded: download it and give its path, or "
            "give the name of a data set on the Hub"
        )


def is_address(text: str) -> bool:
    """Whether a text is a URL or a chain of file systems."""
    return "://" in text or "::" in text


def check_card(folder: Path) -> None:
    """Reject a directory whose card names files outside of it or URLs.

    Raises:
        InputError: Names the file.
    """
    for place in (folder / CARD, folder / SETTINGS):
        if not place.is_file():
            continue
        given = _header(place)
        configs = given.get("configs") if isinstance(given, Mapping) else None
        for config in configs if isinstance(configs, list) else ():
            for name in ("data_files", "data_dir"):
                held = config.get(name) if isinstance(config, Mapping) else None
                for text in _texts(held):
                    _check_named(folder, place, name, text)


def check_files(folder: Path, builder: DatasetBuilder) -> None:
    """Reject files outside of the directory and formats without a safe reader.

    Raises:
        InputError: Names the file.
    """
    if builder.name not in READERS and builder.__module__.split(".")[-1] not in READERS:
        kind = builder.__module__.split(".")[-1]
        raise InputError(
            f"{folder}: format {kind!r} is not supported, expected {', '.join(READERS)}"
        )
    for files in (builder.config.data_files or {}).values():
        for file in files:
            _check_inside(folder, str(file))
            _check_packed(Path(file))


def check_saved(folder: Path) -> None:
    """Reject a saved data set that names files outside of its directory.

    Raises:
        InputError: Names the file.
    """
    splits = _read(folder / "dataset_dict.json").get("splits") or ()
    for split in ("", *(one for one in splits if isinstance(one, str))):
        _check_inside(folder, split)
        for held in _read(folder / split / "state.json").get("_data_files") or ():
            if isinstance(held, Mapping):
                _check_inside(folder, str(Path(split) / str(held.get("filename"))))


def _read(place: Path) -> dict[str, Any]:
    """Read a JSON object; empty if invalid, since `datasets` reports that error better."""
    try:
        found = json.loads(place.read_bytes()) if place.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _header(place: Path) -> Any:
    """Parse the YAML header of a card, or a settings file."""
    try:
        with place.open("rb") as file:
            text = file.read(MOST_CARD + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: cannot be read: {error}") from error
    if len(text) > MOST_CARD:
        raise InputError(f"{place}: more than {MOST_CARD:,} characters")
    if place.name == CARD:
        found = REGEX_YAML_BLOCK.search(text)
        text = found[2] if found else ""
    try:
        return value_of(text, str(place))
    except ConfigError as error:
        raise InputError(f"{place.parent}: cannot be read as a data set: {error}") from error


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    inside: Iterable[Any] = value.values() if isinstance(value, Mapping) else ()
    for one in value if isinstance(value, list) else inside:
        yield from _texts(one)


def _check_named(folder: Path, card: Path, option: str, text: str) -> None:
    if is_address(text):
        raise InputError(
            f"{card}: {option} names the URL {text[:80]!r}, which is not downloaded: download it "
            "and name the file"
        )
    if Path(text).is_absolute() or ".." in Path(text).parts or text.startswith("~"):
        raise InputError(f"{card}: {option} names {text[:80]!r}, outside of the directory")


def _check_inside(folder: Path, file: str) -> None:
    if is_address(file) or "\0" in file or not stays(folder / file, folder):
        raise InputError(f"{folder}: {file[:200]!r} is outside of the data directory")


def _check_packed(file: Path) -> None:
    """Reject a ZIP archive that would fill the disk."""
    if file.suffix.lower() != ".zip":
        return
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{file}: archive cannot be read: {error}") from error
    if size > max(MOST_UNPACKED, TIGHTEST * file.stat().st_size):
        raise InputError(f"{file}: unpacks to {size:,} bytes, more than any data set should")
