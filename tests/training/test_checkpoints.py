"""A checkpoint counts once all of it was written, and as long as all of it is there."""

import shutil

import pytest

from vantage.errors import InputError
from vantage.training.checkpoints import (
    is_complete,
    last_complete,
    load_sampling,
    mark_complete,
    save_sampling,
    stops_inside,
    updates_of,
)

FILES = ("model.safetensors", "optimizer.pt", "adapter/weights.bin")


def written(run, step, *, whole=True):
    checkpoint = run / f"checkpoint-{step}"
    for name in FILES:
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_text(name)
    if whole:
        mark_complete(checkpoint)
    return checkpoint


def test_a_run_without_checkpoints_has_no_last_one(tmp_path):
    assert last_complete(tmp_path) is None
    assert last_complete(tmp_path / "nowhere") is None


def test_the_last_one_is_that_of_the_highest_step_not_of_the_last_name(tmp_path):
    for step in (8, 100, 24):
        written(tmp_path, step)
    assert last_complete(tmp_path) == tmp_path / "checkpoint-100"


def test_one_that_is_being_written_is_passed_over(tmp_path):
    older = written(tmp_path, 8)
    written(tmp_path, 16, whole=False)
    assert last_complete(tmp_path) == older


@pytest.mark.parametrize("gone", FILES)
def test_one_that_is_being_removed_is_passed_over(gone, tmp_path):
    older, newer = written(tmp_path, 8), written(tmp_path, 16)
    (newer / gone).unlink()
    assert not is_complete(newer)
    assert last_complete(tmp_path) == older


def test_one_that_is_written_anew_counts_again_only_when_whole(tmp_path):
    checkpoint = written(tmp_path, 8)
    shutil.rmtree(checkpoint)
    written(tmp_path, 8, whole=False)
    assert last_complete(tmp_path) is None
    mark_complete(checkpoint)
    assert last_complete(tmp_path) == checkpoint


@pytest.mark.parametrize("name", ["checkpoint-8-old", "checkpoint-", "checkpoint-best", "tmp-8"])
def test_other_directories_are_no_checkpoints(name, tmp_path):
    written(tmp_path, 8).rename(tmp_path / name)
    assert last_complete(tmp_path) is None


def test_which_questions_come_next_is_read_back(tmp_path):
    save_sampling(tmp_path, {"drawn": 3}, 8, inside=True)
    assert load_sampling(tmp_path, 8) == {"drawn": 3}
    assert stops_inside(tmp_path)
    with pytest.raises(InputError, match="the run had 8 questions, now there are 9"):
        load_sampling(tmp_path, 9)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"questions": 8}', '{"state": {}}', "\udcff"]
)
def test_a_damaged_file_of_a_checkpoint_is_named(text, tmp_path):
    for name, read in (("sampling.json", load_sampling), ("trainer_state.json", updates_of)):
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read(*(tmp_path, 8)[: 2 if read is load_sampling else 1])
