"""A configuration as an engine resolves it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from vantage.config import Config
from vantage.methods.recipe import parse_recipe
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.training.columns import FROM_ANY
from vantage.training.precision import Precision, Steps, precision_of
from vantage.training.shape import Shape, check_recipe, shape_of


@dataclass(frozen=True)
class Tokenize:
    """Tokenizes prompts as the engine does.

    Attributes:
        many: Function that tokenizes several prompts without images, or one prompt with or without
            images.
    """

    many: Callable[[Sequence[Any]], list[list[int]]]

    def __call__(self, prompt: Any) -> list[int]:
        """Tokenize one prompt."""
        return self.many([prompt])[0]


@dataclass(frozen=True)
class Cut:
    """Sharding of the model over processes.

    Attributes:
        processes: Number of processes that the model is sharded over.
        by: "copies" (no sharding), "fsdp", or "zero" (DeepSpeed).
        stage: ZeRO stage: 1 shards optimizer states, 2 also gradients, 3 also weights.
    """

    processes: int = 1
    by: str = "copies"
    stage: int = 0


@dataclass(frozen=True)
class Forward:
    """A micro-batch of an update on one process, for the memory estimate.

    Attributes:
        rows: Number of rows, all assumed to be as long as the longest.
        response: Maximum response length, in tokens.
        prompt: Prompt length that the engine reserves, in tokens; None for the longest prompt.
        tile: Tokens and vocabulary entries (None for all) of a tile of logits; None if all logits
            are computed at once.
        reference: Whether the loss has a KL divergence from a reference model.
        checkpointing: Whether gradient checkpointing is on.
        written_out: Whether attention runs without a fused kernel.
        compensated: Whether the optimizer keeps compensated sums.
    """

    rows: int
    response: int
    prompt: int | None = None
    tile: tuple[int, int | None] | None = None
    reference: bool = False
    checkpointing: bool = True
    written_out: bool = False
    compensated: bool = False


@dataclass(frozen=True)
class Colocated:
    """A sampler on the training GPUs.

    Attributes:
        name: Name of the sampler.
        share: Share of a GPU's memory that it takes.
        sleeps: Whether it releases this memory during updates; `switch` names the option.
        parallel: Tensor-parallel size.
        length: Row length that its KV cache is reserved for, in tokens; None for the longest row.
    """

    name: str
    share: float
    sleeps: bool
    switch: str
    parallel: int = 1
    length: int | None = None


@dataclass(frozen=True)
class Source:
    """A split of a data set.

    Attributes:
        path: A file, a directory, or a name on the hub.
        split: Name of the split.
    """

    path: str
    split: str

    def __str__(self) -> str:
        return f"{self.path} ({self.split})"


@dataclass(frozen=True)
class Resolved:
    """A configuration as resolved by an engine.

    Attributes:
        config: The configuration.
        shape: Sizes of a rollout batch.
        prompts: Function that makes the prompts of rows.
        limit: Maximum length of training prompts, in tokens; None for no limit.
        limit_validation: The same for validation prompts.
        on_long_prompt: Whether to "error" or "skip" longer prompts.
        precision: Precision of forward passes and weights.
        forward: Micro-batch of an update; None if the engine is not installed.
        cut: Sharding of the model.
        steps: Steps of the optimizer; None if the engine is not installed.
        kept_in: Precision of the weights that the optimizer updates.
        loading: Options for loading the model's configuration and processor.
        template_options: Options of the chat template.
        tokenizer: Function that makes the engine's tokenization from a processor; None for the
            default.
        check_model: Function that raises an error if the model's configuration conflicts with the
            engine's options.
        supplied: Arguments of reward functions besides columns.
        withheld: Columns that are not passed to reward functions.
        colocated: Sampler on the training GPUs, if any.
        warnings: Other warnings for the user.
        more_gpus: Advice on how to spread a model that is too large for one GPU.
    """

    config: Config
    shape: Shape
    prompts: Callable[[Dataset], Prompts]
    limit: int | None
    on_long_prompt: str
    precision: Precision
    forward: Forward | None
    limit_validation: int | None = None
    cut: Cut = Cut()
    steps: Steps | None = None
    kept_in: str = "float32"
    loading: Mapping[str, Any] = field(default_factory=dict)
    template_options: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Callable[[Any], Tokenize] | None = None
    check_model: Callable[[Any], None] = lambda known: None
    supplied: Collection[str] = frozenset(FROM_ANY)
    withheld: Collection[str] = ()
    colocated: Colocated | None = None
    warnings: tuple[str, ...] = ()
    more_gpus: str = "shard the model over several"

    @property
    def train(self) -> Source:
        """The training data."""
        return Source(self.config.data.train, self.config.data.split)

    @property
    def validation(self) -> Source | None:
        """The validation data, if any."""
        data = self.config.data
        return Source(data.validation, data.validation_split) if data.validation else None


def resolved(config: Config) -> Resolved:
    """Resolve a configuration without reading the options under the engine's name.

    Raises:
        ConfigError: The recipe, its variants, its updates and the precision are inconsistent.
    """
    shape, recipe = shape_of(config), parse_recipe(config.recipe)
    check_recipe(recipe, config.variants, shape.updates)
    shape.check_not_empty()
    return Resolved(
        config,
        shape,
        lambda rows: prompts_of(config, rows),
        config.data.max_prompt_tokens,
        config.data.on_long_prompt,
        precision_of(config, has_bfloat16=True),
        Forward(
            config.batch.micro_batch,
            config.generation.max_tokens,
            reference=recipe.loss.kl != 0,
            written_out=config.model.attention == "eager",
            compensated=config.optimizer.weights == "bfloat16",
        ),
    )


def prompts_of(config: Config, rows: Dataset) -> Prompts:
    """The prompts of data rows under a configuration."""
    return Prompts(
        Reader(rows),
        variants=config.variants,
        template=config.data.template,
        system=config.data.system_prompt,
        seed=config.run.seed,
        bounds=bounds_of(config),
    )


def bounds_of(config: Config) -> Bounds:
    """Minimum and maximum image size of a configuration, in pixels."""
    return Bounds(config.model.min_pixels, config.model.max_pixels)
