"""The script that measures the sources works on the working tree and on a revision."""

import ast
import subprocess

import measure
import pytest
from modules import ROOT, read

TRAINER = """
class Trainer(Base):
    def __init__(self):
        self.known: int = 0

    def hook(self):
        self.known, (self.late, other.name) = 1, (2, 3)
        with open("file") as self.file:  # why
            self.late += 1  # noqa: E501
        self.table["key"] = self.read

    def other(self):
        for self.late in self.known:
            pass
"""


def test_attributes_set_outside_init_are_counted_once():
    (trainer,) = ast.parse(TRAINER).body
    assert sorted(measure.late_attributes(trainer)) == ["file", "late"]


def test_attributes_declared_for_the_base_class_are_not_late():
    (trainer,) = ast.parse(TRAINER.replace("    def other", "    late: int\n\n    def other")).body
    assert measure.late_attributes(trainer) == ["file"]


def test_functions_and_comments_are_counted():
    assert measure.functions(ast.parse(TRAINER)) == [2, 5, 3]
    assert measure.comments_in(TRAINER) == 1


def test_lines_are_counted_per_room_and_engine():
    paths = ["a.py", "training/a.py", "training/trl/trainer.py", "training/verl/b.py"]
    sources = {f"src/vantage/{path}": "def f():\n    pass\n" * n for n, path in enumerate(paths, 1)}
    found = measure.numbers(read(sources))
    assert found["lines of files beside the rooms"] == "2"
    assert found["lines of training/"] == "18"
    assert found["lines shared by both engines"] == "4"
    assert found["lines of trl/trainer.py"] == "6"
    assert found["lines of verl alone"] == "8"
    assert found["lines of a function: median, p90, longest"] == "2 / 2 / 2"


def test_working_tree_is_measured(capsys):
    measure.main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["|", "|", ".", "|"]
    assert {"| lines of methods/ |", "| import circles |"} <= {
        line[: line.index("|", 1) + 1] for line in lines if line.startswith("| ")
    }


def test_revision_is_compared_with_the_working_tree(capsys):
    known = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True)
    if known.returncode:
        pytest.skip("no repository of git")
    measure.main(["HEAD", "."])
    head, _, *rows = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert head.split(" | ") == ["| ", "HEAD", ". |"]
    assert all(row.count("|") == 4 for row in rows)


def test_missing_revision_raises(capfd):
    with pytest.raises(SystemExit):
        measure.main(["not-a-revision"])
    assert "not-a-revision" in capfd.readouterr().err


@pytest.mark.parametrize("engine, most", [("trl", 450), ("verl", 350)])
def test_trainers_contain_little_but_hooks(engine, most):
    text = (ROOT / f"src/vantage/training/{engine}/trainer.py").read_text(encoding="utf-8")
    assert text.count("\n") <= most
