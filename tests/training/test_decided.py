"""Engine options cannot contradict the sections of a configuration."""

import pytest

from vantage import config as configuration
from vantage.errors import ConfigError
from vantage.training.decided import check_decided, flat, same
from vantage.training.trl.run import _decided, arguments
from vantage.training.trl.values import INSTEAD, WHOLE

VALUES = {
    "model": {"path": "somewhere", "dtype": "float32", "attention": "sdpa"},
    "data": {"train": "a.parquet", "validation": "b.parquet", "template": "{question}"},
    "run": {"output": "run", "batches": 3, "report_to": ["tensorboard"]},
    "batch": {"questions": 4, "rollouts": 8, "updates": 2},
    "variants": {"prompts": 2, "rewrites": "other"},
    "trl": {"use_cpu": True},
}


def with_trl(name: str, value) -> configuration.Config:
    outer, _, inner = name.partition(".")
    given = {outer: {inner: value}} if inner else {outer: value}
    return configuration.parse({**VALUES, "trl": VALUES["trl"] | given})


DECIDED = _decided(configuration.parse(VALUES))
OTHERS = {
    "recipe": "rloo",
    "variants": {"prompts": 3},
    "record": {"rollouts": 1},
    "sampling": "skip-silent",
    "lr_scheduler_type": "linear",
    "report_to": ["wandb"],
    "reward_weights": [0.5, 0.5],
    "eval_strategy": "no",
    "top_p": 0.5,
    "packing": "off",
    "on_long_prompt": "skip",
    "seed": 7,
    "model_init_kwargs.attn_implementation": "eager",
}


def another(name: str):
    """Another value of the same type."""
    value = DECIDED[name]
    if name in OTHERS:
        return OTHERS[name]
    if value is None:
        return "words" if name == "system_prompt" else 7
    if isinstance(value, bool):
        return not value
    return f"{value} more" if isinstance(value, str) else 2 * value


def test_each_determined_option_has_advice():
    assert DECIDED.keys() == INSTEAD.keys()


@pytest.mark.parametrize("name", INSTEAD)
def test_engine_option_must_repeat_the_value_of_its_section(name):
    given = another(name)
    with pytest.raises(ConfigError) as caught:
        arguments(with_trl(name, given))
    message = str(caught.value)
    assert message.startswith(f"trl.{name}=") and "must stay" in message
    assert message.endswith(INSTEAD[name])


def test_repeating_the_value_of_a_section_is_allowed():
    twice = {name: value for name, value in DECIDED.items() if "." not in name}
    given = VALUES["trl"] | twice | {"model_init_kwargs": {"attn_implementation": "sdpa"}}
    made = arguments(configuration.parse({**VALUES, "trl": given}))
    assert made == arguments(configuration.parse(VALUES))


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"run": {"output": "run", "epochs": 2.0}}, "max_steps", 9),
        ({"run": {"output": "run", "batches": 2}}, "num_train_epochs", 2),
        ({"data": {"train": "a.parquet", "max_prompt_tokens": 9}}, "max_prompt_length", 8),
    ],
)
def test_undetermined_value_is_set_in_its_section(options, name, value):
    values = {**VALUES, **options, "trl": {"use_cpu": True, name: value}}
    with pytest.raises(ConfigError, match=rf"trl\.{name}={value}.*must stay .*; {INSTEAD[name]}"):
        arguments(configuration.parse(values))


def test_loss_options_and_undetermined_options_can_be_set():
    given = {"beta": 0.1, "epsilon": 0.1, "loss_type": "grpo", "num_iterations": 2, "optim": "sgd"}
    made = arguments(configuration.parse({**VALUES, "trl": VALUES["trl"] | given}))
    assert {name: getattr(made, name) for name in given} == given
    assert made.max_steps == 3 * 2 * 2


@pytest.mark.parametrize(
    ("given", "value", "expected"),
    [
        (1, 1.0, True),
        (1, True, False),
        ("run", "./run/", True),
        ("~", "/nowhere", False),
        ("tensorboard", ["tensorboard"], True),
        (["a", "b"], ("a", "b"), True),
        ({"prompts": 2}, {"prompts": 2, "rewrites": None}, True),
        ({"prompts": 3}, {"prompts": 2, "rewrites": None}, False),
        ({"other": 2}, {"prompts": 2}, False),
        (None, 1, False),
    ],
)
def test_equality_of_given_and_determined_values(given, value, expected):
    assert same(given, value) == expected


def test_nested_options_have_dotted_names():
    options = {"a": {"b": 1, "c": {"d.e": 2}}, "f": 3}
    assert dict(flat(options, ("a.c",))) == {"a.b": 1, "a.c": {"d.e": 2}, "f": 3}
    assert dict(flat({"variants": {"prompts": 1}}, WHOLE)) == {"variants": {"prompts": 1}}
    with pytest.raises(ConfigError, match=r"^verl\.a\.b=2: must stay 1; set x$"):
        check_decided("verl", {"a.b": 1}, {"a.b": 2, "z": 3}, {"a.b": "set x"})
