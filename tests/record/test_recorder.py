"""The record of a run is consistent if the process dies, and is read back unchanged."""

import errno
import fcntl
import io
import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import steps
from PIL import Image

from vantage.errors import ConfigError, InputError
from vantage.methods import recipe
from vantage.record import Keep, Record, Recorder

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["vantage.record", "steps"])


def recorded(run, count: int, **options) -> Record:
    with Recorder(run, steps.ABOUT, **options) as recorder:
        for number in range(options.get("start", 0), count):
            recorder.append(steps.made(number))
    return Record(run)


def test_a_step_is_read_back_unchanged(tmp_path):
    record = recorded(tmp_path, 3)
    step = steps.made(1)
    rollouts = record.table("rollouts")
    one = rollouts.filter(np.array(rollouts["batch"]) == 1)
    assert record.steps == [0, 1, 2] and record.about == steps.ABOUT
    assert len(rollouts) == 3 * 32
    for column, value_N in {
        "row": step.row_N,
        "question": step.question_N,
        "prompt": step.prompt_N,
        "variant": step.variant_N,
        "reward": step.reward_N,
        "tokens": step.tokens_N,
    }.items():
        np.testing.assert_array_equal(one[column].to_numpy(), value_N)
    assert one["parts"].to_pylist()[0] == {"accuracy": step.parts["accuracy"][0], "format": 1.0}
    assert one["response"].to_pylist() == list(step.responses)
    assert sum(one["trained"].to_pylist()) == (~step.samples.padding_M).sum()
    batch = record.table("batch").to_pylist()[1]
    assert dict(batch["seconds"]) == step.seconds and batch["updates"] == 8
    assert record.numbers("metrics")["silent_rollouts"].tolist() == [0.25] * 3


def test_the_recorded_plan_can_be_reproduced(tmp_path):
    reward_N = np.where(np.arange(32) % 7 == 3, np.nan, np.arange(32) % 3)
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(steps.made(5, reward_N=reward_N))
    rollouts, samples, update_M = Record(tmp_path).planned(5)
    assert len(rollouts) == np.isfinite(reward_N).sum()
    again = recipe("share-shuffle", rounds=4).plan(rollouts, np.random.default_rng([7, 5]))
    for column in ("prompt_M", "rollout_M", "advantage_M", "pair_M", "padding_M", "weight_M"):
        np.testing.assert_array_equal(getattr(again, column), getattr(samples, column))
    assert update_M.tolist() == sorted(update_M.tolist())


def test_prompts_record_texts_images_and_transforms(tmp_path):
    record = recorded(tmp_path, 2)
    prompts = record.table("prompts").to_pylist()
    assert prompts[1]["text"] == "<image>What is 0, asked 1?"
    assert prompts[1]["earlier"] == [{"role": "system", "text": "Be brief."}]
    (shown,), (original,) = prompts[1]["pictures"], prompts[0]["pictures"]
    assert shown["changes"] == ["clockwise"] and original["changes"] == []
    assert shown["picture"] == original["picture"]
    stored = Image.open(io.BytesIO(record.picture(shown["picture"])))
    assert stored.format == "WEBP" and stored.size == (20, 10)
    assert len(list((tmp_path / "record/pictures").iterdir())) == 4


def test_limits_apply_to_texts_but_not_to_numbers(tmp_path):
    step = steps.made(0, response="x" * 5_000)
    with Recorder(tmp_path, steps.ABOUT, keep=Keep(rollouts=17, characters=100)) as recorder:
        recorder.append(step)
    record = Record(tmp_path)
    rollouts = record.table("rollouts")
    texts = rollouts["response"].to_pylist()
    kept = [text for text in texts if text is not None]
    assert len(kept) == 16 and all(len(text) < 200 for text in kept)  # two whole questions
    assert "4,900 characters are not in the record" in kept[0]
    assert rollouts["reward"].null_count == 0 and len(record.table("prompts")) == 8
    assert sum(row["text"] is not None for row in record.table("prompts").to_pylist()) == 4
    assert len(list((tmp_path / "record/pictures").iterdir())) == 2


def test_numbers_are_kept_without_texts(tmp_path):
    record = recorded(tmp_path, 1, keep=Keep(rollouts=0))
    assert record.table("rollouts")["response"].null_count == 32
    assert not list((tmp_path / "record/pictures").iterdir())


def test_images_are_scaled_down_and_encoded_again(tmp_path):
    step = steps.made(0, questions=1, variants=1)
    large = steps.picture(3, (900, 400))
    step.prompts[0] = step.prompts[0].__class__("<image>?", (large,))
    with Recorder(tmp_path, steps.ABOUT, keep=Keep(pixels=10_000)) as recorder:
        recorder.append(step)
    (place,) = (tmp_path / "record/pictures").iterdir()
    width, height = Image.open(place).size
    assert width * height <= 10_000 and width / height == pytest.approx(2.25, rel=0.05)


def test_an_unreadable_image_is_recorded_as_missing(tmp_path):
    step = steps.made(0, questions=1, variants=1)
    gone = steps.Picture(tmp_path / "gone.png")
    step.prompts[0] = step.prompts[0].__class__("<image>?", (gone,))
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(step)
    (prompt,) = Record(tmp_path).table("prompts").to_pylist()
    assert prompt["pictures"] == [{"picture": None, "changes": []}]


def test_validations_of_the_same_batch_are_merged(tmp_path):
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.validated(0, {"reward": 0.1}, 2.0)
        recorder.validated(10, {"reward": 0.2, "accuracy": 0.3}, 2.5)
        recorder.validated(10, {"accuracy": 0.4, "other_reward": 0.5}, 3.0)
    rows = Record(tmp_path).validations().to_pylist()
    found = [(row["batch"], row["metric"], row["value"]) for row in rows]
    assert found == [
        (0, "reward", 0.1),
        (10, "reward", 0.2),
        (10, "accuracy", 0.4),
        (10, "other_reward", 0.5),
    ]


def test_resuming_replaces_steps_after_the_checkpoint(tmp_path):
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        for number in range(5):
            recorder.append(steps.made(number))
            recorder.validated(number + 1, {"reward": number}, 1.0)
    with Recorder(tmp_path, steps.ABOUT, start=3) as recorder:
        assert Record(tmp_path).steps == [0, 1, 2]
        assert Record(tmp_path).validations()["batch"].to_pylist() == [1, 2, 3]
        recorder.append(steps.made(3))
    assert Record(tmp_path).steps == [0, 1, 2, 3]


def test_a_new_run_in_the_same_directory_starts_a_new_record(tmp_path):
    recorded(tmp_path, 4)
    assert recorded(tmp_path, 2).steps == [0, 1]


def test_tables_can_be_read_by_a_glob(tmp_path):
    recorded(tmp_path, 3)
    places = sorted(str(place) for place in tmp_path.glob("record/steps/*/rollouts.parquet"))
    assert len(pq.ParquetDataset(places).read()) == 96


def test_texts_that_are_not_valid_utf8_are_escaped(tmp_path):
    step = steps.made(0, response="a\ud800b\0c\u202e")
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(step)
    assert Record(tmp_path).table("rollouts")["response"][0].as_py() == "a\\ud800b\0c\u202e"


def test_a_batch_without_a_score_is_recorded(tmp_path):
    step = steps.made(0)
    nothing = step.samples.take(np.zeros(0, dtype=np.int64))
    values = vars(step) | {
        "reward_N": np.full(32, np.nan),
        "samples": nothing,
        "update_M": np.zeros(0, dtype=np.int64),
        "metrics": {},
    }
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        recorder.append(steps.Step(**values))
    record = Record(tmp_path)
    assert record.planned(0)[0] is None
    assert np.isnan(record.table("rollouts")["advantage"].to_numpy()).all()
    assert record.numbers("metrics") == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"responses": ["one"]}, "unequal lengths"),
        ({"parts": {}}, "parts of a Step is empty"),
        ({"update_M": np.zeros(3, dtype=int)}, "update_M has 3 rows for 32 samples"),
        ({"prompts": {}}, r"prompts of the Step lack \[0, 1, 2, 3, 4\]"),
    ],
)
def test_an_inconsistent_step_is_refused(change, told):
    with pytest.raises(InputError, match=told):
        steps.Step(**(vars(steps.made(0)) | change))


def test_error_names_a_directory_without_a_record(tmp_path):
    with pytest.raises(InputError, match="has no record: no training wrote one there"):
        Record(tmp_path)


def test_error_names_a_damaged_file(tmp_path):
    record = recorded(tmp_path, 2)
    (tmp_path / "record/steps/00000001/samples.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"00000001/samples\.parquet' cannot be read"):
        record.table("samples")


def test_a_record_without_a_step_has_empty_tables(tmp_path):
    record = recorded(tmp_path, 0)
    assert [len(record.table(n)) for n in ("batch", "rollouts", "samples", "prompts")] == [0] * 4
    assert len(record.validations()) == 0


# ---- killed and concurrent processes ------------------------------------------------


def _write(run: Path, start: int, told) -> None:
    with Recorder(run, steps.ABOUT, start=start) as recorder:
        for number in range(start, 10_000):
            recorder.append(steps.made(number, questions=2))
            recorder.validated(number + 1, {"reward": 0.5}, 1.0)
            told.send(number)


def _try_to_write(run: Path, told) -> None:
    try:
        with Recorder(run, steps.ABOUT, start=2):
            told.send("wrote")
    except ConfigError as error:
        told.send(str(error))


def test_a_killed_run_keeps_every_finished_step(tmp_path):
    draw = random.Random(3)
    start = 0
    for _ in range(15):
        heard, told = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_write, args=(tmp_path, start, told))
        process.start()
        told.close()
        assert heard.poll(60)
        time.sleep(draw.uniform(0, 0.08))
        process.kill()
        process.join()
        last = start - 1
        while heard.poll(0):
            try:
                last = heard.recv()
            except EOFError:
                break
        record = Record(tmp_path)
        assert record.steps[: last + 1] == list(range(last + 1))
        assert len(record) - (last + 1) in (0, 1)  # one may be written but not reported
        assert len(record.table("rollouts")) == len(record) * 16
        assert len(record.table("samples")) == len(record) * 16
        assert len(record.validations()) >= last
        shown = pc.list_flatten(record.table("prompts")["pictures"]).to_pylist()
        assert all(record.picture(one["picture"]) for one in shown)
        start = draw.randint(max(0, last - 3), last + 1)


def test_a_second_writer_is_refused(tmp_path):
    with Recorder(tmp_path, steps.ABOUT) as recorder:
        for number in range(4):
            recorder.append(steps.made(number))
        heard, told = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_try_to_write, args=(tmp_path, told))
        process.start()
        assert "is being written by another process" in heard.recv()
        process.join()
        recorder.append(steps.made(4))
    assert Record(tmp_path).steps == [0, 1, 2, 3, 4]
    with Recorder(tmp_path, steps.ABOUT, start=5):
        assert len(Record(tmp_path)) == 5  # the first has released the lock


def test_recording_works_without_file_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert recorded(tmp_path, 2).steps == [0, 1]


def test_a_record_can_be_read_while_it_is_written(tmp_path):
    heard, told = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_write, args=(tmp_path, 0, told))
    process.start()
    try:
        last = -1
        while last < 20:
            last = heard.recv()
            record = Record(tmp_path)
            assert len(record) >= last + 1
            assert len(record.table("rollouts")) == 16 * len(record)
    finally:
        process.kill()
        process.join()
