"""Families of equivalent wordings, without a server."""

import pytest

from vantage.demo import digits
from vantage.errors import ConfigError
from vantage.rewriting import wordings
from vantage.rewriting.guards import Pair, reason
from vantage.rewriting.wordings import FAMILIES, load, rewrites


def test_the_demo_wordings_are_a_family():
    assert FAMILIES[0] == digits.WORDINGS
    for wording in digits.WORDINGS:
        assert sorted(rewrites(wording, 9)) == sorted(digits.rewordings(wording))


@pytest.mark.parametrize("variants", [1, 3, 7])
def test_the_requested_number_of_rewrites_is_drawn_deterministically(variants):
    drawn = rewrites(digits.WORDINGS[0], variants)
    assert len(set(drawn)) == variants
    assert drawn == rewrites(digits.WORDINGS[0], variants)
    assert any(drawn != rewrites(digits.WORDINGS[0], variants, seed=seed) for seed in range(1, 9))


@pytest.mark.parametrize(
    ("question", "one_of_them"),
    [
        ("What is the area of triangle ABC?", "Find the area of triangle ABC."),
        ("<image>\nfind the area of a 2.5 cm square.", None),
        ("How many red cars are in the image?", "Count the red cars in the image."),
    ],
)
def test_slots_keep_their_text_and_images_stay_first(question, one_of_them):
    found = rewrites(question, 9)
    assert found
    assert one_of_them is None or one_of_them in found
    for text in found:
        assert reason(Pair(question, text)) is None


@pytest.mark.parametrize(
    "question",
    ["What is the area of A? And of B?", "Why?", "", "What is the area of ?", "Find the area."],
)
def test_a_question_without_a_family_has_no_rewrites(question):
    assert rewrites(question, 3) == []


def test_wordings_are_loaded_from_a_file(tmp_path):
    path = tmp_path / "wordings.yaml"
    path.write_text("- ['Is {a} more than {b}?', 'Is {b} less than {a}?']\n")
    families = load(path)
    assert rewrites("Is 3 more than 2?", 2, families) == ["Is 2 less than 3?"]
    assert rewrites(digits.WORDINGS[0], 2, families) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read wordings"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
        ("a: b", "expected a list of lists"),
        ("[]", "expected a list of lists"),
        ("- [only one]", "expected a list of two or more"),
        ("- [1, 2]", "expected a list of two or more"),
        ("- ['Is {a}?', 'Is {b}?']", "the same slots"),
        ("- ['Is {a} {a}?', 'Is {a} {a}, or?']", "the same slots, each once"),
    ],
)
def test_an_invalid_wordings_file_is_rejected(content, words, tmp_path):
    path = tmp_path / "wordings.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        load(path)


def test_built_in_families_are_well_formed():
    for family in FAMILIES:
        assert wordings._family("built in", list(family)) == family
