"""The run that a configuration means: its settings, and what its engine makes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset

from vantage.config import Config, Judge, Lora
from vantage.methods.recipe import parse_recipe
from vantage.questions.layouts import Columns
from vantage.questions.pixels import Bounds
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.questions.variants import Variants
from vantage.training.columns import FROM_ANY
from vantage.training.precision import Precision, Steps, precision_of
from vantage.training.shape import Shape, check_recipe, shape_of


@dataclass(frozen=True)
class Tokenize:
    """Prompt -> ids, as an engine makes them.

    Attributes:
        many: prompts without pictures, or one prompt -> ids of each.
    """

    many: Callable[[Sequence[Any]], list[list[int]]]

    def __call__(self, prompt: Any) -> list[int]:
        """The ids of a prompt."""
        return self.many([prompt])[0]


@dataclass(frozen=True)
class Cut:
    """How processes share a model.

    Attributes:
        processes: among which it is cut.
        by: "copies" (a whole one on each), "fsdp", or "zero" (DeepSpeed).
        stage: of ZeRO: 1 cuts the optimizer's states, 2 gradients too, 3 weights too.
    """

    processes: int = 1
    by: str = "copies"
    stage: int = 0


@dataclass(frozen=True)
class Forward:
    """A forward of the update, on one process.

    Attributes:
        rows: of it; all of them are taken to be as long as the longest.
        response: tokens of the longest response.
        prompt: tokens for which there is room whatever the prompts; None for the longest prompt.
        tile: tokens and vocabulary (None for all of it) of a tile of logits; None for all logits
            at once.
        reference: whether there is a KL divergence from a reference model.
        checkpointing: whether layers are computed again in the backward pass.
        written_out: whether attention is computed without a fused kernel.
        compensated: whether the optimizer keeps compensated sums.
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
    """A sampler on the GPUs that train.

    Attributes:
        name: what it is called.
        share: of a GPU's memory that it takes.
        sleeps: whether it gives that back while an update runs; `switch` is the option for it.
        parallel: GPUs among which it cuts the model.
        length: tokens of a row for which it reserves its cache; None for the longest row.
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
        path: a file, a directory, or a name on the hub.
        split: its name, where there are several.
    """

    path: str
    split: str

    def __str__(self) -> str:
        return f"{self.path} ({self.split})"


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run that mean the same for every engine.

    Attributes:
        engine: "trl" or "verl".
        model: directory, or name on the hub.
        lora: adapters that are trained instead of the weights; None for the weights.
        freezes_vision: whether the vision tower is not trained.
        train, validation: the data; `validation` is None without validation.
        columns, layout, image_root: how the data are read, see
            `vantage.questions.loading.survey`.
        on_bad_row: what happens to rows that cannot be trained.
        bounds: pixels of an image.
        variants: prompts of a question.
        template, system_prompt: text around every question.
        rewards: name -> weight.
        judge: the server that the reward "judge" asks.
        recipe: as the user wrote it.
        batches, epochs: length of the run; one of them is None.
        output: directory of the run.
    """

    engine: str
    model: str
    lora: Lora | None
    freezes_vision: bool
    train: Source
    validation: Source | None
    columns: Columns
    layout: str | None
    image_root: str | None
    on_bad_row: Literal["error", "skip"]
    bounds: Bounds
    variants: Variants
    template: str
    system_prompt: str | None
    rewards: Mapping[str, float]
    judge: Judge | None
    recipe: str | dict[str, Any]
    batches: int | None
    epochs: float | None
    output: Path


def settings_of(config: Config) -> RunSettings:
    """The settings of a configuration that mean the same for every engine."""
    data, model, run = config.data, config.model, config.run
    return RunSettings(
        engine=config.engine,
        model=model.path,
        lora=model.lora,
        freezes_vision=model.freeze_vision_tower,
        train=Source(data.train, data.split),
        validation=Source(data.validation, data.validation_split) if data.validation else None,
        columns=data.columns,
        layout=data.layout,
        image_root=data.image_root,
        on_bad_row=data.on_bad_row,
        bounds=Bounds(model.min_pixels, model.max_pixels),
        variants=config.variants,
        template=data.template,
        system_prompt=data.system_prompt,
        rewards=config.rewards,
        judge=config.judge,
        recipe=config.recipe,
        batches=run.batches,
        epochs=run.epochs,
        output=Path(run.output),
    )


@dataclass(frozen=True)
class Resolved:
    """What an engine makes of a configuration.

    Attributes:
        settings: those that mean the same for every engine.
        shape: of a rollout batch.
        prompts: rows -> how they are asked.
        limit: tokens of the longest prompt to train on; None for none.
        limit_validation: the same of those to validate on.
        on_long_prompt: "error" longer ones, or "skip" them.
        precision: of forwards and weights.
        forward: of the update; None where the engine that makes it is not known.
        cut: how processes share the model.
        steps: of the optimizer; None where the engine that makes them is not known.
        kept_in: precision of the weights that these steps move.
        loading: options with which the model's configuration and processor are loaded.
        template_options: of the chat template.
        tokenizer: processor -> (prompt -> ids), as the engine makes them; None for the usual way.
        check_model: refuses a configuration of a model that options of the engine do not fit.
        supplied: what rewards get besides columns; withheld: columns that they do not get.
        colocated: a sampler on the GPUs that train.
        warnings: other things to know.
        more_gpus: how to spread a model that is too large for one GPU.
    """

    settings: RunSettings
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
    more_gpus: str = "cut the model over several"


def resolved(config: Config) -> Resolved:
    """What any engine makes of a configuration; what stands under its name is not read.

    Raises:
        ConfigError: a recipe, its prompts, its updates and its precision contradict each other.
    """
    shape, recipe = shape_of(config), parse_recipe(config.recipe)
    check_recipe(recipe, config.variants, shape.updates)
    shape.check_not_empty()
    return Resolved(
        settings_of(config),
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
    """How a configuration asks rows."""
    return Prompts(
        Reader(rows),
        variants=config.variants,
        template=config.data.template,
        system=config.data.system_prompt,
        seed=config.run.seed,
        bounds=Bounds(config.model.min_pixels, config.model.max_pixels),
    )
