"""A template shows columns; what is no column is refused."""

import pytest
from datasets import Dataset

from vantage.errors import ConfigError, InputError
from vantage.questions import templates
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.questions.sampling import Asked

ROW = {
    "prompt": [{"role": "user", "content": "Which?"}],
    "answer": "A",
    "A": "red",
    "n": 3,
    "about": {"topic": "colours"},
    "note": None,
}

FILLED = {
    "{question}": "Which?",
    "{question}\nA. {A}\nN. {n}": "Which?\nA. red\nN. 3",
    "On {about.topic}: {question}": "On colours: Which?",
    # Braces that are no places.
    "{question} in \\boxed{}.": "Which? in \\boxed{}.",
    "{question} in \\boxed{answer} or \\frac{x}{y}.": "Which? in \\boxed{answer} or \\frac{x}{y}.",
    '{question} as {"A": 1} or {1, 2} or { }': 'Which? as {"A": 1} or {1, 2} or { }',
    "{question} in \\boxed{{answer}}, {{A}}.": "Which? in \\boxed{answer}, {A}.",
}


@pytest.mark.parametrize("template", FILLED)
def test_columns_stand_where_a_template_names_them(template):
    prompts = Prompts(Reader(Dataset.from_list([ROW, ROW])), template=template)
    prompts.ask([Asked(1, 0)])
    assert prompts.prompt(0).text == FILLED[template]
    assert prompts.longest(ROW).text == prompts.original(ROW).text == FILLED[template]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{question} {B}", "{B} is no column; known: A, about"),
        ("{question} {hint}", "{hint} is no column; known: A, about, n, note, prompt, question"),
        ("{question} {abuot.topic}", "{abuot.topic} is no column; did you mean 'about'"),
        ("{question} {answer}", "{answer} would show the reference answer"),
    ],
)
def test_what_is_no_column_is_refused(template, words):
    with pytest.raises(ConfigError) as caught:
        Prompts(Reader(Dataset.from_list([ROW])), template=template)
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("note", None), ("A", ["x"]), ("A", "<image>")])
def test_a_row_without_a_text_for_the_template_is_told(name, value):
    with pytest.raises(InputError, match=f"column '{name}'"):
        templates.filled(f"{{question}} {{{name}}}", {**ROW, name: value})
