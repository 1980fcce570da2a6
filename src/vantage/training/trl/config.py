"""Options of a run on TRL: its `GRPOConfig`, a recipe, and the questions."""

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

# TRL's losses: means over tokens, and means over rows.
TOKEN_MEANS = ("dapo", "cispo", "vespo", "bnpo")
ROW_MEANS = ("grpo", "dr_grpo", "sapo", "luspo")

# Of them, those that clip the ratio; `delta` bounds it there and nowhere else.
CLIPPED = ("dapo", "bnpo", "grpo", "dr_grpo", "luspo")

# What a plan decides in place of TRL, or what TRL averages forward by forward, so that the
# result would depend on how an update is cut.
TAKEN_OVER: dict[str, tuple[Any, str]] = {
    "multi_objective_aggregation": ("sum_then_normalize", "a recipe takes one reward a rollout"),
    "scale_rewards": ("group", "the recipe's estimator scales rewards ('dr-grpo' does not)"),
    "top_entropy_quantile": (1.0, "the quantile of each forward would decide"),
    "entropy_coef": (0.0, "TRL takes the entropy of each forward by itself"),
    "use_adaptive_entropy": (False, "TRL takes the entropy of each forward by itself"),
}

# Options of generation with which vLLM samples from the model as it is.
WHOLE = {
    "top_p": (1.0,),
    "top_k": (0, -1, None),
    "min_p": (0, None),
    "repetition_penalty": (1.0,),
}
# Options of vLLM's sampling that leave its log-probs as they are.
HARMLESS = {
    "error",
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

# Options of ours that are a dictionary; a command line gives them as JSON.
DICTIONARIES = ["recipe", "variants", "sampling", "record"]

BEST = "eval_reward"  # where something is decided by a metric and none is named


@dataclass
class VantageConfig(GRPOConfig):
    """TRL's `GRPOConfig` with a recipe. Loss options left at None follow the recipe.

    A rollout batch has `generation_batch_size` rollouts: `variants.prompts` prompts a
    question, `num_generations` rollouts a prompt. It is used for `steps_per_generation /
    gradient_accumulation_steps` optimizer updates: as many as the recipe is published with, and
    where it is published with no number as in TRL, one.

    All defaults are those of `GRPOConfig`, and `TrlParser` and `HfArgumentParser` read all
    options; a dictionary is given as JSON on the command line.

    Raises:
        ConfigError: an option contradicts the plan; the message names it and says what fits.
    """

    _VALID_DICT_FIELDS = GRPOConfig._VALID_DICT_FIELDS + DICTIONARIES

    # Of three types a parser takes the second.
    recipe: dict[str, Any] | str | None = field(
        default="grpo",
        metadata={
            "help": "Name of a recipe, or {name: ..., option: value}; see `vantage recipes`."
        },
    )
    variants: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Prompts a question: count, rewrites, transforms, original."},
    )
    sampling: dict[str, Any] | str | None = field(
        default="shuffle",
        metadata={"help": "Which questions come next; see `vantage.questions.sampling`."},
    )
    prompt_template: str = field(
        default="{question}",
        metadata={
            "help": "Text around every question; {question} stands for it, <image> for the "
            "pictures that stand first in it."
        },
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "System message put before every conversation."}
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={"help": "Longest prompt of a question in tokens: wording, note and images."},
    )
    on_long_prompt: str = field(
        default="error",
        metadata={"help": "Longer prompts: `refuse` to start, or `drop` those questions."},
    )
    min_pixels: int | None = field(
        default=None, metadata={"help": "Smaller images are scaled up to so many pixels."}
    )
    max_pixels: int | None = field(
        default=None, metadata={"help": "Larger images are scaled down to so many pixels."}
    )
    packing: str = field(
        default="auto",
        metadata={
            "help": "Whether responses to a prompt share one copy of it in a forward: `auto` "
            "where that is exact, `on` or nothing, `off`."
        },
    )
    record: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Texts and pictures the record keeps: rollouts, characters, pixels."},
    )
    eval_temperature: float | None = field(
        default=None,
        metadata={
            "help": "Temperature of a validation, 0 for the likeliest tokens; that of training "
            "unless given."
        },
    )
    max_silent_batches: int | None = field(
        default=8,
        metadata={
            "help": "Rollout batches in a row that train nothing (all rewards of a question equal, "
            "or none) after which the run ends with a checkpoint; none for no end."
        },
    )
    check_data: bool = field(
        default=True,
        metadata={"help": "Read every row, pictures included, before the first rollout."},
    )
    compensated_sums: bool = field(
        default=False,
        metadata={
            "help": "For weights in bfloat16: AdamW of torch-optimi, which keeps what is "
            "rounded away from a step for the next one."
        },
    )
    freeze_vision_tower: bool = field(
        default=False, metadata={"help": "Train the language model alone."}
    )
    loss_type: str | None = field(default=None, metadata={"help": "TRL's loss; by the recipe."})
    importance_sampling_level: str | None = field(
        default=None, metadata={"help": "`token` or `sequence`; by the recipe."}
    )
    epsilon: float | None = field(default=None, metadata={"help": "Lower clip; by the recipe."})
    epsilon_high: float | None = field(
        default=None,
        metadata={
            "help": "Upper clip, the ratio is at most 1 + epsilon_high; by the recipe. With "
            "loss_type 'cispo' the largest ratio itself, as in TRL; 1 + the recipe's upper clip."
        },
    )
    delta: float | None = field(
        default=None,
        metadata={
            "help": "Dual clip: most that the ratio counts where the advantage is negative; by the "
            "recipe. Infinite for none."
        },
    )
    beta: float | None = field(default=None, metadata={"help": "KL weight; by the recipe."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "What the best checkpoint is best at: `eval_reward` where something depends "
            "on it, or `eval_rewards/NAME/mean` of a reward function."
        },
    )
    vllm_max_model_length: int | None = field(
        default=None,
        metadata={
            "help": "Longest prompt and response together for which vLLM reserves its cache; "
            "`max_prompt_length + max_completion_length` where both are given."
        },
    )

    def __post_init__(self):
        for name in DICTIONARIES:
            setattr(self, name, _from_json(name, getattr(self, name)))
        self._follow(self.build_recipe().loss)
        self._bound_ratio(self.build_recipe().loss.dual_clip)
        if self.num_generations < 2:
            raise ConfigError(
                f"num_generations={self.num_generations}: a group of one has no advantage, "
                "give at least 2"
            )
        if self.metric_for_best_model is None and self._keeps_best:
            self.metric_for_best_model = BEST  # transformers would take a loss, which is always 0
        try:
            super().__post_init__()
        except ValueError as error:
            raise ConfigError(f"TRL refuses the options: {error}") from error
        if self.colocated and self.vllm_max_model_length is None and self.max_prompt_length:
            # The model's own length would reserve a cache for prompts that never come.
            self.vllm_max_model_length = self.max_prompt_length + self.max_completion_length
        recipe, variants = self.build_recipe(), self.build_variants()
        self.build_keep()
        _check_sizes(self, variants)
        _check(self, recipe, variants)

    def build_recipe(self) -> Recipe:
        """The recipe that the options describe."""
        spec: Any = self.recipe
        return parse_recipe(spec)

    def build_variants(self) -> Variants:
        """The variants that the options describe."""
        return parsed(Variants, self.variants or {}, "variants")

    def build_prompts(self, rows: Dataset) -> Prompts:
        """How the rows of a data set are asked."""
        return Prompts(
            Reader(rows),
            self.build_variants(),
            self.prompt_template,
            self.system_prompt,
            self.seed,
            Bounds(self.min_pixels, self.max_pixels),
        )

    def build_keep(self) -> Keep:
        """What the record of the run keeps."""
        return parsed(Keep, self.record or {}, "record")

    @property
    def colocated(self) -> bool:
        """Whether vLLM runs in the processes that train."""
        return self.use_vllm and self.vllm_mode == "colocate"

    @property
    def room(self) -> int | None:
        """Tokens of the longest prompt for which colocated vLLM has room; None without a limit."""
        if not self.colocated or self.vllm_max_model_length is None:
            return None
        return self.vllm_max_model_length - self.max_completion_length

    @property
    def changes_of_log_probs(self) -> dict[str, Any]:
        """Options by which vLLM's log-probs are not those of the model: name -> value."""
        given = {name: getattr(self, name) for name in WHOLE} | (self.generation_kwargs or {})
        return {
            name: value
            for name, value in given.items()
            if name not in HARMLESS and value not in WHOLE.get(name, ())
        }

    @property
    def updates(self) -> int:
        """Optimizer updates made from the rows of a rollout batch, once through."""
        return self.steps_per_generation // self.gradient_accumulation_steps

    @property
    def updates_per_rollout_batch(self) -> int:
        """Optimizer updates between two rollout batches."""
        return self.updates * self.num_iterations

    def last_update(self, batches_per_epoch: int) -> int:
        """Updates of the whole run."""
        epoch = batches_per_epoch * self.updates_per_rollout_batch
        ends = self.max_steps
        return ends if ends > 0 else math.ceil(epoch * self.num_train_epochs)

    def batches_of(self, updates: int) -> int:
        """Rollout batches of so many updates, of which the last need not be whole."""
        return -(-updates // self.updates_per_rollout_batch)

    @property
    def _keeps_best(self) -> bool:
        """Whether something is decided by a metric of the evaluation."""
        by_metric = self.save_strategy == "best" or self.lr_scheduler_type == "reduce_lr_on_plateau"
        return self.load_best_model_at_end or by_metric

    def _follow(self, loss: Loss) -> None:
        """Take what the user left open from the recipe."""
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
        """Take the dual clip of the recipe where the loss has one and the user gave none."""
        if dual_clip is None or self.delta is not None or self.loss_type not in CLIPPED:
            return
        # TRL bounds the ratio of positive advantages too, which their own clip must do first.
        if dual_clip <= 1 + (self.epsilon_high or 0.0):
            raise ConfigError(
                f"epsilon_high={self.epsilon_high}: the dual clip of the recipe is {dual_clip} and "
                "has to be more than 1 + epsilon_high; lower epsilon_high, or give a delta of your "
                "own (1e6 for none)"
            )
        self.delta = dual_clip


def check_arguments(args: Any, rest: Mapping[str, Any]) -> None:
    """Refuse arguments of a trainer that contradict a plan.

    Raises:
        ConfigError: `args` is no `VantageConfig`, or there are tools or environments.
    """
    if not isinstance(args, VantageConfig):
        raise ConfigError(f"args is a {type(args).__name__}: expected a VantageConfig")
    for name in ("tools", "environment_factory"):
        if rest.get(name):
            raise ConfigError(f"{name}: tools and environments are not supported")


def check_metric(args: VantageConfig, eval_dataset: Any) -> None:
    """Refuse the loss of one of several evaluation sets as what is best.

    Raises:
        ConfigError: as for `eval_loss`.
    """
    names = eval_dataset if isinstance(eval_dataset, dict) else ()
    _check_metric(args.metric_for_best_model, [f"eval_{name}_loss" for name in names])


def _check_metric(metric: str | None, losses: Collection[str]) -> None:
    if metric is not None and f"eval_{metric.removeprefix('eval_')}" in losses:
        raise ConfigError(
            f"metric_for_best_model={metric!r}: an evaluation generates and scores, its loss is "
            f"always 0; take {BEST!r}, or 'eval_rewards/NAME/mean' of a reward function"
        )


def _check(args: VantageConfig, recipe: Recipe, variants: Variants) -> None:
    """Refuse, by name, what would contradict a plan."""
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
    if (args.eval_steps or 0) >= 1:  # a share of the run is known when it starts
        check_steps(args, args.max_steps)
    check_recipe(recipe, variants, args.updates)


def _check_correction(args: VantageConfig) -> None:
    """Refuse a product of ratios where the sampler's log-probs are renormalised."""
    cut = [f"{name}={value}" for name, value in args.changes_of_log_probs.items()]
    mode = args.vllm_importance_sampling_mode
    corrects = args.use_vllm and args.vllm_importance_sampling_correction
    if corrects and cut and mode.startswith("sequence"):
        raise ConfigError(
            f"{', '.join(cut)} with vllm_importance_sampling_mode={mode!r}: vLLM's log-probs are "
            "those of what is left of the vocabulary, the trainer's are those of all of it, and a "
            "correction by sequence multiplies that difference over all tokens "
            "(0.99 ** 400 = 0.02). Set vllm_importance_sampling_correction to false, or the mode "
            "to 'token_truncate', or sample from the model as it is (top_p=1.0, top_k=0, "
            "min_p=None, repetition_penalty=1.0)"
        )


def _check_sizes(args: VantageConfig, variants: Variants) -> None:
    """Groups and updates come out whole."""
    whole, part = args.steps_per_generation, args.gradient_accumulation_steps
    if whole % part:
        raise ConfigError(
            f"steps_per_generation={whole} is no multiple of gradient_accumulation_steps={part}: "
            f"an update would mix two rollout batches; {nearest_multiples(whole, part)} would do"
        )
    group = args.num_generations * variants.prompts
    if args.generation_batch_size % group:
        raise ConfigError(
            f"generation_batch_size={args.generation_batch_size} is no multiple of {group} "
            f"(num_generations={args.num_generations} x variants.prompts={variants.prompts}); "
            f"{nearest_multiples(args.generation_batch_size, group)} would do"
        )


def _check_values(args: VantageConfig) -> None:
    """Options that a plan takes over from TRL stand as TRL leaves them; ours are in range."""
    for name, number in not_finite(vars(args)):
        if name != "delta" or math.isnan(number):  # of which an infinite one is none
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
        raise ConfigError(f"max_silent_batches={args.max_silent_batches}: give 1 or more, or None")
    precision.check_options(args)
    _check_validation(args)
    fault = fault_of(args.prompt_template)
    if fault:
        raise ConfigError(f"prompt_template={args.prompt_template!r} {fault}")


def _check_validation(args: VantageConfig) -> None:
    """The samples of a validation can differ."""
    samples = args.num_generations_eval or args.num_generations
    if (args.eval_temperature or 0) < 0:
        raise ConfigError(f"eval_temperature={args.eval_temperature}: give 0 or more")
    if args.eval_temperature == 0 and samples > 1 and args.eval_strategy != "no":
        raise ConfigError(
            f"eval_temperature=0 with num_generations_eval={samples}: without sampling all "
            "responses to a question are the same; set num_generations_eval to 1"
        )


def steps_of(given: float, updates: int) -> int:
    """Updates between two saves or evaluations; below 1 a share of all updates of the run."""
    return int(given) if given >= 1 else math.ceil(given * updates)


def check_steps(args: VantageConfig, updates: int) -> None:
    """What is evaluated can be saved: a checkpoint waits for the end of its rollout batch.

    Args:
        args: of the run.
        updates: of the whole run.

    Raises:
        ConfigError: an evaluation inside a rollout batch decides which checkpoint is best.
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
    """A dictionary where a command line gave one as JSON; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}={value!r}: not JSON: {error}") from error


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}={value!r}: {nearest(str(value), known)}")
