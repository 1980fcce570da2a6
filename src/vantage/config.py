"""The configuration of a run: one YAML file, typed."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from vantage import files, plugins
from vantage.errors import ConfigError
from vantage.methods.recipe import parse_recipe
from vantage.questions.layouts import Columns
from vantage.questions.sampling import sampling
from vantage.questions.schema import fault_of
from vantage.questions.variants import Variants
from vantage.sections import Function, Named, Place, Section, parsed, section_type
from vantage.yaml_values import read, text_of, value_of

INSTRUCTION = (
    "{question}\n\nFirst think about the problem inside <think> </think> tags, "
    "then put the final answer in \\boxed{}."
)

# Upper bounds that no real run reaches. Beyond them a run would fail late, out of memory or with
# an integer overflow.
MOST = 10**5  # questions, rollouts, updates, rows
LONGEST = 10**7  # tokens
LARGEST = 10**9  # limits of the record
MOST_BATCHES = 10**8
MOST_ROLLOUTS = 10**7  # per batch


class Lora(Section):
    """Low-rank adapters, trained instead of all weights; see peft's `LoraConfig`."""

    r: int = Field(16, ge=1, le=65_536)
    alpha: int = Field(32, ge=1, le=10**6)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class Model(Section):
    """The model to train.

    `path` is a directory or a name on the Hugging Face hub. `min_pixels` and `max_pixels` bound
    the size of images. `dtype` is the precision of forward passes: `auto` means bfloat16 on a GPU
    that supports it and float32 on a CPU. `optimizer.weights` sets the precision of the weights.
    """

    path: Place
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: str | None = None
    lora: Lora | None = None
    freeze_vision_tower: bool = False
    min_pixels: int | None = Field(None, ge=1, le=10**8)  # smaller images are scaled up
    max_pixels: int | None = Field(None, ge=1, le=10**9)


class Data(Section):
    """The training and validation data.

    `train` and `validation` are each a file (parquet, jsonl, json, csv, tsv), a directory, or a
    name on the hub. `layout` and `columns` map columns to their roles where these cannot be
    inferred. Image paths are relative to `image_root`, by default the directory of the file.
    Invalid rows stop the run, or are skipped and written to `rejects.jsonl`.
    `template` wraps every question: `{question}` is replaced by its text and `<image>` by the
    images at its start. Without `<image>` these images come first in the prompt.
    """

    train: Place
    split: str = "train"
    validation: Place | None = None
    validation_split: str = "validation"
    layout: str | None = None
    columns: Columns = Columns()
    image_root: Place | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    sampling: Named = "shuffle"
    template: str = INSTRUCTION
    system_prompt: str | None = None
    max_prompt_tokens: int | None = Field(None, ge=1, le=LONGEST)
    on_long_prompt: Literal["error", "skip"] = "error"

    @field_validator("template")
    @classmethod
    def _frames(cls, template: str) -> str:
        fault = fault_of(template)
        if fault:
            raise ValueError(f"{template!r} {fault}")
        return template


class Batch(Section):
    """A rollout batch: its questions, its rollouts per prompt, and how it is trained.

    `updates` is the number of optimizer updates per rollout batch, by default the recipe's
    published number, or one. Each process trains micro-batches of at most as many tokens as the
    `micro_batch` longest rows have. `packing` sets whether responses to the same prompt share one
    copy of it; see docs/packing.md.
    """

    questions: int = Field(32, ge=1, le=MOST)
    rollouts: int = Field(8, ge=2, le=MOST)
    updates: int | None = Field(None, ge=1, le=MOST)
    micro_batch: int = Field(8, ge=1, le=MOST)
    packing: Literal["auto", "on", "off"] = "auto"

    @field_validator("packing", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """Undo YAML 1.1, which reads on and off as true and false."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Generation(Section):
    """How responses are sampled."""

    max_tokens: int = Field(2048, ge=1, le=LONGEST)
    temperature: float = Field(1.0, gt=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)


class Validation(Section):
    """Validation on `data.validation`, every `run.validate_every` rollout batches.

    `rollouts` responses per question are sampled at `temperature`, by default that of training;
    0 decodes greedily. Logged rewards are means over all responses. `before_training` also
    validates before the first rollout batch.
    """

    rollouts: int = Field(1, ge=1, le=MOST)
    temperature: float | None = Field(None, ge=0, le=100)
    before_training: bool = False


class Optimizer(Section):
    """The AdamW optimizer.

    `weights` is the precision of the weights in full fine-tuning. bfloat16 takes less memory;
    compensated (Kahan) summation carries the rounding error of each step over to the next (AdamW
    of torch-optimi; see docs/scale.md). Adapters are always float32.
    """

    learning_rate: float = Field(1e-6, gt=0, le=1e9)
    weight_decay: float = Field(1e-2, ge=0, le=1e3)
    max_grad_norm: float = Field(1.0, ge=0, le=1e9)
    schedule: str = "constant"
    weights: Literal["float32", "bfloat16"] = "float32"


class Keep(Section):
    """Limits on the texts and images in a run's record; its numbers are always kept.

    At most `rollouts` per batch keep their texts, prompts and images. Questions are kept whole,
    in the order of a digest of their data row, so that the same questions are kept in every
    epoch and can be followed. Texts longer than `characters` lose their middle, which is marked;
    images of more than `pixels` are scaled down.
    """

    rollouts: int = Field(256, ge=0, le=LARGEST)
    characters: int = Field(20_000, ge=100, le=LARGEST)
    pixels: int = Field(512 * 512, ge=1, le=LARGEST)


class Run(Section):
    """Length, checkpoints and record of a run; `batches` and `*_every` count rollout batches.

    After `max_silent_batches` consecutive batches without a gradient, the run ends with a
    checkpoint; null disables this.
    """

    output: Place
    seed: int = Field(0, ge=0, lt=2**32)
    batches: int | None = Field(None, ge=1, le=MOST_BATCHES)
    epochs: float | None = Field(None, gt=0, le=1e6)
    save_every: int = Field(10, ge=1, le=MOST_BATCHES)
    keep_checkpoints: int | None = Field(2, ge=1, le=MOST_BATCHES)
    validate_every: int = Field(10, ge=1, le=MOST_BATCHES)
    max_silent_batches: int | None = Field(8, ge=1, le=MOST_BATCHES)
    report_to: list[str] = Field([])
    record: Keep = Keep()


class Judge(Section):
    """The model behind the reward `judge`, on a server with OpenAI's chat API.

    The API key comes from the environment variable `OPENAI_API_KEY`.
    """

    base_url: str = Field(pattern=r"^https?://[^\s/]")
    model: str = Field(min_length=1)
    concurrency: int = Field(16, ge=1, le=10_000)
    timeout: float = Field(120.0, gt=0, le=86_400)
    retries: int = Field(5, ge=0, le=1_000)


class Config(Section):
    """The whole configuration.

    `engine` selects the training engine: TRL on one machine or under accelerate, or veRL on a
    Ray cluster. `trl` takes any option of TRL's `GRPOConfig`, and `verl` any option of veRL,
    that no other section sets. The other engine ignores them.
    """

    model: Model
    data: Data
    run: Run
    recipe: Named = "grpo"
    variants: Variants = Variants()
    rewards: dict[Function, float] = Field({"accuracy": 0.9, "format": 0.1}, min_length=1)
    judge: Judge | None = None
    batch: Batch = Batch()
    generation: Generation = Generation()
    validation: Validation = Validation()
    optimizer: Optimizer = Optimizer()
    engine: Literal["trl", "verl"] = "trl"
    trl: dict[str, Any] = Field({})
    verl: dict[str, Any] = Field({})


def load(path: str | Path, overrides: dict[str, str] | None = None) -> Config:
    """Load a configuration from a YAML file, with overrides.

    Paths to the user's own code are relative to the directory of the YAML file, or, in an
    override, to the working directory. The code is imported here.

    Args:
        path: The YAML file.
        overrides: "section.option" -> value as written in YAML.

    Raises:
        ConfigError: The file cannot be read or is not YAML, a key is unknown (the closest known
            key is suggested), or a value has the wrong type or is out of range. Lists all
            problems at once.
    """
    values = _values(path)
    for name, text in (overrides or {}).items():
        _put(values, *_from_here(values, name, value_of(text, f"--{name}")))
    return parse(with_code_in(values, _folder(path)))


def saved(path: str | Path) -> Config:
    """Load a configuration from a YAML file without importing the code that it names.

    Raises:
        ConfigError: As `load`, except for problems that only the code could reveal.
    """
    return parsed(Config, with_code_in(_values(path), _folder(path)), str(path))


def with_code_in(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make paths to the user's own code absolute; relative ones start in `folder`."""
    return renamed(values, lambda name: plugins.whole(name, folder))


def renamed(values: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Apply `change` to the names of recipe, sampling and rewards in plain values."""

    def changed(named: Any) -> Any:
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            return {**named, "name": change(named["name"])}
        return change(named) if isinstance(named, str) else named

    found = dict(values)
    data, rewards = values.get("data"), values.get("rewards")
    if "recipe" in values:
        found["recipe"] = changed(values["recipe"])
    if isinstance(data, dict) and "sampling" in data:
        found["data"] = {**data, "sampling": changed(data["sampling"])}
    if isinstance(rewards, dict):
        found["rewards"] = {changed(name): weight for name, weight in rewards.items()}
    return found


def own_code(config: Config) -> dict[str, str]:
    """The user's own code that a configuration names: "file.py:function" -> kind."""
    named = dict.fromkeys(config.rewards, "reward")
    for kind, given in (("recipe", config.recipe), ("sampling", config.data.sampling)):
        name = given.get("name", "") if isinstance(given, dict) else given
        named[str(name)] = kind
    return {name: kind for name, kind in named.items() if plugins.is_own(name)}


def _from_here(values: dict[str, Any], name: str, value: Any) -> tuple[str, Any]:
    """An override, with paths to code made absolute from the working directory."""
    here, known = Path.cwd(), values.get("rewards")
    if name in ("recipe", "recipe.name", "data.sampling", "data.sampling.name"):
        return name, with_code_in({"recipe": value}, here)["recipe"]
    if name == "rewards":
        return name, with_code_in({name: value}, here)[name]
    reward = name.removeprefix("rewards.")
    if reward != name and not (isinstance(known, dict) and reward in known):
        return f"rewards.{plugins.whole(reward, here)}", value
    return name, value


def _folder(path: str | Path) -> Path:
    """The directory of a YAML file; the working directory for a pipe, as in <(...)."""
    whole = Path(files.home(str(path))).absolute()
    return Path.cwd() if whole.parts[:2] in (("/", "dev"), ("/", "proc")) else whole.parent


def sections(path: str | Path, *names: str) -> list[Any]:
    """Load some sections of a configuration, without building what they name.

    Raises:
        ConfigError: As `load`.
    """
    values = _values(path)
    kinds = {name: section_type(Config.model_fields[name].annotation) for name in names}
    return [
        parsed(kind, values.get(name, {}), f"{path}: {name}")
        for name, kind in kinds.items()
        if kind
    ]


def _values(path: str | Path) -> dict[str, Any]:
    """The content of a YAML file, section by section."""
    values = read(Path(files.home(str(path))), "configuration")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as model, data, run")
    # A section whose options are all commented out reads as null; it takes the defaults.
    return {name: value for name, value in values.items() if value is not None}


def parse(values: dict[str, Any]) -> Config:
    """Build a configuration from plain values; see `load`.

    Paths to code are relative to the working directory.
    """
    config = parsed(Config, with_code_in(values, Path.cwd()), "configuration")
    parse_recipe(config.recipe)
    sampling(config.data.sampling, 1, config.run.seed)
    if (config.run.batches is None) == (config.run.epochs is None):
        raise ConfigError("run: give either batches (rollout batches) or epochs")
    batch = config.batch
    if (made_of := batch.questions * config.variants.prompts * batch.rollouts) > MOST_ROLLOUTS:
        raise ConfigError(
            f"batch: {made_of:,} rollouts (questions={batch.questions} x variants.prompts="
            f"{config.variants.prompts} x rollouts={batch.rollouts}): at most {MOST_ROLLOUTS:,}"
        )
    if config.validation.temperature == 0 and config.validation.rollouts > 1:
        raise ConfigError(
            f"validation: temperature=0 with rollouts={config.validation.rollouts}: without "
            "sampling all responses to a question are the same; set rollouts to 1"
        )
    if config.validation.before_training and config.data.validation is None:
        raise ConfigError(
            "validation.before_training: no questions to validate on; name them in data.validation"
        )
    least, most = config.model.min_pixels, config.model.max_pixels
    if least and most and least > most:
        raise ConfigError(f"model.min_pixels={least} is more than model.max_pixels={most}")
    if ("judge" in config.rewards) != (config.judge is not None):
        raise ConfigError(
            "rewards.judge and the section judge (base_url, model) belong together: give both"
        )
    return config


def config_to_check(
    data: str, given: dict[str, Any], overrides: dict[str, str] | None = None
) -> Config:
    """Build the configuration for `vantage check` from a run's YAML file, or from data and model.

    Args:
        data: A YAML file, or any value of `Data.train`.
        given: "section.option" -> value, None if not given.
        overrides: As for `load`; only valid with a YAML file.

    Raises:
        ConfigError: As `load`; no model is given, or overrides are given without a YAML file.
    """
    there = {name: value for name, value in given.items() if value is not None}
    if Path(data).suffix in (".yaml", ".yml"):
        texts = {name: json.dumps(value) for name, value in there.items()}
        return load(data, {**texts, **(overrides or {})})
    if overrides:
        raise ConfigError(f"--{next(iter(overrides))}: only with the YAML file of a run")
    if "model.path" not in there:
        raise ConfigError(f"check {data}: name the model with --model, or give a run's YAML file")
    values: dict[str, Any] = {"data": {"train": data}, "run": {"output": "runs", "epochs": 1}}
    for name, value in there.items():
        _put(values, name, value)
    return parse(values)


def describe(section: type[Section], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (name, type, default as text) of every option of a section, nested ones included."""
    for name, field in section.model_fields.items():
        held = section_type(field.annotation)
        if held is not None:
            yield from describe(held, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else repr(field.default)
            yield f"{prefix}{name}", _type(field.annotation), default


def _type(annotation: Any) -> str:
    """A type as shown to users, without its validators."""
    kind, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is typing.Annotated:
        return _type(inside[0])
    if kind is typing.Literal:
        return " | ".join(map(repr, inside))
    if kind in (typing.Union, types.UnionType):
        return " | ".join(map(_type, inside))
    if annotation in (None, types.NoneType):
        return "None"
    if kind is None:
        return getattr(annotation, "__name__", str(annotation))
    return f"{kind.__name__}[{', '.join(map(_type, inside))}]"


def as_values(config: Config) -> dict[str, Any]:
    """Convert a configuration to plain values, defaults included; `parse` is the inverse."""
    values = config.model_dump()
    # An unset column follows the layout, but an explicit null means that there is none.
    values["data"]["columns"] = config.data.columns.model_dump(exclude_unset=True)
    return values


def save(config: Config, path: Path) -> None:
    """Write a configuration, defaults included, with paths to code relative to the file."""
    values = renamed(as_values(config), lambda name: plugins.relative(name, path.parent))
    files.write(path, text_of(values).encode())


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    # The name of a reward may be a path, which contains dots.
    *sections, option = name.split(".", 1 if name.startswith("rewards.") else -1)
    for section in sections:
        if isinstance(values.get(section), str):
            values[section] = {"name": values[section]}  # recipe: grpo -> recipe.fraction
        held = values[section] = values.get(section) or {}
        if not isinstance(held, dict):
            raise ConfigError(f"--{name}: {section} is {held!r}, which has no options")
        values = held
    values[option] = value
