"""`vantage train` on a user's files: training, resuming, stopping, and errors."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage import cli, plugins
from vantage.demo import digits
from vantage.training.checkpoints import is_complete
from vantage.training.trl import VantageTrainer

COMMAND = [sys.executable, "-m", "vantage", "train"]

OWN_CODE = '''
from vantage.methods import Recipe, custom

def short(completions, solution_steps, **columns):
    """The user's own reward; takes a column of the user's own."""
    return [1 / (len(text) + steps) for text, steps in zip(completions, solution_steps)]

def mine(fraction: float = 0.5) -> Recipe:
    return custom(selection={"name": "random", "fraction": fraction})
'''


def picture(number: int):
    return digits.picture([number, number + 1])


def encoded(number: int) -> bytes:
    stream = io.BytesIO()
    picture(number).save(stream, "png")
    return stream.getvalue()


def table(rows: int = 6) -> dict[str, list]:
    """Everything but the pictures."""
    wordings = list(digits.WORDINGS)
    return {
        "problem": wordings[:rows],
        "solution": [str(n) for n in range(rows)],
        "solution_steps": [1] * rows,
        "others": [wordings[-2:]] * rows,
    }


def by_datasets(path: Path) -> None:
    Dataset.from_dict({**table(), "photo": [picture(n) for n in range(6)]}).to_parquet(path)


def by_pyarrow(path: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    photos = [{"bytes": encoded(n), "path": f"{n}.png"} for n in range(6)]
    pq.write_table(pa.table({**table(), "photo": pa.array(photos, kind)}), path)


def by_paths(path: Path) -> None:
    (path.parent / "photos").mkdir(exist_ok=True)
    for n in range(6):
        picture(n).save(path.parent / "photos" / f"{n}.png")
    pq.write_table(pa.table({**table(), "photo": [f"photos/{n}.png" for n in range(6)]}), path)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty working directory, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    (tmp_path / "own.py").write_text(OWN_CODE)


@pytest.fixture
def values(tiny_model) -> dict:
    """A configuration of two rollout batches, each of 2 x 4 rollouts and two updates."""
    return {
        "model": {"path": tiny_model, "dtype": "float32"},
        "data": {
            "train": "rows.parquet",
            "template": "{question}",
            "columns": {"question": "problem", "answer": "solution", "image": "photo"},
        },
        "run": {"output": "run", "batches": 2, "save_every": 1, "keep_checkpoints": None},
        "batch": {"questions": 2, "rollouts": 4, "updates": 2, "micro_batch": 4},
        "generation": {"max_tokens": 4},
        "rewards": {"own.py:short": 1.0},
        "trl": {"use_cpu": True, "bf16": False, "gradient_checkpointing": False},
    }


def put(values: dict, **options) -> dict:
    """The values with `section__option` set; None takes it away."""
    values = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for name, value in options.items():
        *sections, option = name.split("__")
        inner = values
        for section in sections:
            inner[section] = inner = dict(inner.get(section, {}))
        inner[option] = value
        if value is None:
            del inner[option]
    return values


def write(values: dict | str) -> str:
    text = values if isinstance(values, str) else yaml.safe_dump(values)
    Path("run.yaml").write_text(text)
    return "run.yaml"


@pytest.fixture
def train(monkeypatch, capfd):
    """Calls `vantage train` in this process, and returns exit status and stderr."""

    def call(values, *arguments) -> tuple[int, str]:
        for name in [name for name in sys.modules if name.startswith(plugins.PREFIX)]:
            del sys.modules[name]  # as in a process of its own
        monkeypatch.setattr(sys, "argv", ["vantage", "train", write(values), *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, capfd.readouterr().err

    return call


def logged(run: str = "run") -> list[dict]:
    last = max(Path(run).glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


def checkpoints(run: str = "run") -> dict[int, bool]:
    """Step of each checkpoint -> whether it is complete."""
    return {int(path.name[11:]): is_complete(path) for path in Path(run).glob("checkpoint-*")}


# ------------------------------------------------------------------------------ what is trained


def test_lora_run_with_all_options_resumes_in_real_processes(values):
    by_datasets(Path("rows.parquet"))
    by_paths(Path("held_out.parquet"))
    chosen = put(
        values,
        model__lora={"r": 2, "alpha": 4, "target_modules": ["q_proj", "v_proj"]},
        data__validation="held_out.parquet",
        run__validate_every=1,
        validation={"rollouts": 2, "temperature": 0.5, "before_training": True},
        recipe={"name": "own.py:mine", "fraction": 0.75},
        rewards={"accuracy": 0.5, "own.py:short": 0.5},
    )
    options = ["--optimizer.learning_rate", "1e-3", "--recipe.fraction=0.5"]
    first = subprocess.run([*COMMAND, write(chosen), *options], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "model saved in run/model" in first.stdout

    resolved = yaml.safe_load(Path("run/config.yaml").read_text())
    received = yaml.safe_load(Path("run/engine.yaml").read_text())
    assert resolved["optimizer"]["learning_rate"] == received["learning_rate"] == 1e-3
    assert received["max_completion_length"] == 4
    assert resolved["recipe"] == {"name": "../own.py:mine", "fraction": 0.5}
    assert resolved["data"]["columns"]["answer"] == "solution"
    assert resolved["generation"] == {"max_tokens": 4, "temperature": 1.0, "top_p": 1.0}
    assert checkpoints() == {2: True, 4: True}
    assert (Path("run/model") / "adapter_model.safetensors").is_file()
    state = json.loads(Path("run/checkpoint-4/trainer_state.json").read_text())
    evaluated = [entry for entry in state["log_history"] if "eval_reward" in entry]
    assert [entry["step"] for entry in evaluated] == [0, 2, 4]
    assert state["best_metric"] == max(entry["eval_reward"] for entry in evaluated[1:])

    more = [*options, "--run.batches", "3", "--resume"]
    again = subprocess.run([*COMMAND, "run.yaml", *more], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert checkpoints() == {2: True, 4: True, 6: True}
    assert [entry["step"] for entry in logged()] == [1, 2, 3, 4, 5, 6]
    assert logged()[:4] == [entry for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize("written", [by_datasets, by_pyarrow, by_paths])
def test_images_of_every_kind_train(values, train, written):
    written(Path("rows.parquet"))
    status, err = train(values, "--run.batches", "1")
    assert status == 0, err
    assert checkpoints() == {2: True}
    assert AutoProcessor.from_pretrained("run/model")
    assert AutoModelForImageTextToText.from_pretrained("run/model")


def test_sharing_recipe_trains_with_rewrites_and_transforms(values, train):
    by_datasets(Path("rows.parquet"))
    transforms = {"names": ["upside-down"], "probability": 1}
    variants = {"prompts": 2, "rewrites": "others", "transforms": transforms}
    status, err = train(put(values, recipe="share-shuffle", variants=variants, run__batches=1))
    assert status == 0, err
    assert checkpoints() == {2: True}


def test_epochs_count_the_questions(values, train):
    by_datasets(Path("rows.parquet"))
    status, err = train(put(values, run__batches=None, run__epochs=1))
    assert status == 0, err
    assert checkpoints() == {2: True, 4: True, 6: True}


def test_adapter_can_be_evaluated(values, train, monkeypatch, capfd):
    by_datasets(Path("rows.parquet"))
    lora = {"r": 2, "target_modules": ["q_proj"]}
    status, err = train(put(values, model__lora=lora, run__batches=1))
    assert status == 0, err
    columns = ["--question", "problem", "--answer", "solution", "--image", "photo"]
    arguments = ["run/model", "rows.parquet", *columns, "--max-tokens", "2", "--samples", "1"]
    monkeypatch.setattr(sys, "argv", ["vantage", "eval", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code, capfd.readouterr().err


def test_ctrl_c_leaves_a_checkpoint_to_resume_from(values):
    by_datasets(Path("rows.parquet"))
    long = {"run__batches": 400, "run__save_every": 400}
    # All responses of two questions may be as long.
    config = write(put(values, **long, run__max_silent_batches=400))
    with Path("log").open("w") as log:
        process = subprocess.Popen([*COMMAND, config], stdout=log, stderr=log)
        waited = time.monotonic() + 90
        while "reward=" not in Path("log").read_text():  # of the line that tells how it goes
            assert process.poll() is None and time.monotonic() < waited, Path("log").read_text()
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        status = process.wait(60)
    told = Path("log").read_text()
    assert status == 130, told
    assert "stopping after this rollout batch" in told
    assert "rerun the command with --resume to continue" in told
    assert "Traceback" not in told
    ((step, whole),) = checkpoints().items()
    assert whole and step % 2 == 0 and step < 800
    more = ["--run.batches", str(step // 2 + 1), "--resume"]
    again = subprocess.run([*COMMAND, config, *more], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert logged()[-1]["step"] == step + 2
    assert Path("run/model/config.json").is_file()


# ------------------------------------------------------------------------------ what is refused


@pytest.fixture
def no_rollout(monkeypatch):
    """Fail if the run reaches a rollout instead of raising before."""
    monkeypatch.setattr(VantageTrainer, "_roll_out", lambda self: pytest.fail("a rollout"))


def assert_refused(status: int, err: str, words: str) -> None:
    assert status == 2
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    assert words in err.partition("error: ")[2]


BAD_CONFIGURATIONS = [
    (
        {"optimizer__learning_rat": 1},
        "optimizer.learning_rat: unknown; did you mean 'learning_rate'",
    ),
    ({"batch__questions": "two"}, "batch.questions: Input should be a valid integer"),
    ({"batch__rollouts": 1}, "batch.rollouts: Input should be greater than or equal to 2"),
    ({"run__epochs": 1}, "run: give either batches (rollout batches) or epochs"),
    ({"run__batches": None}, "run: give either batches (rollout batches) or epochs"),
    ({"model__path": None}, "model.path: Field required"),
    ({"model__path": "gone"}, "model.path: 'gone' cannot be loaded"),
    ({"data__train": "gone.parquet"}, "gone.parquet: no such file"),
    ({"data__train": "own.py"}, "own.py: expected a file ending in .parquet"),
    ({"data__validation": "gone.parquet"}, "gone.parquet: no such file"),
    (
        {"data__columns__question": "problm"},
        "no column 'problm' for the question; did you mean 'problem'",
    ),
    ({"data__columns__answer": "answer"}, "no column 'answer'"),
    ({"data__columns__image": "foto"}, "no column 'foto' for the image; did you mean 'photo'"),
    (
        {"data__columns__image": "solution_steps"},
        "row 0, column 'solution_steps': '1' is not an image",
    ),
    ({"data__columns__images": ["photo", "foto"]}, "no column 'foto' for the images; did you"),
    ({"data__template": "{question} {hint}"}, "template: {hint} is not a column"),
    ({"data__template": "Sum?"}, "does not contain {question}"),
    ({"data__max_prompt_tokens": 3}, "max_prompt_length=3"),
    ({"recipe": "shuffle"}, "did you mean 'shuffle-r1'"),
    ({"recipe": {"name": "shuffle-r1", "fracton": 1}}, "did you mean 'fraction'"),
    ({"recipe": {"name": "shuffle-r1", "fraction": 2}}, "fraction=2"),
    ({"recipe": {"name": "shuffle-r1", "fraction": "half"}}, "fraction='half'"),
    ({"recipe": {"name": "shuffle-r1", "rounds": 3}}, "rounds=3"),
    ({"recipe": "gone.py:mine"}, "no file 'gone.py'"),
    ({"recipe": "own.py:main"}, "own.py has no function 'main'; did you mean 'mine'"),
    ({"recipe": "share-grpo"}, "variants.prompts is 1"),
    ({"variants": {"prompts": 2}}, "variants: prompts=2 and original=True, but nothing to vary"),
    (
        {"variants": {"prompts": 2, "transforms": {"names": ["turn"]}}},
        "variants.transforms.names: unknown transform 'turn'",
    ),
    ({"variants": {"prompts": 2, "rewrites": "other"}}, "no column 'other'"),
    ({"rewards": {"acuracy": 1}}, "rewards: unknown 'acuracy'; did you mean 'accuracy'"),
    ({"rewards": {"gone.py:short": 1}}, "no file 'gone.py'"),
    ({"rewards": {"own.py:long": 1}}, "own.py has no function 'long'"),
    ({"rewards": {"needs.py:hint": 1}}, "no column 'hint', needed by reward function 'hint'"),
    ({"rewards": {}}, "rewards"),
    ({"batch__updates": 3}, "do not divide into updates=3 on 1 processes"),
    ({"model__min_pixels": 100, "model__max_pixels": 10}, "min_pixels=100 is more than"),
    ({"optimizer__schedule": "falling"}, "falling"),
    (
        {"data__validation": "rows.parquet", "run__validate_every": 3, "run__save_every": 2},
        "run.validate_every=3 is not a multiple of run.save_every=2",
    ),
    ({"trl__logging_steps": "often"}, "trl.logging_steps='often': expected a number"),
    ({"trl__num_iterations": 0}, "trl.num_iterations=0: expected 1 or more"),
    (
        {"trl__model_init_kwargs": "eager"},
        "trl.model_init_kwargs='eager': expected a mapping of options",
    ),
    ({"trl__per_device_train_batch_size": 0}, "trl.per_device_train_batch_size=0: expected 1"),
    ({"trl__num_generations": 8}, "trl.num_generations=8: must stay 4; set batch.rollouts"),
    ({"trl__learning_rte": 1}, "trl.learning_rte: unknown; did you mean 'learning_rate'"),
    ({"trl__scale_rewards": "batch"}, "scale_rewards='batch'"),
    ({"trl__loss_type": "gpro"}, "loss_type='gpro'"),
    ({"trl__metric_for_best_model": "loss"}, "metric_for_best_model='loss'"),
    ({"model__lora": {"target_modules": ["nowhere"]}}, "nowhere"),
    ({"run__report_to": ["nobody"]}, "nobody"),
    ({"run__output": "rows.parquet"}, "rows.parquet"),
]


@pytest.mark.parametrize(
    ("options", "words"), BAD_CONFIGURATIONS, ids=[str(case[0]) for case in BAD_CONFIGURATIONS]
)
def test_invalid_configuration_error_names_the_option(values, train, no_rollout, options, words):
    by_datasets(Path("rows.parquet"))
    Path("needs.py").write_text("def hint(completions, hint, **columns): return []")
    assert_refused(*train(put(values, **options)), words)


@pytest.mark.parametrize(
    ("text", "words"), [("run: [", "not YAML"), ("", "expected sections"), ("a: b: c", "not YAML")]
)
def test_file_without_configuration_raises(train, no_rollout, text, words):
    assert_refused(*train(text), words)


BAD_ROWS = [
    ({"problem": ""}, "row 1, column 'problem': the question is empty ('')"),
    ({"problem": "  \n"}, "row 1, column 'problem': the question is empty ('  "),
    ({"problem": None}, "row 1, column 'problem': the question is empty ('None')"),
    ({"problem": "<image> and <image>?"}, "column 'problem': has 2 <image> for 1 images"),
    ({"solution": ""}, "row 1, column 'solution': the answer is empty ('')"),
    ({"solution": None}, "row 1, column 'solution': the answer is empty ('None')"),
    (
        {"photo": {"bytes": b"no picture", "path": None}},
        "row 1, column 'photo': not an image in a supported format",
    ),
    ({"photo": {"bytes": encoded(1)[:150], "path": None}}, "row 1, column 'photo': image cannot"),
    ({"photo": {"bytes": b"", "path": None}}, "{'bytes': b'', 'path': None}\" is not an image"),
    ({"photo": {"bytes": None, "path": "gone.png"}}, "gone.png"),
    ({"photo": None, "problem": "<image> What?"}, "row 1, column 'problem': has 1 <image> for 0"),
    ({"others": ["Sum?", ""]}, "row 1, column 'others': holds an empty question"),
    ({"others": ["<image><image> Sum?"]}, "row 1, column 'others': has 2 <image> for 1"),
    ({"others": [None]}, "row 1, column 'others': holds '[None]', expected a list of texts"),
]


def with_row(change: dict, path: Path) -> None:
    """A file as pyarrow writes it, with row 1 changed."""
    columns = {**table(), "photo": [{"bytes": encoded(n), "path": None} for n in range(6)]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows[1] |= change
    pq.write_table(pa.Table.from_pylist(rows), path)


VARIED = {"prompts": 2, "rewrites": "others"}


@pytest.mark.parametrize(("change", "words"), BAD_ROWS, ids=[case[1] for case in BAD_ROWS])
def test_invalid_row_error_names_its_number(values, train, no_rollout, change, words):
    with_row(change, Path("rows.parquet"))
    assert_refused(*train(put(values, variants=VARIED, batch__questions=1)), words)


def test_invalid_validation_row_raises(values, train, no_rollout):
    by_datasets(Path("rows.parquet"))
    with_row({"photo": {"bytes": b"no picture", "path": None}}, Path("held_out.parquet"))
    status, err = train(put(values, data__validation="held_out.parquet"))
    assert_refused(
        status,
        err,
        "held_out.parquet: 1 row cannot be used:\n  row 1, column 'photo': not an image",
    )


def test_rewrites_must_be_lists(values, train, no_rollout):
    columns = {**table(), "others": ["Sum?"] * 6, "photo": [picture(n) for n in range(6)]}
    Dataset.from_dict(columns).to_parquet("rows.parquet")
    words = "row 0, column 'others': holds 'Sum?', expected a list of texts"
    assert_refused(*train(put(values, variants=VARIED)), words)


def test_file_without_rows_raises(values, train, no_rollout):
    pq.write_table(pa.table({**table(), "photo": ["a"] * 6}).slice(0, 0), "rows.parquet")
    assert_refused(*train(values), "rows.parquet: split 'train' has no rows")


def test_run_over_an_earlier_run_raises(values, train, monkeypatch):
    by_datasets(Path("rows.parquet"))
    assert train(put(values, run__batches=1))[0] == 0
    monkeypatch.setattr(VantageTrainer, "_roll_out", lambda self: pytest.fail("a rollout"))
    assert_refused(*train(values), "run.output: 'run' has checkpoints of an earlier run")


def test_resuming_with_other_options_raises(values, train, monkeypatch):
    by_datasets(Path("rows.parquet"))
    assert train(put(values, run__batches=1))[0] == 0
    monkeypatch.setattr(VantageTrainer, "_roll_out", lambda self: pytest.fail("a rollout"))
    status, err = train(values, "--generation.max_tokens", "3", "--resume")
    assert_refused(status, err, "but this changed: generation.max_tokens from")


def test_invalid_parquet_file_raises(values, train, no_rollout):
    Path("rows.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert_refused(*train(values), "rows.parquet: cannot be read as a data set")
