"""Questions, answers and images of rows in the layouts of well-known data sets."""

import base64
import io
import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as Pictures
from PIL import Image

from vantage.errors import InputError
from vantage.questions.layouts import Columns
from vantage.questions.loading import load
from vantage.questions.schema import pictures, read, written

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
FOUR = ["one", "two", "three", "four"]
LISTED = "Which?\nChoices:\n(A) one\n(B) two\n(C) three\n(D) four"


def encoded(colour: str, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (1, 1), colour).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A directory with two images."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(encoded(colour))
    return tmp_path


def opened(folder, rows: list[dict], **named) -> Dataset:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = Columns(**named) if named else None
    return load(str(folder / "rows.jsonl"), split="train", columns=columns)


def seen(row: dict) -> tuple[str, list[str]]:
    """The question of a row, and the colours of its images in order."""
    names = {value: name for name, value in COLOURS.items()}
    question = read(row)
    shown = [names[image.open().getpixel((0, 0))] for image in pictures(question)]
    turns = (*(question.earlier or ()), question.turn)
    return "\n".join(map(written, turns)), shown


# ---- options and their answers ---------------------------------------------------------------

OPTIONS = {
    "letters in front": ["A. one", "B. two", "C. three", "D. four"],
    "letters in brackets": ["(A) one", "(B) two", "(C) three", "(D) four"],
    "a text, a line each": "A. one\nB. two\nC. three\nD. four",
    "a text of one line": "A. one; B. two; C. three; D. four",
    "a text with bars": "one|two|three|four",
    "as NumPy writes": "['one' 'two'\n 'three' 'four']",
    "JSON in a text": json.dumps(FOUR),
    "by letter": dict(zip("ABCD", FOUR, strict=True)),
    "by letter, in any order": {"B": "two", "A": "one", "D": "four", "C": "three"},
    "by letter in a text": str(dict(zip("ABCD", FOUR, strict=True))),
    "labels and texts": {"label": list("ABCD"), "text": FOUR},
    "objects": [{"label": a, "text": t} for a, t in zip("ABCD", FOUR, strict=True)],
    "keys and values": [{"key": a, "value": t} for a, t in zip("ABCD", FOUR, strict=True)],
    "ids and contents": [{"id": a, "content": t} for a, t in zip("ABCD", FOUR, strict=True)],
    "pairs": [list(pair) for pair in zip("ABCD", FOUR, strict=True)],
    "ends with nothing": [*FOUR, None],
}
NAMED = [
    *("D", "d", "(D)", "D.", "four", "D. four", "(D) four", "Option D", "The answer is D."),
    *("\\boxed{D}", "<answer>D</answer>", "<think>Not A.</think>\n<answer>D</answer>"),
]


@pytest.mark.parametrize("column", ["options", "choices", "option", "answer_choices"])
@pytest.mark.parametrize("way", OPTIONS)
def test_options_of_every_form_are_shown_once(way, column, folder):
    (row,) = opened(folder, [{"question": "Which?", "answer": "D", column: OPTIONS[way]}])
    assert (seen(row)[0], row["answer"], row["choices"]) == (LISTED, "D", FOUR)


def test_an_answer_names_an_option_by_letter_text_or_number(folder):
    rows = [{"question": "Which?", "options": FOUR, "answer": answer} for answer in NAMED]
    assert opened(folder, rows)["answer"][:] == ["D"] * len(NAMED)


def test_several_correct_options_are_kept(folder):
    rows = [{"question": "Which?", "options": FOUR, "answer": one} for one in (["A", "C"], ["B"])]
    loaded = opened(folder, rows)
    assert loaded["answer"][:] == ["A, C", "B"]
    assert [seen(row)[0] for row in loaded] == [LISTED, LISTED]


@pytest.mark.parametrize(
    ("answers", "letters"),
    [
        ([0, 3], ["A", "D"]),
        (["1", "4"], ["A", "D"]),
        ([1.0, 4.0], ["A", "D"]),
    ],
)
@pytest.mark.parametrize("name", ["answer", "correct_choice_idx", "answer_index"])
def test_option_numbers_are_read_if_their_start_is_clear(name, answers, letters, folder):
    rows = [{"question": "Which?", "options": FOUR, name: one} for one in answers]
    assert opened(folder, rows)["answer"][:] == letters


def test_option_columns_may_be_numbered(folder):
    each = {f"option{n}": text for n, text in enumerate(FOUR, start=1)}
    rows = [{"question": "Which?", **each, "answer": n} for n in (1, 2)]
    loaded = opened(folder, rows)
    assert (loaded["answer"][:], seen(loaded[0])[0]) == (["A", "B"], LISTED)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"options": ["one", None, "three"], "answer": "C"}, "option 2 is empty"),
        (
            {"options": [str(n) for n in range(20, 31)], "answer": "C"},
            "11 options, expected at most 10",
        ),
        ({"correct_choice_idx": 2}, "holds option numbers, but no column holds options"),
        ({"image_id": 7, "answer": "x"}, "column 'image_id' refers to images, but no column holds"),
        ({"answer": {"value": "7"}}, r"columns: \{answer: answer.value\}"),
        ({"answers": {"text": ["7"], "answer_start": [0]}}, r"columns: \{answer: answers.text\}"),
        ({"answers": ["7", "8"]}, "keep the right one"),
    ],
)
def test_unreadable_row_error_gives_the_reason(row, words, folder):
    good = {"question": "Which?", "options": FOUR, "answer": "C"} if "options" in row else {}
    rows = [good, good, {"question": "Which?", **row}] if good else [{"question": "Which?", **row}]
    with pytest.raises(InputError, match=words):
        opened(folder, rows)


def test_class_labels_become_answers_by_name(folder):
    features = Features(
        {
            "image": Pictures(),
            "question": Value("string"),
            "label": ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = [{"image": {"bytes": encoded("red")}, "question": "Which?", "label": n} for n in (1, 0)]
    Dataset.from_list(rows, features=features).to_parquet(folder / "classes.parquet")
    assert load(str(folder / "classes.parquet"), split="train")["answer"][:] == ["dog", "cat"]


# ---- images and their placeholders -----------------------------------------------------------

PLACES = [
    *("<IMAGE>", "<Image>", "[image]", "<ImageHere>", "<image_placeholder>", "<|image_pad|>"),
    *("<|vision_start|><|image_pad|><|vision_end|>", "<|image|>", "<start_of_image>", "<image_0>"),
    *("<image1>", "<image 1>", "<|image_1|>", "<img_1>"),
]


@pytest.mark.parametrize("place", PLACES)
def test_placeholders_of_other_models_are_recognized(place, folder):
    (row,) = opened(
        folder, [{"question": f"In {place}, which?", "answer": "1", "image": "red.png"}]
    )
    assert seen(row) == ("In <image>, which?", ["red"])


def test_the_number_of_placeholders_must_match_the_images(folder):
    row = {"question": "<IMAGE> or <IMAGE>?", "answer": "1", "image": "red.png"}
    with pytest.raises(InputError, match="has <IMAGE> 2 times for 1 images"):
        opened(folder, [row])


def test_image_numbers_may_start_at_0_and_occur_in_options(folder):
    two = {"answer": "B", "images": ["red.png", "blue.png"]}
    rows = [
        {"question": "<image_1> or <image_0>?", **two, "options": ["x", "y"]},
        {"question": "Which?", **two, "options": ["<image 2>", "<image 1>"]},
        {"question": "Which?", **two, "options": ["<image>", "<image>"]},
    ]
    shown = [seen(row) for row in opened(folder, rows)]
    assert [colours for _, colours in shown] == [["blue", "red"], ["blue", "red"], ["red", "blue"]]
    assert shown[0][0].startswith("<image> or <image>?")
    assert shown[1][0] == shown[2][0] == "Which?\nChoices:\n(A) <image>\n(B) <image>"


WAYS = {
    "lists in lists": [["red.png"], ["blue.png"]],
    "by name": {"image_1": "red.png", "image_2": "blue.png"},
    "JSON in a text": '["red.png", "blue.png"]',
    "as NumPy writes": "['red.png' 'blue.png']",
    "an object in a text": '[{"path": "red.png"}, {"path": "blue.png"}]',
    "as Python writes bytes": str([{"bytes": encoded("red")}, {"bytes": encoded("blue")}]),
}


@pytest.mark.parametrize("way", WAYS)
def test_images_of_every_form_are_read(way, folder):
    (row,) = opened(folder, [{"question": "Which?", "answer": "1", "images": WAYS[way]}])
    assert seen(row) == ("<image><image>Which?", ["red", "blue"])


@pytest.mark.parametrize("shown", ["![x](red.png)", '<img width=3 src="red.png">'])
def test_an_image_in_markdown_or_html_is_rejected(shown, folder):
    row = {"question": f"{shown} Which?", "answer": "1"}
    with pytest.raises(InputError, match=r"an image, 'red\.png', that the model would not"):
        opened(folder, [row])
    assert seen(opened(folder, [row], images=None)[0]) == (f"{shown} Which?", [])
    assert seen(opened(folder, [{**row, "image": "red.png"}])[0])[1] == ["red"]


def test_numbered_columns_first_used_in_late_rows_are_read(folder, monkeypatch):
    monkeypatch.setattr("vantage.questions.column_roles.SAMPLE", 2)
    rows = [
        {"question": "Which?", "answer": "1", "image_1": "red.png", "image_2": None}
        for _ in range(5)
    ]
    rows[3]["image_2"] = "blue.png"
    assert [len(seen(row)[1]) for row in opened(folder, rows)] == [1, 1, 1, 2, 1]


def test_several_images_in_a_late_row_of_a_single_image_column_are_kept(folder, monkeypatch):
    monkeypatch.setattr("vantage.questions.column_roles.SAMPLE", 2)
    rows = [{"question": "Which?", "answer": "1", "image": "red.png"} for _ in range(5)]
    rows[3]["image"] = ["red.png", "blue.png"]
    assert [len(seen(row)[1]) for row in opened(folder, rows)] == [1, 1, 1, 2, 1]


def test_a_video_in_an_image_column_is_a_bad_row(folder):
    rows = [{"question": "Why?", "answer": "1", "image": one} for one in ("red.png", "a.mp4")]
    with pytest.raises(InputError, match="row 1, column 'image': videos and audio are not"):
        opened(folder, rows)


PNG, GIF = encoded("red"), encoded("red", "gif")
CODED = {
    "short": base64.b64encode(GIF).decode(),
    "without padding": base64.b64encode(GIF + b"0").decode().rstrip("="),
    "for addresses": base64.urlsafe_b64encode(PNG).decode(),
    "in lines": base64.encodebytes(PNG).decode(),
    "behind a blank": " \n" + base64.b64encode(PNG).decode(),
    "another type": "data:application/octet-stream;base64," + base64.b64encode(PNG).decode(),
    "no type": "data:;base64," + base64.b64encode(PNG).decode(),
    "capitals": "DATA:IMAGE/PNG;BASE64," + base64.b64encode(PNG).decode(),
    "in an address": "data:image/png;base64," + base64.b64encode(PNG).decode().replace("+", "%2B"),
    "as Python writes it": str(base64.b64encode(PNG)),
}


@pytest.mark.parametrize("way", CODED)
def test_every_form_of_base64_is_decoded(way, folder):
    row = {"question": "Which?", "answer": "1"}
    assert seen(opened(folder, [{**row, "image": CODED[way]}])[0])[1] == ["red"]
    with pytest.raises(InputError, match="column 'foo' holds images"):
        opened(folder, [{**row, "foo": CODED[way]}])


@pytest.mark.parametrize("content", [b"hello world", b"hello world" * 20, PNG[:30], b"%PDF-1.4 x"])
@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_base64_without_an_image_is_not_reported_as_a_missing_file(content, before, folder):
    coded = before + base64.b64encode(content).decode()
    with pytest.raises(InputError) as caught:
        opened(folder, [{"question": "Which?", "answer": "1", "image": coded}])
    assert "not an image in a supported format" in str(caught.value)
    assert "image not found" not in str(caught.value)


# ---- conversations ---------------------------------------------------------------------------


def test_history_becomes_earlier_turns(folder):
    row = {"query": "Two?", "response": "2", "history": [["<image>One?", "1"]], "image": "red.png"}
    (loaded,) = opened(folder, [row])
    assert seen(loaded) == ("<image>One?\n1\nTwo?", ["red"])


def test_the_answer_is_taken_from_a_conversation_in_json(folder):
    turns = [{"role": "user", "content": "<image>Which?"}, {"role": "assistant", "content": "7"}]
    for text in (json.dumps(turns), str(turns), json.dumps({"messages": turns})):
        (row,) = opened(folder, [{"messages": text, "images": ["red.png"]}])
        assert (seen(row), row["answer"]) == (("<image>Which?", ["red"]), "7")


def test_an_answer_is_read_from_an_object_in_json(folder):
    row = {"prompt": "Which?", "reward_model": json.dumps({"ground_truth": "7"})}
    assert opened(folder, [row])["answer"][:] == ["7"]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"body": {"messages": [{"role": "user", "content": "Why?"}]}}, "{question: body}"),
        ({"data": {"question": "Why?"}}, "{question: data.question}"),
        ({"foo": "Why?"}, "{question: NAME}"),
    ],
)
def test_missing_question_error_suggests_the_right_column(row, line, folder):
    with pytest.raises(InputError) as caught:
        opened(folder, [{"id": 1, **row, "answer": "1"}])
    assert f"columns: {line}" in str(caught.value)


def test_placeholders_that_another_tool_fills_are_rejected(folder):
    said = [{"role": "user", "content": "<image>Find <ref-object>"}]
    row = {"messages": said, "solution": "x", "images": ["red.png"], "objects": {"ref": ["cat"]}}
    with pytest.raises(InputError, match="<ref-object> in the question: replace it"):
        opened(folder, [row])
