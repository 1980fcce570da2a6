"""Every path expands ~, and every number must be finite."""

import math
import re
import typing
from pathlib import Path

import pytest
from typer.main import get_command

from vantage import config as configuration
from vantage import files
from vantage.cli import application
from vantage.config import Config, describe
from vantage.errors import ConfigError
from vantage.methods import recipe
from vantage.sections import Function, Named, Place, section_type

COMMANDS = get_command(application.app).commands
MINIMAL = {
    "model": {"path": "m"},
    "data": {"train": "d"},
    "run": {"output": "o", "batches": 1},
}
WRITTEN = "model: {path: m}\ndata: {train: d}\nrun: {output: o, batches: 1}\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


# ------------------------------------------------------------------------------ configuration


def places(section=Config, prefix=""):
    """Options of a configuration that hold a path, by their types."""
    for name, field in section.model_fields.items():
        held = section_type(field.annotation)
        if held is not None:
            yield from places(held, f"{prefix}{name}.")
        elif any("home" in repr(one) or "_named" in repr(one) for one in hints(field)):
            yield f"{prefix}{name}"


def hints(field):
    return [*field.metadata, field.annotation, *getattr(field.annotation, "__args__", ())]


def test_path_and_function_options_have_their_types():
    found = set(places())
    assert {"model.path", "data.train", "run.output", "recipe", "data.sampling"} <= found
    words = re.compile(r"path|output|root|dir|file|train$|validation$")
    texts = {name for name, kind, _ in describe(Config) if "str" in kind and words.search(name)}
    assert texts - found <= {"trl", "verl"}
    assert Place and Function and Named


@pytest.mark.parametrize("name", sorted(set(places()) - {"rewards", "recipe", "data.sampling"}))
def test_configuration_paths_expand_home(name, home, tmp_path):
    section, option = name.split(".")
    values = {**MINIMAL, section: MINIMAL[section] | {option: "~/there"}}
    found = configuration.as_values(configuration.parse(values))[section][option]
    assert found == str(home / "there")
    (home / "run.yaml").write_text(WRITTEN)
    overridden = configuration.load("~/run.yaml", {name: "~/there"})
    assert configuration.as_values(overridden)[section][option] == str(home / "there")


def test_custom_function_paths_expand_home(home):
    (home / "own.py").write_text(
        "from vantage.methods import Recipe\n"
        "from vantage.questions.sampling import Shuffle\n"
        "def mine(): return Recipe('mine')\n"
        "def order(questions, seed): return Shuffle(questions, seed)\n"
    )
    values = {**MINIMAL, "recipe": {"name": "~/own.py:mine"}, "rewards": {"~/own.py:good": 1.0}}
    made = configuration.parse(values)
    assert made.recipe == {"name": f"{home}/own.py:mine"}
    assert made.rewards == {f"{home}/own.py:good": 1.0}
    assert configuration.parse({**MINIMAL, "recipe": "~/own.py:mine"}).recipe.startswith(str(home))


def test_tilde_inside_a_text_is_kept(home):
    assert files.home("~/run") == str(home / "run")
    assert files.home("a ~/b") == "a ~/b"


# ------------------------------------------------------------------------------ command line


def parameters(kind):
    """Pairs of a command and an argument or option whose annotation has a type."""
    found = []
    for one in application.app.registered_commands:
        name = one.name or one.callback.__name__
        hints = typing.get_type_hints(one.callback)
        for option, hint in hints.items():
            if option != "context" and kind in (hint, *typing.get_args(hint)):
                found.append((name, option))
    return found


PATHS = parameters(Path)
TEXTS = parameters(str)


def test_path_options_of_commands_are_known():
    assert {("train", "config"), ("eval", "output"), ("report", "runs")} <= set(PATHS)
    helped = {(name, one.name): one.help for name in COMMANDS for one in COMMANDS[name].params}
    named = [key for key in TEXTS if re.search(r"\b([Dd]irectory|[Ff]ile|file\.py)\b", helped[key])]
    assert {option for _, option in named} == {"data", "model", "recipe"}
    assert {option for _, option in named} <= set(application.PLACES)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_paths_expand_home(command, home):
    seen = {}
    made = COMMANDS[command]
    given = {option: [Path("~/x")] for name, option in PATHS if name == command}
    given |= {
        option: "~/x" for name, option in TEXTS if name == command and option in application.PLACES
    }
    ctx = made.make_context(command, [], resilient_parsing=True)
    ctx.params = dict(given)
    made.callback, kept = (lambda **params: seen.update(params)), made.callback
    try:
        made.invoke(ctx)
    finally:
        made.callback = kept
    here = str(home / "x")
    assert seen == {
        name: [Path(here)] if isinstance(value, list) else here for name, value in given.items()
    }


# ------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("command", "option"), parameters(float))
def test_command_numbers_must_be_finite(command, option, number):
    ctx = COMMANDS[command].make_context(command, [], resilient_parsing=True)
    ctx.params = {option: float(number)}
    with pytest.raises(ConfigError, match=rf"--{option.replace('_', '-')} {number}: .*finite"):
        COMMANDS[command].invoke(ctx)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "place",
    [
        "optimizer.learning_rate",
        "rewards.accuracy",
        "trl.beta",
        "trl.model_init_kwargs.scale",
        "verl.actor_rollout_ref.actor.optim.lr",
        "recipe.fraction",
        "data.sampling.share",
        "variants.transforms.probability",
    ],
)
def test_configuration_numbers_must_be_finite(place, number, home):
    values = {**MINIMAL, "data": dict(MINIMAL["data"]), "recipe": {"name": "shuffle-r1"}}
    values["data"]["sampling"] = {"name": "skip-silent"}
    *sections, name = place.split(".")
    held = values
    for section in sections:
        held = held.setdefault(section, {})
    held[name] = number
    with pytest.raises(ConfigError, match=rf"{name}[=:].* finite number"):
        configuration.parse(values)
    (home / "run.yaml").write_text(WRITTEN)
    with pytest.raises(ConfigError, match="not a finite number"):
        configuration.load(home / "run.yaml", {place: f".{number}".replace(".-", "-.")})


def test_recipe_options_must_be_finite():
    for options in ({"fraction": math.nan}, {"power": math.inf}):
        with pytest.raises(ConfigError, match="finite"):
            recipe("shuffle-r1", **options)
