"""The configuration file: types, suggestions for unknown names, overrides, and saving."""

import math
from pathlib import Path

import pytest

from vantage.config import Config, describe, load, parse, save
from vantage.errors import ConfigError
from vantage.yaml_values import text_of

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))

LEAST = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"output": "o", "batches": 1}}


@pytest.fixture
def file(tmp_path):
    """Writes values, or a text, to a file."""

    def write(values=LEAST):
        path = tmp_path / "run.yaml"
        path.write_text(values if isinstance(values, str) else text_of(values))
        return path

    return write


def changed(**options) -> dict:
    """The least configuration with "section__option" set; None takes it away."""
    values = {name: dict(section) for name, section in LEAST.items()}
    for name, value in options.items():
        section, _, option = name.partition("__")
        inner, key = (values.setdefault(section, {}), option) if option else (values, section)
        inner[key] = value
        if value is None:
            del inner[key]
    return values


def test_minimal_file_has_the_defaults(file):
    config = load(file())
    assert (config.model.path, config.recipe, config.batch.rollouts) == ("m", "grpo", 8)
    assert config.rewards == {"accuracy": 0.9, "format": 0.1}


def test_resolved_configuration_round_trips(file, tmp_path):
    config = load(file(changed(recipe={"name": "pods", "fraction": 0.5}, model__lora={"r": 4})))
    save(config, tmp_path / "config.yaml")
    assert load(tmp_path / "config.yaml") == config


OVERRIDES = [
    ({"optimizer.learning_rate": "1e-5"}, lambda c: c.optimizer.learning_rate, 1e-5),
    ({"optimizer.learning_rate": "2.5E-6"}, lambda c: c.optimizer.learning_rate, 2.5e-6),
    ({"run.batches": "7"}, lambda c: c.run.batches, 7),
    ({"run.batches": "null", "run.epochs": "0.5"}, lambda c: c.run.epochs, 0.5),
    ({"recipe.fraction": "0.25"}, lambda c: c.recipe, {"name": "pods", "fraction": 0.25}),
    ({"recipe": "{name: rloo}"}, lambda c: c.recipe, {"name": "rloo"}),
    ({"model.lora.r": "2"}, lambda c: c.model.lora.r, 2),
    ({"variants.transforms.names": "[flip]"}, lambda c: c.variants.transforms.names, ["flip"]),
    ({"trl.use_cpu": "true"}, lambda c: c.trl, {"use_cpu": True}),
    ({"data.template": "Q: {question}"}, lambda c: c.data.template, None),
    ({"data.template": "'Q: {question}'"}, lambda c: c.data.template, "Q: {question}"),
    ({"rewards.format": "0"}, lambda c: c.rewards["format"], 0.0),
    (
        {"rewards.own.py:mine": "2"},
        lambda c: c.rewards,
        {"accuracy": 1.0, f"{Path.cwd()}/own.py:mine": 2.0},
    ),
]


@pytest.mark.parametrize(("given", "read", "value"), OVERRIDES, ids=[str(o[0]) for o in OVERRIDES])
def test_any_option_can_be_overridden(file, given, read, value):
    path = file(changed(recipe="pods", rewards={"accuracy": 1}))
    if value is None:  # a colon and a space make it a mapping
        with pytest.raises(ConfigError, match=r"data\.template: Input should be a valid string"):
            load(path, given)
    else:
        assert read(load(path, given)) == value


def test_every_option_is_described_with_its_default():
    described = {name: (kind, default) for name, kind, default in describe(Config)}
    assert described["model.path"] == ("str", "required")
    assert described["batch.rollouts"] == ("int", "8")
    assert described["model.lora.r"] == ("int", "16")
    assert described["model.dtype"][0] == "'auto' | 'float32' | 'bfloat16' | 'float16'"
    assert described["data.validation"] == ("str | None", "None")
    assert described["data.columns.images"][0] == "str | list[str] | None"
    for name in described:
        section, *_, option = name.split(".") if "." in name else ("", name)
        assert option
        assert section in {"", *Config.model_fields}


def test_the_names_in_the_readme_are_options():
    for name in ("batch.questions", "batch.updates", "batch.micro_batch", "data.columns"):
        section, option = name.split(".")
        assert option in Config.model_fields[section].annotation.model_fields


REFUSED = [
    (changed(modle={}), "modle: unknown; did you mean 'model'?"),
    (changed(optimizer__learning_rat=1), "learning_rat: unknown; did you mean 'learning_rate'?"),
    (changed(model__lora={"rank": 1}), "model.lora.rank: unknown; known: alpha, dropout"),
    (changed(data__columns={"anser": "a"}), "data.columns.anser: unknown; did you mean 'answer'?"),
    (changed(batch__questions="many"), "batch.questions: Input should be a valid integer"),
    (changed(batch__questions="2"), "batch.questions: Input should be a valid integer, got '2'"),
    (changed(batch__questions=True), "batch.questions: Input should be a valid integer"),
    (changed(rewards={}), "rewards: Dictionary should have at least 1 item"),
    (changed(batch__questions=2.5), "batch.questions: Input should be a valid integer"),
    (changed(batch__questions="many"), "got 'many'"),
    (changed(batch__rollouts=1), "batch.rollouts: Input should be greater than or equal to 2"),
    (changed(generation__temperature=0), "generation.temperature: Input should be greater than 0"),
    (changed(generation__top_p=1.5), "generation.top_p: Input should be less than or equal to 1"),
    (changed(model__dtype="float8"), "model.dtype: Input should be 'auto', 'float32'"),
    (changed(data__on_long_prompt="cut"), "data.on_long_prompt: Input should be 'error' or 'skip'"),
    (
        changed(variants__transforms={"names": "clockwise"}),
        "variants.transforms.names: Input should be a valid list",
    ),
    (changed(rewards={"accuracy": "much"}), "rewards.accuracy: Input should be a valid number"),
    (changed(model__path=None), "model.path: Field required"),
    (changed(run=None), "run: Field required"),
    (changed(model="m"), "model: Input should be a valid dictionary"),
    (changed(run__batches=None), "run: give either batches (rollout batches) or epochs"),
    (changed(run__epochs=1), "run: give either batches (rollout batches) or epochs"),
    (changed(run__seed=2**32), "run.seed: Input should be less than 4294967296"),
    (changed(validation={"before_training": True}), "name them in data.validation"),
    (changed(recipe="grop"), "did you mean 'grpo'?"),
    (changed(recipe={"name": "pods", "fracton": 1}), "did you mean 'fraction'?"),
    (changed(recipe={"fraction": 1}), "expected a name or {name: ..., option: value}"),
    (changed(recipe=3), "recipe"),
    (changed(recipe="nowhere.py:mine"), "no file 'nowhere.py'"),
    ({**LEAST, 1: 2}, "1: "),
    (changed(run__1=2), "run.1: unknown"),
    ({**LEAST, "batch": {2: 3}}, "batch.2: "),
    ("model: [", "not YAML"),
    ("a: b: c", "not YAML"),
    ("", "expected sections such as model, data, run"),
    ("- 1", "expected sections such as model, data, run"),
    ("\x00", "not YAML"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[case[1] for case in REFUSED])
def test_invalid_value_error_names_the_option(file, values, words):
    with pytest.raises(ConfigError) as caught:
        load(file(values))
    assert words in str(caught.value)


def test_all_errors_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        parse(changed(modle={}, batch__rollouts=1, run__output=None))
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimiser.learning_rate": "1"}, "optimiser: unknown; did you mean 'optimizer'?"),
        ({"run.batches": "["}, "--run.batches: not YAML"),
        ({"run.batches.x": "1"}, "--run.batches.x: batches is 1, which has no options"),
        ({"": "1"}, "unknown"),
    ],
)
def test_invalid_override_error_names_the_option(file, given, words):
    with pytest.raises(ConfigError) as caught:
        load(file(), given)
    assert words in str(caught.value)


def test_unreadable_file_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("run: {output: Ä}".encode("latin-1"))
    for name, why in {"gone.yaml": "No such file", ".": "directory", "latin.yaml": "UTF-8"}.items():
        with pytest.raises(ConfigError, match=why):
            load(tmp_path / name)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.name)
def test_recipe_files_are_valid(file):
    assert load(file).model.path


@pytest.mark.parametrize("columns", [{}, {"question": "ask"}, {"answer": None, "id": None}])
def test_unset_columns_stay_unset_in_the_saved_file(columns, file, tmp_path):
    config = load(file(changed(data__columns=columns)))
    save(config, tmp_path / "again.yaml")
    again = load(tmp_path / "again.yaml")
    assert again.data.columns.model_fields_set == set(columns)
    assert again == config


def test_on_and_off_work_in_yaml(tmp_path):
    file = tmp_path / "run.yaml"
    for word in ("on", "off", "auto"):
        file.write_text(
            "model: {path: m}\ndata: {train: d.parquet}\nrun: {output: r, epochs: 1}\n"
            f"batch: {{packing: {word}}}\n"
        )
        assert load(file).batch.packing == word
    assert load(file, {"batch.packing": "on"}).batch.packing == "on"


# As people write them; None where the value is refused.
NUMBERS = [
    ("1e-6", 1e-6),
    ("1E-6", 1e-6),
    ("1.e-6", 1e-6),
    ("1.0e6", 1e6),
    (".5e-5", 0.5e-5),
    ("+1e-6", 1e-6),
    ("1_000e-9", 1e-6),
    ("0.000001", 1e-6),
    ("1", 1),
    ("1e-6f", None),
    ("10^-6", None),
    ("'1e-6'", None),
    ("010", None),
    ("0x10", None),
    ("1:30", None),
    (".inf", None),
    ("1e999", None),
    (".nan", None),
    ("-1e-6", None),
    ("yes", None),
]
MINIMAL = "model: {path: m}\ndata: {train: d}\nrun: {output: o, batches: 1}\n"


@pytest.mark.parametrize(("written", "value"), NUMBERS, ids=[case[0] for case in NUMBERS])
def test_numbers_have_their_usual_meaning(file, written, value):
    text = f"{MINIMAL}optimizer:\n  learning_rate: {written}\n"
    overridden = {"optimizer.learning_rate": written}
    if value is None:
        for given in ((text,), (MINIMAL, overridden)):
            with pytest.raises(ConfigError):
                load(file(given[0]), *given[1:])
    else:
        assert load(file(text)).optimizer.learning_rate == value
        assert load(file(MINIMAL), overridden).optimizer.learning_rate == value
        free = f"{MINIMAL}trl: {{adam_epsilon: {written}}}\n"
        assert load(file(free)).trl == {"adam_epsilon": value}


PLACES = [
    "trl: {a: [%s]}",
    "verl: {a: {b: %s}}",
    "rewards: {accuracy: %s}",
    "recipe: {name: pods, fraction: %s}",
]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.INF", "1e400"])
@pytest.mark.parametrize("where", PLACES)
def test_infinite_numbers_raise_at_any_depth(file, where, number):
    with pytest.raises(ConfigError, match="is not a finite number"):
        load(file(f"{MINIMAL}{where % number}\n"))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_infinite_numbers_from_python_raise(number):
    for values in (changed(rewards={"a": number}), changed(optimizer__learning_rate=number)):
        with pytest.raises(ConfigError, match=r"finite number|greater than 0"):
            parse(values)


TEXTS = ["1e5", "007", "2026-01-01", "12:30", "no", "123", "null", "~", "", "a: b", "é", "x\ny"]


@pytest.mark.parametrize("words", TEXTS)
def test_quoted_strings_stay_strings_in_the_saved_file(file, tmp_path, words):
    config = load(file(changed(data__split=words, trl={"run_name": words})))
    save(config, tmp_path / "config.yaml")
    again = load(tmp_path / "config.yaml")
    assert (again.data.split, again.trl["run_name"]) == (words, words)


@pytest.mark.parametrize("words", ["007", "2026-01-01", "12:30", "1e", "12E"])
def test_unquoted_strings_are_not_yaml_1_1_numbers(file, words):
    assert (
        load(
            file(
                f"{MINIMAL}data: {{train: d, split: {words}}}\n".replace(
                    "data: {train: d}\n", "", 1
                )
            )
        ).data.split
        == words
    )


@pytest.mark.parametrize("words", ["123", "1e5", "no", "{question}"])
def test_error_suggests_quotes_for_a_string(file, words):
    with pytest.raises(ConfigError, match=r"split: .*; write it in quotes"):
        load(file(MINIMAL.replace("train: d", f"train: d, split: {words}")))


BOMB = "\n".join(
    ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
)
HOSTILE = [
    (f"{MINIMAL}batch: {{rollouts: 4}}\nbatch: {{questions: 4}}\n", "'batch' occurs twice"),
    (f"{MINIMAL}batch: {{rollouts: 4, rollouts: 8}}\n", "'rollouts' occurs twice"),
    (f"{MINIMAL}trl: {{a: {{b: 1, b: 1}}}}\n", "'b' occurs twice"),
    (BOMB, "more than 20000 values"),
    ("a: &a [*a]", "contains itself"),
    ("a: &a {b: *a}", "contains itself"),
    ("[" * 5000, "more than 50 levels"),
    ("a: " + "[" * 100 + "]" * 100, "more than 50 levels"),
    ("? [1]\n: 2", "unhashable"),
    ("!!float ''", "not YAML"),
    ("!!timestamp 5", "not YAML"),
    ("!!bool 5", "not YAML"),
    ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    (f"{MINIMAL}---\n{MINIMAL}", "single document"),
]


@pytest.mark.parametrize(("text", "words"), HOSTILE, ids=[case[0][-30:] for case in HOSTILE])
def test_hostile_file_raises(file, text, words):
    with pytest.raises(ConfigError) as caught:
        load(file(text))
    assert words in str(caught.value)


def test_anchors_and_merged_sections_can_be_used(file):
    text = f"{MINIMAL}trl: &same {{a: 1}}\nverl: {{<<: *same, b: 2}}\n"
    config = load(file(text))
    assert (config.trl, config.verl) == ({"a": 1}, {"a": 1, "b": 2})


def test_merged_section_may_override_an_option_at_any_position(file):
    text = (
        f"{MINIMAL}trl: {{a: &a {{k: 1}}, b: {{c: &c {{<<: *a, k: 2}}}}}}\nverl: {{<<: *c, d: 3}}\n"
    )
    config = load(file(text))
    assert config.trl == {"a": {"k": 1}, "b": {"c": {"k": 2}}}
    assert config.verl == {"k": 2, "d": 3}


def test_empty_section_has_the_defaults(file):
    assert load(file(f"{MINIMAL}batch:\n  # rollouts: 4\n")).batch.rollouts == 8


def test_every_path_expands_the_home_directory(file, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(
        "from vantage import recipe\n\ndef mine():\n    return recipe('grpo')\n"
    )
    values = changed(
        model__path="~/m",
        data__train="~/d",
        data__validation="~/v",
        data__image_root="~",
        run__output="~/o",
        recipe="~/mine.py:mine",
    )
    config = load(file(values))
    data = config.data
    found = (config.model.path, data.train, data.validation, data.image_root, config.run.output)
    assert found == tuple(str(tmp_path / name) for name in ("m", "d", "v", "", "o"))
