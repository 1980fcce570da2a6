"""An old name is refused with the new one."""

import pytest

from vantage import config, renamed
from vantage.errors import ConfigError
from vantage.methods import recipe
from vantage.questions.variants import Variants
from vantage.sections import parsed

VALUES = {
    "model": {"path": "m"},
    "data": {"train": "rows.parquet"},
    "run": {"output": "run", "epochs": 1},
}


@pytest.mark.parametrize(("old", "new"), renamed.OPTIONS.items())
def test_an_old_option_is_refused_with_its_new_name(old, new):
    section, name = old.split(".")
    values = VALUES | {section: VALUES.get(section, {}) | {name: 2}}
    with pytest.raises(ConfigError, match=f"{old}: renamed to {new}"):
        config.parse(values)


def test_an_old_option_of_a_section_alone_is_refused_with_its_new_name():
    with pytest.raises(ConfigError, match=r"count: renamed to variants\.prompts"):
        parsed(Variants, {"count": 2}, "variants")


@pytest.mark.parametrize(("old", "new"), renamed.RECIPES.items())
def test_an_old_recipe_is_refused_with_its_new_name(old, new):
    with pytest.raises(ConfigError, match=f"'{old}': renamed to '{new}'"):
        recipe(old)


@pytest.mark.parametrize(
    ("name", "option", "new"),
    [("pods", "keep", "fraction"), ("custom", "composition", "ordering")],
)
def test_an_old_option_of_a_recipe_is_refused_with_its_new_name(name, option, new):
    with pytest.raises(ConfigError, match=f"'{option}': renamed to '{new}'"):
        recipe(name, **{option: 0.5})


def test_a_recipe_without_the_new_option_does_not_name_it():
    with pytest.raises(ConfigError, match="it has none"):
        recipe("grpo", keep=0.5)


@pytest.mark.parametrize(("old", "new"), renamed.FLAGS["expand"].items())
def test_an_old_flag_is_refused_with_its_new_name(old, new, vantage):
    status, _, err = vantage("expand", "rows.parquet", "--output", "out.parquet", f"{old}=1")
    assert status == 2 and f"{old}: renamed to {new}" in " ".join(err.split())
