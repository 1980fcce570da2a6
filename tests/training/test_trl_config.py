"""Options of a run: defaults of the recipe, the user's values, and errors."""

import json
import math

import pytest
import yaml
from training_cases import config
from transformers import HfArgumentParser
from trl import GRPOConfig, ModelConfig, ScriptArguments, TrlParser

from vantage.errors import ConfigError, VantageError
from vantage.methods import RECIPES, recipe
from vantage.training.trl.config import ROW_MEANS, TOKEN_MEANS, VantageConfig, check_metric

SHARED = {"prompts": 2, "transforms": {"names": ["noise-10"]}}

BEST_AT_END = {
    "load_best_model_at_end": True,
    "eval_strategy": "steps",
    "save_strategy": "steps",
}

BAD = [
    ({"recipe": "grop"}, ["recipe", "'grop'", "did you mean 'grpo'"]),
    ({"recipe": {"fraction": 0.5}}, ["recipe=", "name"]),
    ({"recipe": 3}, ["recipe=3", "name"]),
    ({"recipe": {"name": "shuffle-r1", "fracion": 0.5}}, ["'fracion'", "did you mean 'fraction'"]),
    ({"recipe": {"name": "shuffle-r1", "fraction": 1.5}}, ["fraction=1.5"]),
    ({"recipe": {"name": "shuffle-r1", "rounds": 0}}, ["rounds=0"]),
    (
        {"recipe": {"name": "shuffle-r1", "rounds": 3}},
        ["rounds=3", "'shuffle-r1'", "2 updates", "2 or 4 would do"],
    ),
    ({"recipe": "share-grpo"}, ["'share-grpo' shares", "variants.prompts is 1"]),
    ({"recipe": "share-shuffle"}, ["'share-shuffle' shares", "variants.prompts is 1"]),
    ({"num_generations": 1}, ["num_generations=1", "at least 2"]),
    (
        {"variants": {"prompts": 3, "transforms": {"names": ["noise-10"]}}},
        ["generation_batch_size=16", "variants.prompts=3", "multiple of 12", "12 or 24 would do"],
    ),
    ({"num_generations": 6}, ["TRL", "generation_batch_size (16)", "num_generations (6)"]),
    ({"generation_batch_size": 16}, ["TRL", "'generation_batch_size' and 'steps_per_generation'"]),
    (
        {"steps_per_generation": 4, "gradient_accumulation_steps": 3},
        ["steps_per_generation=4", "gradient_accumulation_steps=3", "3 or 6 would do"],
    ),
    (
        {"steps_per_generation": 2, "gradient_accumulation_steps": 4},
        ["steps_per_generation=2", "gradient_accumulation_steps=4", "; 4 would do"],
    ),
    (
        {"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 3},
        ["eval_steps=3 with save_strategy='best'", "2 or 4 would do"],
    ),
    (
        {"recipe": "share-grpo", "variants": SHARED, "epsilon_high": 2.0},
        ["epsilon_high=2.0", "3.0", "delta"],
    ),
    (
        {"eval_steps": 6, "save_steps": 6, "num_iterations": 2, **BEST_AT_END},
        ["eval_steps=6 with load_best_model_at_end", "4 updates", "4 or 8 would do"],
    ),
    ({"metric_for_best_model": "loss"}, ["metric_for_best_model='loss'", "always 0", "reward'"]),
    ({"metric_for_best_model": "eval_loss", **BEST_AT_END}, ["best_model='eval_loss'", "always 0"]),
    ({"recipe": '{"name": "grpo"'}, ['recipe=\'{"name": "grpo"\'', "not JSON"]),
    ({"multi_objective_aggregation": "normalize_then_sum"}, ["multi_objective_aggregation="]),
    ({"scale_rewards": "batch"}, ["scale_rewards='batch'", "leave it at 'group'"]),
    ({"scale_rewards": False}, ["scale_rewards='none'", "leave it at 'group'"]),
    ({"loss_type": "gpro"}, ["loss_type='gpro'", "did you mean 'grpo'"]),
    ({"importance_sampling_level": "word"}, ["importance_sampling_level='word'", "token"]),
    ({"prompt_template": "Think: {problem}"}, ["prompt_template=", "{question}"]),
    ({"prompt_template": "<image> <image> {question}"}, ["prompt_template=", "<image> 2 times"]),
    ({"prompt_template": "{question} <image>"}, ["prompt_template=", "after {question}"]),
    ({"on_long_prompt": "truncate"}, ["on_long_prompt='truncate'", "error"]),
    ({"min_pixels": 800, "max_pixels": 400}, ["min_pixels=800", "max_pixels=400"]),
    ({"variants": {"prompts": 0}}, ["variants", "prompts", "greater than or equal to 1", "got 0"]),
    ({"variants": {"prompts": 2.0, "rewrites": "other"}}, ["variants", "prompts", "got 2.0"]),
    ({"variants": {"prompts": 2}}, ["variants", "prompts=2", "nothing to vary"]),
    ({"variants": {"promts": 2}}, ["variants", "promts", "did you mean 'prompts'"]),
    ({"variants": {"transforms": {"names": ["noise-20"]}}}, ["'noise-20'", "did you mean 'noise-"]),
    ({"variants": {"transforms": {"probability": 1.5}}}, ["transforms.probability", "got 1.5"]),
    ({"variants": {"transforms": {"probability": "often"}}}, ["variants", "often"]),
    ({"variants": ["prompts"]}, ["variants", "got ['prompts']"]),
]


@pytest.mark.parametrize(("options", "named"), BAD, ids=[str(options) for options, _ in BAD])
def test_option_that_contradicts_a_plan_is_named_with_a_valid_value(options, named, tmp_path):
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, **options)
    assert isinstance(caught.value, VantageError)
    assert isinstance(caught.value, ValueError)
    missing = [words for words in named if words not in str(caught.value)]
    assert not missing, str(caught.value)


ITS_OWN = {
    "dr-grpo": {"loss_type": "dr_grpo"},
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
        "updates": 4,
    },
    "dapo-filter": {"epsilon_high": 0.28, "updates": 16},
    "shuffle-r1": {"updates": 4},
    "noisy-rollout": {"updates": 4},
    "share-grpo": {"epsilon_high": 0.3, "delta": 3.0, "updates": 8},
    "share-shuffle": {"epsilon_high": 0.3, "delta": 3.0, "updates": 4},
}


@pytest.mark.parametrize("name", RECIPES)
def test_loss_settings_follow_the_recipe(name, tmp_path):
    variants = SHARED if recipe(name).shares else None
    args = VantageConfig(str(tmp_path), recipe=name, variants=variants, use_cpu=True, bf16=False)
    common = {
        "loss_type": "dapo",
        "importance_sampling_level": "token",
        "epsilon": 0.2,
        "epsilon_high": 0.2,
        "delta": None,
        "beta": 0.0,
        "updates": 1,
    }
    expected = common | ITS_OWN.get(name, {})
    assert {option: getattr(args, option) for option in expected} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"loss_type": "bnpo"}, {"loss_type": "bnpo", "epsilon_high": 0.3}),
        ({"epsilon": 0.1}, {"epsilon": 0.1, "epsilon_high": 0.1}),
        ({"epsilon_high": 0.25}, {"epsilon": 0.2, "epsilon_high": 0.25}),
        ({"epsilon": 0.1, "epsilon_high": 0.4}, {"epsilon": 0.1, "epsilon_high": 0.4}),
        ({"delta": 4.0}, {"delta": 4.0, "epsilon_high": 0.3}),
        ({"delta": math.inf, "epsilon_high": 9.0}, {"delta": math.inf}),
        ({"loss_type": "cispo", "epsilon_high": 5.0}, {"delta": None}),
        ({"loss_type": "grpo"}, {"delta": 3.0}),
        ({"beta": 0.04}, {"beta": 0.04}),
        ({"importance_sampling_level": "sequence"}, {"importance_sampling_level": "sequence"}),
        ({"steps_per_generation": 2}, {"updates": 2}),
        ({"steps_per_generation": 4, "gradient_accumulation_steps": 4}, {"updates": 1}),
        ({"gradient_accumulation_steps": 2}, {"updates": 8, "generation_batch_size": 128}),
        ({"generation_batch_size": 16}, {"updates": 2, "steps_per_generation": 2}),
        ({"num_iterations": 3}, {"updates": 8, "updates_per_rollout_batch": 24}),
        ({"metric_for_best_model": "eval_rewards/format/mean"}, {"greater_is_better": True}),
        ({}, {"metric_for_best_model": None}),
    ],
    ids=str,
)
def test_user_options_override_the_recipe(given, expected, tmp_path):
    args = VantageConfig(
        str(tmp_path),
        recipe="share-grpo",
        variants=SHARED,
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        **given,
    )
    assert {option: getattr(args, option) for option in expected} == expected


def test_recipe_options_can_be_set(tmp_path):
    args = config(tmp_path, recipe={"name": "shuffle-r1", "fraction": 0.25, "rounds": 4})
    assert args.build_recipe().rounds == 4


def test_custom_recipe_is_loaded_from_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from vantage.methods import Loss, Recipe\n"
        "def gentle(clip=0.1):\n"
        "    return Recipe('gentle', loss=Loss(clip_low=clip, clip_high=clip, updates=2))\n"
    )
    args = VantageConfig(
        str(tmp_path), recipe={"name": f"{file}:gentle", "clip": 0.05}, use_cpu=True, bf16=False
    )
    assert (args.build_recipe().name, args.epsilon, args.updates) == ("gentle", 0.05, 2)


# ---- as in TRL -----------------------------------------------------------------------------

# The recipe decides these; under `grpo` they get the values that TRL has.
BY_THE_RECIPE = {"loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "beta"}


def test_only_recipe_options_change_defaults_of_trl():
    theirs, ours = GRPOConfig.__dataclass_fields__, VantageConfig.__dataclass_fields__
    changed = {name for name in theirs if theirs[name].default != ours[name].default}
    assert changed == BY_THE_RECIPE - {"epsilon_high"}


def test_grpo_options_equal_those_of_trl(tmp_path):
    plain = {"use_cpu": True, "bf16": False, "gradient_accumulation_steps": 4}
    theirs, ours = GRPOConfig(str(tmp_path), **plain), VantageConfig(str(tmp_path), **plain)
    apart = {
        name: (getattr(theirs, name), getattr(ours, name))
        for name in GRPOConfig.__dataclass_fields__
        if repr(getattr(theirs, name)) != repr(getattr(ours, name))
    }
    assert apart == {"epsilon_high": (None, 0.2)}  # for TRL, None is `epsilon`
    assert (ours.updates, ours.generation_batch_size) == (1, 32)


@pytest.mark.parametrize(
    ("given", "upper"),
    [
        ({}, 0.28),
        ({"epsilon": 0.1}, 0.1),
        ({"epsilon_high": 0.4}, 0.4),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss_type", [*TOKEN_MEANS, *ROW_MEANS])
def test_upper_clip_follows_the_recipe_for_every_loss(loss_type, given, upper, tmp_path):
    args = config(tmp_path, recipe="dapo-filter", loss_type=loss_type, **given)
    largest = upper if loss_type != "cispo" or "epsilon_high" in given else 1 + upper
    assert args.epsilon_high == pytest.approx(largest)


@pytest.mark.parametrize(
    "deciding",
    [
        {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"},
        {"save_strategy": "best", "eval_strategy": "epoch"},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
    ],
    ids=str,
)
def test_best_model_is_selected_by_reward(deciding, tmp_path):
    args = config(tmp_path, **deciding)
    assert (args.metric_for_best_model, args.greater_is_better) == ("eval_reward", True)


@pytest.mark.parametrize("name", ["easy_loss", "eval_easy_loss"])
def test_loss_of_an_evaluation_set_cannot_select_the_best_model(name, tmp_path):
    args = config(tmp_path, metric_for_best_model=name)
    check_metric(args, None)  # a reward function may log a metric of that name
    with pytest.raises(ConfigError, match=f"metric_for_best_model='{name}': .* always 0"):
        check_metric(args, {"easy": [], "hard": []})


# ---- parsers -------------------------------------------------------------------------------

GIVEN = {
    "recipe": {"name": "shuffle-r1", "fraction": 0.25, "rounds": 4},
    "variants": {"prompts": 2, "transforms": {"names": ["noise-10"]}},
    "sampling": {"name": "skip-silent", "explore": 0.1},
    "record": {"rollouts": 4},
    "model_init_kwargs": {"revision": "v2"},
    "packing": "off",
    "max_prompt_length": 64,
    "max_pixels": 784,
    "epsilon_high": 0.25,
    "prompt_template": "Think. {question}",
    "num_generations": 4,
    "steps_per_generation": 2,
}
PLAIN = {"output_dir": "runs/parsed", "use_cpu": True, "bf16": False, "dataset_name": "digits"}


def parsed(arguments):
    script, args, model = TrlParser(
        (ScriptArguments, VantageConfig, ModelConfig)
    ).parse_args_and_config(arguments)
    assert script.dataset_name == "digits"
    assert model.model_name_or_path == "tiny"
    return args


def words(options) -> list[str]:
    def text(value):
        return json.dumps(value) if isinstance(value, dict) else str(value)

    return [word for name, value in options.items() for word in (f"--{name}", text(value))]


def test_every_option_is_read_from_a_command_line():
    args = parsed(words({**PLAIN, "model_name_or_path": "tiny", **GIVEN}))
    assert {name: getattr(args, name) for name in GIVEN} == GIVEN


def test_every_option_is_read_from_a_file_and_replaced_on_the_command_line(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**PLAIN, "model_name_or_path": "tiny", **GIVEN}))
    args = parsed(["--config", str(file), "--recipe", "dr-grpo", "--packing", "on"])
    expected = GIVEN | {"recipe": "dr-grpo", "packing": "on"}
    assert {name: getattr(args, name) for name in GIVEN} == expected
    assert args.loss_type == "dr_grpo"


def test_parser_has_help_for_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        HfArgumentParser(VantageConfig).parse_args_into_dataclasses(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert [name for name in VantageConfig.__dataclass_fields__ if f"--{name}" not in told] == []


def test_stop_words_do_not_change_log_probs(tmp_path):
    stops = {"stop": ["</answer>"], "stop_token_ids": [7]}
    args = config(tmp_path, use_vllm=True, generation_kwargs=stops)
    assert args.changes_of_log_probs == {}
