"""What a room does not import, so that it can be read, tested and used without it."""

import ast
import re
import subprocess
import sys

import pytest
from modules import graph, reached, read, working_tree

MODULES = read(working_tree())
EDGES = graph(MODULES)
ENGINES = r"(vantage\.training\.)?(trl|verl)(\.|$)|transformers\.(trainer|\w*Trainer\b)"
CONFIGURATION = r"vantage\.(config|sections)(\.|$)"
CLIENTS = r"vantage\.(chat|rewriting)(\.|$)"


def in_room(room):
    return [name for name in MODULES if f"{name}.".startswith(f"vantage.{room}.")]


def crossings(names, forbidden):
    """Imports of modules that match a pattern, each as a line for the message."""
    return [
        f"{MODULES[name].path}:{found.line} imports {found.name}"
        for name in names
        for found in MODULES[name].imports()
        if re.match(forbidden, found.name)
    ]


# ------------------------------------------------------------------------------ what is written


def test_methods_import_numpy_and_the_standard_library_alone():
    """So do the modules of the package that they need."""
    names = {*in_room("methods")}
    for name in in_room("methods"):
        names |= reached(name, EDGES)
    known = "|".join(sorted(sys.stdlib_module_names | {"numpy", "vantage"}))
    assert crossings(sorted(names), rf"(?!({known})(\.|$))") == []


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("checking", ENGINES),
        ("record", ENGINES),
        ("record", CONFIGURATION),
        ("questions", CLIENTS),
    ],
    ids=["checking, engines", "record, engines", "record, configuration", "questions, clients"],
)
def test_a_room_does_not_import(room, forbidden):
    assert in_room(room)
    assert crossings(in_room(room), forbidden) == []


def test_questions_know_no_torch_distributed():
    """Not even a torch that somebody else loaded."""
    mentioned = [
        f"{MODULES[name].path}:{node.lineno}"
        for name in in_room("questions")
        for node in ast.walk(MODULES[name].tree)
        if isinstance(node, ast.Attribute) and node.attr == "distributed"
    ]
    assert mentioned == []
    assert crossings(in_room("questions"), r"torch\.distributed(\.|$)") == []


# A class of a trainer, or the module that has it; no callback.
TRAINER = r".*\b\w*Trainer(Base|Sync)?$|vantage\.training\.(trl|verl)\.trainer(\.|$)"
# An engine's own trainer, the package that gives it to users, and what starts it.
OF_A_TRAINER = {
    "vantage.training.trl.trainer",
    "vantage.training.verl.trainer",
    "vantage.training.trl",
    "vantage.training.trl.run",
    "vantage.training.verl.driver",
}


def test_only_a_trainer_imports_a_trainer():
    assert MODULES.keys() >= OF_A_TRAINER
    others = [name for name in MODULES if name not in OF_A_TRAINER]
    assert crossings(others, TRAINER) == []


# ------------------------------------------------------------------------------- what is loaded


def loaded_by(script):
    """The modules that a script loads in a process of its own, beside those of NumPy."""
    script = f"""if True:
        import sys, numpy, numpy.random
        before = set(sys.modules)
        {script}
        print(*sorted(set(sys.modules) - before))
    """
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()[-1].split()


def packages(names):
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"numpy"}


@pytest.mark.parametrize("module", ["vantage", "vantage.methods"])
def test_importing_the_methods_loads_numpy_and_the_standard_library_alone(module):
    loaded = packages(loaded_by(f"import {module}"))
    assert "vantage" in loaded
    assert not loaded & {"torch", "transformers", "trl", "datasets", "accelerate", "peft", "PIL"}
    if module == "vantage.methods":
        assert loaded == {"vantage"}


@pytest.mark.parametrize(
    ("modules", "with_transformers"),
    [("vantage.checking.report, vantage.checking.run", True), ("vantage.record", False)],
)
def test_no_engine_is_loaded(modules, with_transformers):
    loaded = loaded_by(f"import {modules}")
    assert ("transformers" in packages(loaded)) == with_transformers
    assert not {"trl", "verl"} & packages(loaded)
    engines = ("vantage.training.trl", "vantage.training.verl")
    assert not [name for name in loaded if name.startswith(engines)]


HEAVY = {"torch", "transformers", "trl", "datasets", "accelerate", "peft", "sklearn", "matplotlib"}
HEAVY |= {"pyarrow", "jinja2"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["eval", "--help"],
        ["expand", "--help"],
        ["replay", "--help"],
        ["report", "--help"],
        ["recipes"],
        ["options"],
        [],
    ],
    ids=str,
)
def test_help_and_recipes_load_nothing_heavy(arguments):
    script = f"""if True:
        import sys
        from vantage import cli
        sys.argv = ["vantage", *{arguments}]
        try:
            cli.main()
        finally:
            print("LOADED", *{{name.partition(".")[0] for name in sys.modules}})
    """
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    printed, _, loaded = ran.stdout.partition("LOADED")
    assert "Traceback" not in ran.stderr
    assert "vantage" in loaded.split()
    assert not HEAVY & set(loaded.split())
    expected = {"recipes": "share-grpo", "options": "learning_rate"}
    assert expected.get("".join(arguments), "Usage") in printed
