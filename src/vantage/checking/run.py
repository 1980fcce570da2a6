"""All checks of a configuration, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from vantage.checking import leakage, memory, parity
from vantage.checking.answers import Reward, self_test
from vantage.checking.examples import examples
from vantage.checking.findings import CheckReport, Finding
from vantage.checking.leakage import Keys, Shared
from vantage.checking.levels import Level
from vantage.checking.looking import Inspection, Looks
from vantage.checking.machine import lacks
from vantage.checking.memory import Memory, Sampler
from vantage.checking.parity import Model
from vantage.checking.tokens import Fitting, LongRows, lengths, remedy
from vantage.config import Config
from vantage.errors import ConfigError, EngineError, InputError, VantageError, some
from vantage.questions.faults import Fault
from vantage.questions.layouts import those_there
from vantage.questions.loading import survey
from vantage.questions.prompts import Prompts, first_with_images, has_images
from vantage.questions.reading import Reader
from vantage.questions.schema import IMAGE, images_in, render
from vantage.questions.tables import names, open_rows
from vantage.questions.variants import Variants
from vantage.training import checkpoints, columns
from vantage.training.adapters import lora_of
from vantage.training.engines import engine_of
from vantage.training.inputs import load_model, reading_options, reward_of
from vantage.training.precision import BYTES
from vantage.training.resolved import Resolved

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
    """The good rows of a data set, their numbers there, its faults, and what to know of it."""

    rows: Dataset
    numbers: Sequence[int]
    faults: list[Fault]
    remarks: tuple[str, ...] = ()


def check(config: Config, *, test: tuple[str, str] | None = None) -> CheckReport:
    """Whether a run would train as it should, as far as that is told without a GPU.

    Args:
        config: of the run. Its validation rows are looked at as well.
        test: data and split that must not be among the training rows.

    Raises:
        ConfigError: an option that does not fit, or a model that cannot be loaded.
        InputError: no such data, split or column.
        EngineError: the engine is installed in a version that this was not written for.
    """
    return _checked(config, engine_of(config).resolve(config), test)


def dry_run(config: Config, *, resume: bool = False) -> CheckReport:
    """`check`, and what the machine at hand and the run's directory say to a run.

    Args:
        config: of the run.
        resume: whether it goes on from its last checkpoint.

    Raises:
        ConfigError: as `check`, and a directory that has another run.
        InputError, EngineError: as `check`.
    """
    engine = engine_of(config)
    engine.check_run(config, resume=resume)
    run = engine.resolve(config)
    report = _checked(config, run, None, resume=resume)
    missing = [Finding("error", "machine", words) for words in engine.missing_packages(config)]
    return report.plus(missing).plus(lacks(report, run))


def _checked(
    config: Config, run: Resolved, test: tuple[str, str] | None, *, resume: bool = False
) -> CheckReport:
    model = model_of(config, run)
    trained = HeldOut(config.data.train, config.data.split, True)
    train = surveyed(config, trained, model.processor, rewrites=True)
    if resume:
        checkpoints.check_rows(Path(config.run.output), train.rows)
    name = config.data.train
    bad = [*_about_engine(run), *_bad_rows(config, name, train)]
    report = CheckReport(
        name, config.model.path, run.shape, len(train.rows), train.faults, findings=bad
    )
    if not len(train.rows):
        return report
    prompts = run.prompts(train.rows)
    rewards = {name: reward_of(name, config.judge) for name in config.rewards}
    report = report.plus(_chosen(train)).plus(_rewards(config, run, train.rows, rewards))
    report = report.plus(_model(run, model, prompts, train.rows))
    looks = looked_at(model, prompts, train)
    shown = examples(model, prompts, looks.layouts, looks.layout_Q, looks.row_Q, rewards)
    report = replace(report, examples=shown)
    report = report.plus(_around(config, model)).plus(_hidden(model, looks))
    report = report.plus(_problems(looks)).plus(_precision(run, model))
    report = _measured(report, run, model, prompts, looks)
    report = report.plus(_repeated(looks))
    for held_out in _held_out(config, test):
        report = _compared(config, run, model, report, held_out, looks.keys)
    return _sized(config, run, model, report)


def model_of(config: Config, run: Resolved) -> Model:
    """What is known of the model, loaded as training loads it.

    Raises:
        ConfigError: no such model, it has no processor, or options do not fit it.
    """
    processor, known = load_model(config.model.path, **run.loading)
    run.check_model(known)
    tokenize = run.tokenizer(processor) if run.tokenizer else None
    return Model(processor, known, run.template_options, tokenize)


def surveyed(
    config: Config, held_out: HeldOut, processor: Any = None, *, rewrites: bool
) -> Surveyed:
    """The good rows of a data set, read as a run reads them.

    Raises:
        ConfigError, InputError: as `vantage.questions.loading.survey`.
    """
    options = reading_options(config, processor)
    if not held_out.trained_with:
        options["takes"] = None
        options["layout"] = None
        if config.data.columns.model_fields_set:
            there, _ = open_rows(held_out.source, held_out.split)
            options["columns"] = those_there(config.data.columns, names(there))
    if rewrites:
        options["variants"] = config.variants
    found = survey(held_out.source, split=held_out.split, **options)
    bad = {fault.row for fault in found.faults}
    numbers: Sequence[int] = range(len(found.rows) + len(bad))
    if bad:
        numbers = [row for row in numbers if row not in bad]
    return Surveyed(found.rows, numbers, found.faults, found.remarks)


def looked_at(model: Model, prompts: Prompts, found: Surveyed) -> Looks:
    """What is kept of each row; keys alone where the processor cannot read the pictures."""
    inspection = Inspection(prompts)
    if _is_readable(model, found.rows):
        words = getattr(model.processor, "tokenizer", model.processor)
        prompts = replace(prompts, length=lambda text: len(words(text)["input_ids"]))
        inspection = Inspection(prompts, model, _every(len(found.rows)))
    return inspection.over(found.numbers, "Measuring prompts")


def _every(rows: int) -> int:
    return max(1, rows // TWICE)


def _is_readable(model: Model, rows: Dataset) -> bool:
    return model.reads_images or not has_images(rows)


def _about_engine(run: Resolved) -> Iterator[Finding]:
    """What the engine has to say about the options."""
    for words in run.warnings:
        yield Finding("warning", "engine", words)


def _precision(run: Resolved, model: Model) -> Iterator[Finding]:
    """Whether the optimizer's steps can move weights of the precision that they are kept in."""
    spread = getattr(model.config.get_text_config(), "initializer_range", None)
    found = run.judge_steps(spread)
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


def _rewards(
    config: Config, run: Resolved, rows: Dataset, rewards: Mapping[str, Reward]
) -> Iterator[Finding]:
    lacking = [*_columns(run, "the data", rows, [*rewards.values()], config.variants)]
    yield from lacking
    if not lacking:
        for level, name, words in self_test(rewards, rows):
            yield Finding(level, "rewards", f"reward {name!r}: {words}")


def _chosen(train: Surveyed) -> Iterator[Finding]:
    """What else could have been read of the data."""
    for words in train.remarks:
        yield Finding("note", "columns", words)


def _columns(
    run: Resolved, name: str, rows: Dataset, rewards: list, variants: Variants | None = None
) -> Iterator[Finding]:
    """Columns that rewards and variants need."""
    try:
        columns.check_columns(name, rows, rewards, variants, run.supplied, run.withheld)
    except InputError as error:
        yield Finding("error", "rewards", str(error))


def _model(run: Resolved, model: Model, prompts: Prompts, rows: Dataset) -> Iterator[Finding]:
    readable = _is_readable(model, rows)
    if not readable:
        yield Finding(
            "error",
            "processor",
            f"rows have images, but the model's processor is a {type(model.processor).__name__}, "
            "which reads text alone: its image processor is missing, or needs torchvision",
        )
    pictured = readable and has_images(rows)
    for level, words in parity.of_model(model, with_images=pictured):
        yield Finding(level, "processor", words)
    if pictured:
        yield from _family(run, model, prompts, rows)


def _family(run: Resolved, model: Model, prompts: Prompts, rows: Dataset) -> Iterator[Finding]:
    """Whether the engine can train pictures of this processor, tried on the first."""
    first = first_with_images(rows)
    if run.check_pictures is None or first is None:
        return
    prompt = render(prompts.original(first))
    try:
        run.check_pictures(model.processor, model.ids(prompt), images_in(prompt))
    except EngineError as error:
        yield Finding("error", "processor", str(error))


def _around(config: Config, model: Model) -> Iterator[Finding]:
    """Special tokens in what is put around every question."""
    data = config.data
    template = data.template.replace(IMAGE, "")  # a place, not a word
    for option, text in (("template", template), ("system_prompt", data.system_prompt)):
        for token in model.hidden_in([text or ""]):
            yield _special(model, f"data.{option}", token)


def _special(model: Model, where: str, token: str) -> Finding:
    level: Level = "error" if model.grave(token) else "warning"
    words = f"{where}: {token!r} in the text is a special token of the model; reword it"
    return Finding(level, "special tokens", words)


def _hidden(model: Model, looks: Looks) -> Iterator[Finding]:
    rows_of: dict[str, list[int]] = {}
    for place, tokens in looks.hidden.items():
        for token in tokens:
            rows_of.setdefault(token, []).append(int(looks.row_Q[place]))
    for token, rows in rows_of.items():
        yield _special(model, _rows(rows), token)


def _problems(looks: Looks, where: str = "") -> Iterator[Finding]:
    """Prompts that the processor cannot take; where they are, if they are not trained on."""
    rows_of: dict[str, list[int]] = {}
    for place, problem in looks.problems.items():
        rows_of.setdefault(problem, []).append(int(looks.row_Q[place]))
    for problem, rows in list(rows_of.items())[:20]:
        yield Finding("error", "prompts", f"{where}{_rows(rows)}: {problem}")
    rest = list(rows_of.values())[20:]
    if rest:
        more = f"{where}{sum(map(len, rest))} more rows with other problems"
        yield Finding("error", "prompts", more)
    if not where and not rows_of and looks.token_Q.any():
        twice = len(range(0, len(looks), _every(len(looks))))
        words = f"ids of the conversation and of its text are equal on all {twice} rows compared"
        yield Finding("note", "prompts", words)


def _measured(
    report: CheckReport,
    run: Resolved,
    model: Model,
    prompts: Prompts,
    looks: Looks,
) -> CheckReport:
    """The report with the lengths of the prompts, and those over the limit."""
    measured_Q = looks.token_Q > 0
    if not measured_Q.any():
        return report
    row_Q = looks.row_Q[measured_Q]
    report = replace(
        report,
        prompt_tokens=lengths(looks.token_Q[measured_Q], row_Q),
        image_tokens=lengths(looks.image_token_Q[measured_Q], row_Q),
    )
    if run.limit is None:
        return report
    long = _long(prompts, model, run.limit, looks)
    return report.plus(_too_long(long, report.rows, run.long_prompts), long=long)


def _long(prompts: Prompts, model: Model, limit: int, looks: Looks) -> LongRows:
    numbers = looks.row_Q.tolist()
    long = [(int(row), int(looks.token_Q[row])) for row in np.flatnonzero(looks.token_Q > limit)]
    found = remedy(Fitting(prompts, model.ids, limit), long, numbers)
    text = {numbers[row]: tokens - int(looks.image_token_Q[row]) for row, tokens in long}
    return replace(found, wordy=[row for row in found.hopeless if text[row] > limit])


def _too_long(long: LongRows, rows: int, policy: str, of: str = "") -> Iterator[Finding]:
    if not long.rows:
        return
    of = f"{len(long.rows)} of {rows} rows{of} are longer than {long.limit} tokens"
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


def _repeated(looks: Looks) -> Iterator[Finding]:
    found = leakage.repeats(looks.keys)
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
    config: Config,
    run: Resolved,
    model: Model,
    report: CheckReport,
    held_out: HeldOut,
    train: Keys,
) -> CheckReport:
    """The report with what a held-out set has in common with the training rows."""
    found = surveyed(config, held_out, model.processor, rewrites=False)
    name = held_out.name
    findings = [*_bad_rows(config, name, found, stops=held_out.trained_with)]
    looks = Looks.joined([])
    if len(found.rows) and held_out.trained_with:
        prompts = replace(run.prompts(found.rows), variants=Variants())
        looks = looked_at(model, prompts, found)
        findings += _validated(config, run, model, name, prompts, looks, found.rows)
    elif len(found.rows):
        inspection = Inspection(Prompts(Reader(found.rows)))
        looks = inspection.over(found.numbers, "Comparing with held-out rows")
    shared = leakage.shared(train, looks.keys)
    return report.plus(
        [*findings, *_leaking(name, shared, len(looks))],
        shared={**report.shared, name: shared},
        held_out_faults={**report.held_out_faults, name: found.faults},
    )


def _validated(
    config: Config,
    run: Resolved,
    model: Model,
    name: str,
    prompts: Prompts,
    looks: Looks,
    rows: Dataset,
) -> Iterator[Finding]:
    """Whether rows can be validated on: columns of the rewards, and length where it counts."""
    rewards = [reward_of(reward, config.judge) for reward in config.rewards]
    yield from _columns(run, name, rows, rewards)
    yield from _problems(looks, f"{name}: ")
    if run.limit_validation is not None:
        long = _long(prompts, model, run.limit_validation, looks)
        yield from _too_long(long, len(rows), run.long_prompts, f" of {name}")


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


def _sized(config: Config, run: Resolved, model: Model, report: CheckReport) -> CheckReport:
    """The report with the length of an epoch, and the memory of its longest prompt."""
    rows = report.rows
    if report.long and run.long_prompts == "drop":
        rows -= len(report.long.rows)
    report = report.plus(_few(rows, run.shape.questions), pace=run.shape.pace(rows))
    if report.prompt_tokens is None or run.forward is None:
        return report
    longest = int(min(report.prompt_tokens.most, run.limit or math.inf))
    sizes = _sizes(config, run, model)
    forward_bytes = BYTES[run.precision.forward]
    made = memory.estimate(
        sizes, run.forward, prompt=longest, forward_bytes=forward_bytes, cut=run.cut
    )
    sampler = _sampler(run, sizes, longest)
    return report.plus([_enough(run, made, sampler)], memory=made, sampler=sampler)


def _enough(run: Resolved, made: Memory, sampler: Sampler | None) -> Finding:
    """The smallest GPU that the estimate fits."""
    there = [gib for gib in memory.GPUS if made.fits(sampler, gib * memory.GIB)]
    if not there:
        words = (
            f"no GPU of up to {memory.GPUS[-1]} GiB is enough by the estimate: {run.more_gpus}, "
            "or train adapters (model.lora)"
        )
        return Finding("note", "memory", words)
    words = f"a GPU of {there[0]} GiB is enough by the estimate"
    if run.cut.processes > 1:
        words = f"{run.cut.processes} GPUs of {there[0]} GiB are enough by the estimate"
    if sampler:
        sleep = "sleeps" if sampler.sleeps else "does not sleep"
        share = f"{sampler.share:.0%} of {'each' if run.cut.processes > 1 else 'it'}"
        words += f", with {sampler.name}, which takes {share} and {sleep} during updates"
    return Finding("note", "memory", words)


def _few(rows: int, questions: int) -> Iterator[Finding]:
    if rows < questions:
        words = f"{rows} rows for the {questions} questions of a batch: some are asked again in it"
        yield Finding("warning", "batch", words)


def _sizes(config: Config, run: Resolved, model: Model) -> memory.Sizes:
    try:
        return memory.sizes(
            model.config, run.precision, lora=lora_of(config), freeze_vision=run.freezes_vision
        )
    except VantageError:
        raise
    except ValueError as error:  # peft, of adapters that fit nowhere
        raise ConfigError(f"model.lora: {error}") from error


def _sampler(run: Resolved, sizes: memory.Sizes, prompt: int) -> Sampler | None:
    """The sampler that shares the GPUs of the training; it loads the model as it was saved."""
    beside, forward = run.colocated, run.forward
    if beside is None or forward is None:
        return None
    length = beside.length or prompt + forward.response
    needs = memory.sampler_needs(sizes, length=length, value_bytes=2)
    return Sampler(beside.share, beside.sleeps, needs // beside.parallel, beside.name)


def _rows(rows: Sequence[int]) -> str:
    return f"row {rows[0]}" if len(rows) == 1 else f"rows {some(rows)}"


def _pairs(pairs: Sequence[tuple[int, int]], limit: int = 5) -> str:
    shown = ", ".join(f"row {row} = training row {other}" for row, other in pairs[:limit])
    return shown + (f" and {len(pairs) - limit} more" if len(pairs) > limit else "")
