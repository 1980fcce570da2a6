"""Invalid paths raise before any work, and errors name their option."""

import errno

import pytest

from vantage import files
from vantage.errors import ConfigError


def test_atomic_write_keeps_the_old_file_on_a_full_disk(tmp_path):
    file = tmp_path / "a.json"
    files.write(file, b"before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for change in (full, lambda place: place.with_name("b").read_bytes()):
        with pytest.raises(OSError, match="No s") as error, files.whole(file) as unfinished:
            unfinished.write_bytes(b"half")
            change(unfinished)
        assert error.value.filename == str(file if change is full else tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_bytes() == b"before"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("new", False),
        ("new/deep/er", False),
        ("file", False),
        ("new", True),
        ("folder", True),
        ("folder/new", True),
    ],
)
def test_writable_path_passes_without_being_created(path, folder, place):
    before = sorted(place.rglob("*"))
    files.check_writable(place / path, "--output", folder=folder)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "folder", "words"),
    [
        ("folder", False, "is a directory, expected a file"),
        ("file", True, "is a file, expected a directory"),
        ("file/below", False, "/file' is a file"),
        ("file/below", True, "/file' is a file"),
        ("a" * 300, False, "cannot be written: File name too long; choose"),
    ],
)
def test_unwritable_path_error_names_the_option(path, folder, words, place):
    with pytest.raises(ConfigError) as caught:
        files.check_writable(place / path, "--output", folder=folder)
    said = str(caught.value)
    assert said.startswith(f"--output: '{place}/{path[:20]}") and words in said


def test_unknown_home_is_not_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert files.home("~/rows.jsonl") == "/somewhere/rows.jsonl"
    assert files.home("~nobody-here/rows.jsonl") == "~nobody-here/rows.jsonl"
    assert files.home("rows~.jsonl") == "rows~.jsonl"
