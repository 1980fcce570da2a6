"""The API reference lists every public name, and only existing names."""

import importlib
import re

import blocks
import pytest
import yaml

API = blocks.ROOT / "docs" / "api"
PUBLIC = (
    "vantage",
    "vantage.methods",
    "vantage.record",
    "vantage.rewards",
    "vantage.training.trl",
)
# Public tables for the command line and the configuration, which need no page.
TABLES = {"RECIPES", "REWARDS"}


def listed() -> dict[str, set[str]]:
    """The names that pages list, by module."""
    found = {}
    for page in API.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for module, options in re.findall(r"^::: (\S+)\n((?: {4}.*\n)+)", text, flags=re.MULTILINE):
            found[module] = set(yaml.safe_load(options)["options"]["members"])
    return found


@pytest.mark.parametrize("module", listed())
def test_listed_names_exist(module):
    assert all(hasattr(importlib.import_module(module), name) for name in listed()[module])


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_listed(module):
    everywhere = set().union(*listed().values())
    assert set(importlib.import_module(module).__all__) <= everywhere | TABLES
