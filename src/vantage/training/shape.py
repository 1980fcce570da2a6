"""The arithmetic of a rollout batch: what is asked, generated and trained. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vantage.config import Config
from vantage.errors import ConfigError
from vantage.methods.recipe import Recipe, parse_recipe
from vantage.methods.sharing import original_prompt
from vantage.questions.variants import Variants


class Pace(NamedTuple):
    """An epoch: rollout batches, optimizer updates, and rollouts generated."""

    batches: int
    updates: int
    rollouts: int


@dataclass(frozen=True)
class Shape:
    """Sizes of a rollout batch.

    Attributes:
        questions: that are asked.
        prompts: of a question.
        rollouts: of a prompt.
        updates: optimizer updates into which its rows are cut.
        passes: how often these updates are made.
    """

    questions: int
    prompts: int
    rollouts: int
    updates: int
    passes: int = 1

    @property
    def asked(self) -> int:
        """Prompts of the batch."""
        return self.questions * self.prompts

    @property
    def generated(self) -> int:
        """Rollouts of the batch."""
        return self.asked * self.rollouts

    @property
    def steps(self) -> int:
        """Optimizer updates between two rollout batches."""
        return self.updates * self.passes

    def each(self, processes: int) -> int:
        """Rollouts of each process and update.

        Raises:
            ConfigError: they do not divide, or are fewer than the updates.
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
        """Refuse updates for which there are no rollouts.

        Raises:
            ConfigError: there are more updates than rollouts.
        """
        if self.updates > self.generated:
            raise ConfigError(
                f"batch.updates={self.updates}: a rollout batch has {self.generated} rollouts, "
                "too few for so many updates; lower updates, or raise questions or rollouts"
            )

    def batches(self, rows: int) -> int:
        """Rollout batches of an epoch over so many rows; at least one."""
        return max(1, rows // self.questions)

    def pace(self, rows: int) -> Pace:
        """What an epoch over so many rows amounts to."""
        batches = self.batches(rows)
        return Pace(batches, batches * self.steps, batches * self.generated)

    def __str__(self) -> str:
        return (
            f"{self.questions:,} questions x {self.prompts} prompts x {self.rollouts} rollouts = "
            f"{self.generated:,} rollouts, {self.steps} updates"
        )


def shape_of(config: Config) -> Shape:
    """The rollout batch of a configuration; updates by the recipe, or one, if not given."""
    batch = config.batch
    updates = batch.updates or parse_recipe(config.recipe).loss.updates or 1
    return Shape(batch.questions, config.variants.prompts, batch.rollouts, updates)


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is not larger than `most`."""
    return max(size for size in range(1, most + 1) if number % size == 0)


def nearest_multiples(number: float, of: int) -> str:
    """The multiples below and above a number, in words."""
    low = int(number) // of * of
    return f"{low} or {low + of}" if low else str(of)


def check_recipe(recipe: Recipe, variants: Variants, updates: int) -> None:
    """Refuse a recipe that needs other prompts or updates than there are.

    Args:
        recipe: what is planned.
        variants: the prompts of a question.
        updates: optimizer updates made from a rollout batch.

    Raises:
        ConfigError: names what does not fit.
    """
    if recipe.rounds and recipe.rounds % updates:
        raise ConfigError(
            f"rounds={recipe.rounds} of recipe {recipe.name!r} is no multiple of the "
            f"{updates} updates made from a rollout batch; "
            f"{nearest_multiples(recipe.rounds, updates)} would do"
        )
    if recipe.sharing is original_prompt and not variants.original:
        raise ConfigError(
            f"recipe {recipe.name!r} trains under the original prompt, but variants.original is "
            "false: leave it at true"
        )
    if recipe.shares and variants.prompts < 2:
        raise ConfigError(
            f"recipe {recipe.name!r} shares responses between the prompts of a question, "
            "but variants.prompts is 1: set variants.prompts to 2 or more"
        )
