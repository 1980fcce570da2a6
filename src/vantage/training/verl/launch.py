"""Starts a run on veRL from a configuration."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from transformers import AutoConfig
from verl.utils.tracking import Tracking

from vantage import config as configuration
from vantage import files
from vantage.config import Config
from vantage.errors import ConfigError, VantageError, nearest
from vantage.methods.recipe import parse_recipe
from vantage.training.decided import check_decided
from vantage.training.directory import check_output, locked, save
from vantage.training.inputs import check_attention, load_model, reward_of
from vantage.training.precision import expected, judge
from vantage.training.verl.mismatch import check_correction
from vantage.training.verl.precision import chosen, steps
from vantage.training.verl.resuming import take_whole, whole_checkpoint
from vantage.training.verl.translation import FREEZING, options

logger = logging.getLogger(__name__)

LOCAL_PATHS = (
    ("model", "path"),
    ("data", "train"),
    ("data", "validation"),
    ("data", "image_root"),
)
LOGGER = "trainer.logger"
# Options of veRL that a section of the configuration or the plan determines -> advice on what to
# set instead, or the reason.
INSTEAD = {
    "actor_rollout_ref.actor.freeze_vision_tower": "set model.freeze_vision_tower",
    "actor_rollout_ref.actor.fsdp_config.seed": "set run.seed",
    "actor_rollout_ref.actor.optim.clip_grad": "set optimizer.max_grad_norm",
    "actor_rollout_ref.actor.optim.lr": "set optimizer.learning_rate",
    "actor_rollout_ref.actor.optim.lr_scheduler_type": "set optimizer.schedule",
    "actor_rollout_ref.actor.optim.weight_decay": "set optimizer.weight_decay",
    "actor_rollout_ref.actor.ppo_epochs": "set batch.updates",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": "set batch.micro_batch",
    "actor_rollout_ref.actor.ppo_mini_batch_size": "set batch.updates",
    "actor_rollout_ref.actor.shuffle": "the plan determines the order of the samples",
    "actor_rollout_ref.hybrid_engine": "only the synchronous trainer is supported",
    "actor_rollout_ref.model.lora_alpha": "set model.lora.alpha",
    "actor_rollout_ref.model.lora_rank": "set model.lora.r",
    "actor_rollout_ref.model.override_config.attn_implementation": "set model.attention",
    "actor_rollout_ref.model.path": "set model.path",
    "actor_rollout_ref.model.target_modules": "set model.lora.target_modules",
    "actor_rollout_ref.rollout.calculate_log_probs": "the sampler's log-probs are compared with "
    "those of the trainer",
    "actor_rollout_ref.rollout.n": "set batch.rollouts",
    "actor_rollout_ref.rollout.seed": "set run.seed",
    "actor_rollout_ref.rollout.temperature": "set generation.temperature",
    "actor_rollout_ref.rollout.top_p": "set generation.top_p",
    "actor_rollout_ref.rollout.val_kwargs.do_sample": "set validation.temperature",
    "actor_rollout_ref.rollout.val_kwargs.n": "set validation.rollouts",
    "actor_rollout_ref.rollout.val_kwargs.temperature": "set validation.temperature",
    "actor_rollout_ref.rollout.val_kwargs.top_p": "set generation.top_p",
    "algorithm.adv_estimator": "the recipe computes the advantages",
    "algorithm.filter_groups.enable": "use the recipe 'dapo-filter'",
    "algorithm.use_kl_in_reward": "a recipe needs one reward per rollout",
    "critic.enable": "recipes have no critic",
    "data.custom_cls.name": "vantage makes the prompts",
    "data.custom_cls.path": "vantage makes the prompts",
    "data.dataloader_num_workers": "vantage makes the prompts",
    "data.filter_overlong_prompts": "set data.on_long_prompt",
    "data.gen_batch_size": "set batch.questions and variants.prompts",
    "data.max_prompt_length": "set data.max_prompt_tokens",
    "data.max_response_length": "set generation.max_tokens",
    "data.seed": "set run.seed",
    "data.shuffle": "set data.sampling",
    "data.train_batch_size": "set batch.questions and variants.prompts",
    "data.train_files": "set data.train",
    "data.train_max_samples": "use a data set with fewer rows in data.train",
    "data.val_files": "set data.validation",
    "data.val_max_samples": "use a data set with fewer rows in data.validation",
    "data.vantage": "change the configuration itself",
    "distillation.enabled": "recipes have no teacher model",
    "model_engine": "only FSDP is supported",
    "reward.custom_reward_function.name": "set rewards",
    "reward.custom_reward_function.path": "set rewards",
    "reward.custom_reward_function.reward_kwargs": "set rewards and judge",
    "reward.reward_model.enable": "call the model in a reward function of your own, or use the "
    "reward 'judge'",
    "trainer.balance_batch": "vantage makes the plan in this step",
    "trainer.critic_warmup": "recipes have no critic",
    "trainer.default_local_dir": "set run.output",
    LOGGER: "set run.report_to",
    "trainer.max_actor_ckpt_to_keep": "set run.keep_checkpoints",
    "trainer.resume_mode": "use --resume to resume",
    "trainer.save_freq": "set run.save_every",
    "trainer.test_freq": "set run.validate_every, or leave data.validation out",
    "trainer.total_epochs": "set run.epochs",
    "trainer.total_training_steps": "set run.batches",
    "trainer.use_v1": "only the V1 trainer is supported",
    "trainer.v1.sampler.sync_refill_failed_groups": "groups may differ in size, and recipes "
    "replace questions",
    "trainer.v1.sync.parameter_sync_step": "a plan needs the whole batch",
    "trainer.v1.trainer_mode": "only the synchronous trainer is supported",
    "trainer.val_before_train": "set validation.before_training",
}
# Options that need outputs of the sampler under the trained prompt, which shared responses lack.
NOT_SHARED = (
    "algorithm.rollout_correction.bypass_mode",
    "actor_rollout_ref.rollout.enable_rollout_routing_replay",
)


SIZES = ("tensor_model_parallel_size", "data_parallel_size", "pipeline_model_parallel_size")
COUNTS = (
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
    *(f"actor_rollout_ref.rollout.{name}" for name in SIZES),
)


def train(config: Config, *, resume: bool = False) -> None:
    """Train on the Ray cluster at `RAY_ADDRESS`, or on a local one.

    Writes no file before the directory of the run is locked.

    Args:
        config: Configuration, saved in the directory of the run.
        resume: Whether to resume from the last complete checkpoint, if there is one.

    Raises:
        VantageError: Before the first rollout, the configuration, data, model or cluster is
            invalid; later, the user's code fails, or too many batches have no gradient.
    """
    run = Path(config.run.output)
    check_output(config, resume=resume)
    with locked(config):
        made = _prepared(config, resume)
        if resume:
            take_whole(run)
        save(config, OmegaConf.to_yaml(made))
        _run(made)


def check_run(config: Config, *, resume: bool) -> None:
    """Check that a run can start or resume in its directory.

    Raises:
        ConfigError: As `vantage.training.directory.check_output`; or the run is resumed, and all of
            its checkpoints are missing or damaged.
        InputError: As `vantage.training.directory.check_output`.
    """
    check_output(config, resume=resume)
    if resume:
        whole_checkpoint(Path(config.run.output))


def _prepared(config: Config, resume: bool) -> DictConfig:
    check_run(config, resume=resume)
    made = engine_config(config, resume=resume)
    load_model(config.model.path, **loading(made))
    for name in config.rewards:
        reward_of(name, config.judge)
    return made


def loading(made: DictConfig) -> dict[str, Any]:
    """Keyword arguments for loading the configuration and the processor of the model."""
    return {"trust_remote_code": True} if made.actor_rollout_ref.model.trust_remote_code else {}


def engine_config(config: Config, resume: bool = False) -> DictConfig:
    """Build veRL's configuration from its defaults, our sections, and the options under `verl`.

    Raises:
        ConfigError: As `composed`; or the optimizer's steps are too small for the precision of the
            weights.
    """
    made = composed(config, resume)
    _check_precision(config, made)
    return made


def composed(config: Config, resume: bool = False) -> DictConfig:
    """Build veRL's configuration without checking the precision of the weights.

    Raises:
        ConfigError: An option under `verl` is unknown, has a wrong value or contradicts a section,
            or veRL rejects the options.
    """
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    GlobalHydra.instance().clear()
    with initialize_config_module("verl.trainer.config", version_base=None):
        made = compose("ppo_trainer")
    given = _named(OmegaConf.to_container(made), config.verl)
    with open_dict(made):
        ours = OmegaConf.merge(made, options(_absolute(config), resume))
        made = OmegaConf.merge(ours, given)
    _check_references(made)
    decided = [name for name in INSTEAD if config.run.report_to or name != LOGGER]
    check_decided("verl", _chosen(ours, decided), _chosen(made, decided), INSTEAD)
    _check_shared(config, made)
    _check_loggers(made)
    _check_numbers(made)
    _check_sampler(made.actor_rollout_ref.rollout.name)
    check_correction(made)
    check_attention((made.actor_rollout_ref.model.override_config or {}).get("attn_implementation"))
    _check_gpus(made)
    chosen(made.actor_rollout_ref.actor.fsdp_config)  # raises an error for unknown dtypes
    _check_freezing(config, made)
    try:
        auto_set_device(made)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a message on success
            validate_config(made, need_reference_policy(made), need_critic(made))
    except (AssertionError, ValueError, TypeError, HydraException) as error:
        why = error.__cause__ if isinstance(error, HydraException) else error
        raise ConfigError(f"veRL rejects the options: {why or error}") from error
    return made


def _check_precision(config: Config, made: DictConfig) -> None:
    """Check that the optimizer's steps are large enough for the precision of the weights."""
    actor = made.actor_rollout_ref.actor
    weights = expected(chosen(actor.fsdp_config).loaded, _spread(config.model.path))
    found = judge(weights, steps(actor))
    if found.error:
        raise ConfigError(found.error)
    if found.warning:
        logger.warning(found.warning)
    if actor.optim.optimizer_impl == "optimi" and not find_spec("optimi"):
        raise ConfigError(
            "optimizer.weights=bfloat16: torch-optimi is missing; install it on every node of the "
            "cluster: pip install torch-optimi"
        )


def _spread(path: str) -> float | None:
    """`initializer_range` of the model's configuration; None if unknown."""
    try:
        model = AutoConfig.from_pretrained(path, trust_remote_code=False).get_text_config()
    except (OSError, ValueError):
        return None  # loading the model reports what is wrong with the path
    return getattr(model, "initializer_range", None)


def gpus_of(made: DictConfig) -> int:
    """Number of GPUs of the run."""
    return made.trainer.n_gpus_per_node * made.trainer.nnodes


def _check_freezing(config: Config, made: DictConfig) -> None:
    """Check that `external_lib` still has the module that freezes the vision tower."""
    given = made.actor_rollout_ref.model.external_lib
    modules = OmegaConf.to_container(given) if OmegaConf.is_list(given) else [given]
    if config.model.freeze_vision_tower and FREEZING not in modules:
        raise ConfigError(
            f"verl.actor_rollout_ref.model.external_lib={given!r} with model.freeze_vision_tower: "
            f"add {FREEZING!r} to it, the module that freezes the vision tower"
        )


def _check_references(made: DictConfig) -> None:
    """Check that all interpolations ${...} can be resolved, which veRL would only do later."""
    try:
        OmegaConf.to_container(made, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"verl: {error}") from error


def _check_numbers(made: DictConfig) -> None:
    """Check numbers with which veRL would fail only after the first rollouts."""
    for name in COUNTS:
        count = OmegaConf.select(made, name)
        if not isinstance(count, int) or count < 1:
            raise ConfigError(f"verl.{name}={count!r}: expected a whole number of at least 1")
    actor = made.actor_rollout_ref.actor
    if (actor.clip_ratio_c or 0) <= 1:
        raise ConfigError(
            f"verl.actor_rollout_ref.actor.clip_ratio_c={actor.clip_ratio_c}: expected more than 1"
        )


def _check_sampler(name: str) -> None:
    """Check that veRL supports the sampler, which veRL itself would check later."""
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    known = RolloutReplicaRegistry._registry  # includes plugins
    if name not in known:
        hint = nearest(name, known)
        raise ConfigError(
            f"verl.actor_rollout_ref.rollout.name: veRL does not support {name!r}; {hint}"
        )


def _check_gpus(made: DictConfig) -> None:
    """Check that the GPUs divide into whole samplers, which veRL itself would check later."""
    rollout, gpus = made.actor_rollout_ref.rollout, gpus_of(made)
    each = math.prod(rollout[name] for name in SIZES)
    if gpus % each:
        given = " x ".join(f"{name}={rollout[name]}" for name in SIZES if rollout[name] > 1)
        raise ConfigError(
            f"verl.actor_rollout_ref.rollout: {given} does not divide the {gpus} GPUs "
            f"(verl.trainer.n_gpus_per_node={made.trainer.n_gpus_per_node} x nnodes="
            f"{made.trainer.nnodes})"
        )


def _absolute(config: Config) -> Config:
    """Make the paths of a configuration absolute: workers start in directories of their own."""
    values = configuration.as_values(config)
    values["run"]["output"] = str(Path(config.run.output).absolute())
    for section, name in LOCAL_PATHS:
        values[section][name] = _absolute_if_there(values[section][name])
    return configuration.parse(values)


def _absolute_if_there(path: str | None) -> str | None:
    """Make an existing path absolute; a name on the hub is unchanged."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


def _named(known: Any, given: Any, where: str = "verl") -> Any:
    """Check the names and kinds of the options under `verl`, and remove the + of added options.

    As on Hydra's command line, `+name` adds an option that veRL does not list.

    Args:
        known: veRL's defaults.
        given: Options under `verl`.
        where: Name of the section, for error messages.
    """
    if not isinstance(given, dict) or not isinstance(known, dict) or not known:
        _check_kind(known, given, where)
        return files.home(given) if isinstance(given, str) else given
    for name in given:
        if name not in known and not name.startswith("+"):
            hint = nearest(name, known)
            raise ConfigError(f"{where}.{name}: veRL lists no such option; {hint}, or +{name}")
    return {
        name.removeprefix("+"): _named(known.get(name), value, f"{where}.{name}")
        for name, value in given.items()
    }


def _check_kind(known: Any, given: Any, where: str) -> None:
    """Check that a value has the kind of veRL's default, which veRL itself would check later."""
    refers = given is None or (isinstance(given, str) and "${" in given)
    if isinstance(known, dict) and not refers and not isinstance(given, dict):
        raise ConfigError(f"{where}={given!r}: this is a section of options; set {where}.NAME")
    if isinstance(known, bool | int | float) and not refers:
        is_switch = isinstance(known, bool)
        if is_switch is not isinstance(given, bool) or not isinstance(given, int | float):
            kind = "true or false" if is_switch else "a number"
            raise ConfigError(f"{where}={given!r}: expected {kind}, such as {known!r}")
        _check_size(known, given, where)


def _check_size(known: float, given: float, where: str) -> None:
    """Check that a number is finite, and not negative if veRL's default is positive."""
    if not abs(given) < 2**63:  # also true for NaN
        raise ConfigError(f"{where}={given!r}: expected a finite number below 2**63")
    if known > 0 > given:
        raise ConfigError(f"{where}={given!r}: expected 0 or more; veRL's default is {known!r}")


def _chosen(options: DictConfig, names: Iterable[str]) -> dict[str, Any]:
    found = {name: OmegaConf.select(options, name) for name in names}
    return {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in found.items()
    }


def _check_shared(config: Config, made: DictConfig) -> None:
    """Check options that shared responses do not support."""
    recipe = parse_recipe(config.recipe)
    for name in NOT_SHARED if recipe.shares else ():
        if OmegaConf.select(made, name):
            raise ConfigError(
                f"verl.{name}=True: recipe {recipe.name!r} shares responses between the prompts of "
                "a question, but the sampler has no log-probs or routing for them under other "
                "prompts; set it to false"
            )


def _check_loggers(made: DictConfig) -> None:
    loggers = made.trainer.logger or ()
    for logger in [loggers] if isinstance(loggers, str) else loggers:
        if logger not in Tracking.supported_backend:
            hint = nearest(logger, Tracking.supported_backend)
            raise ConfigError(f"run.report_to: veRL does not support {logger!r}; {hint}")


def _run(made: DictConfig) -> None:
    import ray
    from verl.trainer.main_ppo import run_ppo

    from vantage.training.verl.driver import Driver

    try:
        run_ppo(made, task_runner_class=Driver)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, VantageError):
            raise error.cause from None
        raise
