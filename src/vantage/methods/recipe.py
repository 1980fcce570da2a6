"""Recipes: named combinations of an estimator, a selection, a sharing and an ordering.

To add a method, write its stage in the file of that kind and a factory here. Or write both
in your own file and name the factory in YAML as `my_file.py:my_recipe`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vantage import plugins, renamed
from vantage.errors import ConfigError, nearest
from vantage.methods import advantages, ordering, selection, sharing
from vantage.methods.advantages import ESTIMATORS, Advantages
from vantage.methods.ordering import ORDERINGS
from vantage.methods.ranking import Ranked, rank
from vantage.methods.rollouts import Rollouts, Samples
from vantage.methods.selection import SELECTIONS
from vantage.methods.sharing import SHARINGS

Estimator = Callable[[Rollouts], Advantages]
Selection = Callable[[Ranked, np.random.Generator], Samples]
Sharing = Callable[[Samples, Ranked], Samples]
Ordering = Callable[[Samples, Ranked, np.random.Generator], Samples]


@dataclass(frozen=True)
class Loss:
    """Loss settings of a method. The engine applies them; its options override them.

    Attributes:
        mean: Aggregation of the token losses: "token" divides their sum by the number of response
            tokens in a mini-batch, "constant" by the number of rows times the maximum response
            length (Dr.GRPO), and "sequence" averages over each response first.
        ratio: Level of the importance ratio, "token" or "sequence".
        clip_low: The ratio is clipped below at 1 - clip_low.
        clip_high: The ratio is clipped above at 1 + clip_high.
        dual_clip: Upper bound of the ratio where the advantage is negative, more than
            1 + clip_high; None for no bound. https://arxiv.org/abs/1912.09729
        kl: Coefficient of the KL divergence from the reference model; 0 loads no such model.
        updates: Published number of optimizer updates per rollout batch; None leaves it to the
            engine, whose default is one.

    Raises:
        ConfigError: `mean` or `ratio` is unknown, or `dual_clip` is too small.
    """

    mean: str = "token"
    ratio: str = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    kl: float = 0.0
    updates: int | None = None

    def __post_init__(self):
        choices = {"mean": ("token", "sequence", "constant"), "ratio": ("token", "sequence")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"Loss({name}={getattr(self, name)!r}): {nearest('', known)}")
        if self.dual_clip is not None and not self.dual_clip > 1 + self.clip_high:
            raise ConfigError(
                f"Loss(dual_clip={self.dual_clip!r}): expected more than 1 + clip_high, "
                f"{1 + self.clip_high}, or None"
            )


@dataclass(frozen=True)
class Recipe:
    """A method that turns scored rollouts into training samples, independent of the engine.

    Attributes:
        name: Name in logs and tables.
        estimator: Rollouts -> advantages.
        selection: Ranked rollouts -> samples.
        sharing: Samples -> samples under more prompts.
        ordering: Samples -> samples in training order.
        loss: Loss settings of the method.
        refills: Maximum number of times that questions whose rewards are all equal are replaced
            by new ones before planning. Those that remain stay in the batch.

    Raises:
        ConfigError: `refills` is not a nonnegative integer.
    """

    name: str
    estimator: Estimator = advantages.group
    selection: Selection = selection.keep_all
    sharing: Sharing = sharing.own_prompt
    ordering: Ordering = ordering.in_order
    loss: Loss = field(default_factory=Loss)
    refills: int = 0

    def __post_init__(self):
        if not isinstance(self.refills, int) or self.refills < 0:
            raise ConfigError(f"refills={self.refills!r}: expected a whole number from 0")

    def plan(self, rollouts: Rollouts, rng: np.random.Generator, done: float = 0.0) -> Samples:
        """Plan the training samples of a rollout batch.

        Args:
            rollouts: N scored rollouts of a batch.
            rng: Source of all tie-breaks and draws; the same state gives the same plan.
            done: Training progress, from 0 to 1; stages read it from `Ranked.done`.

        Returns:
            Samples in training order. Their number depends only on the group sizes, except
            with the selection "non-zero".

        Raises:
            ConfigError: A stage returns another type than its signature says.
        """
        ranked = rank(rollouts, self._made("estimator", self.estimator(rollouts)), rng, done)
        selected = self._made("selection", self.selection(ranked, rng))
        shared = self._made("sharing", self.sharing(selected, ranked))
        return self._made("ordering", self.ordering(shared, ranked, rng))

    def _made(self, stage: str, made: Any) -> Any:
        """Check the type of a stage's result, since the stage may be the user's own code."""
        expected = Advantages if stage == "estimator" else Samples
        if isinstance(made, expected):
            return made
        raise ConfigError(
            f"recipe {self.name!r}: its {stage} returned {type(made).__name__}, expected "
            f"{expected.__name__}"
        )

    @property
    def rounds(self) -> int | None:
        """Rounds of the ordering, or None. An optimizer update consists of whole rounds."""
        rounds = _options(self.ordering).get("rounds")
        return rounds if isinstance(rounds, int) else None

    @property
    def shares(self) -> bool:
        """Whether responses are trained under prompts that did not generate them."""
        return self.sharing is not sharing.own_prompt


RECIPES: dict[str, Callable[..., Recipe]] = {}


def register(name: str) -> Callable[[Callable[..., Recipe]], Callable[..., Recipe]]:
    """Decorator that makes a factory available as `vantage.recipe(name, **options)`."""

    def add(factory):
        RECIPES[name] = factory
        return factory

    return add


def recipe(name: str, **options) -> Recipe:
    """Build a recipe by name; `options` override its published defaults.

    Args:
        name: One of `RECIPES`, or your own factory as "file.py:function" or
            "package.module:function".
        options: Keyword arguments of the factory.

    Raises:
        ConfigError: The name or an option is unknown, or a value is out of range. Planning four
            dummy rollouts reveals invalid values here, before any real rollout is generated.
    """
    factory = plugins.load(name) if plugins.is_own(name) else RECIPES.get(name)
    if factory is None:
        new = renamed.RECIPES.get(name)
        hint = f"renamed to {new!r}" if new else nearest(name, RECIPES)
        raise ConfigError(f"unknown recipe {name!r}: {hint}")
    _check_options(f"recipe {name!r}", factory, options)
    with plugins.failing(f"recipe {name!r} failed", [plugins.file_of(name)]):
        return _tried(name, factory, options)


def _tried(name: str, factory: Callable[..., Recipe], options: Mapping) -> Recipe:
    try:
        made = factory(**options)
    except TypeError as error:
        raise ConfigError(f"recipe {name!r}: {error}") from error
    if not isinstance(made, Recipe):
        raise ConfigError(f"recipe {name!r} returned {type(made).__name__}, expected a Recipe")
    made.plan(_made_up(), np.random.default_rng(0))
    return made


def parse_recipe(spec: str | Mapping) -> Recipe:
    """Build the recipe that a configuration names: a name, or {name: ..., option: value}.

    Raises:
        ConfigError: As `recipe`, or the name is missing.
    """
    name, options = name_and_options("recipe", spec)
    return recipe(name, **options)


def _made_up() -> Rollouts:
    prompt_N = np.array([0, 0, 1, 1])
    return Rollouts(np.zeros_like(prompt_N), prompt_N, np.array([0.0, 1.0, 0.5, 0.0]))


@register("grpo")
def grpo() -> Recipe:
    """Group relative policy optimization: trains on every rollout once. arXiv 2402.03300"""
    return Recipe("grpo")


@register("dr-grpo")
def dr_grpo() -> Recipe:
    """GRPO without normalization by standard deviation and response length. arXiv 2503.20783"""
    return Recipe("dr-grpo", estimator=advantages.centred, loss=Loss(mean="constant"))


@register("rloo")
def rloo() -> Recipe:
    """REINFORCE with a leave-one-out baseline. arXiv 2402.14740"""
    return Recipe("rloo", estimator=advantages.leave_one_out)


@register("gspo")
def gspo() -> Recipe:
    """GRPO with a sequence-level importance ratio and a narrow clip range. arXiv 2507.18071"""
    loss = Loss(mean="sequence", ratio="sequence", clip_low=3e-4, clip_high=4e-4, updates=4)
    return Recipe("gspo", loss=loss)


@register("pods")
def pods(fraction: float = 0.25) -> Recipe:
    """Trains on the subset of rollouts with maximal reward variance. arXiv 2504.13818"""
    return Recipe("pods", selection=functools.partial(selection.max_variance, fraction=fraction))


@register("dapo-filter")
def dapo_filter(refills: int = 3) -> Recipe:
    """Replaces questions whose rewards are all equal, up to `refills` times, then drops them;
    clip-higher. arXiv 2503.14476
    """
    return Recipe(
        "dapo-filter",
        selection=selection.non_zero,
        loss=Loss(clip_high=0.28, updates=16),
        refills=refills,
    )


@register("shuffle-r1")
def shuffle_r1(
    fraction: float = 0.5,
    rounds: int = 8,
    weight: str = "sum",
    shape: str = "power",
    power: float = 1.0,
) -> Recipe:
    """Trains on high-contrast pairs, drawn by advantage; weight is sum, max, mean or positive,
    shape is power, softmax, log or inverse. arXiv 2508.05612
    """
    return Recipe(
        "shuffle-r1",
        selection=functools.partial(selection.pairwise, fraction=fraction),
        ordering=functools.partial(
            ordering.advantage_shuffle, rounds=rounds, weight=weight, shape=shape, power=power
        ),
        loss=Loss(updates=4),
    )


@register("share-grpo")
def share_grpo() -> Recipe:
    """Trains on every response under every prompt of its question; clip-higher, dual clip.
    arXiv 2505.16673
    """
    return Recipe(
        "share-grpo",
        estimator=advantages.hierarchical,
        sharing=sharing.all_prompts,
        loss=Loss(clip_high=0.3, dual_clip=3.0, updates=8),
    )


@register("noisy-rollout")
def noisy_rollout() -> Recipe:
    """Trains on responses to all prompts of a question, under the original. arXiv 2504.13055"""
    return Recipe("noisy-rollout", sharing=sharing.original_prompt, loss=Loss(updates=4))


@register("share-shuffle")
def share_shuffle(
    fraction: float = 0.5,
    rounds: int = 8,
    weight: str = "sum",
    shape: str = "power",
    power: float = 1.0,
) -> Recipe:
    """Trains on high-contrast pairs under every prompt of their question, drawn by advantage with
    the weights and shapes of shuffle-r1; clip-higher, dual clip.

    Combines arXiv 2508.05612 and 2505.16673.
    """
    return replace(
        shuffle_r1(fraction=fraction, rounds=rounds, weight=weight, shape=shape, power=power),
        name="share-shuffle",
        estimator=advantages.hierarchical,
        sharing=sharing.all_prompts,
        loss=Loss(clip_high=0.3, dual_clip=3.0, updates=4),
    )


@register("custom")
def custom(
    estimator: str = "group",
    selection: str | Mapping = "all",
    sharing: str = "own-prompt",
    ordering: str | Mapping = "in-order",
) -> Recipe:
    """Combines stages of your choice, each a name or {name: ..., option: value}."""
    return Recipe(
        "custom",
        estimator=_stage("estimator", ESTIMATORS, estimator),
        selection=_stage("selection", SELECTIONS, selection),
        sharing=_stage("sharing", SHARINGS, sharing),
        ordering=_stage("ordering", ORDERINGS, ordering),
    )


def _stage(kind: str, known: Mapping[str, Callable], spec: str | Mapping) -> Callable:
    name, options = name_and_options(kind, spec)
    if name not in known:
        raise ConfigError(f"unknown {kind} {name!r}: {nearest(name, known)}")
    _check_options(f"{kind} {name!r}", known[name], options)
    return functools.partial(known[name], **options) if options else known[name]


def name_and_options(what: str, spec: str | Mapping) -> tuple[str, dict]:
    """Split a name, or {name: ..., option: value}, into name and options.

    Raises:
        ConfigError: `spec` has another form; the message starts with `what`.
    """
    options = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise ConfigError(f"{what}={spec!r}: expected a name or {{name: ..., option: value}}")
    return options["name"], {key: value for key, value in options.items() if key != "name"}


def _options(function: Callable) -> dict[str, object]:
    """Keyword options of a stage or factory, with their defaults."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in callables have no signature
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _check_options(what: str, function: Callable, options: Mapping) -> None:
    known = _options(function)
    for name, value in options.items():
        if name not in known:
            new = renamed.OPTIONS_OF_RECIPES.get(name)
            hint = nearest(name, known) if known else "it has none"
            hint = f"renamed to {new!r}" if new in known else hint
            raise ConfigError(f"{what} has no option {name!r}: {hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{what}: {name}={value}: expected a finite number")
