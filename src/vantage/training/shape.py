"""Sizes of a rollout batch: questions, prompts, rollouts and optimizer updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vantage.config import Config
from vantage.errors import ConfigError
from vantage.methods.recipe import Recipe, parse_recipe
from vantage.methods.sharing import original_prompt
from vantage.questions.variants import Variants


class Pace(NamedTuple):
    """Number of rollout batches, optimizer updates, and generated rollouts per epoch."""

    batches: int
    updates: int
    rollouts: int


@dataclass(frozen=True)
class Shape:
    """Sizes of a rollout batch.

    Attributes:
        questions: Questions per batch.
        prompts: Prompts per question.
        rollouts: Rollouts per prompt.
        updates: Optimizer updates per pass over the batch.
        passes: Passes over the batch.
    """

    questions: int
    prompts: int
    rollouts: int
    updates: int
    passes: int = 1

    @property
    def asked(self) -> int:
        """Prompts per batch."""
        return self.questions * self.prompts

    @property
    def generated(self) -> int:
        """Rollouts per batch."""
        return self.asked * self.rollouts

    @property
    def steps(self) -> int:
        """Optimizer updates between two rollout batches."""
        return self.updates * self.passes

    def each(self, processes: int) -> int:
        """Rollouts per process and update.

        Raises:
            ConfigError: The rollouts do not divide evenly, or are fewer than the updates.
        """
        self.check_not_empty()
        parts = processes * self.updates
        if self.generated % parts:
            raise ConfigError(
                f"batch: {self.generated} rollouts (questions={self.questions} x variants.prompts="
                f"{self.prompts} x rollouts={self.rollouts}) do not divide into "
                f"updates={self.updates} on {processes} processes; make them a multiple of {parts}"
            )
        return self.generated // parts

    def check_not_empty(self) -> None:
        """Check that every update has a rollout.

        Raises:
            ConfigError: There are more updates than rollouts.
        """
        if self.updates > self.generated:
            raise ConfigError(
                f"batch.updates={self.updates}: a rollout batch has {self.generated} rollouts, "
                "fewer than updates; lower updates, or raise questions or rollouts"
            )

    def batches(self, rows: int) -> int:
        """Rollout batches per epoch of `rows` data rows, at least one."""
        return max(1, rows // self.questions)

    def pace(self, rows: int) -> Pace:
        """Size of an epoch of `rows` data rows."""
        batches = self.batches(rows)
        return Pace(batches, batches * self.steps, batches * self.generated)

    def __str__(self) -> str:
        return (
            f"{self.questions:,} questions x {self.prompts} prompts x {self.rollouts} rollouts = "
            f"{self.generated:,} rollouts, {self.steps} updates"
        )


def shape_of(config: Config) -> Shape:
    """Sizes of a configuration's rollout batch; updates default to the recipe's, or one."""
    batch = config.batch
    updates = batch.updates or parse_recipe(config.recipe).loss.updates or 1
    return Shape(batch.questions, config.variants.prompts, batch.rollouts, updates)


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return max(size for size in range(1, most + 1) if number % size == 0)


def nearest_multiples(number: float, of: int) -> str:
    """The multiples of `of` just below and above a number, as text: "4 or 8"."""
    low = int(number) // of * of
    return f"{low} or {low + of}" if low else str(of)


def check_recipe(recipe: Recipe, variants: Variants, updates: int) -> None:
    """Check that a recipe fits the variants and updates of a configuration.

    Args:
        recipe: The recipe.
        variants: Prompt variants of a question.
        updates: Optimizer updates per rollout batch.

    Raises:
        ConfigError: The recipe does not fit; names the conflicting options.
    """
    if recipe.rounds and recipe.rounds % updates:
        raise ConfigError(
            f"rounds={recipe.rounds} of recipe {recipe.name!r} is not a multiple of the "
            f"{updates} updates per rollout batch; "
            f"{nearest_multiples(recipe.rounds, updates)} would do"
        )
    if recipe.sharing is original_prompt and not variants.original:
        raise ConfigError(
            f"recipe {recipe.name!r} trains under the original prompt, but variants.original is "
            "false: set it to true"
        )
    if recipe.shares and variants.prompts < 2:
        raise ConfigError(
            f"recipe {recipe.name!r} shares responses between the prompts of a question, "
            "but variants.prompts is 1: set variants.prompts to 2 or more"
        )
