"""The API reference has every public name, and no name that is gone."""

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
# Tables that the command line and the configuration read.
TABLES = {"RECIPES", "REWARDS"}


def listed() -> dict[str, set[str]]:
    """Names of each module whose page lists them."""
    found = {}
    for page in API.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for module, options in re.findall(r"^::: (\S+)\n((?: {4}.*\n)+)", text, flags=re.MULTILINE):
            found[module] = set(yaml.safe_load(options)["options"]["members"])
    return found


@pytest.mark.parametrize("module", listed())
def test_listed_names_are_there(module):
    assert all(hasattr(importlib.import_module(module), name) for name in listed()[module])


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_listed(module):
    everywhere = set().union(*listed().values())
    assert set(importlib.import_module(module).__all__) <= everywhere | TABLES
