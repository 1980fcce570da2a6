"""A checkpoint counts only if it was completely written and is undamaged."""

import shutil

import pytest
from safetensors import SafetensorError

from vantage.errors import EngineError, InputError
from vantage.training.checkpoints import (
    BLOCK,
    check_same_rows,
    damage_of,
    is_complete,
    last_complete,
    load_sampling,
    mark_complete,
    remove_old,
    save_sampling,
    stops_inside,
    updates_of,
)
from vantage.training.checkpoints import (
    written as writes,
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


def test_run_without_checkpoints_has_no_last_checkpoint(tmp_path):
    assert last_complete(tmp_path) is None
    assert last_complete(tmp_path / "nowhere") is None


def test_last_checkpoint_has_the_highest_step(tmp_path):
    for step in (8, 100, 24):
        written(tmp_path, step)
    assert last_complete(tmp_path) == tmp_path / "checkpoint-100"


def test_checkpoint_being_written_is_skipped(tmp_path):
    older = written(tmp_path, 8)
    written(tmp_path, 16, whole=False)
    assert last_complete(tmp_path) == older


@pytest.mark.parametrize("gone", FILES)
def test_checkpoint_being_removed_is_skipped(gone, tmp_path):
    older, newer = written(tmp_path, 8), written(tmp_path, 16)
    (newer / gone).unlink()
    assert not is_complete(newer)
    assert last_complete(tmp_path) == older


def test_rewritten_checkpoint_counts_only_once_complete(tmp_path):
    checkpoint = written(tmp_path, 8)
    shutil.rmtree(checkpoint)
    written(tmp_path, 8, whole=False)
    assert last_complete(tmp_path) is None
    mark_complete(checkpoint)
    assert last_complete(tmp_path) == checkpoint


@pytest.mark.parametrize("name", ["checkpoint-8-old", "checkpoint-", "checkpoint-best", "tmp-8"])
def test_other_directories_are_ignored(name, tmp_path):
    written(tmp_path, 8).rename(tmp_path / name)
    assert last_complete(tmp_path) is None


def test_sampling_state_round_trips(tmp_path):
    rows = {"prompt": "a", "answer": "b"}
    save_sampling(tmp_path, {"state": {"drawn": 3}, "questions": 8, "rows": rows}, inside=True)
    saved = load_sampling(tmp_path)
    assert saved["state"] == {"drawn": 3}
    assert stops_inside(tmp_path)
    check_same_rows("--resume", saved, 8, rows)
    with pytest.raises(InputError, match="the run had 8 questions, now there are 9"):
        check_same_rows("--resume", saved, 9, rows)
    with pytest.raises(InputError, match="column answer has other values"):
        check_same_rows("--resume", saved, 8, {"prompt": "a", "answer": "c"})
    with pytest.raises(InputError, match="column answer is gone, the column hint is new"):
        check_same_rows("--resume", saved, 8, {"prompt": "a", "hint": "c"})


def test_checkpoint_of_an_earlier_version_has_no_row_digests(tmp_path):
    (tmp_path / "sampling.json").write_text('{"questions": 8, "state": {"drawn": 3}}')
    saved = load_sampling(tmp_path)
    assert saved["state"] == {"drawn": 3}
    check_same_rows("--resume", saved, 8, {"prompt": "a"})


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"questions": 8}', '{"state": {}}', "\udcff"]
)
def test_damage_names_the_file(text, tmp_path):
    for name, read in (("sampling.json", load_sampling), ("trainer_state.json", updates_of)):
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read(tmp_path)


def cut_short(checkpoint):
    (checkpoint / "optimizer.pt").write_text("optimizer.p")


def zero_filled(checkpoint):
    (checkpoint / "optimizer.pt").write_bytes(bytes(len("optimizer.pt")))


def one_bit_flipped(checkpoint):
    (checkpoint / "adapter/weights.bin").write_text("adapter/weightr.bin")


def one_added(checkpoint):
    (checkpoint / "adapter_model.safetensors").write_text("of somebody else")


def list_cut_short(checkpoint):
    mark = checkpoint / "complete"
    mark.write_text(mark.read_text()[:30])


def list_zero_filled(checkpoint):
    (checkpoint / "complete").write_bytes(bytes(100))


def one_made_a_directory(checkpoint):
    (checkpoint / "optimizer.pt").unlink()
    (checkpoint / "optimizer.pt").mkdir()


DAMAGE = {
    cut_short: "optimizer.pt has 11 bytes, expected 12",
    zero_filled: "the content of optimizer.pt changed since it was written",
    one_bit_flipped: "the content of weights.bin changed",
    one_added: "the run did not write adapter_model.safetensors",
    list_cut_short: "its list of files, 'complete', cannot be read",
    list_zero_filled: "its list of files, 'complete', cannot be read: it is empty",
    one_made_a_directory: "optimizer.pt",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=[damage.__name__ for damage in DAMAGE])
def test_damaged_checkpoint_is_named_and_skipped(damage, tmp_path, caplog):
    older, newer = written(tmp_path, 8), written(tmp_path, 16)
    assert damage_of(newer) is None
    damage(newer)
    assert DAMAGE[damage] in damage_of(newer)
    assert last_complete(tmp_path) == older
    assert "checkpoint-16 is damaged and skipped" in caplog.text


def test_flipped_bit_in_the_last_block_is_detected(tmp_path):
    checkpoint = written(tmp_path, 8, whole=False)
    content = bytearray(2 * BLOCK + 7)
    (checkpoint / "model.safetensors").write_bytes(content)
    mark_complete(checkpoint)
    assert damage_of(checkpoint) is None
    content[-1] = 1
    (checkpoint / "model.safetensors").write_bytes(content)
    assert "model.safetensors changed" in damage_of(checkpoint)


def test_foreign_files_that_no_engine_loads_are_allowed(tmp_path):
    checkpoint = written(tmp_path, 8)
    for name in (".DS_Store", ".nfs000012", "notes.txt", "._model.safetensors"):
        (checkpoint / name).write_text("foreign")
    assert damage_of(checkpoint) is None


def test_mark_of_an_earlier_version_lists_names_only(tmp_path):
    checkpoint = written(tmp_path, 8)
    (checkpoint / "complete").write_text("\n".join(FILES))
    assert damage_of(checkpoint) is None
    (checkpoint / FILES[1]).unlink()
    assert damage_of(checkpoint) == "optimizer.pt missing"


def test_old_checkpoints_are_removed_but_the_last_complete_one_is_kept(tmp_path):
    for step in (2, 4, 6, 16):
        written(tmp_path, step)
    (tmp_path / "checkpoint-16" / FILES[0]).unlink()  # from there a run could not be resumed
    newest = written(tmp_path, 8)
    remove_old(newest, 2, best=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-16",
        "checkpoint-6",
        "checkpoint-8",
    ]
    assert last_complete(tmp_path) == newest
    remove_old(newest, 1, best=None)
    assert last_complete(tmp_path) == newest and not (tmp_path / "checkpoint-6").exists()


def test_best_checkpoint_is_kept(tmp_path):
    for step in (2, 4, 6):
        written(tmp_path, step)
    newest = written(tmp_path, 8)
    remove_old(newest, 2, best=str(tmp_path / "checkpoint-2"))
    assert sorted(path.name[11:] for path in tmp_path.iterdir()) == ["2", "8"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "No space left on device; make room there"),
        (OSError(30, "Read-only file system"), "Read-only file system; choose a directory"),
        (
            RuntimeError("[enforce fail at inline_container.cc:1] PytorchStreamWriter failed"),
            "No space left on device",
        ),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 9 vs 8"), "No s"),
        (SafetensorError("I/O error: Read-only (os error 30)"), "Read-only file system"),
    ],
)
def test_write_error_is_reported_and_the_partial_checkpoint_removed(error, told, tmp_path):
    written(tmp_path, 4)
    half = written(tmp_path, 8, whole=False)
    with pytest.raises(EngineError) as caught, writes(half):
        raise error
    assert "checkpoint-8' cannot be written: " in str(caught.value) and told in str(caught.value)
    assert str(caught.value).endswith("resume from checkpoint-4 with --resume")
    assert not half.exists()


def test_other_errors_propagate(tmp_path):
    with pytest.raises(RuntimeError, match="a mistake of ours"), writes(tmp_path / "checkpoint-8"):
        raise RuntimeError("a mistake of ours")
