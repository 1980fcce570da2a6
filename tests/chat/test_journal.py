"""Answers survive a crash of the process at any time and damage to the file."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vantage.chat.answer import Answer, UnreadableError, read
from vantage.chat.journal import Journal
from vantage.errors import ConfigError, EngineError, InputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "out.journal.jsonl"


def keep(path, **answers):
    with Journal(path) as journal:
        for key, text in answers.items():
            journal.add(key, vars(Answer(text, 7, 3)))


def kept(path, keys):
    """The texts of these keys in a journal."""
    with Journal(path) as journal:
        found = {key: journal.answer(key) for key in keys}
    return {key: answer.text for key, answer in found.items() if answer is not None}


def test_answers_are_restored_verbatim(path):
    texts = {"a": "x\ny", "b": "", "c": "\u2028 é \U0001f600 \x00"}
    keep(path, **texts)
    with Journal(path) as journal:
        assert journal.answer("a") == Answer("x\ny", 7, 3)
        assert len(journal) == 3
    assert kept(path, "abcd") == texts


def test_a_truncated_journal_keeps_whole_lines_and_can_be_continued(path):
    keep(path, a="1", b="é")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        keep(path, c="3")
        expected = ["a"] * (cut >= first) + ["b"] * (cut == len(whole)) + ["c"]
        assert list(kept(path, "abc")) == expected


def test_an_added_answer_is_on_disk(path):
    with Journal(path) as journal:
        for number in range(3):
            journal.add(str(number), vars(Answer("", 0, 0)))
            assert path.read_bytes().count(b"\n") == number + 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())  # with lone surrogates
    | st.sampled_from([10**30, "7", "-1", 2**31]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
SAID = JSON | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": JSON}))
COMPLETIONS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": SAID})})
        )
        | JSON,
        "usage": st.fixed_dictionaries({"prompt_tokens": JSON, "completion_tokens": JSON}) | JSON,
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(completion=COMPLETIONS)
def test_any_response_is_rejected_or_restored_from_the_journal(path, completion):
    path.unlink(missing_ok=True)
    try:
        said = read(json.dumps(completion).encode())
    except UnreadableError:
        return
    said.text.encode()  # any file can store it
    with Journal(path) as journal:
        journal.add("a", vars(said))
        assert journal.answer("a") == said
    with Journal(path) as journal:
        assert journal.answer("a") == said


SPOILED = {
    "no text": b'{"key": "b"}',
    "text that is a number": b'{"key": "b", "text": 1, "prompt_tokens": 1, "completion_tokens": 1}',
    "tokens that are text": b'{"key": "b", "text": "", "prompt_tokens": "1"}',
    "not a number": b'{"key": "b", "text": "", "prompt_tokens": NaN, "completion_tokens": 1}',
    "less than none": b'{"key": "b", "text": "", "prompt_tokens": -1, "completion_tokens": 1}',
    "too many digits": b'{"key": "b", "text": "", "prompt_tokens": ' + b"9" * 5_000 + b"}",
    "a key that is a number": b'{"key": 1, "text": "", "prompt_tokens": 1, "completion_tokens": 1}',
    "responses of another version": b'{"key": "b", "responses": [{"text": ""}]}',
    "responses of nobody": b'{"key": "b", "responses": []}',
    "a list": b"[1, 2]",
    "nested": b"[" * 100_000,
    "binary": bytes(range(1, 10)) + b"\xff\xfe\x00\xd8",
    "zeros": b"\0" * 4_096,
    "empty": b"",
    "two in one": b'{"key": "x", {"key": "y"}',
}


@pytest.mark.parametrize("name", SPOILED)
@pytest.mark.parametrize("end", [b"\n", b""], ids=["whole", "last"])
def test_damaged_lines_are_skipped_with_a_message(path, capsys, name, end):
    keep(path, a="1")
    path.write_bytes(path.read_bytes() + SPOILED[name] + end)
    told = name != "empty" or end  # nothing at all is no damage
    keep(path, c="3")
    begun = not end and SPOILED[name].startswith(b'{"key": "')  # as a killed process leaves it
    said = capsys.readouterr().err
    assert ("1 damaged lines are skipped, the first is line 2" in said) == bool(told and not begun)
    assert kept(path, "abc") == {"a": "1", "c": "3"}


@pytest.mark.parametrize("name", sorted(set(SPOILED) - {"empty"}))
@pytest.mark.parametrize("end", [b"\n", b""], ids=["whole", "last"])
def test_a_foreign_file_is_rejected_and_left_unchanged(path, name, end):
    content = SPOILED[name] + end
    if not end and content.startswith(b'{"key": "'):
        content = content[:3].replace(b'"', b"'")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a journal of server answers") as caught:
        Journal(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), length=st.integers(0, 40))
def test_overwritten_bytes_cost_only_their_lines(path, place, byte, length):
    path.unlink(missing_ok=True)
    texts = {key: f"answer {key}" for key in "abcdef"}
    keep(path, **texts)
    whole = bytearray(path.read_bytes())
    place %= len(whole)
    whole[place : place + length] = bytes([byte]) * min(length, len(whole) - place)
    path.write_bytes(whole)
    keep(path, g="new")
    assert len(set(texts.items()) & set(kept(path, "abcdefg").items())) >= 4
    assert kept(path, "g") == {"g": "new"}


def test_responses_are_restored_only_if_their_number_matches(path):
    said = [{"text": "4", "tokens": 2, "failed": None}, {"text": "", "tokens": 0, "failed": "why"}]
    with Journal(path) as journal:
        journal.add("a", {"responses": said})
    with Journal(path) as journal:
        assert journal.responses("a", 2) == said
        assert journal.responses("a", 3) is journal.responses("b", 2) is journal.answer("a") is None


def test_two_processes_cannot_open_one_journal(path):
    opening = "import sys, pathlib; from vantage.chat.journal import Journal; "
    opening += "Journal(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", opening, str(path)]
    with Journal(path), pytest.raises(ConfigError, match="in use"):
        Journal(path)
    with Journal(path):
        refused = subprocess.run(command, capture_output=True, text=True)
    assert "is in use by another process" in refused.stderr
    assert subprocess.run(command).returncode == 0


def test_unwritable_journal_error_names_the_path(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        Journal(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path / "fifo", "/dev/null"):
        with pytest.raises(ConfigError, match="expected a file"):
            Journal(type(tmp_path)(place))


def test_a_full_disk_keeps_earlier_records(path, monkeypatch):
    keep(path, a="1")
    before = path.read_bytes()

    def full(file, line, write=os.write):
        write(file, line[:10])
        raise OSError(28, "No space left on device")

    with Journal(path) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(EngineError, match=r"No space left on device.*rerun the command"):
            journal.add("b", vars(Answer("2", 0, 0)))
        monkeypatch.undo()
        assert path.read_bytes() == before
        journal.add("c", vars(Answer("3", 0, 0)))
    assert kept(path, "abc") == {"a": "1", "c": "3"}
