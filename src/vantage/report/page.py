"""The report: one HTML file of one or more runs, without network access.

Texts of data and models can never run as code: they are in the page as JSON, which its script
inserts as text, and the content security policy allows this script alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from vantage import files
from vantage.record.reading import Record
from vantage.report import details
from vantage.report.curves import curves
from vantage.terminal import named
from vantage.yaml_values import text_of

# Labels of measures that are not the name of a reward.
WORDS = {"reward": "reward (weighted sum)"}
NUMBERS = ("batch", "row", "question", "trained", "reward", "parts", "advantage")
POLICY = (
    "default-src 'none'; img-src data:; script-src '{script}'; style-src '{style}'; "
    "base-uri 'none'; form-action 'none'"
)
# Characters that could end a script block, start a comment, or end a line for old parsers.
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def write(records: Sequence[Record], file: Path) -> None:
    """Write the report of runs.

    Raises:
        ConfigError: If the file cannot be written.
        InputError: If a file of a record cannot be read.
    """
    files.check_writable(file, "--output")
    file.parent.mkdir(parents=True, exist_ok=True)
    text = page(records)
    with files.naming(file):
        file.write_text(text, encoding="utf-8")


def page(records: Sequence[Record], room: details.PageBudget | None = None) -> str:
    """Render the report of runs as HTML.

    Figures and the table of questions cover all rollouts. The page includes the rollouts of as
    many questions as `room` allows.
    """
    room = room or details.PageBudget()
    runs = [
        {"name": name, **_run(record, room.share(len(records)))}
        for name, record in zip(_names(records), records, strict=True)
    ]
    _group(runs, records)
    held_out = _common(run["heldout"]["measure"] for run in runs if run["heldout"]["measure"])
    right = _common(run["right"]["by"] for run in runs)
    data = {"runs": runs, "pictures": room.shown, "held_out": held_out}
    environment = Environment(
        loader=PackageLoader("vantage.report", "page"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        finalize=lambda value: named(value) if type(value) is str else value,
    )
    folder = resources.files(__package__) / "page"
    style, script = ((folder / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        runs=runs,
        held_out=held_out,
        right=right,
        style=Markup(style),
        script=Markup(script),
        data=Markup(embedded(data)),
        policy=POLICY.format(script=_digest(script), style=_digest(style)),
        askings=details.ASKINGS,
        characters=details.CHARACTERS,
    )


def embedded(data: Any) -> str:
    """Encode data as JSON that is safe inside a script block: no value can end the block."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(ESCAPES)


def _run(record: Record, room: details.PageBudget) -> dict[str, Any]:
    rollouts = record.table("rollouts", NUMBERS)
    samples = record.table("samples", ["batch", "advantage", "padding"])
    record.check_plans(rollouts, samples)
    about = record.about
    return {
        "recipe": about.name,
        "options": _options(about.recipe),
        "seed": about.seed,
        "engine": about.engine,
        "batches": about.batches,
        **curves(record, rollouts, samples),
        "questions": details.questions(record, rollouts),
        "details": details.details(record, room),
    }


def _common(measures: Iterable[str]) -> str:
    """Join the measures that the runs of a figure show."""
    words = [WORDS.get(name, name) for name in dict.fromkeys(measures)]
    return " or ".join(words) or "accuracy"


def _names(records: Sequence[Record]) -> list[str]:
    """Return the names of the runs' directories, or their paths where names repeat."""
    names = [record.run.resolve().name for record in records]
    return [
        str(record.run) if names.count(name) > 1 else name
        for name, record in zip(names, records, strict=True)
    ]


def _options(recipe: Any) -> str:
    """Return the recipe options of the configuration, on one line."""
    given = {} if isinstance(recipe, str) else {k: v for k, v in recipe.items() if k != "name"}
    return text_of(given, flow=True).strip() if given else ""


def _group(runs: list[dict[str, Any]], records: Sequence[Record]) -> None:
    """Set the same group and label for runs that differ only in their seed."""
    abouts = [record.about for record in records]
    kinds = [(one.engine, one.recipe, one.updates, one.settings) for one in abouts]
    groups = [kinds.index(kind) for kind in kinds]
    recipes = [runs[group]["recipe"] for group in dict.fromkeys(groups)]
    for run, group in zip(runs, groups, strict=True):
        recipe, name = runs[group]["recipe"], runs[group]["name"]
        label = recipe if recipes.count(recipe) == 1 else f"{recipe} ({name})"
        run |= {"group": group, "seeds": groups.count(group), "label": label}


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
