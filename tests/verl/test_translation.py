"""Our configuration in veRL's words, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from vantage import config as configuration
from vantage.errors import ConfigError, EngineError
from vantage.training.inputs import check_output
from vantage.training.verl import driver
from vantage.training.verl.dataset import config_of
from vantage.training.verl.launch import engine_config, rehearse, train
from vantage.training.verl.translation import options
from vantage.training.versions import check_version

RECIPES = Path(__file__).parents[2] / "recipes"


def chosen(config, *names):
    made = engine_config(config)
    return [OmegaConf.select(made, name) for name in names]


def test_sizes_count_prompts_as_veRL_does(settings):
    config = settings(
        batch__questions=8,
        batch__updates=4,
        batch__rollouts=6,
        variants__count=2,
        variants__rewrites="other",
    )
    names = ("data.train_batch_size", "actor_rollout_ref.rollout.n")
    names += ("actor_rollout_ref.actor.ppo_mini_batch_size",)
    assert chosen(config, *names) == [16, 6, 4]


@pytest.mark.parametrize(
    ("recipe", "mode", "low", "high"),
    [
        ("grpo", "token-mean", 0.2, 0.2),
        ("dr-grpo", "seq-mean-token-sum-norm", 0.2, 0.2),
        ("gspo", "seq-mean-token-mean", 3e-4, 4e-4),
        ("share-grpo", "token-mean", 0.2, 0.3),
        ("dapo-filter", "token-mean", 0.2, 0.28),
    ],
)
def test_the_loss_is_the_recipe_s(recipe, mode, low, high, settings):
    actor = "actor_rollout_ref.actor."
    names = ("loss_agg_mode", "clip_ratio_low", "clip_ratio_high", "use_kl_loss")
    found = chosen(settings(recipe=recipe), *(actor + name for name in names))
    assert found == [mode, low, high, False]


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ({}, [0.9, 0.8, 1, True, False]),
        ({"rollouts": 8, "temperature": 0.5, "before_training": True}, [0.5, 0.8, 8, True, True]),
        ({"temperature": 0.0}, [0.0, 0.8, 1, False, False]),
    ],
    ids=str,
)
def test_a_validation_samples_as_it_was_told(validation, expected, settings):
    config = settings(
        data__validation="held_out.parquet",
        generation__temperature=0.9,
        generation__top_p=0.8,
        validation=validation,
    )
    asked = "actor_rollout_ref.rollout.val_kwargs."
    names = [asked + name for name in ("temperature", "top_p", "n", "do_sample")]
    assert chosen(config, *names, "trainer.val_before_train") == expected


def test_an_option_of_veRL_wins(settings):
    config = settings(verl__actor_rollout_ref__actor__clip_ratio_high=0.35)
    assert chosen(config, "actor_rollout_ref.actor.clip_ratio_high") == [0.35]


def test_an_option_that_veRL_does_not_list_is_added_with_a_plus(settings):
    config = settings(verl={"trainer": {"+mine": 3, "n_gpus_per_node": 1, "device": "cpu"}})
    assert chosen(config, "trainer.mine") == [3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"verl__trainer__nnodez": 2}, ["verl.trainer.nnodez", "nnodes", "+nnodez"]),
        ({"verl__trainers": {}}, ["verl.trainers", "trainer"]),
        ({"verl__algorithm__adv_estimator": "gae"}, ["adv_estimator", "must stay 'grpo'"]),
        ({"verl__actor_rollout_ref__actor__ppo_epochs": 2}, ["ppo_epochs", "batch.updates"]),
        ({"verl__trainer__v1__trainer_mode": "colocate_async"}, ["trainer_mode", "synchronous"]),
        ({"verl__data__train_batch_size": 7}, ["train_batch_size", "batch.questions"]),
        ({"verl__actor_rollout_ref__rollout__n": 3}, ["rollout.n=3", "batch.rollouts"]),
        ({"verl__model_engine": "megatron"}, ["model_engine", "FSDP"]),
        ({"verl__trainer__v1__sync": {"parameter_sync_step": 2}}, ["parameter_sync_step"]),
        ({"verl__trainer__logger": ["console", "wandbb"]}, ["'wandbb'", "wandb"]),
        ({"data__max_prompt_tokens": None}, ["data.max_prompt_tokens", "2048"]),
        ({"batch__packing": "on"}, ["batch.packing", "auto"]),
        ({"model__dtype": "float16"}, ["model.dtype", "bfloat16"]),
        ({"optimizer__schedule": "polynomial"}, ["optimizer.schedule", "constant, cosine"]),
        ({"verl__trainer__n_gpus_per_node": "many"}, ["n_gpus_per_node='many'", "a number"]),
        ({"verl__trainer__balance_batch": 1}, ["balance_batch=1", "true or false"]),
        (
            {
                "verl__actor_rollout_ref__actor__use_dynamic_bsz": False,
                "batch__rollouts": 3,
                "batch__questions": 3,
                "verl__trainer__n_gpus_per_node": 2,
            },
            ["veRL refuses the options", "divisible"],
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(options, words, settings):
    with pytest.raises(ConfigError) as caught:
        engine_config(settings(**options))
    for word in words:
        assert word in str(caught.value)


def test_bypass_mode_and_sharing_are_refused_together(settings):
    two = {"variants__count": 2, "variants__rewrites": "other"}
    bypass = {"verl__algorithm__rollout_correction__bypass_mode": True}
    with pytest.raises(ConfigError, match=r"bypass_mode=True: .* shared response .*'share-grpo'"):
        engine_config(settings(recipe="share-grpo", **two, **bypass))
    engine_config(settings(recipe="shuffle-r1", **bypass))


def names(values, prefix: str = ""):
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from names(value, f"{prefix}{name}.")


def test_every_option_that_is_translated_is_one_of_veRL(settings):
    lora = {"model__lora": {"r": 8}, "model__freeze_vision_tower": True}
    ours = set(names(options(settings(recipe="dr-grpo", **lora))))
    with initialize_config_module("verl.trainer.config", version_base=None):
        theirs = set(names(OmegaConf.to_container(compose("ppo_trainer"))))
    free = (
        "data.vantage",
        "reward.custom_reward_function.reward_kwargs",
        "actor_rollout_ref.model.override_config.",
        "actor_rollout_ref.actor.fsdp_config.mixed_precision",
        "actor_rollout_ref.ref.fsdp_config.mixed_precision",
    )
    assert sorted(name for name in ours - theirs if not name.startswith(free)) == []


@pytest.mark.parametrize(
    "file", sorted(RECIPES.glob("*qwen*b-sh*.yaml")), ids=lambda file: file.stem
)
def test_the_published_recipes_for_qwen_are_recipes_for_veRL(file):
    made = engine_config(configuration.load(file, {"engine": "verl"}))
    assert made.data.train_batch_size % 512 == 0
    assert made.actor_rollout_ref.actor.ppo_mini_batch_size * 4 == made.data.train_batch_size


@pytest.mark.parametrize(
    ("dtype", "forwards", "sampler"),
    [
        ("auto", None, "bfloat16"),  # None: bfloat16, with gradients reduced in float32
        ("bfloat16", None, "bfloat16"),
        ("float32", "fp32", "float32"),
    ],
)
def test_weights_are_kept_in_float32_whatever_forwards_compute_in(
    dtype, forwards, sampler, settings
):
    made = engine_config(settings(model__dtype=dtype)).actor_rollout_ref
    for part in (made.actor, made.ref):
        assert part.fsdp_config.model_dtype == "fp32"
        assert OmegaConf.select(part, "fsdp_config.mixed_precision.param_dtype") == forwards
        assert OmegaConf.select(part, "fsdp_config.mixed_precision.reduce_dtype") is None
    assert made.rollout.dtype == sampler


@pytest.mark.parametrize(
    "file", sorted(RECIPES.glob("*qwen*b-sh*.yaml")), ids=lambda file: file.stem
)
def test_the_published_recipes_keep_weights_in_float32_and_forward_in_bfloat16(file):
    actor = engine_config(configuration.load(file, {"engine": "verl"})).actor_rollout_ref.actor
    assert actor.fsdp_config.model_dtype == "fp32"
    assert actor.fsdp_config.get("mixed_precision") is None


KEPT = "actor_rollout_ref.actor.fsdp_config.model_dtype"


def test_weights_are_kept_in_float32_or_with_compensated_sums(settings):
    optim = [f"actor_rollout_ref.actor.optim.{name}" for name in ("optimizer_impl", "betas")]
    names = (KEPT, *optim, "actor_rollout_ref.rollout.dtype")
    plain = ["fp32", "torch.optim", [0.9, 0.999], "bfloat16"]
    assert chosen(settings(model__dtype="bfloat16"), *names) == plain
    assert chosen(settings(model__dtype="auto"), *names) == plain
    sums = settings(model__dtype="auto", optimizer__weights="bfloat16")
    assert chosen(sums, *names) == ["bf16", "optimi", [0.9, 0.99], "bfloat16"]


@pytest.mark.parametrize(
    ("rate", "optim", "words"),
    [
        (1e-6, {}, r"torch\.optim\.AdamW at learning rate 1e-06 cannot train .* bfloat16"),
        (1e-6, {"optimizer_impl": "bitsandbytes.optim", "optimizer": "AdamW8bit"}, "bitsandbytes"),
        (1e-3, {}, None),
        (1e-6, {"override_optimizer_config": {"bf16_stochastic_round": True}}, None),
    ],
)
def test_steps_that_cannot_move_the_weights_are_refused(rate, optim, words, settings):
    config = settings(
        model__dtype="bfloat16",
        optimizer__learning_rate=rate,
        verl__actor_rollout_ref__actor__fsdp_config={"model_dtype": "bf16"},
        verl__actor_rollout_ref__actor__optim=optim,
    )
    if words is None:
        assert chosen(config, KEPT) == ["bf16"]
        return
    with pytest.raises(ConfigError, match=words):
        engine_config(config)


def test_a_dry_run_looks_for_flash_attention_where_veRL_would_use_it(settings):
    assert rehearse(settings()) == 3  # 12 rows, 4 questions a batch
    for wanting in (
        {"model__attention": None},
        {"verl__actor_rollout_ref__model__use_remove_padding": True},
    ):
        with pytest.raises(ConfigError, match=r"flash-attn is missing, and .*set model\.attention"):
            rehearse(settings(**wanting))


def test_a_checkpoint_that_is_gone_is_not_taken_for_a_new_run(settings, tmp_path):
    run = tmp_path / "old"
    (run / "global_step_2" / "actor").mkdir(parents=True)
    (run / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(ConfigError, match=r"step 4, but .* has no actor and no data.pt; there is"):
        train(settings(run__output=str(run)), resume=True)


def test_going_on_may_change_how_but_not_what(settings, tmp_path):
    run = tmp_path / "old"
    run.mkdir()
    before = settings(run__output=str(run), batch__forward=4)
    configuration.save(before, run / "config.yaml")
    check_output(
        settings(run__output=str(run), batch__forward=2, workers=2), resume=True, begun=True
    )
    with pytest.raises(ConfigError, match=r"changed: optimizer.learning_rate from 0.001 to 0.1"):
        check_output(
            settings(run__output=str(run), optimizer__learning_rate=0.1), resume=True, begun=True
        )


def test_a_template_with_a_dollar_reaches_the_workers(settings):
    config = settings(data__template="${question} {question}")
    assert config_of(engine_config(config).data).data.template == "${question} {question}"


def test_a_run_with_checkpoints_is_not_begun_again(settings, tmp_path):
    config = settings(run__output=str(tmp_path / "old"))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(ConfigError, match="go on with --resume"):
        train(config)


@pytest.mark.parametrize("version", ["0.9.0", "0.9.2", "0.10.0", "1.0"])
def test_another_version_of_veRL_is_refused(version):
    with pytest.raises(EngineError, match=rf"verl {version} is installed, vantage needs verl.*pip"):
        check_version("verl", version)


def test_nodes_that_differ_are_named_with_the_package():
    here = {"vantage": "0.1.0", "verl": "0.9.1"}
    nodes = {
        "10.0.0.1": here,
        "10.0.0.2": {"vantage": "missing", "verl": "0.9.1"},
        "10.0.0.3": {"vantage": "0.1.0", "verl": "0.9.0"},
    }
    assert driver.differences(nodes, here) == [
        "10.0.0.2: vantage missing, here 0.1.0",
        "10.0.0.3: verl 0.9.0, here 0.9.1",
    ]


def test_a_dry_run_checks_and_shows_what_would_run_without_ray(settings, tmp_path, vantage):
    import ray

    path = tmp_path / "run.yaml"
    configuration.save(settings("vision", recipe="shuffle-r1"), path)
    status, out, _ = vantage("train", path, "--dry-run")
    assert status == 0
    for words in ("verl 0.9.1", "all weights", "4 questions x 1 prompts x 4 rollouts", "4 updates"):
        assert words in out
    assert not ray.is_initialized()
    assert vantage("train", path, "--dry-run", "--verl.trainer.nonsense", "1")[0] == 2
