"""Options of a run on TRL: `GRPOConfig` with those of recipes, prompts and data."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset
from trl import GRPOConfig

from vantage.config import Keep
from vantage.errors import ConfigError, nearest
from vantage.methods import Loss, Recipe
from vantage.methods.recipe import parse_recipe
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.questions.sampling import sampling
from vantage.questions.schema import fault_of
from vantage.questions.variants import Variants
from vantage.sections import not_finite, parsed
from vantage.training.shape import check_recipe, nearest_multiples
from vantage.training.trl import precision

# TRL's loss types that are means over tokens, and over rows.
TOKEN_MEANS = ("dapo", "cispo", "vespo", "bnpo")
ROW_MEANS = ("grpo", "dr_grpo", "sapo", "luspo")

# Loss types that clip the ratio. `delta` affects no others.
CLIPPED = ("dapo", "bnpo", "grpo", "dr_grpo", "luspo")

# Options that the plan replaces, or whose result would depend on the split into micro-batches,
# since TRL averages them per forward.
TAKEN_OVER: dict[str, tuple[Any, str]] = {
    "multi_objective_aggregation": ("sum_then_normalize", "a recipe needs one reward per rollout"),
    "scale_rewards": ("group", "the recipe's estimator scales rewards ('dr-grpo' does not)"),
    "top_entropy_quantile": (1.0, "TRL computes the quantile per forward"),
    "entropy_coef": (0.0, "TRL computes the entropy per forward"),
    "use_adaptive_entropy": (False, "TRL computes the entropy per forward"),
}

# Values of generation options with which vLLM samples from the unmodified distribution.
WHOLE = {
    "top_p": (1.0,),
    "top_k": (0, -1, None),
    "min_p": (0, None),
    "repetition_penalty": (1.0,),
}
# vLLM's sampling options that do not change its log-probs.
HARMLESS = {
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "seed",
    "n",
    "max_tokens",
    "detokenize",
    "skip_special_tokens",
    "spaces_between_special_tokens",
}

LOSS_TYPES = {"token": "dapo", "constant": "dr_grpo", "sequence": "grpo"}

# Our options that are dictionaries, given as JSON on the command line.
DICTIONARIES = ["recipe", "variants", "sampling", "record"]

BEST = "eval_reward"  # default of `metric_for_best_model` if something depends on it


def _option(default: Any, words: str) -> Any:
    """A field with a default and a help text."""
    return field(default=default, metadata={"help": words})


@dataclass
class VantageConfig(GRPOConfig):
    """TRL's `GRPOConfig` with a recipe. Loss options left at None follow the recipe.

    A rollout batch has `generation_batch_size` rollouts, with `variants.prompts` prompts per
    question and `num_generations` rollouts per prompt. It is used for `steps_per_generation /
    gradient_accumulation_steps` optimizer updates, by default the recipe's published number, or
    else one, as in TRL.

    All other defaults are those of `GRPOConfig`. `TrlParser` and `HfArgumentParser` read all
    options; on the command line, dictionaries are given as JSON.

    Raises:
        ConfigError: An option contradicts the plan; names it and a valid value.
    """

    _VALID_DICT_FIELDS = GRPOConfig._VALID_DICT_FIELDS + DICTIONARIES

    # The order of types matters: HfArgumentParser converts to the second of three.
    recipe: dict[str, Any] | str | None = _option(
        "grpo", "Recipe name, or {name: ..., option: value}; see `vantage recipes`."
    )
    variants: dict[str, Any] | str | None = _option(
        None, "Prompts per question: prompts, rewrites, transforms, original."
    )
    sampling: dict[str, Any] | str | None = _option(
        "shuffle", "Order of the questions; see `vantage.questions.sampling`."
    )
    prompt_template: str = _option(
        "{question}",
        "Text around every question. {question} is replaced by the question, and "
        "<image> by the images at its start.",
    )
    system_prompt: str | None = _option(None, "System message of every conversation.")
    max_prompt_length: int | None = _option(
        None, "Maximum prompt length in tokens: wording, note and images."
    )
    on_long_prompt: str = _option(
        "error", "Longer prompts: raise an `error`, or `skip` their questions."
    )
    min_pixels: int | None = _option(None, "Scale smaller images up to this many pixels.")
    max_pixels: int | None = _option(None, "Scale larger images down to this many pixels.")
    packing: str = _option(
        "auto",
        "Whether responses to a prompt share one copy of it in a forward: `auto` "
        "if that is exact, `on` to fail if it is not, `off` never.",
    )
    record: dict[str, Any] | str | None = _option(
        None, "Limits of the record: rollouts, characters, pixels."
    )
    eval_temperature: float | None = _option(
        None, "Temperature of validation; 0 decodes greedily. Default: that of training."
    )
    max_silent_batches: int | None = _option(
        8,
        "End the run with a checkpoint after this many consecutive rollout batches "
        "without a gradient (the rewards of each question are equal or missing).",
    )
    check_data: bool = _option(True, "Check every row and its images before the first rollout.")
    compensated_sums: bool = _option(
        False,
        "For bfloat16 weights: use AdamW of torch-optimi, which carries rounding "
        "errors over to the next step.",
    )
    freeze_vision_tower: bool = _option(False, "Freeze the vision tower.")
    loss_type: str | None = _option(None, "TRL's loss. Default: the recipe's.")
    importance_sampling_level: str | None = _option(
        None, "`token` or `sequence`. Default: the recipe's."
    )
    epsilon: float | None = _option(None, "Lower clip of the ratio. Default: the recipe's.")
    epsilon_high: float | None = _option(
        None,
        "Upper clip: the ratio is at most 1 + epsilon_high. Default: the recipe's. "
        "With loss_type 'cispo', as in TRL, the maximum ratio itself; default: 1 + the "
        "recipe's upper clip.",
    )
    delta: float | None = _option(
        None,
        "Dual clip: maximum ratio where the advantage is negative; infinity for none. "
        "Default: the recipe's.",
    )
    beta: float | None = _option(None, "KL coefficient. Default: the recipe's.")
    metric_for_best_model: str | None = _option(
        None,
        "Metric of the best checkpoint: `eval_reward` (default if something depends "
        "on it), or `eval_rewards/NAME/mean` of a reward function.",
    )
    vllm_max_model_length: int | None = _option(
        None,
        "Maximum length of prompt plus response that vLLM reserves its cache for. "
        "Default: `max_prompt_length + max_completion_length` if both are set.",
    )

    def __post_init__(self):
        for name in DICTIONARIES:
            setattr(self, name, _from_json(name, getattr(self, name)))
        self._follow(self.build_recipe().loss)
        self._bound_ratio(self.build_recipe().loss.dual_clip)
        if self.num_generations < 2:
            raise ConfigError(
                f"num_generations={self.num_generations}: a group of one has no advantage; "
                "set at least 2"
            )
        if self.metric_for_best_model is None and self._keeps_best:
            self.metric_for_best_model = BEST  # transformers defaults to the loss, always 0 here
        try:
            super().__post_init__()
        except ValueError as error:
            raise ConfigError(f"TRL rejects the options: {error}") from error
        if self.colocated and self.vllm_max_model_length is None and self.max_prompt_length:
            # vLLM's default, the model's maximum length, would reserve far too much cache.
            self.vllm_max_model_length = self.max_prompt_length + self.max_completion_length
        recipe, variants = self.build_recipe(), self.build_variants()
        self.build_keep()
        _check_sizes(self, variants)
        _check(self, recipe, variants)

    def build_recipe(self) -> Recipe:
        """Build the recipe of the run."""
        spec: Any = self.recipe
        return parse_recipe(spec)

    def build_variants(self) -> Variants:
        """Build the prompt variants of the run."""
        return parsed(Variants, self.variants or {}, "variants")

    def build_prompts(self, rows: Dataset) -> Prompts:
        """Build the prompts of a data set."""
        return Prompts(
            Reader(rows),
            self.build_variants(),
            self.prompt_template,
            self.system_prompt,
            self.seed,
            Bounds(self.min_pixels, self.max_pixels),
        )

    def build_keep(self) -> Keep:
        """Build the limits of the run's record."""
        return parsed(Keep, self.record or {}, "record")

    @property
    def colocated(self) -> bool:
        """Whether vLLM runs in the training processes."""
        return self.use_vllm and self.vllm_mode == "colocate"

    @property
    def room(self) -> int | None:
        """Maximum prompt length of colocated vLLM, in tokens; None for no limit."""
        if not self.colocated or self.vllm_max_model_length is None:
            return None
        return self.vllm_max_model_length - self.max_completion_length

    @property
    def changes_of_log_probs(self) -> dict[str, Any]:
        """Options that change vLLM's log-probs from those of the model: name -> value."""
        given = {name: getattr(self, name) for name in WHOLE} | (self.generation_kwargs or {})
        return {
            name: value
            for name, value in given.items()
            if name not in HARMLESS and value not in WHOLE.get(name, ())
        }

    @property
    def updates(self) -> int:
        """Optimizer updates per pass over a rollout batch."""
        return self.steps_per_generation // self.gradient_accumulation_steps

    @property
    def updates_per_rollout_batch(self) -> int:
        """Optimizer updates per rollout batch, over all passes."""
        return self.updates * self.num_iterations

    def last_update(self, batches_per_epoch: int) -> int:
        """Number of optimizer updates of the whole run."""
        epoch = batches_per_epoch * self.updates_per_rollout_batch
        ends = self.max_steps
        return ends if ends > 0 else math.ceil(epoch * self.num_train_epochs)

    def batches_of(self, updates: int) -> int:
        """Number of rollout batches for `updates` optimizer updates; the last may be partial."""
        return -(-updates // self.updates_per_rollout_batch)

    @property
    def _keeps_best(self) -> bool:
        """Whether checkpoints or the learning rate depend on an evaluation metric."""
        by_metric = self.save_strategy == "best" or self.lr_scheduler_type == "reduce_lr_on_plateau"
        return self.load_best_model_at_end or by_metric

    def _follow(self, loss: Loss) -> None:
        """Take options that the user did not set from the recipe."""
        kind = self.loss_type or LOSS_TYPES[loss.mean]
        above = loss.clip_high if self.epsilon is None else self.epsilon
        theirs: dict[str, Any] = {
            "loss_type": kind,
            "importance_sampling_level": loss.ratio,
            "epsilon_high": 1 + above if kind == "cispo" else above,
            "epsilon": loss.clip_low,
            "beta": loss.kl,
        }
        if self.generation_batch_size is None and loss.updates is not None:
            theirs["steps_per_generation"] = self.gradient_accumulation_steps * loss.updates
        for name, value in theirs.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def _bound_ratio(self, dual_clip: float | None) -> None:
        """Take the recipe's dual clip if the loss supports it and the user set none."""
        if dual_clip is None or self.delta is not None or self.loss_type not in CLIPPED:
            return
        # TRL applies `delta` to positive advantages too. There the upper clip must be the tighter
        # bound.
        if dual_clip <= 1 + (self.epsilon_high or 0.0):
            raise ConfigError(
                f"epsilon_high={self.epsilon_high}: the recipe's dual clip, {dual_clip}, must be "
                "more than 1 + epsilon_high; lower epsilon_high, or set delta (1e6 for no dual "
                "clip)"
            )
        self.delta = dual_clip


def check_arguments(args: Any, rest: Mapping[str, Any]) -> None:
    """Check the arguments of a trainer.

    Raises:
        ConfigError: `args` is not a `VantageConfig`, or there are tools or environments.
    """
    if not isinstance(args, VantageConfig):
        raise ConfigError(f"args is a {type(args).__name__}: expected a VantageConfig")
    for name in ("tools", "environment_factory"):
        if rest.get(name):
            raise ConfigError(f"{name}: tools and environments are not supported")


def check_metric(args: VantageConfig, eval_dataset: Any) -> None:
    """Check that the metric for the best model is not the loss of one of several evaluation sets.

    Raises:
        ConfigError: It is; this loss is always 0.
    """
    names = eval_dataset if isinstance(eval_dataset, dict) else ()
    _check_metric(args.metric_for_best_model, [f"eval_{name}_loss" for name in names])


def _check_metric(metric: str | None, losses: Collection[str]) -> None:
    if metric is not None and f"eval_{metric.removeprefix('eval_')}" in losses:
        raise ConfigError(
            f"metric_for_best_model={metric!r}: an evaluation has no loss (it is always 0); set "
            f"{BEST!r}, or 'eval_rewards/NAME/mean' of a reward function"
        )


def _check(args: VantageConfig, recipe: Recipe, variants: Variants) -> None:
    """Check options that could contradict a plan."""
    _check_values(args)
    _check_correction(args)
    if args.room is not None and args.room < (args.max_prompt_length or 1):
        raise ConfigError(
            f"vllm_max_model_length={args.vllm_max_model_length} is shorter than a prompt of "
            f"max_prompt_length={args.max_prompt_length} and a response of max_completion_length="
            f"{args.max_completion_length}: leave it out, or raise it"
        )
    which: Any = args.sampling
    sampling(which, 1, args.seed)
    if (args.eval_steps or 0) >= 1:  # a share of the run is only known when it starts
        check_steps(args, args.max_steps)
    check_recipe(recipe, variants, args.updates)


def _check_correction(args: VantageConfig) -> None:
    """Reject sequence-level correction if the sampler renormalizes its log-probs."""
    cut = [f"{name}={value}" for name, value in args.changes_of_log_probs.items()]
    mode = args.vllm_importance_sampling_mode
    corrects = args.use_vllm and args.vllm_importance_sampling_correction
    if corrects and cut and mode.startswith("sequence"):
        raise ConfigError(
            f"{', '.join(cut)} with vllm_importance_sampling_mode={mode!r}: vLLM's log-probs are "
            "normalized over the truncated vocabulary and the trainer's over all of it, and a "
            "correction by sequence multiplies that difference over all tokens "
            "(0.99 ** 400 = 0.02). Set vllm_importance_sampling_correction to false, or the mode "
            "to 'token_truncate', or sample from the unmodified distribution (top_p=1.0, top_k=0, "
            "min_p=None, repetition_penalty=1.0)"
        )


def _check_sizes(args: VantageConfig, variants: Variants) -> None:
    """Check that rollouts divide into groups and updates."""
    whole, part = args.steps_per_generation, args.gradient_accumulation_steps
    if whole % part:
        raise ConfigError(
            f"steps_per_generation={whole} is not a multiple of "
            f"gradient_accumulation_steps={part}: "
            f"an update would mix two rollout batches; {nearest_multiples(whole, part)} would do"
        )
    group = args.num_generations * variants.prompts
    if args.generation_batch_size % group:
        raise ConfigError(
            f"generation_batch_size={args.generation_batch_size} is not a multiple of {group} "
            f"(num_generations={args.num_generations} x variants.prompts={variants.prompts}); "
            f"{nearest_multiples(args.generation_batch_size, group)} would do"
        )


def _check_values(args: VantageConfig) -> None:
    """Check that options in `TAKEN_OVER` have their defaults, and that ours are in range."""
    for name, number in not_finite(vars(args)):
        if name != "delta" or math.isnan(number):  # an infinite delta means no dual clip
            raise ConfigError(f"{name}={number}: expected a finite number")
    for name, (wanted, why) in TAKEN_OVER.items():
        if getattr(args, name) != wanted:
            raise ConfigError(f"{name}={getattr(args, name)!r}: {why}; leave it at {wanted!r}")
    _check_metric(args.metric_for_best_model, ["eval_loss"])
    _one_of("loss_type", args.loss_type, (*TOKEN_MEANS, *ROW_MEANS))
    _one_of("importance_sampling_level", args.importance_sampling_level, ("token", "sequence"))
    _one_of("packing", args.packing, ("auto", "on", "off"))
    _one_of("on_long_prompt", args.on_long_prompt, ("error", "skip"))
    if (args.min_pixels or 0) > (args.max_pixels or math.inf):
        raise ConfigError(f"min_pixels={args.min_pixels} is more than max_pixels={args.max_pixels}")
    if args.max_silent_batches is not None and args.max_silent_batches < 1:
        raise ConfigError(f"max_silent_batches={args.max_silent_batches}: set 1 or more, or None")
    precision.check_options(args)
    _check_validation(args)
    fault = fault_of(args.prompt_template)
    if fault:
        raise ConfigError(f"prompt_template={args.prompt_template!r} {fault}")


def _check_validation(args: VantageConfig) -> None:
    """Check the temperature of validation."""
    samples = args.num_generations_eval or args.num_generations
    if (args.eval_temperature or 0) < 0:
        raise ConfigError(f"eval_temperature={args.eval_temperature}: set 0 or more")
    if args.eval_temperature == 0 and samples > 1 and args.eval_strategy != "no":
        raise ConfigError(
            f"eval_temperature=0 with num_generations_eval={samples}: with greedy decoding all "
            "responses to a question are the same; set num_generations_eval to 1"
        )


def steps_of(given: float, updates: int) -> int:
    """Updates between saves or evaluations; a value below 1 is a share of the run's updates."""
    return int(given) if given >= 1 else math.ceil(given * updates)


def check_steps(args: VantageConfig, updates: int) -> None:
    """Check that evaluated weights can be saved, which happens only between rollout batches.

    Args:
        args: Options of the run.
        updates: Number of optimizer updates of the whole run.

    Raises:
        ConfigError: The best checkpoint depends on an evaluation inside a rollout batch.
    """
    best = args.load_best_model_at_end or args.save_strategy == "best"
    if not best or args.eval_strategy != "steps":
        return
    every, steps = args.updates_per_rollout_batch, steps_of(args.eval_steps, updates)
    if steps % every:
        asked = "load_best_model_at_end" if args.load_best_model_at_end else "save_strategy='best'"
        raise ConfigError(
            f"eval_steps={steps} with {asked}: a checkpoint waits for the end of its "
            f"rollout batch of {every} updates, so the weights that are evaluated could not be "
            f"saved; {nearest_multiples(steps, every)} would do"
        )


def _from_json(name: str, value: Any) -> Any:
    """Parse a JSON object from the command line; return any other value unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}={value!r}: not JSON: {error}") from error


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}={value!r}: {nearest(str(value), known)}")
