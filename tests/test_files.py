"""Paths are refused before any work, with the option that names them."""

import pytest

from vantage import files
from vantage.errors import ConfigError


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
def test_a_path_that_can_be_written_is_taken_and_not_made(path, folder, place):
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
def test_a_path_that_cannot_be_written_is_named_with_its_option(path, folder, words, place):
    with pytest.raises(ConfigError) as caught:
        files.check_writable(place / path, "--output", folder=folder)
    said = str(caught.value)
    assert said.startswith(f"--output: '{place}/{path[:20]}") and words in said


def test_a_home_is_that_of_the_user_or_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert files.home("~/rows.jsonl") == "/somewhere/rows.jsonl"
    assert files.home("~nobody-here/rows.jsonl") == "~nobody-here/rows.jsonl"
    assert files.home("rows~.jsonl") == "rows~.jsonl"
