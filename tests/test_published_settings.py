"""Our settings compared with the published ones, and their table in docs/published.md."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from vantage import config as configuration
from vantage.config import Config
from vantage.methods.recipe import RECIPES, parse_recipe
from vantage.training.trl.config import VantageConfig

HERE = Path(__file__).parent
FILES = HERE.parent / "recipes"
PAGE = HERE.parent / "docs" / "published.md"
PAPERS = yaml.safe_load((HERE / "published_settings.yaml").read_text(encoding="utf-8"))
BEGIN, END = "<!-- made by tests/test_published_settings.py -->", "<!-- end -->"
SIZES = ("3b", "7b")


# ---- settings of a recipe file -------------------------------------------------------------


def options_of(config: Config) -> dict[str, Any]:
    """All settings of a file: its options, those of its recipe, and the defaults of TRL."""
    recipe = parse_recipe(config.recipe)
    given = config.recipe if isinstance(config.recipe, dict) else {"name": config.recipe}
    known = inspect.signature(RECIPES[given["name"]]).parameters.values()
    chosen = {one.name: one.default for one in known} | given
    trl = {one.name: one.default for one in fields(VantageConfig)} | config.trl
    variants, batch = config.variants, config.batch
    updates = batch.updates or recipe.loss.updates
    conditions = variants.prompts if recipe.shares else 1
    rows = (
        batch.questions * variants.prompts * batch.rollouts * conditions * chosen.get("fraction", 1)
    )
    return {
        **configuration.as_values(config),
        "recipe": chosen,
        "loss": asdict(recipe.loss),
        "trl": trl,
        "estimator": recipe.estimator.__name__,
        "rows per update": rows / updates,
        "instruction position": position_of_instruction(config.data.template),
    }


def position_of_instruction(template: str) -> str:
    """The position of the instruction in a template."""
    before, _, after = template.partition("{question}")
    place = "after the question" if after.strip() else "before the question"
    text, image, _ = before.partition("<image>")
    return "before the image" if text.strip() and image else place


def value(options: Mapping[str, Any], path: str) -> Any:
    for name in [path] if path in options else path.split("."):
        options = options[name]
    return options


def ours(setting: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    if "words" in setting:
        return setting["words"]
    wanted = setting["ours"]
    return (
        value(options, wanted)
        if isinstance(wanted, str)
        else [value(options, one) for one in wanted]
    )


# ---- theirs and ours -----------------------------------------------------------------------


def reason(setting: Mapping[str, Any], column: str) -> str | None:
    why = setting.get("why")
    return why.get(column) if isinstance(why, Mapping) else why


def faults(setting: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Errors in a setting: no source, no reason for a difference, a reason without a difference.

    Args:
        setting: A setting of published_settings.yaml.
        values: Our value, by column and model size.
    """
    name, found = setting["name"], []
    if not setting.get("at"):
        found.append(f"{name}: has no source")
    for column, by_size in values.items():
        same = all(mine == theirs_of(setting, size) for size, mine in by_size.items())
        if same and reason(setting, column):
            found.append(f"{name}, {column}: does not differ, but has a reason")
        if not same and not reason(setting, column):
            found.append(f"{name}, {column}: differs without a reason: {dict(by_size)}")
    return found


def theirs_of(setting: Mapping[str, Any], size: str) -> Any:
    published = setting["theirs"]
    return published[size] if isinstance(published, Mapping) else published


def values_of(paper: Mapping[str, Any]) -> list[dict[str, dict[str, Any]]]:
    """Our values of each setting, by column and model size."""
    options = {
        column: {
            size: options_of(configuration.load(FILES / f"{name.format(size=size)}.yaml"))
            for size in SIZES
        }
        for column, name in paper["columns"].items()
    }
    return [
        {
            column: {size: ours(setting, made) for size, made in by_size.items()}
            for column, by_size in options.items()
        }
        for setting in paper["settings"]
    ]


# ---- the page ------------------------------------------------------------------------------


def shown(found: Any) -> str:
    if isinstance(found, Mapping):
        each = {size: shown(one) for size, one in found.items()}
        if len(set(each.values())) == 1:
            return next(iter(each.values()))
        return "; ".join(f"{size.upper()}: {one}" for size, one in each.items())
    if isinstance(found, list):
        return ", ".join(map(shown, found))
    if found is None or isinstance(found, bool):
        return {None: "none", True: "yes", False: "no"}[found]
    text = f"{found:g}" if isinstance(found, float) else str(found).replace("|", "\\|")
    return f"`{text}`" if "{question}" in text else text.replace("__", "\\_\\_")


def section(paper: Mapping[str, Any]) -> list[str]:
    """The lines of a paper's section: title, source and table."""
    columns = list(paper["columns"])
    heads = [
        "setting",
        "theirs",
        *(f"ours, {column}" for column in columns),
        "same, or reason",
        "source of theirs",
    ]
    lines = [
        f"### {paper['title']}",
        "",
        f"Authors' code: [{paper['code']}]({paper['code']}), commit `{paper['commit']}`.",
    ]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for setting, values in zip(paper["settings"], values_of(paper), strict=True):
        whys = dict.fromkeys(why for column in columns if (why := reason(setting, column)))
        partly = [column for column in columns if not reason(setting, column)] if whys else []
        same = "; ".join(whys) or "yes"
        same = f"{', '.join(partly)}: yes; otherwise {same}" if partly else same
        cells = [setting["name"], shown(setting["theirs"]), *map(shown, values.values())]
        lines.append("| " + " | ".join([*cells, same, shown(setting["at"])]) + " |")
    return lines


def page(text: str) -> str:
    """The text of the page with tables generated from the recipe files."""
    before, _, rest = text.partition(BEGIN)
    tables = "\n\n".join("\n".join(section(paper)) for paper in PAPERS)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}"


@pytest.mark.parametrize("paper", PAPERS, ids=[paper["title"] for paper in PAPERS])
def test_differences_from_published_settings_have_a_reason(paper):
    pairs = zip(paper["settings"], values_of(paper), strict=True)
    assert [fault for setting, values in pairs for fault in faults(setting, values)] == []


def test_documented_table_matches_the_files():
    written = PAGE.read_text(encoding="utf-8")
    fresh = page(written)
    PAGE.write_text(fresh, encoding="utf-8")
    assert written == fresh, "docs/published.md did not match the recipe files; it is rewritten"


SETTING = {"name": "updates", "theirs": 4, "at": "config.yaml, updates"}


@pytest.mark.parametrize(
    ("change", "mine", "found"),
    [
        ({}, 4, []),
        ({}, 8, ["updates, a: differs without a reason: {'3b': 8}"]),
        ({"why": "more"}, 8, []),
        ({"why": {"b": "more"}}, 8, ["updates, a: differs without a reason: {'3b': 8}"]),
        ({"why": "more"}, 4, ["updates, a: does not differ, but has a reason"]),
        ({"theirs": {"3b": 4, "7b": 8}}, 4, []),
        ({"at": ""}, 4, ["updates: has no source"]),
    ],
    ids=str,
)
def test_reasons_and_differences_match(change, mine, found):
    assert faults({**SETTING, **change}, {"a": {"3b": mine}}) == found


@pytest.mark.parametrize(
    ("template", "position"),
    [
        ("Think. <image>{question}", "before the image"),
        ("Think. {question}", "before the question"),
        ("{question}\n\nThink.", "after the question"),
        ("<image>{question} Think.", "after the question"),
    ],
)
def test_place_of_the_instruction_in_a_template(template, position):
    assert position_of_instruction(template) == position


def test_every_recipe_file_of_a_paper_is_compared():
    compared = {
        name.format(size=size)
        for paper in PAPERS
        for name in paper["columns"].values()
        for size in SIZES
    }
    of_papers = {file.stem for file in FILES.glob("*-qwen2.5-vl-?b-sh*.yaml")}
    assert of_papers == compared
