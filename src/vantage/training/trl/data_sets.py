"""Reads all rows of a trainer's data sets before training, so that none fails during it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import ProcessorMixin

from vantage.errors import EngineError, InputError
from vantage.questions.acceptance import acceptance
from vantage.questions.prompts import Prompts, check_prompts, first_with_images, has_images
from vantage.questions.reading import Reader
from vantage.questions.sampling import sampling
from vantage.questions.schema import Question, placeholders, render
from vantage.questions.variants import Variants
from vantage.training import columns, lengths
from vantage.training.identity import identity
from vantage.training.session import Session
from vantage.training.stopping import Silence
from vantage.training.trl.config import VantageConfig, check_metric
from vantage.training.trl.encoder import Encoder


def check_columns(args: VantageConfig, train: Any, validation: Any, rewards: list) -> None:
    """Check that data sets have rows and all columns that are needed.

    Raises:
        ConfigError: The training set is a stream, or no evaluation has the metric for the best
            model.
        InputError: A data set has no rows, or a column is missing.
    """
    columns.check_columns("train_dataset", train, rewards, args.build_variants())
    for name, rows in columns.named(validation).items():
        columns.check_columns(name, rows, rewards, streamed=True)
    check_metric(args, validation)


@dataclass(frozen=True)
class DataSets:
    """Checked data sets of a trainer.

    Attributes:
        train: Training rows; rows: numbers of those whose prompts are short enough.
        validation: The `eval_dataset`, without rows that are too long for vLLM.
        prompts: Prompts of the training rows.
    """

    train: Dataset
    validation: Any
    prompts: Prompts
    rows: Sequence[int]

    def are(self, train: Any, validation: Any) -> bool:
        """Whether these are the same objects as the given data sets."""
        return train is self.train and validation is self.validation

    @cached_property
    def identity(self) -> dict[str, str]:
        """Digests of the training rows."""
        return identity(self.train)

    def session(self, args: VantageConfig, *, shuffles: bool) -> Session:
        """Create a session that draws from these rows, starting from the first question.

        Args:
            args: Options of the trainer.
            shuffles: Whether to draw questions at random instead of in the order of the data.
        """
        group = args.num_generations * self.prompts.variants.prompts
        return Session(
            args.build_recipe(),
            self.prompts,
            sampling(args.sampling or "shuffle", len(self.rows), args.seed if shuffles else None),
            self.rows,
            Silence(args.max_silent_batches),
            seed=args.seed,
            questions=args.generation_batch_size // group,
            identity=self.identity,
        )


def read(
    args: VantageConfig,
    train: Dataset,
    validation: Any,
    rewards: list,
    encoder: Encoder,
    *,
    needs_picture: bool,
) -> DataSets:
    """Read and check every row as training will, and set up the encoder for these data sets.

    Args:
        args: Options of the trainer.
        train, validation: Data sets of the trainer.
        rewards: Reward functions.
        encoder: Encoder whose prompts become those of these data sets.
        needs_picture: Whether every forward needs an image if that of another process has one.

    Raises:
        InputError: Rows cannot become a prompt, or prompts are too long.
        EngineError: Rows have images, but the processor supports text only.
    """
    processor, encode = encoder.processor, encoder.encode
    tokenizer = getattr(processor, "tokenizer", processor)
    options = {k: v for k, v in encoder.template.items() if k != "chat_template"}
    prompts = replace(args.build_prompts(train), reserved=placeholders(processor))
    sets = {"train_dataset": train, **columns.named(validation)}
    takes = acceptance(processor, **options)
    if args.check_data or prompts.reserved:
        for name, rows in sets.items():
            check_prompts(prompts, name, rows, pixels=args.check_data, takes=takes)
    if args.check_data:
        for name, rows in sets.items():
            columns.check_pictures(name, rows, rewards)
    if not isinstance(processor, ProcessorMixin) and any(map(has_images, sets.values())):
        raise EngineError(
            f"rows have images, but the processor is a {type(processor).__name__}, "
            "which reads text alone; its image processor may need torchvision"
        )

    def tokens_of(question: Question) -> int:
        return len(encode(render(question)).ids)

    def short_enough(asked: Prompts, limit: int | None) -> list[int]:
        measured = replace(asked, length=lambda text: len(tokenizer(text)["input_ids"]))
        return lengths.short_enough(measured, tokens_of, limit, args.on_long_prompt)

    limits = [limit for limit in (args.max_prompt_length, args.room) if limit]
    rows = short_enough(prompts, min(limits, default=None))
    if args.room and validation is not None:
        room, policy = args.room, args.on_long_prompt
        validation = shortened(validation, room, policy, prompts, tokens_of, short_enough)
    asked = (train.select(rows), *columns.named(validation).values()) if needs_picture else ()
    shown = next(filter(None, map(first_with_images, asked)), None)
    pictured = encode(render(prompts.original(shown))) if shown else None
    encoder.prompts, encoder.pictured = prompts, pictured
    return DataSets(train, validation, prompts, rows)


def shortened(
    validation: Any,
    room: int,
    policy: str,
    prompts: Prompts,
    tokens_of: Callable[[Question], int],
    short_enough: Callable[[Prompts, int], list[int]],
) -> Any:
    """Select validation rows whose prompts have at most `room` tokens.

    Args:
        validation: A data set, or several by name. Rows of a stream are measured lazily.
        room: Maximum prompt length, in tokens.
        policy: Whether to "error" or "skip" longer prompts.
        prompts: Prompts of the training rows, whose settings apply.
        tokens_of: Question -> number of tokens.
        short_enough: (prompts, room) -> numbers of the rows to keep.
    """

    def fits(row: dict[str, Any]) -> bool:
        length = tokens_of(prompts.original(row))
        if length > room and policy == "error":
            raise InputError(
                f"eval_dataset: a prompt has {length} tokens, but vLLM has room for {room}"
            )
        return length <= room

    def kept(rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
        if isinstance(rows, IterableDataset):
            return rows.filter(fits)
        asked = replace(prompts, rows=Reader(rows), variants=Variants())
        return rows.select(short_enough(asked, room))

    if isinstance(validation, dict):
        return {name: kept(rows) for name, rows in validation.items()}
    return kept(validation)
