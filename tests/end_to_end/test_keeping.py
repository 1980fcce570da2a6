"""`vantage train` neither loses nor mixes runs: its errors, checkpoints and messages."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import test_train_command as commands
import torch
import yaml
from safetensors import SafetensorError

from vantage import cli
from vantage.training import checkpoints as marks
from vantage.training.trl import VantageTrainer

place, values, train, no_rollout = (
    commands.place,
    commands.values,
    commands.train,
    commands.no_rollout,
)
put, write, assert_refused = commands.put, commands.write, commands.assert_refused


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model):
    """A directory with data, a reward and a run of two rollout batches."""
    folder = tmp_path_factory.mktemp("finished")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("own.py").write_text(commands.OWN_CODE)
        commands.by_datasets(Path("rows.parquet"))
        made = commands.values.__wrapped__(tiny_model)
        command = [*commands.COMMAND, write(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def run(finished, place, tmp_path):
    """A copy of the run to work in."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def files(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path != run / "record/lock"
    }


def numbers(lines: list[dict]) -> list[tuple]:
    return [(line["step"], line["loss"], line.get("reward")) for line in lines]


# ------------------------------------------------------------------------------ who writes there


def test_second_start_raises_and_writes_nothing(values, train, no_rollout, tmp_path):
    commands.with_row({"problem": ""}, Path("rows.parquet"))
    Path("run").mkdir()
    Path("run/config.yaml").write_text("of the first")
    Path("run/record").mkdir()
    Path("run/record/about.json").write_text("{}")
    hold = "import fcntl; f = open('run/lock', 'w'); fcntl.flock(f, 2); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        before = files(Path("run"))
        words = "another process trains in 'run': wait for it, or choose another directory"
        assert_refused(*train(put(values, data__on_bad_row="skip", run__seed=7)), words)
        assert files(Path("run")) == before
    finally:
        holder.communicate(b"\n", timeout=30)


def test_invalid_run_raises_before_anything_is_written(values, train, no_rollout):
    commands.by_datasets(Path("rows.parquet"))
    assert_refused(*train(put(values, rewards={"own.py:long": 1})), "no function 'long'")
    assert files(Path("run")) == {}
    commands.by_datasets(Path("rows.parquet"))


def test_file_system_without_locks_logs_a_warning(values, train, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    kinds = {"LOCK_EX": fcntl.LOCK_EX, "LOCK_NB": fcntl.LOCK_NB}
    monkeypatch.setattr("vantage.files.fcntl", SimpleNamespace(flock=none, **kinds))
    commands.by_datasets(Path("rows.parquet"))
    assert train(put(values, run__batches=1))[0] == 0
    assert "this file system has no locks: make sure that no other process" in caplog.text


REMAINS = {
    "checkpoints": ("checkpoint-2", "checkpoint-4"),
    "a trained model": ("model",),
    "a record": ("record",),
    "a config.yaml": ("config.yaml",),
}


@pytest.mark.parametrize("kept", REMAINS)
def test_remains_of_a_run_are_never_overwritten(run, train, finished, no_rollout, kept):
    for path in run.iterdir():
        if path.name not in REMAINS[kept]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = files(run)
    settings = yaml.safe_load(Path("run.yaml").read_text())
    assert_refused(*train(settings), f"run.output: 'run' has {kept} of an earlier run: continue it")
    assert files(run) == before


def test_run_without_a_finished_batch_can_restart(values, train):
    commands.by_datasets(Path("rows.parquet"))
    Path("own.py").write_text("def short(**columns): raise RuntimeError('not yet')")
    status, err = train(put(values, run__batches=1))
    assert_refused(status, err, "the reward 'own.py:short' failed: ")
    assert "own.py, line 1, in short: RuntimeError: not yet; no rollout batch was done" in err
    Path("own.py").write_text(commands.OWN_CODE)
    assert train(put(values, run__batches=1, optimizer__learning_rate=1e-4))[0] == 0


# ------------------------------------------------------------------------------ what is resumed


def dry_run(values, monkeypatch, capfd) -> tuple[int, str]:
    arguments = ["vantage", "train", write(values), "--resume", "--dry-run"]
    monkeypatch.setattr(sys, "argv", arguments)
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capfd.readouterr()
    return caught.value.code or 0, said.out + said.err


def test_dry_run_names_the_checkpoint_to_resume_from(run, monkeypatch, capfd):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    status, said = dry_run(settings, monkeypatch, capfd)
    assert status < 2 and "run, resumed from checkpoint-4" in said
    for empty in ("nowhere", "empty"):
        (run.parent / "empty").mkdir(exist_ok=True)
        status, said = dry_run(put(settings, run__output=empty), monkeypatch, capfd)
        assert status < 2 and f"{empty}, from the start" in said
    (run.parent / "other").mkdir()
    (run.parent / "other" / "thesis.tex").write_text("mine")
    status, said = dry_run(put(settings, run__output="other"), monkeypatch, capfd)
    assert status == 2 and "--resume: 'other' is not the directory of a run: it has no" in said


OTHER_RUNS = [
    ("--run.seed=1", "run.seed from 0 to 1"),
    ("--recipe=pods", "recipe from 'grpo' to 'pods'"),
    ("--optimizer.learning_rate=0.5", "optimizer.learning_rate from 1e-06 to 0.5"),
]


@pytest.mark.parametrize(("option", "words"), OTHER_RUNS)
def test_resuming_another_run_raises(run, train, no_rollout, option, words):
    before = files(run)
    settings = yaml.safe_load(Path("run.yaml").read_text())
    assert_refused(*train(settings, option, "--resume"), words)
    assert files(run) == before


def answers(path: Path) -> None:
    columns = commands.table()
    columns["solution"][5] = "6"
    rewritten(path, columns)


def order(path: Path) -> None:
    columns = {name: column[::-1] for name, column in commands.table().items()}
    rewritten(path, columns)


def rewritten(path: Path, columns: dict) -> None:
    photos = [commands.picture(n) for n in range(6)]
    commands.Dataset.from_dict({**columns, "photo": photos}).to_parquet(path)


def shown(path: Path) -> None:
    photos = [commands.picture(n + 1) for n in range(6)]
    commands.Dataset.from_dict({**commands.table(), "photo": photos}).to_parquet(path)


OTHER_DATA = {answers: " answer has", order: "s answer, prompt have", shown: " image has"}


@pytest.mark.parametrize("change", OTHER_DATA, ids=[change.__name__ for change in OTHER_DATA])
def test_changed_data_of_equal_length_raises(run, train, no_rollout, change):
    change(Path("rows.parquet"))
    settings = yaml.safe_load(Path("run.yaml").read_text())
    words = "the data changed since the run started: the column" + OTHER_DATA[change]
    assert_refused(*train(settings, "--run.batches=3", "--resume"), words)


def test_dry_run_rejects_changed_data(run, monkeypatch, capfd):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    answers(Path("rows.parquet"))
    (run / "checkpoint-4" / marks.SAMPLING).write_text("{")  # what older ones say counts
    status, said = dry_run(settings, monkeypatch, capfd)
    assert status == 2 and "--resume: checkpoint-2: the data changed since the run" in said
    assert "started: the column answer has other values" in said


def test_changed_model_at_the_same_path_raises(run, train, no_rollout, tiny_model):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    for place in (run / "config.yaml", Path("run.yaml")):
        place.write_text(place.read_text().replace(tiny_model, "here"))
    model = commands.AutoModelForImageTextToText.from_pretrained(tiny_model)
    model.resize_token_embeddings(model.get_input_embeddings().num_embeddings + 8)
    model.save_pretrained("here")
    commands.AutoProcessor.from_pretrained(tiny_model).save_pretrained("here")
    settings = put(settings, model__path="here")
    status, err = train(settings, "--run.batches=3", "--resume")
    assert_refused(status, err, "that the run has now: resume with the same model")


def test_removed_checkpoints_do_not_restart_the_run(run, train, no_rollout):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    for name in ("checkpoint-2", "checkpoint-4"):
        shutil.rmtree(run / name)
    before = files(run)
    words = "'run' has a trained model but no checkpoint: restore the newest one"
    assert_refused(*train(settings, "--resume"), words)
    shutil.rmtree(run / "model")
    words = "'run' has a record of 2 rollout batches but no checkpoint"
    assert_refused(*train(settings, "--resume"), words)
    (run / "config.yaml").unlink()
    assert_refused(*train(settings, "--resume"), "but its config.yaml is missing")
    left = [name for name in before if not name.startswith(("checkpoint-", "model", "config"))]
    assert files(run) == {name: before[name] for name in left}


def test_damage_of_all_checkpoints_is_reported(run, train, no_rollout):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    (run / "checkpoint-2" / "optimizer.pt").unlink()
    os.truncate(run / "checkpoint-4" / "model.safetensors", 100)
    status, err = train(settings, "--run.batches=3", "--resume")
    assert_refused(status, err, "'run' has no complete checkpoint to resume from: checkpoint-2: ")
    assert "optimizer.pt missing; checkpoint-4: model.safetensors has 100 bytes, expected" in err


def test_run_resumes_from_the_last_complete_checkpoint(run, train, caplog):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    lines = commands.logged()
    (run / "checkpoint-4" / "scheduler.pt").write_bytes(bytes(1000))
    assert train(settings, "--run.batches=3", "--resume")[0] == 0
    assert "checkpoint-4 is damaged and skipped: scheduler.pt has 1,000 bytes" in caplog.text
    assert commands.checkpoints() == {2: True, 4: True, 6: True}
    again = [line for line in commands.logged() if line["step"] <= 4]
    assert numbers(again) == numbers(lines)


class _Evil:
    """Runs code when unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("canary").absolute(),)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_code_in_a_checkpoint_is_never_run(run, train, name):
    settings, checkpoint = yaml.safe_load(Path("run.yaml").read_text()), run / "checkpoint-4"
    torch.save({"state": _Evil()}, checkpoint / name)
    (checkpoint / marks.MARK).unlink()
    marks.mark_complete(checkpoint)
    status, err = train(settings, "--run.batches=3", "--resume")
    assert_refused(status, err, "--resume")
    assert not Path("canary").exists()


# ------------------------------------------------------------------------------ what ends it


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143)])
def test_sigterm_leaves_a_complete_checkpoint(values, number, status):
    commands.by_datasets(Path("rows.parquet"))
    config = write(put(values, run__batches=400, run__save_every=400, run__max_silent_batches=400))
    with Path("log").open("w") as log:
        process = subprocess.Popen([*commands.COMMAND, config], stdout=log, stderr=log)
        waited = time.monotonic() + 90
        while "reward=" not in Path("log").read_text():
            assert process.poll() is None and time.monotonic() < waited, Path("log").read_text()
            time.sleep(0.05)
        for _ in range(3):  # launchers repeat it
            process.send_signal(number)
        assert process.wait(60) == status
    told = Path("log").read_text()
    assert told.count("stopping after this rollout batch, with a checkpoint") == 1
    assert "rerun the command with --resume to continue" in told
    assert "Traceback" not in told
    ((_, whole),) = commands.checkpoints().items()
    assert whole and not Path("run/lock").exists()


LATE = """
from vantage.methods import Recipe, custom
calls = []

def late(completions, **columns):
    calls.append(0)
    if len(calls) == {nth}:
        return [1 / (len(text) - len(text)) for text in completions]
    return [1 / len(text) for text in completions]
"""


def test_failing_reward_is_named_and_leaves_a_checkpoint(values, train):
    commands.by_datasets(Path("rows.parquet"))
    mine = put(values, rewards={"late.py:late": 1.0}, run__batches=3, run__save_every=3)
    Path("late.py").write_text(LATE.format(nth=0))
    assert train(put(mine, run__output="unbroken"))[0] == 0
    Path("late.py").write_text(LATE.format(nth=3))
    status, err = train(mine)
    assert_refused(status, err, "the reward 'late.py:late' failed: ")
    assert "late.py, line 8, in <listcomp>" in err or "late.py, line 8, in late" in err
    assert "ZeroDivisionError" in err and "progress is saved in checkpoint-4: fix the code" in err
    assert commands.checkpoints() == {4: True}
    Path("late.py").write_text(LATE.format(nth=0))
    assert train(mine, "--resume")[0] == 0
    assert numbers(commands.logged()) == numbers(commands.logged("unbroken"))


MISFITS = {
    "one too few": ("return [1.0] * (len(completions) - 1)", "returned 7 rewards, but 8 were"),
    "texts": ("return ['1'] * len(completions)", "the rewards (late) cannot be used: too many"),
    "nothing": ("return None", "the rewards (late) cannot be used: "),
    "an exit": ("raise SystemExit(0)", "late.py, line 2, in late: SystemExit: 0"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_invalid_reward_results_are_reported(values, train, kind):
    commands.by_datasets(Path("rows.parquet"))
    code, words = MISFITS[kind]
    Path("late.py").write_text(f"def late(completions, **columns):\n    {code}\n")
    assert_refused(*train(put(values, rewards={"late.py:late": 1.0}, run__batches=1)), words)


def test_failing_recipe_is_named_and_leaves_a_checkpoint(values, train):
    commands.by_datasets(Path("rows.parquet"))
    code = """
from dataclasses import replace
from vantage.methods import recipe, selection

def raising(ranked, rng):
    if ranked.done > 0:
        raise KeyError("lost")
    return selection.keep_all(ranked, rng)

def mine():
    return replace(recipe("grpo"), name="mine", selection=raising)
"""
    Path("mine.py").write_text(code)
    status, err = train(put(values, recipe="mine.py:mine", run__batches=3, run__save_every=3))
    assert_refused(status, err, "the recipe 'mine.py:mine' failed: ")
    assert "mine.py, line 7, in raising: KeyError: 'lost'" in err
    assert commands.checkpoints() == {2: True}


# ------------------------------------------------------------------------------ disks


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=["Python", "torch", "safetensors"])
def test_full_disk_ends_the_run_with_one_sentence(values, train, monkeypatch, error):
    commands.by_datasets(Path("rows.parquet"))
    save = VantageTrainer._save_optimizer_and_scheduler

    def full(trainer, output_dir):
        if trainer.state.global_step > 2:
            raise error
        save(trainer, output_dir)

    monkeypatch.setattr(VantageTrainer, "_save_optimizer_and_scheduler", full)
    status, err = train(values)
    assert_refused(status, err, "'run/checkpoint-4' cannot be written: ")
    assert "No space left on device" in err and "make room there" in err
    assert err.strip().endswith("resume from checkpoint-2 with --resume")
    assert commands.checkpoints() == {2: True}


def test_removed_directory_is_reported(values, train, monkeypatch):
    commands.by_datasets(Path("rows.parquet"))
    mark = marks.mark_complete

    def vanish(checkpoint):
        shutil.rmtree(checkpoint.parent)
        mark(checkpoint)

    monkeypatch.setattr(marks, "mark_complete", vanish)
    status, err = train(values)
    assert_refused(status, err, "run/checkpoint-2' cannot be written: No such file or directory")


@pytest.mark.parametrize("output", ["rows.parquet/run", "/proc/run", "/dev/null/run"])
def test_invalid_output_raises_before_any_work(values, train, no_rollout, output):
    commands.by_datasets(Path("rows.parquet"))
    assert_refused(*train(put(values, run__output=output)), f"run.output: '{output}")


def test_foreign_files_in_a_record_are_kept_and_ignored(run, train):
    settings = yaml.safe_load(Path("run.yaml").read_text())
    foreign = ["steps/.DS_Store", "steps/.nfs0001", "steps/00000001 copy", "validations/notes.txt"]
    foreign += ["validations/.DS_Store", "validations/00000001 copy.parquet", "pictures/.DS_Store"]
    for name in foreign:
        (run / "record" / name).write_text("foreign")
    (run / "record" / "steps" / "backup").mkdir()
    (run / "record" / "steps" / "copy of 00000001").mkdir()
    assert train(settings, "--run.batches=3", "--resume")[0] == 0
    assert all((run / "record" / name).is_file() for name in foreign)


def test_fifo_as_configuration_or_data_raises_immediately(
    values, train, no_rollout, monkeypatch, capfd
):
    os.mkfifo("fifo.parquet")
    assert_refused(*train(put(values, data__train="fifo.parquet")), "'fifo.parquet' is a FIFO")
    os.mkfifo("fifo.yaml")
    monkeypatch.setattr(sys, "argv", ["vantage", "train", "fifo.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "configuration 'fifo.yaml' is a FIFO, expected a file" in capfd.readouterr().err
