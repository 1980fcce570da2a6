"""All checks of a configuration, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from transformers import AutoConfig, AutoProcessor

from vantage.checking import leakage, memory, parity
from vantage.checking.answers import self_test
from vantage.checking.findings import CheckReport, Finding
from vantage.checking.leakage import Key, Shared
from vantage.checking.levels import Level
from vantage.checking.looking import Look, Looker
from vantage.checking.machine import cut_here, lacks
from vantage.checking.memory import Memory, Sampler
from vantage.checking.parity import Model
from vantage.checking.tokens import Fitting, LongRows, Tokenize, lengths, remedy, tokenizer_of
from vantage.config import Config
from vantage.errors import ConfigError, InputError, some
from vantage.questions.faults import Fault
from vantage.questions.layouts import those_there
from vantage.questions.loading import survey
from vantage.questions.parallel import over_rows
from vantage.questions.prompts import Prompts, has_images
from vantage.questions.reading import Reader
from vantage.questions.tables import names, open_rows
from vantage.training import columns, precision_on_verl
from vantage.training.checkpoints import last_complete
from vantage.training.inputs import check_output, reading_options, reward_of
from vantage.training.trl import precision
from vantage.training.trl.config import VantageConfig
from vantage.training.trl.run import arguments, lora_of

# Rows that are encoded a second time, from their text.
TWICE = 256


class HeldOut(NamedTuple):
    """Rows that must not be trained on.

    Attributes:
        source, split: where they are.
        trained_with: whether they are the run's own validation, whose bad rows stop it too.
    """

    source: str
    split: str
    trained_with: bool = False

    @property
    def name(self) -> str:
        """What the report calls them."""
        return f"{self.source} ({self.split})"


@dataclass(frozen=True)
class Surveyed:
    """The good rows of a data set, the numbers that they have there, and its faults."""

    rows: Dataset
    numbers: list[int]
    faults: list[Fault]


def check(config: Config, *, test: tuple[str, str] | None = None) -> CheckReport:
    """Whether a run would train as it should, as far as that is told without a GPU.

    Args:
        config: of the run. Its validation rows are looked at as well.
        test: data and split that must not be among the training rows.

    Raises:
        ConfigError: an option that does not fit, or a model that cannot be loaded.
        InputError: no such data, split or column.
    """
    args = planned(config)
    model = model_of(config, args)
    train = surveyed(config, HeldOut(config.data.train, config.data.split, True), rewrites=True)
    name = config.data.train
    bad = _bad_rows(config, name, train)
    report = CheckReport(name, config.model.path, len(train.rows), train.faults, findings=[*bad])
    if not len(train.rows):
        return report
    report = report.plus(_rewards(config, train.rows)).plus(_model(model, train.rows))
    prompts = args.build_prompts(train.rows)
    looks = looked_at(model, prompts, train.rows)
    report = report.plus(_around(config, model)).plus(_hidden(model, looks, train.numbers))
    report = report.plus(_problems(looks, train.numbers)).plus(_precision(config, args))
    report = _measured(report, args, model, prompts, looks, train.numbers)
    report = report.plus(_repeated(looks, train.numbers))
    for held_out in _held_out(config, test):
        report = _compared(config, report, held_out, _keyed(looks, train.numbers))
    return _sized(config, args, report)


def rehearse(config: Config, *, resume: bool = False) -> CheckReport:
    """`check`, and what the machine at hand and the run's directory say to a run.

    Args:
        config: of the run.
        resume: whether it goes on from its last checkpoint.

    Raises:
        ConfigError: as `check`, and a directory that has another run.
        InputError: as `check`.
    """
    begun = last_complete(Path(config.run.output))
    check_output(config, resume=resume, begun=bool(begun))
    report = check(config)
    return report.plus(lacks(config, report))


def planned(config: Config) -> VantageConfig:
    """TRL's options for a run, on a machine that need not have a GPU.

    Raises:
        ConfigError: as `vantage.training.trl.run.arguments`.
    """
    there = {name: value for name, value in config.trl.items() if name != "tf32"}
    # The GPU that is to train is taken to have bfloat16.
    forward = precision.chosen(config, has_bfloat16=not config.trl.get("use_cpu")).forward
    model = config.model.model_copy(update={"dtype": forward})
    return arguments(config.model_copy(update={"model": model, "trl": {**there, "use_cpu": True}}))


def model_of(config: Config, args: VantageConfig) -> Model:
    """What is known of the model, loaded as training loads it.

    Raises:
        ConfigError: no such model, or it has no processor.
    """
    path = config.model.path
    try:
        processor = AutoProcessor.from_pretrained(path, truncation_side="left", padding_side="left")
        return Model(processor, AutoConfig.from_pretrained(path), args.chat_template_kwargs or {})
    except (OSError, ValueError, ImportError) as error:
        why = str(error).strip().splitlines()[0]
        raise ConfigError(f"model {path!r} cannot be loaded: {why}") from error


def surveyed(config: Config, held_out: HeldOut, *, rewrites: bool) -> Surveyed:
    """The good rows of a data set, read as a run reads them.

    Raises:
        ConfigError, InputError: as `vantage.questions.loading.survey`.
    """
    options = reading_options(config)
    if not held_out.trained_with:
        options["layout"] = None
        if config.data.columns.model_fields_set:
            there, _ = open_rows(held_out.source, held_out.split)
            options["columns"] = those_there(config.data.columns, names(there))
    if rewrites:
        options["variants"] = config.variants
    found = survey(held_out.source, split=held_out.split, **options)
    bad = {fault.row for fault in found.faults}
    numbers = [row for row in range(len(found.rows) + len(bad)) if row not in bad]
    return Surveyed(found.rows, numbers, found.faults)


def looked_at(model: Model, prompts: Prompts, rows: Dataset) -> list[Look]:
    """What is kept of each row; keys alone where the processor cannot read the pictures."""
    looker = Looker(prompts)
    if _is_readable(model, rows):
        tokenize = tokenizer_of(model.processor, model.template_options)
        words = getattr(model.processor, "tokenizer", model.processor)
        prompts = replace(prompts, length=lambda text: len(words(text)["input_ids"]))
        looker = Looker(prompts, model, tokenize, _every(len(rows)))
    return over_rows(looker, len(rows), "Measuring prompts")


def _every(rows: int) -> int:
    return max(1, rows // TWICE)


def _is_readable(model: Model, rows: Dataset) -> bool:
    return model.reads_images or not has_images(rows)


def _precision(config: Config, args: VantageConfig) -> Iterator[Finding]:
    """Whether the optimizer's steps can move weights of the precision that they are kept in."""
    text = AutoConfig.from_pretrained(config.model.path).get_text_config()
    spread = getattr(text, "initializer_range", None)
    if config.engine == "verl":
        found = precision_on_verl.foreseen(config, spread)
    else:
        found = precision.foreseen(config, args, spread)
    if found.error:
        yield Finding("error", "precision", found.error)
    elif found.warning:
        yield Finding("warning", "precision", found.warning)


def _bad_rows(config: Config, name: str, found: Surveyed, stops: bool = True) -> Iterator[Finding]:
    bad = len({fault.row for fault in found.faults})
    if not bad:
        return
    of = f"{name}: {bad} of {bad + len(found.rows)} rows cannot be used"
    if not len(found.rows):
        yield Finding("error", "bad rows", f"{of}: nothing is left")
    elif not stops:
        yield Finding("warning", "bad rows", of)
    elif config.data.on_bad_row == "stop":
        advice = "repair them, or set data.on_bad_row to 'skip'"
        yield Finding("error", "bad rows", f"{of}: {advice}")
    else:
        yield Finding("warning", "bad rows", f"{of} and would be skipped")


def _rewards(config: Config, rows: Dataset) -> Iterator[Finding]:
    rewards = {name: reward_of(name, config.judge) for name in config.rewards}
    try:
        columns.check("the data", rows, list(rewards.values()), config.variants)
    except InputError as error:
        yield Finding("error", "rewards", str(error))
        return
    for level, name, words in self_test(rewards, rows):
        yield Finding(level, "rewards", f"reward {name!r}: {words}")


def _model(model: Model, rows: Dataset) -> Iterator[Finding]:
    readable = _is_readable(model, rows)
    if not readable:
        yield Finding(
            "error",
            "processor",
            f"rows have images, but the model's processor is a {type(model.processor).__name__}, "
            "which reads text alone: its image processor is missing, or needs torchvision",
        )
    for level, words in parity.of_model(model, with_images=readable and has_images(rows)):
        yield Finding(level, "processor", words)


def _around(config: Config, model: Model) -> Iterator[Finding]:
    """Special tokens in what is put around every question."""
    data = config.data
    for option, text in (("template", data.template), ("system_prompt", data.system_prompt)):
        for token in model.hidden_in([text or ""]):
            yield _special(model, f"data.{option}", token)


def _special(model: Model, where: str, token: str) -> Finding:
    level: Level = "error" if model.grave(token) else "warning"
    words = f"{where}: {token!r} in the text is a special token of the model; reword it"
    return Finding(level, "special tokens", words)


def _hidden(model: Model, looks: Sequence[Look], numbers: Sequence[int]) -> Iterator[Finding]:
    rows_of: dict[str, list[int]] = {}
    for row, look in zip(numbers, looks, strict=True):
        for token in look.hidden:
            rows_of.setdefault(token, []).append(row)
    for token, rows in rows_of.items():
        yield _special(model, _rows(rows), token)


def _problems(looks: Sequence[Look], numbers: Sequence[int]) -> Iterator[Finding]:
    rows_of: dict[str, list[int]] = {}
    for row, look in zip(numbers, looks, strict=True):
        if look.problem:
            rows_of.setdefault(look.problem, []).append(row)
    for problem, rows in list(rows_of.items())[:20]:
        yield Finding("error", "prompts", f"{_rows(rows)}: {problem}")
    rest = list(rows_of.values())[20:]
    if rest:
        yield Finding("error", "prompts", f"{sum(map(len, rest))} more rows with other problems")
    if not rows_of and any(look.tokens for look in looks):
        twice = len(range(0, len(looks), _every(len(looks))))
        words = f"ids of the conversation and of its text are equal on all {twice} rows compared"
        yield Finding("note", "prompts", words)


def _measured(
    report: CheckReport,
    args: VantageConfig,
    model: Model,
    prompts: Prompts,
    looks: Sequence[Look],
    numbers: Sequence[int],
) -> CheckReport:
    """The report with the lengths of the prompts, and those over the limit."""
    measured = [(row, look) for row, look in zip(numbers, looks, strict=True) if look.tokens]
    if not measured:
        return report
    rows = [row for row, _ in measured]
    report = replace(
        report,
        prompt_tokens=lengths([look.tokens for _, look in measured], rows),
        image_tokens=lengths([look.image_tokens for _, look in measured], rows),
    )
    if args.max_prompt_length is None:
        return report
    tokenize = tokenizer_of(model.processor, model.template_options)
    long = _long(prompts, tokenize, args.max_prompt_length, looks, numbers)
    return report.plus(_too_long(long, report.rows, args.long_prompts), long=long)


def _long(
    prompts: Prompts,
    tokenize: Tokenize,
    limit: int,
    looks: Sequence[Look],
    numbers: Sequence[int],
) -> LongRows:
    long = [(row, look.tokens) for row, look in enumerate(looks) if look.tokens > limit]
    found = remedy(Fitting(prompts, tokenize, limit), long, numbers)
    text = {numbers[row]: tokens - looks[row].image_tokens for row, tokens in long}
    return replace(found, wordy=[row for row in found.hopeless if text[row] > limit])


def _too_long(long: LongRows, rows: int, policy: str) -> Iterator[Finding]:
    if not long.rows:
        return
    of = f"{len(long.rows)} of {rows} rows are longer than {long.limit} tokens"
    if policy == "refuse":
        yield Finding("error", "long prompts", f"{of}: {_advice(long)}")
    elif len(long.rows) == rows:
        yield Finding("error", "long prompts", f"{of}, nothing is left: {_advice(long)}")
    else:
        yield Finding("warning", "long prompts", f"{of} and would be dropped; {_advice(long)}")


def _advice(long: LongRows) -> str:
    words = []
    if long.max_pixels is not None:
        which = "the others" if long.hopeless else "all"
        words.append(f"max_pixels={long.max_pixels} would make {which} fit")
    if long.wordy:
        words.append(f"the text alone of {_rows(long.wordy)} is too long")
    rest = [row for row in long.hopeless if row not in set(long.wordy)]
    if rest:
        words.append(f"however small their pictures, {_rows(rest)} would not fit")
    return "; ".join(words)


def _repeated(looks: Sequence[Look], numbers: Sequence[int]) -> Iterator[Finding]:
    found = leakage.repeats(_keyed(looks, numbers))
    for words, pairs in (
        ("ask and answer what an earlier row does", found.same),
        ("ask what an earlier row does, with another answer", found.contradicting),
    ):
        if pairs:
            words = f"{len(pairs)} of {len(looks)} rows {words}: {_pairs(pairs)}"
            yield Finding("warning", "duplicates", words)


def _held_out(config: Config, test: tuple[str, str] | None) -> Iterator[HeldOut]:
    data = config.data
    if data.validation is not None:
        yield HeldOut(data.validation, data.validation_split, trained_with=True)
    if test is not None:
        yield HeldOut(*test)


def _compared(
    config: Config, report: CheckReport, held_out: HeldOut, train: Sequence[tuple[int, Key]]
) -> CheckReport:
    """The report with what a held-out set has in common with the training rows."""
    found = surveyed(config, held_out, rewrites=False)
    looks: list[Look] = []
    if len(found.rows):
        looker = Looker(Prompts(Reader(found.rows)))
        looks = over_rows(looker, len(found.rows), "Comparing with held-out rows")
    shared = leakage.shared(train, _keyed(looks, found.numbers))
    name = held_out.name
    bad = _bad_rows(config, name, found, stops=held_out.trained_with)
    return report.plus(
        [*bad, *_leaking(name, shared, len(looks))],
        shared={**report.shared, name: shared},
        held_out_faults={**report.held_out_faults, name: found.faults},
    )


def _leaking(name: str, shared: Shared, rows: int) -> Iterator[Finding]:
    if shared.both:
        words = f"{len(shared.both)} of {rows} rows of {name} are trained on"
        yield Finding("error", "leakage", f"{words}: {_pairs(shared.both)}")
    if shared.pictures:
        words = (
            f"{len(shared.pictures)} of {rows} rows of {name} ask something else about a picture "
            f"that is trained on: {_pairs(shared.pictures)}"
        )
        yield Finding("warning", "leakage", words)


def _sized(config: Config, args: VantageConfig, report: CheckReport) -> CheckReport:
    """The report with the length of an epoch, and the memory of its longest prompt."""
    dropped = report.long.rows if report.long and args.long_prompts == "drop" else ()
    pace = memory.pace(
        report.rows - len(dropped),
        batch=config.batch.questions,
        rollouts=args.generation_batch_size,
        updates=args.updates_per_rollout_batch,
    )
    report = report.plus(_few(report.rows - len(dropped), config.batch.questions), pace=pace)
    if report.prompt_tokens is None:
        return report
    longest = min(report.prompt_tokens.most, args.max_prompt_length or math.inf)
    sizes = _sizes(config, args)
    made = _estimated(config, args, sizes, int(longest))
    sampler = _sampler(args, sizes, int(longest))
    return report.plus([_enough(made, sampler)], memory=made, sampler=sampler)


def _enough(made: Memory, sampler: Sampler | None) -> Finding:
    """The smallest GPU that the estimate fits."""
    there = [gib for gib in memory.GPUS if made.fits(sampler, gib * memory.GIB)]
    if not there:
        words = (
            f"no GPU of up to {memory.GPUS[-1]} GiB is enough by the estimate: cut the model over "
            "several (recipes/accelerate), or train adapters (model.lora)"
        )
        return Finding("note", "memory", words)
    words = f"a GPU of {there[0]} GiB is enough by the estimate"
    if sampler:
        sleep = "sleeps" if sampler.sleeps else "does not sleep"
        words += f", with vLLM, which takes {sampler.share:.0%} of it and {sleep} during updates"
    return Finding("note", "memory", words)


def _few(rows: int, questions: int) -> Iterator[Finding]:
    if rows < questions:
        words = f"{rows} rows for the {questions} questions of a batch: some are asked again in it"
        yield Finding("warning", "batch", words)


def _sizes(config: Config, args: VantageConfig) -> memory.Sizes:
    try:
        return memory.sizes(
            AutoConfig.from_pretrained(config.model.path),
            precision.chosen(config, has_bfloat16=args.bf16),
            lora=lora_of(config),
            freeze_vision=config.model.freeze_vision_tower,
        )
    except ValueError as error:  # peft, of adapters that fit nowhere
        raise ConfigError(f"model.lora: {error}") from error


def _estimated(config: Config, args: VantageConfig, sizes: memory.Sizes, prompt: int) -> Memory:
    return memory.estimate(
        sizes,
        rows=args.per_device_train_batch_size,
        prompt=prompt,
        response=args.max_completion_length,
        forward_bytes=2 if args.bf16 or args.fp16 else 4,
        reference=bool(args.beta),
        checkpointing=args.gradient_checkpointing,
        written_out=config.model.attention == "eager",
        compensated=args.compensated_sums,
        cut=cut_here(),
    )


def _sampler(args: VantageConfig, sizes: memory.Sizes, prompt: int) -> Sampler | None:
    """vLLM where it shares the GPUs of the training; it loads the model as it was saved."""
    if not args.use_vllm or args.vllm_mode != "colocate":
        return None
    length = args.vllm_max_model_length or prompt + args.max_completion_length
    needs = memory.sampler_needs(sizes, length=length, value_bytes=2)
    sleeps = bool(args.vllm_enable_sleep_mode)
    return Sampler(
        args.vllm_gpu_memory_utilization, sleeps, needs // args.vllm_tensor_parallel_size
    )


def _keyed(looks: Sequence[Look], numbers: Sequence[int]) -> list[tuple[int, Key]]:
    return [(row, look.key) for row, look in zip(numbers, looks, strict=True)]


def _rows(rows: Sequence[int]) -> str:
    return f"row {rows[0]}" if len(rows) == 1 else f"rows {some(rows)}"


def _pairs(pairs: Sequence[tuple[int, int]], limit: int = 5) -> str:
    shown = ", ".join(f"row {row} = training row {other}" for row, other in pairs[:limit])
    return shown + (f" and {len(pairs) - limit} more" if len(pairs) > limit else "")
