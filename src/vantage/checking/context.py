"""Inputs of the checks: the run, its model and its data sets, computed lazily and cached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from datasets import Dataset

from vantage.checking import data_sets, leakage, memory
from vantage.checking.answers import Reward
from vantage.checking.data_sets import DataSet
from vantage.checking.examples import Example, examples
from vantage.checking.findings import Finding
from vantage.checking.inspecting import Inspection, Looks
from vantage.checking.leakage import Shared
from vantage.checking.memory import Memory, Sampler, Sizes
from vantage.checking.parity import Model
from vantage.checking.tokens import Fitting, Lengths, LongRows, lengths, remedy
from vantage.errors import ConfigError, VantageError
from vantage.questions.prompts import Prompts, has_images
from vantage.questions.reading import Reader
from vantage.questions.variants import Variants
from vantage.training.adapters import lora_of
from vantage.training.inputs import load_model, reading_options, reward_of
from vantage.training.precision import BYTES
from vantage.training.resolved import Resolved, Source
from vantage.training.shape import Pace

# Approximate number of rows that are encoded twice: from the conversation and from its text.
TWICE = 256


@dataclass(frozen=True)
class HeldOut:
    """Rows that must not be trained on.

    Attributes:
        data: The data set.
        validation: Whether the run validates on these rows, so that bad rows stop it.
        looks: Results of the inspection.
        long: Rows that are too long to validate on; None without a limit.
        shared: Rows that are also training rows.
    """

    data: DataSet
    validation: bool
    looks: Looks
    long: LongRows | None
    shared: Shared


@dataclass(frozen=True)
class Context:
    """Everything that checks may read.

    Attributes that load the model or the data raise ConfigError or InputError if that fails.

    Attributes:
        run: The run as resolved by its engine.
        test: Additional rows that must not be among the training rows.
        gpu: Memory of the first GPU of the machine that will train, in bytes; None without a GPU,
            or to check for any machine.
        missing: A sentence for each requirement of the engine that this machine lacks.
    """

    run: Resolved
    test: Source | None = None
    gpu: int | None = None
    missing: tuple[str, ...] = ()

    @cached_property
    def model(self) -> Model:
        """The model without its weights, loaded as training loads it."""
        run = self.run
        processor, known = load_model(run.config.model.path, **run.loading)
        run.check_model(known)
        tokenize = run.tokenizer(processor) if run.tokenizer else None
        return Model(processor, known, run.template_options, tokenize)

    @cached_property
    def train(self) -> DataSet:
        """The training rows."""
        run = self.run
        options = reading_options(run.config, self.model.processor)
        return data_sets.read(run.train.path, run.train, variants=run.config.variants, **options)

    @property
    def rows(self) -> Dataset:
        """The usable training rows."""
        return self.train.rows

    @cached_property
    def prompts(self) -> Prompts:
        """How the training rows become prompts."""
        return self.run.prompts(self.rows)

    @cached_property
    def rewards(self) -> Mapping[str, Reward]:
        """Reward functions by name."""
        config = self.run.config
        return {name: reward_of(name, config.judge) for name in config.rewards}

    @property
    def readable(self) -> bool:
        """Whether the processor can encode the training rows."""
        return _is_readable(self.model, self.rows)

    @cached_property
    def looks(self) -> Looks:
        """Results of the inspection of the training rows."""
        return _inspected(self.model, self.prompts, self.train)

    @cached_property
    def examples(self) -> list[Example]:
        """One rendered prompt of each layout."""
        return examples(self.model, self.prompts, self.looks, self.rewards)

    @cached_property
    def prompt_tokens(self) -> Lengths | None:
        """Statistics of the longest prompt of each row; None if none can be encoded."""
        return self._lengths(self.looks.token_Q)

    @cached_property
    def image_tokens(self) -> Lengths | None:
        """Statistics of the image tokens in the same prompts."""
        return self._lengths(self.looks.image_token_Q)

    def _lengths(self, number_Q: np.ndarray) -> Lengths | None:
        measured_Q = self.looks.token_Q > 0
        if not measured_Q.any():
            return None
        return lengths(number_Q[measured_Q], self.looks.row_Q[measured_Q])

    @cached_property
    def long(self) -> LongRows | None:
        """Training rows over the limit; None without a limit, or if none can be encoded."""
        if self.run.limit is None or self.prompt_tokens is None:
            return None
        return _long(self.prompts, self.model, self.run.limit, self.looks)

    @cached_property
    def held_out(self) -> list[HeldOut]:
        """Held-out data sets: validation and test."""
        validation = self.run.validation
        found = [self._validation(validation)] if validation else []
        return found + ([self._test(self.test)] if self.test else [])

    def _validation(self, source: Source) -> HeldOut:
        options = reading_options(self.run.config, self.model.processor)
        data = data_sets.read(str(source), source, **options)
        looks, long, limit = Looks.of([], []), None, self.run.limit_validation
        if len(data.rows):
            prompts = replace(self.run.prompts(data.rows), variants=Variants())
            looks = _inspected(self.model, prompts, data)
            long = None if limit is None else _long(prompts, self.model, limit, looks)
        return HeldOut(data, True, looks, long, leakage.shared(self.looks.keys, looks.keys))

    def _test(self, source: Source) -> HeldOut:
        data, looks = data_sets.read_test(self.run, source), Looks.of([], [])
        if len(data.rows):
            inspection = Inspection(Prompts(Reader(data.rows)))
            looks = inspection.over(data.numbers, "Comparing with held-out rows")
        return HeldOut(data, False, looks, None, leakage.shared(self.looks.keys, looks.keys))

    @cached_property
    def pace(self) -> Pace:
        """Batches, updates and rollouts of an epoch."""
        return self.run.shape.pace(self.trained)

    @property
    def trained(self) -> int:
        """Number of rows that are trained on."""
        dropped = self.long.rows if self.long and self.run.on_long_prompt == "skip" else []
        return len(self.rows) - len(dropped)

    @cached_property
    def memory(self) -> Memory | None:
        """Memory of a process, estimated; None if a length or the engine is unknown."""
        run = self.run
        if self._longest is None or run.forward is None:
            return None
        return memory.estimate(
            self._sizes,
            run.forward,
            prompt=self._longest,
            forward_bytes=BYTES[run.precision.forward],
            cut=run.cut,
        )

    @cached_property
    def sampler(self) -> Sampler | None:
        """The sampler on the GPUs of the training; it loads the model in the saved precision."""
        beside, forward = self.run.colocated, self.run.forward
        if beside is None or forward is None or self._longest is None:
            return None
        length = beside.length or self._longest + forward.response
        needs = memory.sampler_needs(self._sizes, length=length, value_bytes=2)
        return Sampler(beside.share, beside.sleeps, needs // beside.parallel, beside.name)

    @property
    def _longest(self) -> int | None:
        """Tokens of the longest prompt used in training."""
        if self.prompt_tokens is None:
            return None
        return int(min(self.prompt_tokens.most, self.run.limit or math.inf))

    @cached_property
    def _sizes(self) -> Sizes:
        model = self.run.config.model
        try:
            return memory.sizes(
                self.model.config,
                self.run.precision,
                lora=lora_of(model.lora),
                freeze_vision=model.freeze_vision_tower,
            )
        except VantageError:
            raise
        except ValueError as error:  # peft raises it if the adapters match no module
            raise ConfigError(f"model.lora: {error}") from error


Check = Callable[[Context], Iterator[Finding]]


def _inspected(model: Model, prompts: Prompts, data: DataSet) -> Looks:
    """Inspect all rows; only compute keys if the processor cannot encode them."""
    inspection = Inspection(prompts)
    if _is_readable(model, data.rows):
        prompts = replace(prompts, length=lambda text: len(model.tokenizer(text)["input_ids"]))
        inspection = Inspection(prompts, model, every(len(data.rows)))
    return inspection.over(data.numbers, "Measuring prompts")


def every(rows: int) -> int:
    """Stride of the rows that are encoded a second time, for a number of rows."""
    return max(1, rows // TWICE)


def _is_readable(model: Model, rows: Dataset) -> bool:
    return model.reads_images or not has_images(rows)


def _long(prompts: Prompts, model: Model, limit: int, looks: Looks) -> LongRows:
    numbers = looks.row_Q.tolist()
    long = [(int(row), int(looks.token_Q[row])) for row in np.flatnonzero(looks.token_Q > limit)]
    found = remedy(Fitting(prompts, model.ids, limit), long, numbers)
    text = {numbers[row]: tokens - int(looks.image_token_Q[row]) for row, tokens in long}
    return replace(found, wordy=[row for row in found.hopeless if text[row] > limit])
