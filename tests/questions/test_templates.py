"""Templates insert columns; unknown columns are rejected."""

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
    # Braces that are not placeholders.
    "{question} in \\boxed{}.": "Which? in \\boxed{}.",
    "{question} in \\boxed{answer} or \\frac{x}{y}.": "Which? in \\boxed{answer} or \\frac{x}{y}.",
    '{question} as {"A": 1} or {1, 2} or { }': 'Which? as {"A": 1} or {1, 2} or { }',
    "{question} in \\boxed{{answer}}, {{A}}.": "Which? in \\boxed{answer}, {A}.",
}


@pytest.mark.parametrize("template", FILLED)
def test_a_template_is_filled_with_columns(template):
    prompts = Prompts(Reader(Dataset.from_list([ROW, ROW])), template=template)
    prompts.ask([Asked(1, 0)])
    assert prompts.prompt(0).text == FILLED[template]
    assert prompts.longest(ROW).text == prompts.original(ROW).text == FILLED[template]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{question} {B}", "{B} is not a column; known: A, about"),
        ("{question} {hint}", "{hint} is not a column; known: A, about, n, note, prompt, question"),
        ("{question} {abuot.topic}", "{abuot.topic} is not a column; did you mean 'about'"),
        ("{question} {answer}", "{answer} would show the reference answer"),
    ],
)
def test_an_unknown_column_is_rejected(template, words):
    with pytest.raises(ConfigError) as caught:
        Prompts(Reader(Dataset.from_list([ROW])), template=template)
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("note", None), ("A", ["x"]), ("A", "<image>")])
def test_a_row_without_a_text_for_the_template_is_rejected(name, value):
    with pytest.raises(InputError, match=f"column '{name}'"):
        templates.filled(f"{{question}} {{{name}}}", {**ROW, name: value})
