"""Custom code: relative to the YAML file, loaded once, and never from another run's file."""

import multiprocessing
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vantage import config as configuration
from vantage import plugins
from vantage.config import as_values, load, saved
from vantage.errors import ConfigError
from vantage.methods.recipe import recipe
from vantage.questions.sampling import sampling
from vantage.training.directory import check_output

MINE = """
from pathlib import Path

from vantage.methods import Recipe
from vantage.questions.sampling import Shuffle

with (Path(__file__).parent / "times").open("a") as file:
    file.write("x")


class Backwards(Shuffle):
    pass


def mine():
    return Recipe("of {folder}")


def half(completions, **columns):
    return [0.5] * len(completions)
"""


@pytest.fixture
def written(tmp_path):
    """Writes `mine.py` into a directory and says where; counts how often it was loaded."""

    def write(folder, text=MINE):
        file = tmp_path / folder / "mine.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{folder}", folder), encoding="utf-8")
        return file

    return write


def times(file: Path) -> int:
    counted = file.parent / "times"
    return len(counted.read_text()) if counted.exists() else 0


def named(file: Path, function: str = "mine") -> str:
    return f"{file}:{function}"


def run_of(folder: Path, **changes) -> dict:
    values = {
        "model": {"path": "tiny"},
        "data": {"train": "rows.parquet"},
        "run": {"output": str(folder / "run"), "batches": 1},
    }
    return values | changes


def in_yaml(folder: Path, **changes) -> Path:
    file = folder / "run.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(run_of(folder, **changes)))
    return file


def test_files_with_equal_names_are_distinct_modules(written):
    a, b = written("a"), written("b")
    assert recipe(named(a)).name == "of a"
    assert recipe(named(b)).name == "of b"
    assert recipe(named(a)).name == "of a"


def test_file_is_loaded_once_under_all_its_paths(written, tmp_path, monkeypatch):
    file = written("a")
    (tmp_path / "link.py").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    there = (named(file), "a/mine.py:mine", "b/../a/mine.py:mine", "link.py:mine")
    assert len({plugins.load(name) for name in there}) == 1
    sampling(named(file, "Backwards"), 3, 0)
    assert times(file) == 1
    assert not (file.parent / "__pycache__").exists()


def test_failed_file_is_reloaded_once_fixed(written):
    file = written("a", "broken")
    with pytest.raises(ConfigError, match="line 1"):
        plugins.load(named(file))
    assert callable(plugins.load(named(written("a"))))


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_functions_and_objects_can_be_pickled(written, way):
    a, b = (plugins.load(named(written(folder), "half")) for folder in "ab")
    kind = plugins.load(named(written("c"), "Backwards"))
    with multiprocessing.get_context(way).Pool(1) as pool:
        assert pool.apply(a, (["x"],)) == pool.apply(b, (["x"],)) == [0.5]
        assert pool.apply(kind, (3, 0)).questions == 3


def test_fresh_process_unpickles_custom_functions(written):
    cloudpickle = pytest.importorskip("cloudpickle", reason="Ray's way to its workers")
    function = plugins.load(named(written("a"), "half"))
    for sent in (pickle.dumps(function), cloudpickle.dumps(function)):
        program = f"import pickle; print(pickle.loads({sent!r})(['x']))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout == "[0.5]\n", done.stderr


FAILING = {
    "syntax": ("def mine(:\n", "line 1: SyntaxError"),
    "a name": ("\nmine = nothing\n", "line 2, in <module>: NameError"),
    "a module": ("import nowhere_to_be_found\n", "line 1, in <module>: ModuleNotFoundError"),
    "an exit": ("raise SystemExit(0)\n", "line 1, in <module>: SystemExit"),
    "no text": ("mine = '\0'\n", "null bytes"),
    "in the recipe": ("def mine():\n    return {}['a']\n", "line 2, in mine: KeyError: 'a'"),
    "in a stage": (
        "from vantage.methods import Recipe\n\n\ndef worst(ranked, rng):\n    return 1 / 0\n\n\n"
        "def mine():\n    return Recipe('mine', selection=worst)\n",
        "line 5, in worst: ZeroDivisionError",
    ),
    "no function": ("mine = 3\n", "has no function 'mine'; it has none"),
    "no signature": ("mine = int\n", "expected a Recipe"),
    "no words": (
        "class E(Exception):\n    def __str__(self):\n        return 1 / 0\n\n\nraise E\n",
        "line 6, in <module>: E",
    ),
    "another": ("def mime():\n    pass\n", "did you mean 'mime'?"),
}


@pytest.mark.parametrize(("text", "told"), FAILING.values(), ids=FAILING)
def test_errors_name_the_users_file_and_line(written, text, told):
    file = written("a", text)
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        recipe(named(file))
    assert "mine.py" in str(refused.value)


def test_failing_sampling_error_names_the_line(written):
    text = "class Mine:\n    def __init__(self, questions, seed):\n        self.missing\n"
    file = written("a", text)
    with pytest.raises(ConfigError, match="line 3, in __init__: AttributeError"):
        sampling(named(file, "Mine"), 3, 0)


def test_invalid_sampling_raises(written):
    file = written("a", "def mine(questions, seed):\n    return {}\n")
    with pytest.raises(ConfigError, match="returned dict, without draw"):
        sampling(named(file), 3, 0)


NOWHERE = ["gone.py:f", "a\0b.py:f", "x" * 300 + ".py:f", "~nobody_at_all/mine.py:f", ".py:f"]


@pytest.mark.parametrize("name", [*NOWHERE, "no.module:f", ":f", "..:f", "os:no_such"])
def test_missing_file_module_or_function_raises(name):
    with pytest.raises(ConfigError, match=r"no file|no module|cannot be loaded|no function"):
        recipe(name)


@pytest.mark.parametrize("spec", ["mine.py:mine", {"name": "mine.py:mine"}])
def test_paths_are_relative_to_the_yaml_file(written, tmp_path, monkeypatch, spec):
    file = written("a")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = {"train": "rows.parquet", "sampling": "../a/mine.py:Backwards"}
    rewards = {"mine.py:half": 1.0}
    settings = load(in_yaml(tmp_path / "a", recipe=spec, data=data, rewards=rewards))
    assert settings.data.sampling == named(file, "Backwards")
    assert settings.rewards == {named(file, "half"): 1.0}
    assert settings.recipe in (named(file), {"name": named(file)})
    assert times(file) == 1


def test_override_paths_are_relative_to_the_working_directory(written, tmp_path, monkeypatch):
    here = written("here")
    written("there")
    path = in_yaml(tmp_path / "there", rewards={"mine.py:half": 1.0})
    monkeypatch.chdir(tmp_path / "here")
    given = {"recipe": "mine.py:mine", "data.sampling.name": "mine.py:Backwards"}
    settings = load(path, given | {"rewards.mine.py:half": "3", "rewards.accuracy": "1"})
    assert settings.recipe == named(here)
    assert settings.data.sampling == {"name": named(here, "Backwards")}
    there = named(tmp_path / "there" / "mine.py", "half")  # the one that the file names
    assert settings.rewards == {there: 3.0, "accuracy": 1.0}
    settings = load(path, {"rewards": "{mine.py:half: 2}"})
    assert settings.rewards == {named(here, "half"): 2.0}


EVIL = "from pathlib import Path\nPath({canary!r}).touch()\n"


@pytest.fixture
def foreign(tmp_path):
    """The directory of somebody's run, whose configuration names code; and what that would do."""
    folder, canary = tmp_path / "theirs", tmp_path / "canary"
    folder.mkdir()
    (folder / "evil.py").write_text(EVIL.format(canary=str(canary)))
    evil = f"{folder}/evil.py"
    values = run_of(
        folder,
        recipe={"name": f"{evil}:f"},
        data={"train": "rows.parquet", "sampling": f"{evil}:g", "template": "Q: {question}"},
        rewards={f"{evil}:h": 1.0},
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    (folder / "model").mkdir()
    yield folder
    assert not canary.exists()


def test_saved_configuration_loads_no_code(foreign):
    assert saved(foreign / "config.yaml").recipe == {"name": f"{foreign}/evil.py:f"}


@pytest.mark.parametrize("given", ["beside the model", "as a run"])
def test_evaluation_loads_no_code_of_a_configuration(foreign, given):
    from vantage.evaluation.run import framing

    model, run = (str(foreign / "model"), None) if given == "beside the model" else ("m", foreign)
    assert framing(model, run, None, None, None, None).template == "Q: {question}"


def test_resuming_a_foreign_run_loads_none_of_its_code(foreign):
    mine = configuration.parse(run_of(foreign) | {"run": {"output": str(foreign), "batches": 1}})
    with pytest.raises(ConfigError, match=r"this changed: .*evil\.py"):
        check_output(mine, resume=True)


def resumed(folder: Path, before: Path, now: Path) -> None:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    then, later = (
        configuration.parse(run_of(folder, recipe=named(file), rewards={named(file, "half"): 1.0}))
        for file in (before, now)
    )
    configuration.save(then, run / "config.yaml")
    if before != now and before.parent.name == "old":
        before.unlink()
    check_output(later, resume=True)


def test_moved_code_is_the_same_but_another_file_of_equal_name_is_not(written, tmp_path):
    resumed(tmp_path, written("a"), written("a"))
    resumed(tmp_path, written("old"), written("new"))
    with pytest.raises(ConfigError, match=r"this changed: .*a/mine\.py:mine.* to .*b/mine\.py"):
        resumed(tmp_path, written("a"), written("b"))


def test_saved_configuration_has_absolute_paths_of_code(written, tmp_path, monkeypatch):
    file = written("a")
    monkeypatch.chdir(tmp_path / "a")
    settings = load(in_yaml(tmp_path / "a", recipe="mine.py:mine"))
    configuration.save(settings, tmp_path / "config.yaml")
    assert as_values(saved(tmp_path / "config.yaml"))["recipe"] == named(file)
