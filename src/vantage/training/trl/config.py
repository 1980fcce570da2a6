"""Options of a run on TRL: its `GRPOConfig`, a recipe, and the questions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset
from trl import GRPOConfig

from vantage.config import Keep
from vantage.errors import ConfigError, nearest
from vantage.methods import Loss, Recipe
from vantage.methods.recipe import parse_recipe
from vantage.methods.sharing import original_prompt
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.questions.sampling import sampling
from vantage.questions.schema import IMAGE
from vantage.questions.variants import Variants
from vantage.sections import made
from vantage.training.trl import precision

# TRL's losses: means over tokens, and means over rows.
TOKEN_MEANS = ("dapo", "cispo", "vespo", "bnpo")
ROW_MEANS = ("grpo", "dr_grpo", "sapo", "luspo")

# What a plan decides in place of TRL, or what TRL averages forward by forward, so that the
# result would depend on how an update is cut.
TAKEN_OVER: dict[str, tuple[Any, str]] = {
    "multi_objective_aggregation": ("sum_then_normalize", "a recipe takes one reward a rollout"),
    "scale_rewards": ("group", "the recipe's estimator scales rewards ('dr-grpo' does not)"),
    "top_entropy_quantile": (1.0, "the quantile of each forward would decide"),
    "entropy_coef": (0.0, "TRL takes the entropy of each forward by itself"),
    "use_adaptive_entropy": (False, "TRL takes the entropy of each forward by itself"),
    "router_aux_loss_coef": (0.0, "TRL balances the experts of each forward by itself"),
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


@dataclass
class VantageConfig(GRPOConfig):
    """TRL's `GRPOConfig` with a recipe. Loss options left at None follow the recipe.

    A rollout batch has `generation_batch_size` rollouts: `variants.count` prompts a
    question, `num_generations` rollouts a prompt. It is used for `steps_per_generation /
    gradient_accumulation_steps` optimizer updates; by default as many as the recipe says.

    Raises:
        ConfigError: an option contradicts the plan; the message names it and says what fits.
    """

    recipe: str | dict[str, Any] = field(
        default="grpo",
        metadata={
            "help": "Name of a recipe, or {name: ..., option: value}; see `vantage recipes`."
        },
    )
    variants: dict[str, Any] | None = field(
        default=None,
        metadata={"help": "Prompts a question: count, rewrites, transforms, original."},
    )
    sampling: str | dict[str, Any] = field(
        default="shuffle",
        metadata={"help": "Which questions come next; see `vantage.questions.sampling`."},
    )
    prompt_template: str = field(
        default="{question}",
        metadata={"help": "Text around every question; {question} stands for it."},
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "System message put before every conversation."}
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={"help": "Longest prompt of a question in tokens: wording, note and images."},
    )
    long_prompts: str = field(
        default="refuse",
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
    record: dict[str, Any] | None = field(
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
        default=None, metadata={"help": "Upper clip; by the recipe."}
    )
    beta: float | None = field(default=None, metadata={"help": "KL weight; by the recipe."})
    vllm_max_model_length: int | None = field(
        default=None,
        metadata={
            "help": "Longest prompt and response together for which vLLM reserves its cache; "
            "`max_prompt_length + max_completion_length` where both are given."
        },
    )
    router_aux_loss_coef: float = field(
        default=0.0, metadata={"help": "No loss that balances experts: no recipe has one."}
    )
    save_steps: float = field(
        default=0, metadata={"help": "Updates between checkpoints; about 500 unless given."}
    )
    metric_for_best_model: str | None = field(
        default="eval_reward", metadata={"help": "What the best checkpoint is best at."}
    )

    def __post_init__(self):
        self._follow(self.build_recipe().loss)
        if self.num_generations < 2:
            raise ConfigError(
                f"num_generations={self.num_generations}: a group of one has no advantage, "
                "give at least 2"
            )
        try:
            super().__post_init__()
        except ValueError as error:
            raise ConfigError(f"TRL refuses the options: {error}") from error
        if self.colocated and self.vllm_max_model_length is None and self.max_prompt_length:
            # The model's own length would reserve a cache for prompts that never come.
            self.vllm_max_model_length = self.max_prompt_length + self.max_completion_length
        recipe, variants = self.build_recipe(), self.build_variants()
        self.build_keep()
        _check_sizes(self, recipe, variants)
        if not self.save_steps:
            evaluated = int(self.eval_steps or 1) if self.eval_strategy == "steps" else 1
            every = math.lcm(self.updates_per_rollout_batch, max(evaluated, 1))
            self.save_steps = -(-500 // every) * every
        _check(self, recipe, variants)

    def build_recipe(self) -> Recipe:
        """The recipe that the options describe."""
        return parse_recipe(self.recipe)

    def build_variants(self) -> Variants:
        """The variants that the options describe."""
        return made(Variants, self.variants or {}, "variants")

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
        return made(Keep, self.record or {}, "record")

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

    def _follow(self, loss: Loss) -> None:
        """Take what the user left open from the recipe."""
        theirs = {
            "loss_type": LOSS_TYPES[loss.mean],
            "importance_sampling_level": loss.ratio,
            "epsilon_high": loss.clip_high if self.epsilon is None else self.epsilon,
            "epsilon": loss.clip_low,
            "beta": loss.kl,
        }
        if self.generation_batch_size is None:
            theirs["steps_per_generation"] = self.gradient_accumulation_steps * loss.updates
        for name, value in theirs.items():
            if getattr(self, name) is None:
                setattr(self, name, value)


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
    sampling(args.sampling, 1, args.seed)
    _check_steps(args, args.updates_per_rollout_batch)
    if recipe.sharing is original_prompt and not variants.original:
        raise ConfigError(
            f"recipe {recipe.name!r} trains under the original prompt, but variants.original is "
            "false: leave it at true"
        )
    if recipe.shares and variants.count < 2:
        raise ConfigError(
            f"recipe {recipe.name!r} shares responses between the prompts of a question, "
            "but variants.count is 1: set variants.count to 2 or more"
        )


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


def _check_sizes(args: VantageConfig, recipe: Recipe, variants: Variants) -> None:
    """Groups, rounds and updates come out whole."""
    whole, part = args.steps_per_generation, args.gradient_accumulation_steps
    if whole % part:
        raise ConfigError(
            f"steps_per_generation={whole} is no multiple of gradient_accumulation_steps={part}: "
            f"an update would mix two rollout batches; {_multiples(whole, part)} would do"
        )
    group = args.num_generations * variants.count
    if args.generation_batch_size % group:
        raise ConfigError(
            f"generation_batch_size={args.generation_batch_size} is no multiple of {group} "
            f"(num_generations={args.num_generations} x variants.count={variants.count}); "
            f"{_multiples(args.generation_batch_size, group)} would do"
        )
    if recipe.rounds and recipe.rounds % args.updates:
        raise ConfigError(
            f"rounds={recipe.rounds} of recipe {recipe.name!r} is no multiple of the "
            f"{args.updates} updates made from a rollout batch; "
            f"{_multiples(recipe.rounds, args.updates)} would do"
        )


def _check_values(args: VantageConfig) -> None:
    """Options that a plan takes over from TRL stand as TRL leaves them; ours are in range."""
    for name, (wanted, why) in TAKEN_OVER.items():
        if getattr(args, name) != wanted:
            raise ConfigError(f"{name}={getattr(args, name)!r}: {why}; leave it at {wanted!r}")
    _one_of("loss_type", args.loss_type, (*TOKEN_MEANS, *ROW_MEANS))
    _one_of("importance_sampling_level", args.importance_sampling_level, ("token", "sequence"))
    _one_of("packing", args.packing, ("auto", "on", "off"))
    _one_of("long_prompts", args.long_prompts, ("refuse", "drop"))
    if (args.min_pixels or 0) > (args.max_pixels or math.inf):
        raise ConfigError(f"min_pixels={args.min_pixels} is more than max_pixels={args.max_pixels}")
    precision.check_options(args)
    _check_validation(args)
    if "{question}" not in args.prompt_template:
        raise ConfigError(f"prompt_template={args.prompt_template!r} has no {{question}} in it")
    if IMAGE in args.prompt_template:
        raise ConfigError(f"prompt_template: {IMAGE} stands in the question, not in the template")


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


def _check_steps(args: VantageConfig, every: int) -> None:
    """Runs and checkpoints end where a rollout batch ends, `every` updates."""
    steps = {"max_steps": args.max_steps if args.max_steps > 0 else every}
    if args.save_strategy == "steps":
        steps["save_steps"] = args.save_steps
    if args.save_strategy == "best" and args.eval_strategy == "steps":
        steps["eval_steps"] = args.eval_steps
    for name, value in steps.items():
        if value < 1 or value % every:
            raise ConfigError(
                f"{name}={value}: a run and its checkpoints end after whole rollout batches of "
                f"{every} updates; {_multiples(value, every)} would do"
            )


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}={value!r}: {nearest(str(value), known)}")


def _multiples(number: float, of: int) -> str:
    low = int(number) // of * of
    return f"{low} or {low + of}" if low else str(of)
