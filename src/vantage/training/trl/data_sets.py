"""The data sets of a trainer, read once before training, so that no row fails in the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    """Refuse data sets without rows, or without a column that is needed.

    Raises:
        ConfigError: a stream to train on, or a metric that no evaluation has.
        InputError: no rows, or a column is missing.
    """
    columns.check_columns("train_dataset", train, rewards, args.build_variants())
    for name, rows in columns.named(validation).items():
        columns.check_columns(name, rows, rewards, streamed=True)
    check_metric(args, validation)


@dataclass(frozen=True)
class DataSets:
    """Data sets whose rows can be trained and validated on.

    Attributes:
        train: rows to train on; rows: numbers of those whose prompts are short enough.
        validation: rows to validate on, as `eval_dataset`; those for which vLLM has room.
        prompts: how rows are asked.
    """

    train: Dataset
    validation: Any
    prompts: Prompts
    rows: Sequence[int]

    def are(self, train: Any, validation: Any) -> bool:
        """Whether these are the data sets that were read."""
        return train is self.train and validation is self.validation

    def session(self, args: VantageConfig, *, shuffles: bool) -> Session:
        """A session that asks these rows, from the start.

        Args:
            args: of the trainer.
            shuffles: whether questions are drawn at random, or in the order of the data.
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
            identity=identity(self.train),
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
    """Read every row as training will.

    Args:
        args: of the trainer.
        train, validation: its data sets.
        rewards: reward functions.
        encoder: encodes prompts; from now on those of these data sets.
        needs_picture: whether every forward must have a picture when another has one.

    Raises:
        InputError: rows that cannot become a prompt, or prompts that are too long.
        EngineError: rows have images, but the processor reads text alone.
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
    """Rows to validate on whose prompts have at most `room` tokens.

    Args:
        validation: one data set, or several by name; rows of a stream are measured as they come.
        room: tokens of the longest prompt.
        policy: "error" longer ones, or "skip" them.
        prompts: how rows are asked.
        tokens_of: tokens of a question.
        short_enough: prompts, room -> numbers of the rows to keep.
    """

    def fits(row: dict[str, Any]) -> bool:
        length = tokens_of(prompts.original(row))
        if length > room and policy == "error":
            raise InputError(f"eval_dataset: a prompt of {length} tokens, vLLM has {room}")
        return length <= room

    def kept(rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
        if isinstance(rows, IterableDataset):
            return rows.filter(fits)
        asked = replace(prompts, rows=Reader(rows), variants=Variants())
        return rows.select(short_enough(asked, room))

    if isinstance(validation, dict):
        return {name: kept(rows) for name, rows in validation.items()}
    return kept(validation)
