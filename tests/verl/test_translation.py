"""Tests the translation of a configuration to veRL's options, and the checks of options."""

from __future__ import annotations

from pathlib import Path

import capped_tokens
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
from verl.utils.config import omega_conf_to_dataclass

from vantage import config as configuration
from vantage.errors import ConfigError, EngineError
from vantage.training.checkpoints import mark_complete
from vantage.training.decided import flat
from vantage.training.directory import check_output
from vantage.training.resolved import Colocated, Cut, Forward, prompts_of
from vantage.training.verl import driver
from vantage.training.verl.dataset import config_of, conversation, loaded
from vantage.training.verl.launch import INSTEAD, engine_config, train
from vantage.training.verl.resolving import missing_packages, resolve
from vantage.training.verl.resuming import whole_checkpoint
from vantage.training.verl.translation import NO_DUAL_CLIP, options
from vantage.training.versions import check_version

ROLLOUT = "verl__actor_rollout_ref__rollout"
MODEL = "verl__actor_rollout_ref__model"
ACTOR = "verl__actor_rollout_ref__actor"
WHOLE = ("reward.custom_reward_function.reward_kwargs",)
RECIPES = Path(__file__).parents[2] / "recipes"


def chosen(config, *names):
    made = engine_config(config)
    return [OmegaConf.select(made, name) for name in names]


def test_sizes_count_prompts_as_veRL_does(settings):
    config = settings(
        batch__questions=8,
        batch__updates=4,
        batch__rollouts=6,
        variants__prompts=2,
        variants__rewrites="other",
    )
    names = ("data.train_batch_size", "actor_rollout_ref.rollout.n")
    names += ("actor_rollout_ref.actor.ppo_mini_batch_size",)
    assert chosen(config, *names) == [16, 6, 4]


@pytest.mark.parametrize(
    ("recipe", "mode", "low", "high", "most"),
    [
        ("grpo", "token-mean", 0.2, 0.2, NO_DUAL_CLIP),
        ("dr-grpo", "seq-mean-token-sum-norm", 0.2, 0.2, NO_DUAL_CLIP),
        ("gspo", "seq-mean-token-mean", 3e-4, 4e-4, NO_DUAL_CLIP),
        ("share-grpo", "token-mean", 0.2, 0.3, 3.0),
        ("dapo-filter", "token-mean", 0.2, 0.28, NO_DUAL_CLIP),
    ],
)
def test_the_loss_is_that_of_the_recipe(recipe, mode, low, high, most, settings):
    actor = "actor_rollout_ref.actor."
    names = ("loss_agg_mode", "clip_ratio_low", "clip_ratio_high", "clip_ratio_c", "use_kl_loss")
    two = {"variants__prompts": 2, "variants__rewrites": "other"}
    found = chosen(settings(recipe=recipe, **two), *(actor + name for name in names))
    assert found == [mode, low, high, most, False]


@pytest.mark.parametrize(("cap", "ratio", "advantage", "loss", "slope"), capped_tokens.CASES)
def test_the_dual_clip_bounds_the_loss_of_a_token(
    cap, ratio, advantage, loss, slope, settings, tmp_path
):
    file = tmp_path / "mine.py"
    file.write_text(
        "from vantage.methods import Loss, Recipe\n"
        "def mine(cap=None):\n"
        "    return Recipe('mine', loss=Loss(clip_high=0.3, dual_clip=cap))\n"
    )
    config = engine_config(settings(recipe={"name": f"{file}:mine", "cap": cap}))
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    now = torch.tensor([[ratio]]).log().requires_grad_()
    one = torch.ones(1, 1)
    found, _ = compute_policy_loss_vanilla(
        torch.zeros(1, 1), now, advantage * one, one, actor.loss_agg_mode, actor
    )
    found.backward()
    assert found.item() == pytest.approx(loss)
    assert now.grad.item() == pytest.approx(slope)


def test_the_user_s_dual_clip_wins_and_a_sequence_ratio_allows_none(settings, tmp_path):
    config = settings(
        recipe="share-grpo",
        variants={"prompts": 2, "rewrites": "other"},
        verl__actor_rollout_ref__actor__clip_ratio_c=10.0,
    )
    assert chosen(config, "actor_rollout_ref.actor.clip_ratio_c") == [10.0]
    file = tmp_path / "mine.py"
    file.write_text(
        "from vantage.methods import Loss, Recipe\n"
        "def mine():\n"
        "    return Recipe('mine', loss=Loss(ratio='sequence', dual_clip=3.0))\n"
    )
    with pytest.raises(ConfigError, match=r"mine.*dual_clip=3\.0.*veRL has no dual clip"):
        engine_config(settings(recipe=f"{file}:mine"))


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ({}, [0.9, 0.8, 1, True, False]),
        ({"rollouts": 8, "temperature": 0.5, "before_training": True}, [0.5, 0.8, 8, True, True]),
        ({"temperature": 0.0}, [0.0, 0.8, 1, False, False]),
    ],
    ids=str,
)
def test_validation_has_its_own_generation_options(validation, expected, settings):
    config = settings(
        data__validation="held_out.parquet",
        generation__temperature=0.9,
        generation__top_p=0.8,
        validation=validation,
    )
    section = "actor_rollout_ref.rollout.val_kwargs."
    names = [section + name for name in ("temperature", "top_p", "n", "do_sample")]
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
        (
            {f"{ROLLOUT}__tensor_model_parallel_size": 2},
            ["tensor_model_parallel_size=2 does not divide the 1 GPUs", "nnodes=1"],
        ),
        (
            {"model__freeze_vision_tower": True, f"{MODEL}__external_lib": ["json"]},
            ["external_lib=['json'] with model.freeze_vision_tower", "vantage.training.verl.freez"],
        ),
        ({"run__seed": 2**40}, ["run.seed"]),
        ({"run__output": ""}, ["run.output"]),
        ({"verl__trainer__balance_batch": 1}, ["balance_batch=1", "true or false"]),
        ({"verl__trainer__n_gpus_per_node": 0}, ["n_gpus_per_node=0", "at least 1"]),
        ({"verl__trainer__total_epochs": True}, ["total_epochs=True", "expected a number"]),
        ({"verl__trainer__total_epochs": 10**30}, ["total_epochs=1", "a finite number below"]),
        ({"verl__trainer__total_epochs": -3}, ["total_epochs=-3", "0 or more"]),
        ({f"{ACTOR}__kl_loss_coef": float("nan")}, ["kl_loss_coef=nan", "a finite number"]),
        ({"verl__trainer__nnodes": None}, ["verl.trainer.nnodes=None", "at least 1"]),
        ({f"{ROLLOUT}__data_parallel_size": 0}, ["data_parallel_size=0", "at least 1"]),
        ({f"{ACTOR}__optim__lr": None}, ["actor.optim.lr=None", "optimizer.learning_rate"]),
        ({f"{ROLLOUT}__name": "vlm"}, ["veRL does not support 'vlm'", "'vllm'"]),
        ({f"{ACTOR}__clip_ratio_c": 0.5}, ["clip_ratio_c=0.5", "more than 1"]),
        ({f"{ACTOR}__ppo_max_token_len_per_gpu": 207}, ["must stay 832", "batch.micro_batch"]),
        ({f"{ROLLOUT}__val_kwargs": None}, ["val_kwargs.do_sample=None", "validation.temp"]),
        ({"run__report_to": ["file"], "verl__trainer__logger": ["console"]}, ["run.report_to"]),
        (
            {f"{ACTOR}__fsdp_config__model_dtype": "bf17"},
            ["veRL does not support dtype 'bf17'", "'bf16'"],
        ),
        (
            {f"{ACTOR}__fsdp_config__+mixed_precision": {"param_dtype": "fp8"}},
            ["param_dtype: veRL does not support dtype 'fp8'"],
        ),
        ({"verl__trainer": 5}, ["verl.trainer=5", "set verl.trainer.NAME"]),
        ({f"{MODEL}__override_config": 5}, ["override_config=5", "override_config.NAME"]),
        ({"verl__data__apply_chat_template_kwargs": 5}, ["apply_chat_template_kwargs=5"]),
        ({"verl__trainer__project_name": "${gone.name}"}, ["'gone.name' not found"]),
        ({"verl__trainer__logger": "wandbb"}, ["veRL does not support 'wandbb'", "'wandb'"]),
        ({f"{ACTOR}__use_dynamic_bsz": False}, ["veRL rejects", "ppo_micro_batch_size_per_gpu"]),
        (
            {
                "verl__actor_rollout_ref__actor__use_dynamic_bsz": False,
                "batch__rollouts": 3,
                "batch__questions": 3,
                "verl__trainer__n_gpus_per_node": 2,
            },
            ["veRL rejects the options", "divisible"],
        ),
    ],
)
def test_wrong_options_are_errors_that_say_what_to_do(options, words, settings):
    with pytest.raises(ConfigError) as caught:
        engine_config(settings(**options))
    for word in words:
        assert word in str(caught.value)


def test_bypass_mode_together_with_sharing_is_an_error(settings):
    two = {"variants__prompts": 2, "variants__rewrites": "other"}
    bypass = {"verl__algorithm__rollout_correction__bypass_mode": True}
    words = r"bypass_mode=True: recipe 'share-grpo' shares responses"
    with pytest.raises(ConfigError, match=words):
        engine_config(settings(recipe="share-grpo", **two, **bypass))
    engine_config(settings(recipe="shuffle-r1", **bypass))


def names(values, prefix: str = ""):
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from names(value, f"{prefix}{name}.")


def test_every_translated_option_exists_in_veRL(settings):
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


# Translated options that may be set under `verl`: those of the recipe's loss, those of precision,
# which has its own check, and those that no section determines.
OPEN = (
    *("clip_ratio_c", "clip_ratio_high", "clip_ratio_low", "kl_loss_coef", "loss_agg_mode"),
    *("loss_scale_factor", "policy_loss.loss_mode", "use_dynamic_bsz", "use_kl_loss"),
    *("fsdp_config.dtype", "fsdp_config.mixed_precision.param_dtype", "fsdp_config.model_dtype"),
    *("fsdp_config.use_orig_params", "optim.betas", "optim.optimizer", "optim.optimizer_impl"),
    *("optim.override_optimizer_config.eps", "optim.override_optimizer_config.kahan_sum"),
    *("rollout.agent.default_agent_loop", "rollout.dtype", "rollout.name"),
    *("rollout.tensor_model_parallel_size", "model.external_lib", "trainer.project_name"),
    *("trainer.experiment_name", "SimpleStorage.total_storage_size"),
)


def test_options_that_a_section_determines_cannot_be_set_under_verl(settings):
    lora = {"recipe": "dr-grpo", "model__lora": {"r": 8}, "data__validation": "held_out.parquet"}
    sums = {"recipe": "gspo", "optimizer__weights": "bfloat16", "model__dtype": "auto"}
    kinds = ({}, lora, sums, {"model__freeze_vision_tower": True})
    translated = {name for kind in kinds for name, _ in flat(options(settings(**kind)), WHOLE)}
    assert sorted(name for name in translated - INSTEAD.keys() if not name.endswith(OPEN)) == []
    with initialize_config_module("verl.trainer.config", version_base=None):
        theirs = set(names(OmegaConf.to_container(compose("ppo_trainer"))))
    unlisted = {"trainer.v1.sync.parameter_sync_step"}
    assert INSTEAD.keys() - theirs - translated == unlisted


def test_an_option_under_verl_may_repeat_the_value_of_a_section(settings):
    config = settings(
        run__report_to=["file"],
        verl__trainer__logger=["console", "file"],
        verl__trainer__save_freq=2,
        **{f"{ROLLOUT}__n": 4, f"{ACTOR}__optim__lr": 1e-3},
    )
    assert chosen(config, "trainer.save_freq", "actor_rollout_ref.rollout.n") == [2, 4]


def test_the_memory_estimate_uses_the_options_of_veRL(settings):
    options = {
        "model__dtype": "auto",
        "batch__micro_batch": 6,
        "verl__trainer__n_gpus_per_node": 8,
        "verl__trainer__nnodes": 2,
        f"{MODEL}__enable_gradient_checkpointing": True,
        f"{ROLLOUT}__name": "vllm",
        f"{ROLLOUT}__tensor_model_parallel_size": 4,
        "verl__actor_rollout_ref__actor__use_kl_loss": True,
    }
    found = resolve(settings(**options))
    assert found.precision == ("bfloat16", "float32", "float32")
    assert found.cut == Cut(16, "fsdp")
    # veRL fills a forward up to 6 rows of 200 + 8 tokens, even if the prompts are short.
    assert found.forward == Forward(6, 8, 200, tile=None, reference=True)
    switch = "verl.actor_rollout_ref.rollout.free_cache_engine"
    assert found.colocated == Colocated("vLLM", 0.5, False, switch, 4)
    groups = {"verl__actor_rollout_ref__actor__fsdp_config__fsdp_size": 4}
    assert resolve(settings(**options, **groups)).cut == Cut(4, "fsdp")


@pytest.mark.parametrize(
    "file", sorted(RECIPES.glob("*qwen*b-sh*.yaml")), ids=lambda file: file.stem
)
def test_the_published_recipes_for_qwen_work_on_veRL(file):
    config = configuration.load(file, {"engine": "verl"})
    theirs = engine_config(config)
    assert theirs.data.train_batch_size == 512 * config.variants.prompts
    mini_batch = theirs.actor_rollout_ref.actor.ppo_mini_batch_size
    assert mini_batch * config.batch.updates == theirs.data.train_batch_size


@pytest.mark.parametrize(
    ("dtype", "forwards", "sampler"),
    [
        ("auto", None, "bfloat16"),  # None: bfloat16, with gradients reduced in float32
        ("bfloat16", None, "bfloat16"),
        ("float32", "fp32", "float32"),
    ],
)
def test_weights_are_float32_for_every_precision_of_forwards(dtype, forwards, sampler, settings):
    theirs = engine_config(settings(model__dtype=dtype)).actor_rollout_ref
    for part in (theirs.actor, theirs.ref):
        assert part.fsdp_config.model_dtype == "fp32"
        assert OmegaConf.select(part, "fsdp_config.mixed_precision.param_dtype") == forwards
        assert OmegaConf.select(part, "fsdp_config.mixed_precision.reduce_dtype") is None
    assert theirs.rollout.dtype == sampler


@pytest.mark.parametrize(
    "file", sorted(RECIPES.glob("*qwen*b-sh*.yaml")), ids=lambda file: file.stem
)
def test_the_published_recipes_have_float32_weights_and_bfloat16_forwards(file):
    actor = engine_config(configuration.load(file, {"engine": "verl"})).actor_rollout_ref.actor
    assert actor.fsdp_config.model_dtype == "fp32"
    assert actor.fsdp_config.get("mixed_precision") is None


KEPT = "actor_rollout_ref.actor.fsdp_config.model_dtype"


def test_weights_are_float32_or_bfloat16_with_compensated_sums(settings):
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
def test_steps_that_are_too_small_for_the_precision_are_an_error(rate, optim, words, settings):
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model__attention": None}, "flash-attn is missing, but model.attention is flash_att"),
        ({f"{MODEL}__use_remove_padding": True}, "use_remove_padding is true (veRL's default)"),
        (
            {f"{ROLLOUT}__name": "vllm"},
            "vLLM, the sampler of the run, is missing: pip install 'verl[vllm]",
        ),
    ],
)
def test_missing_packages_are_reported(options, words, settings):
    (found,) = missing_packages(settings(**options))
    assert words in found


def test_no_package_is_reported_if_none_is_missing(settings):
    assert not [*missing_packages(settings())]


def test_resuming_from_a_missing_checkpoint_is_an_error(settings, tmp_path):
    run = tmp_path / "old"
    (run / "global_step_2" / "actor").mkdir(parents=True)
    (run / "latest_checkpointed_iteration.txt").write_text("4")
    config = settings(run__output=str(run))
    configuration.save(config, run / "config.yaml")
    with pytest.raises(ConfigError, match=r"step 4, but .* has no actor and no data.pt; found"):
        train(config, resume=True)


def test_a_damaged_checkpoint_is_skipped_for_the_last_complete_one(tmp_path, caplog):
    for step in (2, 4):
        checkpoint = tmp_path / f"global_step_{step}"
        (checkpoint / "actor").mkdir(parents=True)
        (checkpoint / "actor" / "weights.pt").write_bytes(bytes(1000))
        (checkpoint / "data.pt").write_bytes(b"data")
        mark_complete(checkpoint)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    assert whole_checkpoint(tmp_path).name == "global_step_4"
    (tmp_path / "global_step_4" / "actor" / "weights.pt").write_bytes(bytes(999) + b"1")
    assert whole_checkpoint(tmp_path).name == "global_step_2"
    assert "the content of weights.pt changed" in caplog.text


def test_resuming_with_options_that_change_the_result_is_an_error(settings, tmp_path):
    run = tmp_path / "old"
    run.mkdir()
    before = settings(run__output=str(run), batch__micro_batch=4)
    configuration.save(before, run / "config.yaml")
    check_output(settings(run__output=str(run), batch__micro_batch=2, workers=2), resume=True)
    with pytest.raises(ConfigError, match=r"changed: optimizer.learning_rate from 0.001 to 0.1"):
        check_output(settings(run__output=str(run), optimizer__learning_rate=0.1), resume=True)


def test_a_template_with_a_dollar_sign_reaches_the_workers(settings):
    config = settings(data__template="${question} {question}")
    assert config_of(engine_config(config).data).data.template == "${question} {question}"


def test_starting_a_run_that_has_checkpoints_is_an_error(settings, tmp_path):
    config = settings(run__output=str(tmp_path / "old"))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(ConfigError, match="continue it with --resume"):
        train(config)


@pytest.mark.parametrize("version", ["0.9.0", "0.9.2", "0.10.0", "1.0"])
def test_an_unsupported_version_of_veRL_is_an_error(version):
    with pytest.raises(EngineError, match=rf"verl {version} is installed, vantage needs verl.*pip"):
        check_version("verl", version)


def test_packages_that_differ_are_listed_for_each_node():
    here = {"vantage": "0.1.0", "verl": "0.9.1"}
    nodes = {
        "10.0.0.1": here,
        "10.0.0.2": {"vantage": "missing", "verl": "0.9.1"},
        "10.0.0.3": {"vantage": "0.1.0", "verl": "0.9.0"},
    }
    assert driver.differences(nodes, here) == [
        "10.0.0.2: vantage missing, driver 0.1.0",
        "10.0.0.3: verl 0.9.0, driver 0.9.1",
    ]


def test_a_dry_run_describes_the_run_without_ray(settings, tmp_path, vantage):
    import ray

    path = tmp_path / "run.yaml"
    rewards = {"accuracy": 1.0}
    configuration.save(settings("vision", recipe="shuffle-r1", rewards=rewards), path)
    status, out, _ = vantage("train", path, "--dry-run")
    assert status == 0
    for words in ("verl 0.9.1", "all weights", "4 questions x 1 prompts x 4 rollouts", "2 updates"):
        assert words in out
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("kind", "parts"), [("vision", ["text", "image", "text"]), ("text", ["text"])]
)
def test_an_instruction_may_precede_the_images(kind, parts, settings):
    config = settings(kind, data__template="Think.\n<image>{question}")
    prompts = prompts_of(config, loaded(config, None)[0])
    (message,) = conversation(prompts.original(prompts.rows[0]), plain=False)
    assert [part["type"] for part in message["content"]] == parts
    assert message["content"][0]["text"].startswith("Think.\n")
    assert "<image>" not in "".join(part.get("text", "") for part in message["content"])


def test_rows_with_images_need_a_processor(settings, tmp_path, vantage):
    path = tmp_path / "run.yaml"
    given = settings("vision", recipe="shuffle-r1", model__path=settings().model.path)
    configuration.save(given, path)
    status, out, _ = vantage("check", path)
    assert status == 1
    assert "which reads only text" in out


def test_a_text_only_model_passes_the_check(settings, tmp_path, vantage):
    path = tmp_path / "run.yaml"
    configuration.save(settings("text", rewards={"accuracy": 1.0}), path)
    status, out, _ = vantage("check", path)
    assert status == 0
    assert "equal on all 12 rows compared" in out
