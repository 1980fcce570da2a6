"""A chat template is tried in a process that is ended where it has no end."""

import pytest
from transformers import AutoProcessor

from vantage.errors import ConfigError
from vantage.questions import chat_templates
from vantage.questions.chat_templates import check_bounded

LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def processor(tiny_model):
    return AutoProcessor.from_pretrained(tiny_model)


def with_template(processor, text):
    processor.chat_template = text
    return processor


def test_the_template_of_a_model_is_taken(processor):
    assert processor.chat_template
    check_bounded(processor, "m")


@pytest.mark.parametrize(
    "text", [None, "", "{% for %}", "{{ raise_exception('no') }}", "{{ 'a' * 900000 }}"]
)
def test_one_that_fails_or_is_long_is_not_told_of_here(text, processor):
    check_bounded(with_template(processor, text), "m")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LOOPS, "model 'm': its chat template takes over 0.5 s"),
        ("{{ 'a' * 1100000 }}", "model 'm': its chat template writes more than 1,000,000"),
        ("{{ 'a' * 1000000000 }}", "or takes too much memory"),
    ],
)
def test_one_without_bounds_is_refused(text, words, processor, monkeypatch):
    monkeypatch.setattr(chat_templates, "SECONDS", 0.5 if text == LOOPS else 30)
    with pytest.raises(ConfigError, match=words):
        check_bounded(with_template(processor, text), "model 'm'")
