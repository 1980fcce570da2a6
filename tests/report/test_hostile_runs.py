"""Texts and images of a model or a data set are shown on the page but never executed."""

import json

import numpy as np
import pytest
import steps
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vantage.questions.pictures import Picture
from vantage.questions.schema import Question
from vantage.record import About, Keep, Recorder, Step
from vantage.report.page import embedded

TEXTS = {
    "script": "<script>window.pwned = 1</script>",
    "closing": "</script><script>window.pwned = 1</script></style></title></textarea>-->]]>",
    "comment": "<!--<script>window.pwned = 1//",
    "handler": "<img src=x onerror='window.pwned = 1'><svg/onload=window.pwned=1>",
    "link": "<a href='javascript:window.pwned=1'>x</a><iframe src='javascript:parent.pwned=1'>",
    "quote": "\"'`><body onload=window.pwned=1> ' onmouseover='window.pwned=1",
    "style": "<style>*{display:none}</style><link rel=stylesheet href=http://localhost:9/x>",
    "braces": "{{ 7 * 7 }}{% for x in y %}{{ config }}${window.pwned = 1}#{x}<%= 1 %>",
    "bidi": "safe \u202e\u2066evil\u2069\u202c \u200f end",
    "nul": "before\0after\x1b[31m\x7f",
    "surrogate": "half \ud83d of a pair \udfff",
    "separators": "a\u2028window.pwned = 1\u2029b",
    "markup": "&lt;script&gt; &amp; &#60;b&#62; \\u003cscript\\u003e",
    "line": "x" * 1_000_000 + "<script>window.pwned = 1</script>",
    "combining": "Z" + "\u0301" * 5_000,
    "hidden": "a\u200b\u00ad\u061c\u3164\u2800\ufe0f\U000e0041\ue000b\tc\nd",
}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'><script>1</script></svg>"


def _polyglot(tmp_path) -> bytes:
    """An image followed by a script, with a script in its comment."""
    place = tmp_path / "polyglot.png"
    Image.new("RGB", (8, 8), "red").save(place)
    return place.read_bytes() + TEXTS["script"].encode()


def _hostile(tmp_path, number: int) -> Step:
    texts = list(TEXTS.values())
    pictures = [Picture(SVG), Picture(_polyglot(tmp_path))]
    fine = steps.made(number, questions=len(texts), variants=1, group=4)
    question_N = fine.question_N
    system = {"role": texts[0], "content": [{"type": "text", "text": texts[1]}]}
    values = vars(fine) | {
        "parts": {texts[3]: fine.reward_N, "{{7*7}}": fine.reward_N, "accuracy": fine.reward_N},
        "responses": [texts[place] for place in question_N],
        "prompts": {
            place: Question("<image><image>" + text, tuple(pictures), (system,))
            for place, text in enumerate(texts)
        },
        "metrics": {**fine.metrics, texts[0]: np.inf, "nan": np.nan},
        "seconds": {**fine.seconds, texts[3]: 1.0},
    }
    return Step(**values)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    run = folder / "<img src=x onerror=window.pwned=1>{{7*7}}"
    recipe = {"name": "shuffle-r1", "rounds": 4}
    about = About("trl", recipe, 0, 4, settings={TEXTS["closing"]: TEXTS["script"]})
    with Recorder(run, about, keep=Keep(characters=2_000_000)) as recorder:
        for number in range(2):
            recorder.append(_hostile(folder, number))
        recorder.validated(1, {TEXTS["script"]: 1.0, "reward": 0.5}, 1.0)
    return run


def test_hostile_texts_are_not_executed(look, hostile_run):
    tab = look(hostile_run)
    buttons = tab.locator("#table .open")
    assert buttons.count() == len(TEXTS)
    for number in range(len(TEXTS)):
        buttons.nth(number).click()
        assert tab.locator(".rollout").count() == 4
        inside = tab.locator("#body").locator("script, iframe, style, link, a, body, object")
        assert inside.count() == 0
        sources = tab.locator("#body img").evaluate_all("all => all.map(one => one.src)")
        assert len(sources) == 1 and sources[0].startswith("data:image/webp;base64,")
        tab.keyboard.press("Escape")
    assert tab.evaluate("window.pwned") is None
    assert tab.locator("script").count() == 2 and tab.locator("style").count() == 1
    assert tab.locator("#table").is_visible()


def test_a_shortened_text_says_so(look, hostile_run):
    tab = look(hostile_run)
    row = 100 + list(TEXTS).index("line")
    tab.locator(f"#table tr[data-row='{row}'] .open").click()
    told = tab.locator(".rollout pre").first.text_content()
    assert "[... 996,033 characters are not on this page ...]" in told and len(told) < 4_100


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_text_is_shown_as_text(look, hostile_run, name):
    expected = TEXTS[name].encode("utf-8", "backslashreplace").decode()
    shown_as = {
        "bidi": "safe [U+202E][U+2066]evil[U+2069][U+202C] [U+200F] end",
        "nul": "before␀after␛[31m[U+007F]",
        "line": "x<script>window.pwned = 1</script>",
        "combining": "Z" + "\u0301" * 1_000,
        "separators": "a[U+2028]window.pwned = 1[U+2029]b",
        "hidden": "a[U+200B][U+00AD][U+061C][U+3164][U+2800][U+FE0F][U+E0041][U+E000]b\tc\nd",
    }
    tab = look(hostile_run)
    row = 100 + list(TEXTS).index(name)
    tab.locator(f"#table tr[data-row='{row}'] .open").click()
    assert shown_as.get(name, expected) in tab.locator(".rollout pre").first.text_content()
    assert shown_as.get(name, expected) in tab.locator(".variant .said").last.text_content()
    assert "image not in the record" in tab.inner_text(".pictures")


def test_the_name_of_a_run_is_shown_as_text(look, hostile_run):
    tab = look(hostile_run)
    assert tab.locator("tbody th bdi").first.text_content() == hostile_run.name
    assert hostile_run.name in tab.locator("#run option").first.text_content()


@given(
    st.recursive(
        st.text(st.characters(codec="utf-8")),
        lambda x: st.lists(x) | st.dictionaries(st.text(st.characters(codec="utf-8")), x),
        max_leaves=8,
    )
)
def test_embedded_data_cannot_end_its_block_and_is_read_back_unchanged(data):
    text = embedded(data)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == data
