"""`check`, the dry run and `train` reject the same invalid values, at the start."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vantage import config as configuration
from vantage.checking.run import check, dry_run
from vantage.config import Config
from vantage.errors import VantageError
from vantage.sections import section_type
from vantage.training.trl import run
from vantage.training.trl.values import HINTS
from vantage.yaml_values import text_of

# Option, value, and what the refusal says.
REFUSED = [
    ("run.seed", 2**40, "run.seed"),
    ("run.seed", -1, "run.seed"),
    ("run.seed", 1.5, "run.seed"),
    ("run.report_to", ["nobody"], "TRL does not support 'nobody'"),
    ("run.report_to", "tensorboard", "run.report_to"),
    ("run.output", "", "run.output"),
    ("run.output", "  ", "run.output"),
    ("run.output", "a\0b", "NUL"),
    ("run.batches", 10**30, "run.batches"),
    ("run.keep_checkpoints", 0, "run.keep_checkpoints"),
    ("batch.questions", 10**9, "batch.questions"),
    ("batch.rollouts", -2, "batch.rollouts"),
    ("batch.micro_batch", "8", "batch.micro_batch"),
    ("generation.max_tokens", 10**9, "generation.max_tokens"),
    ("generation.top_p", 1.1, "generation.top_p"),
    ("optimizer.learning_rate", 0, "optimizer.learning_rate"),
    ("optimizer.learning_rate", "1e-6", "optimizer.learning_rate"),
    ("optimizer.schedule", "nothing", "nothing"),
    ("model.min_pixels", 10**30, "model.min_pixels"),
    ("rewards.accuracy", "high", "rewards.accuracy"),
    ("data.columns.question", 7, "data.columns.question"),
    ("trl.num_iterations", 0, "num_iterations"),
    ("trl.num_iterations", True, "num_iterations"),
    ("trl.seed", 2**40, "seed"),
    ("trl.adam_beta1", 1.0, "adam_beta1"),
    ("trl.beta", -0.1, "beta"),
    ("trl.optim", "nobody", "nobody"),
    ("trl.per_device_train_batch_size", 10**9, "per_device_train_batch_size"),
    ("trl.logging_steps", 10**30, "logging_steps"),
    ("trl.bf16", "yes", "bf16"),
    ("trl.output_dir", "elsewhere", "run.output"),
    ("trl.deepspeed", "/etc/hostname", "trl.deepspeed='/etc/hostname'"),
    ("trl.accelerator_config", "gone.json", "trl.accelerator_config='gone.json'"),
    ("trl.sync_ref_model", True, "sync_ref_model"),
    ("trl.router_aux_loss_coef", 0.1, "the model has no experts"),
    ("trl.cast_lm_head_to_fp32", True, "tied embeddings"),
    ("trl.use_transformers_continuous_batching", True, "not supported for vision-language models"),
    ("trl.model_init_kwargs", {"dtyp": "auto"}, "trl.model_init_kwargs.dtyp: unknown; did you"),
]
# No file of YAML has them, but Python does.
NOT_FINITE = [
    ("run.epochs", math.inf),
    ("run.epochs", math.nan),
    ("generation.temperature", math.nan),
    ("rewards.accuracy", math.nan),
    ("trl.learning_rate", math.nan),
    ("trl.max_grad_norm", math.inf),
    ("trl.beta", math.nan),
]
ODD = [
    *("x", "", "0", -1, 0, 1, 2, 3, 0.5, 1e30, 10**9, 10**30, 2**40, math.inf, math.nan),
    *([], [1], ["x"], {}, {"a": 1}, None, True, False),
]


def leaves(section, prefix=""):
    """Every option, those of engines apart."""
    for name, field in section.model_fields.items():
        held = section_type(field.annotation)
        if held is not None:
            yield from leaves(held, f"{prefix}{name}.")
        elif f"{prefix}{name}" not in ("engine", "trl", "verl"):
            yield f"{prefix}{name}"


ASK = ("push_to_hub",)  # others, when a trainer is built
OPTIONS = [*leaves(Config), *(f"trl.{name}" for name in HINTS if name not in ASK)]


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory):
    """A run of one batch, as plain values."""
    folder = tmp_path_factory.mktemp("odd")
    rows = folder / "rows.jsonl"
    lines = [{"question": f"{n} and 1?", "answer": str(n + 1)} for n in range(4)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "model": {"path": tiny_model},
        "data": {"train": str(rows), "template": "{question}"},
        "batch": {"questions": 2, "rollouts": 2, "micro_batch": 4},
        "generation": {"max_tokens": 2},
        "rewards": {"accuracy": 1.0},
        "run": {"output": str(folder / "run"), "batches": 1},
        "trl": {"use_cpu": True, "bf16": False, "gradient_checkpointing": False},
    }


def changed(base, *options):
    """The values with some options of (name, value) put in."""
    values = json.loads(json.dumps(base))
    for name, value in options:
        *sections, option = name.split(".")
        held = values
        for section in sections:
            held = held.setdefault(section, {})
        held[option] = value
        if name == "run.epochs":
            del values["run"]["batches"]
        if name.startswith("judge."):
            values["judge"] = {"base_url": "http://127.0.0.1:9/v1", "model": "m", option: value}
            values["rewards"] = {"judge": 1.0}
    return values


@pytest.mark.parametrize(("option", "value", "named"), REFUSED)
def test_every_command_rejects_the_same_values(option, value, named, base, vantage, tmp_path):
    written, plain = tmp_path / "odd.yaml", tmp_path / "plain.yaml"
    written.write_text(text_of(changed(base, (option, value))))
    plain.write_text(text_of(base))
    given = [f"--{option}", json.dumps(value)]
    said = [
        vantage(*command)
        for command in (
            ("check", written),
            ("train", written, "--dry-run"),
            ("train", written),
            ("train", plain, "--dry-run", *given),
            ("train", plain, *given),
        )
    ]
    assert {status for status, _, _ in said} == {2}
    assert len({err for _, _, err in said}) == 1 and named in said[0][2]
    assert not [*Path(base["run"]["output"]).glob("*")]


@pytest.mark.parametrize(("option", "value"), NOT_FINITE)
def test_non_finite_options_raise_from_python_and_yaml(option, value, base, tmp_path):
    values = changed(base, (option, value))
    for call in (check, dry_run, run.train):
        with pytest.raises(VantageError, match=option.rpartition(".")[2]):
            call(configuration.parse(values))
    written = tmp_path / "odd.yaml"
    written.write_text(text_of(values))
    with pytest.raises(VantageError, match="not a finite number"):
        configuration.load(written)


def assert_train_takes_what_the_dry_run_takes(values):
    try:
        config = configuration.parse(values)
        if dry_run(config).status:
            return
    except VantageError:
        return
    trainer = run.build(config)
    trainer.create_optimizer_and_scheduler(1)
    next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize(
    "tries", [60, pytest.param(1_500, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_options_accepted_by_the_dry_run_build_a_trainer(tries, base):
    one = st.tuples(st.sampled_from(OPTIONS), st.sampled_from(ODD))

    @settings(
        max_examples=tries, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck]
    )
    @given(st.lists(one, min_size=1, max_size=2, unique_by=lambda pair: pair[0]))
    def holds(options):
        assert_train_takes_what_the_dry_run_takes(changed(base, *options))

    holds()
