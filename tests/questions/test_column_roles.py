"""Roles of columns are detected from names and contents; images are never dropped."""

import base64
import io
import itertools
import json

import pytest
from datasets import Dataset
from PIL import Image

from vantage.demo import model
from vantage.errors import InputError
from vantage.questions.layouts import Columns
from vantage.questions.loading import load, survey
from vantage.questions.schema import pictures, read, render, taken

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def encoded(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(stream, "png")
    return stream.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A directory with two images."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    for colour in COLOURS:
        (data / f"{colour}.png").write_bytes(encoded(colour))
    return data


def lines(folder, rows: list[dict]) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


def table(folder, rows: list[dict]) -> str:
    Dataset.from_list(rows).to_parquet(folder / "rows.parquet")
    return str(folder / "rows.parquet")


def opened(source: str, **options) -> Dataset:
    return load(source, split="train", **options)


def colours(row: dict) -> list[str]:
    names = {value: name for name, value in COLOURS.items()}
    return [names[image.open().getpixel((0, 0))] for image in pictures(read(row))]


def asked(row: dict) -> str:
    return read(row).text


# ---- names ---------------------------------------------------------------------------------

QUESTION = ("prompt", "problem", "question", "query", "text", "instruction")
ANSWER = ("answer", "solution", "label", "ground_truth", "response")
PICTURE = (
    *("image", "images", "img", "picture", "image_path", "img_path", "image_file", "file_name"),
    *("decoded_image", "image_0"),
)
# Forms of the image values of two rows: one image in the first, none or two in the second.
WAYS = {
    "paths": ["red.png", None],
    "a path or a list": ["red.png", ["red.png", "blue.png"]],
    "lists": [["red.png"], ["red.png", "blue.png"]],
    "base64": [base64.b64encode(encoded("red")).decode(), None],
    "bytes": [{"bytes": encoded("red"), "path": "x.png"}, None],
    "lists of bytes": [[{"bytes": encoded("red")}], []],
}
TABLE = list(itertools.product(QUESTION, ANSWER, PICTURE))


@pytest.mark.parametrize("picture", PICTURE)
@pytest.mark.parametrize("question", QUESTION)
def test_usual_column_names_work_in_any_combination(question, picture, folder):
    for number, answer in enumerate(ANSWER):
        way = list(WAYS)[(TABLE.index((question, answer, picture)) + number) % len(WAYS)]
        rows = [
            {question: "Which colour?", answer: "red", picture: WAYS[way][0]},
            {question: "Which colours?", answer: 2, picture: WAYS[way][1]},
        ]
        if "bytes" in way:
            rows = [{**row, answer: str(row[answer])} for row in rows]
        loaded = opened((table if "bytes" in way else lines)(folder, rows))
        second = ["red", "blue"] if isinstance(WAYS[way][1], list) and WAYS[way][1] else []
        assert [colours(row) for row in loaded] == [["red"], second], (answer, way)
        assert loaded["answer"][:] == ["red", "2"]
        assert asked(loaded[0]) == "<image>Which colour?"


@pytest.mark.parametrize("question", QUESTION)
def test_images_under_every_column_name_reach_the_model_inputs(question, folder):
    processor = model.processor(2)
    loaded = []
    for answer, picture in itertools.product(ANSWER, PICTURE):
        rows = [
            {question: "Which colour?", answer: "red", picture: colour}
            for colour in ("red.png", "blue.png")
        ]
        loaded.append(opened(lines(folder, rows)))
    prompts = [[taken(render(read(row)), True) for row in rows] for rows in loaded]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    for conversation in prompts:
        batch = processor.apply_chat_template(
            conversation, **options, processor_kwargs={"padding": True}
        )
        red, blue = batch["pixel_values"]
        assert red[0].mean() > red[2].mean() and blue[0].mean() < blue[2].mean()
        assert (batch["input_ids"] == processor.image_token_id).sum(dim=1).tolist() == [4, 4]


def test_the_table_covers_many_column_names():
    assert len(TABLE) >= 200


@pytest.mark.parametrize("name", ["image", "images", "img"])
def test_an_image_found_only_in_a_late_row_is_not_dropped(name, folder, monkeypatch):
    monkeypatch.setattr("vantage.questions.column_roles.SAMPLE", 2)
    rows = [{"question": f"{n}?", "answer": "1", name: None, "other": ""} for n in range(9)]
    rows[7][name] = "red.png"
    assert [len(colours(row)) for row in opened(lines(folder, rows))] == [0] * 7 + [1, 0]
    rows[3]["other"] = "blue.png"
    with pytest.raises(InputError, match=r"row 3, column 'other': holds an image"):
        opened(lines(folder, rows))
    assert len(opened(lines(folder, rows), columns=Columns(images=name))) == 9


# ---- columns that would be dropped are rejected ----------------------------------------------

URI = "data:image/png;base64," + base64.b64encode(encoded("red")).decode()
UNMAPPED = {
    "a path": ("red.png", "foo"),
    "a list of paths": (["red.png"], "foo"),
    "paths with backslashes": (".\\red.png", "foo"),
    "base64": (URI.partition(",")[2], "foo"),
    "a data URI": (URI, "foo"),
    "an object with a URI": ({"url": URI}, "foo"),
    "an object in an object": ({"picture": {"path": "red.png"}}, "foo.picture"),
    "a list in a text": ('["red.png"]', "foo"),
    "an address": ("https://example.org/a.png", "foo"),
    "a path that leads nowhere": ("gone/red.png", "foo"),
    "a conversation": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "red.png"}}]}],
        "foo",
    ),
}


@pytest.mark.parametrize("name", UNMAPPED)
def test_unused_image_column_error_suggests_a_mapping(name, folder):
    value, place = UNMAPPED[name]
    source = lines(folder, [{"question": "Which?", "answer": "1", "foo": value}])
    with pytest.raises(InputError) as caught:
        opened(source)
    kind = "question" if "conversation" in name else "images"
    assert f"column {place!r} holds" in str(caught.value)
    assert f"columns: {{{kind}: {place}}}\n" in str(caught.value)
    assert str(caught.value).endswith("columns: {images: null}")
    (row,) = opened(source, columns=Columns(images=None))
    assert (colours(row), asked(row)) == ([], "Which?")
    if kind == "images" and name not in ("an address", "a path that leads nowhere"):
        (row,) = opened(source, columns=Columns(images=place))
        assert colours(row) == ["red"]


def test_image_bytes_in_an_unused_column_are_rejected(folder):
    for value in (encoded("red"), {"bytes": encoded("red"), "path": None}):
        source = table(folder, [{"question": "Which?", "answer": "1", "foo": value}])
        with pytest.raises(InputError, match=r"columns: \{images: foo\}"):
            opened(source)
        assert colours(opened(source, columns=Columns(image="foo"))[0]) == ["red"]


def test_two_image_columns_require_a_choice(folder):
    row = {"question": "Which?", "answer": "1", "image": "red.png", "img": "blue.png"}
    with pytest.raises(InputError) as caught:
        opened(lines(folder, [row]))
    for words in ("{images: image}", "{images: img}", "{images: [image, img]}"):
        assert words in str(caught.value)
    both = opened(lines(folder, [row]), columns=Columns(images=["img", "image"]))
    assert colours(both[0]) == ["blue", "red"]
    row = {"question": "Which?", "answer": "1", "image": "red.png", "mask": "blue.png"}
    with pytest.raises(InputError) as caught:
        opened(lines(folder, [row]))
    assert "columns: {images: [image, mask]}" in str(caught.value)
    assert str(caught.value).endswith("columns: {images: image}")
    assert colours(opened(lines(folder, [row]), columns=Columns(images="image"))[0]) == ["red"]


def test_a_second_column_with_the_same_images_is_ignored(folder):
    row = {"question": "Which?", "answer": "1", "image": "red.png", "decoded_image": "red.png"}
    assert colours(opened(lines(folder, [{**row, "extra": {"image": "red.png"}}]))[0]) == ["red"]
    # A missing file name beside image bytes is ignored.
    row |= {"image": {"bytes": None, "path": "red.png"}, "decoded_image": "old/name.png"}
    assert colours(opened(lines(folder, [row]))[0]) == ["red"]


def test_numbered_columns_form_one_list_and_may_be_referenced(folder):
    rows = [
        {"question": "As <image 2> or <image 1>?", "image_1": "red.png", "image_2": "blue.png"},
        {"question": "Which?", "image_1": "red.png", "image_2": None},
        {"question": "Is <image_2> red?", "image_1": None, "image_2": "blue.png"},
    ]
    loaded = opened(lines(folder, [{**row, "answer": "1"} for row in rows]))
    assert [colours(row) for row in loaded] == [["blue", "red"], ["red"], ["blue"]]
    assert [asked(row) for row in loaded] == [
        "As <image> or <image>?",
        "<image>Which?",
        "Is <image> red?",
    ]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"videos": ["a.mp4"]}, "videos"),
        ({"video": "frames/7"}, "video"),
        ({"clip_of": "a.mov"}, "clip_of"),
        ({"question": "<video>What happens?"}, "question"),
        ({"question": [{"role": "user", "content": [{"type": "video", "video": "a"}]}]}, "quest"),
    ],
)
def test_video_error_names_the_column(row, column, folder):
    good = {"question": "Why?", "answer": "1"}
    source = lines(folder, [good, {**good, **row}])
    with pytest.raises(InputError, match=f"row 1, column '{column}.*videos and audio are not"):
        opened(source)
    assert len(opened(source, on_bad_row="skip")) == 1
    if isinstance(row.get("question", ""), str):
        assert len(opened(source, columns=Columns(videos=None))) == 2


def test_urls_are_not_downloaded(folder):
    for row in (
        {"question": "Which?", "image": "https://example.org/a.png"},
        {"messages": [{"role": "user", "content": [{"type": "image", "url": "http://a/b.png"}]}]},
    ):
        with pytest.raises(InputError, match="URLs are not downloaded; download the image"):
            opened(lines(folder, [{"answer": "1", **row}]))


# ---- questions and answers -------------------------------------------------------------------


def test_empty_columns_are_ignored(folder):
    row = {"prompt": None, "problem": "", "question": "Why?", "answer": None, "solution": "x"}
    (loaded,) = opened(lines(folder, [row]))
    assert (asked(loaded), loaded["answer"]) == ("Why?", "x")


def test_column_names_are_case_insensitive(folder):
    (row,) = opened(lines(folder, [{"Question": "Which?", "ANSWER": "1", "Image": "red.png"}]))
    assert (asked(row), row["answer"], colours(row)) == ("<image>Which?", "1", ["red"])


def test_remarks_name_the_unused_candidate_columns(folder):
    row = {"prompt": "Why?", "problem": "How?", "answer": "x", "solution": "So x."}
    found = survey(lines(folder, [row]), split="train")
    assert asked(found.rows[0]) == "Why?"
    assert found.remarks == (
        "questions are read from column 'prompt', not from 'problem'",
        "answers are read from column 'answer', not from 'solution'",
    )


def test_nested_fields_can_be_named(folder):
    row = {
        "data_source": "x",
        "prompt": [{"role": "user", "content": "<image>Which?"}],
        "images": [{"path": "red.png"}],
        "reward_model": {"ground_truth": "7", "style": "rule"},
        "extra_info": {"answer": "8", "question": "How?", "shown": {"picture": "red.png"}},
    }
    loaded = opened(lines(folder, [row]))
    assert (colours(loaded[0]), loaded["answer"][:]) == (["red"], ["7"])
    assert loaded[0]["reward_model"] == row["reward_model"]
    named = Columns(
        question="extra_info.question",
        answer="extra_info.answer",
        images="extra_info.shown.picture",
    )
    for source in (lines(folder, [row]), table(folder, [row])):
        (found,) = opened(source, columns=named)
        assert (asked(found), found["answer"], colours(found)) == ("<image>How?", "8", ["red"])
    with pytest.raises(InputError, match=r"did you mean 'reward_model.ground_truth'"):
        opened(lines(folder, [row]), columns=Columns(answer="reward_model.groundtruth"))


ANSWERS = {
    "a number": (7, "7"),
    "a list of one": (["7"], "7"),
    "a share": (0.5, "0.5"),
    "a whole number, as pandas writes it": (7.0, "7"),
    "a number of 32 bits": (0.10000000149011612, "0.1"),
    "a number of 64 bits": (0.1, "0.1"),
    "many digits": (1234567.891, "1234567.891"),
    "a message": ([{"role": "assistant", "content": "7"}], "7"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read_from_every_form(name, folder):
    value, text = ANSWERS[name]
    assert opened(lines(folder, [{"question": "?a", "answer": value}]))["answer"][:] == [text]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"ask": "Why?", "answer": "1"}, "columns: {question: ask}"),
        ({"question": "Why?", "truth": "1"}, "columns: {answer: truth}"),
        ({"question": "Why?", "truth": "1"}, "columns: {answer: null}"),
    ],
)
def test_missing_column_error_suggests_a_mapping(row, words, folder):
    with pytest.raises(InputError) as caught:
        opened(lines(folder, [row]))
    assert words in str(caught.value)


# ---- conversations ---------------------------------------------------------------------------

USER = {"role": "user", "content": "<image>Which?"}
PARTS = [{"type": "text", "text": "Which?"}]
SHOWN = {"images": ["red.png"]}
CONVERSATIONS = {
    "openai": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "red.png"}}, *PARTS],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
        ]
    },
    "openai's responses": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": URI},
                    {"type": "input_text", "text": "Which?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "output_text", "text": "red"}]},
        ]
    },
    "llava": {
        "id": 1,
        "image": "red.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhich?"},
            {"from": "gpt", "value": "red"},
        ],
    },
    "llama-factory": {**SHOWN, "messages": [USER, {"role": "assistant", "content": "red"}]},
    "llama-factory's alpaca": {
        **SHOWN,
        "instruction": "Look.",
        "input": "Which?",
        "output": "red",
    },
    "swift": {
        "messages": [USER, {"role": "assistant", "content": "no"}],
        "images": [{"bytes": None, "path": "red.png"}],
        "solution": "red",
    },
    "qwen": {
        "conversations": [
            {"from": "user", "value": "Picture 1: <img>red.png</img>\nWhich?"},
            {"from": "assistant", "value": "red"},
        ]
    },
    "qwen's parts": {
        "messages": [
            {"role": "user", "content": [{"image": "file://red.png"}, {"text": "Which?"}]},
            {"role": "assistant", "content": [{"text": "red"}]},
        ]
    },
    "the cauldron": {
        **SHOWN,
        "texts": [{"user": "Which?", "assistant": "red", "source": "x"}],
    },
    "a text of JSON": {**SHOWN, "messages": json.dumps([USER]), "answer": "red"},
    "messages in an object": {**SHOWN, "prompt": {"messages": [USER]}, "answer": "red"},
    "trl": {"prompt": [USER], "image": "red.png", "answer": "red"},
}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_of_every_format_are_read(name, ending, folder):
    row = CONVERSATIONS[name]
    (loaded,) = opened((lines if ending == "jsonl" else table)(folder, [row]))
    assert loaded["answer"] == "red"
    assert colours(loaded) == ["red"]
    assert asked(loaded).replace("\n", " ").endswith("Which?")
    roles = [message["role"] for message in loaded["prompt"]]
    assert roles == (["system"] if name == "openai" else []) + ["user"]
    assert "<img>" not in asked(loaded)


def test_earlier_turns_stay_and_the_last_answer_is_removed_from_the_prompt(folder):
    turns = [("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", "2")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    (loaded,) = opened(lines(folder, [row]))
    assert [message["content"] for message in loaded["prompt"]] == ["One?", "1", "Two?"]
    assert loaded["answer"] == "2"
    (loaded,) = opened(lines(folder, [{**row, "answer": "two"}]))
    assert len(loaded["prompt"]) == 3 and loaded["answer"] == "two"
    found = survey(lines(folder, [{**row, "answer": "two"}]), split="train")
    assert found.remarks[-1].startswith("a final assistant turn is removed from the prompts")
    (loaded,) = opened(lines(folder, [row]), columns=Columns(answer=None))
    assert len(loaded["prompt"]) == 3 and "answer" not in loaded


def test_a_system_column_becomes_the_system_message(folder):
    row = {"system": "Be brief.", "query": "Why?", "response": "So."}
    (loaded,) = opened(lines(folder, [row]))
    assert [message["role"] for message in loaded["prompt"]] == ["system", "user"]


# ---- options ---------------------------------------------------------------------------------

LISTED = "Which?\nChoices:\n(A) red\n(B) blue"
OPTIONS = {
    "options": {"options": ["red", "blue"]},
    "choices": {"choices": ["red", "blue"]},
    "a text": {"options": "['red', 'blue']"},
    "by letter": {"options": {"A": "red", "B": "blue"}},
    "texts and labels": {"choices": {"text": ["red", "blue"], "label": ["A", "B"]}},
    "columns of letters": {"A": "red", "B": "blue", "C": None},
    "columns of options": {"option_a": "red", "option_b": "blue"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_appended_to_the_question(name, folder):
    for answer in ("B", "(B)", "blue"):
        row = {"question": "Which?", "answer": answer, **OPTIONS[name]}
        (loaded,) = opened(lines(folder, [row]))
        assert (asked(loaded), loaded["answer"]) == (LISTED, "B")
        assert loaded["choices"] == ["red", "blue"]


def test_options_listed_in_the_question_are_not_appended(folder):
    text = "Which?\nA. red\nB. blue"
    row = {"question": text, "answer": "B", "options": ["red", "blue"]}
    assert asked(opened(lines(folder, [row]))[0]) == text


def test_options_are_appended_to_rewrites(folder):
    row = {"question": "Which?", "answer": "B", "options": ["red", "blue"]}
    row["new_questions"] = ["What colour?", "Which?\n(A) red\n(B) blue"]
    (loaded,) = opened(lines(folder, [row]))
    assert loaded["new_questions"] == [
        LISTED.replace("Which?", "What colour?"),
        row["new_questions"][1],
    ]


def test_option_numbers_become_letters(folder):
    rows = [{"question": "Which?", "answer": n, "choices": ["red", "blue"]} for n in (0, 1)]
    assert opened(lines(folder, rows))["answer"][:] == ["A", "B"]
    with pytest.raises(InputError, match=r"count from 0 or from 1.* columns: \{options: null\}"):
        opened(lines(folder, rows[1:]))
    assert opened(lines(folder, rows[1:]), columns=Columns(options=None))["answer"][:] == ["1"]


def test_options_are_not_shown_if_answers_name_none_of_them(folder):
    row = {"question": "Which?", "answer": "7", "choices": ["1", "2"]}
    found = survey(lines(folder, [row]), split="train")
    assert (asked(found.rows[0]), found.rows[0]["answer"]) == ("Which?", "7")
    assert "columns: {options: choices} shows them" in found.remarks[0]
    (shown,) = opened(lines(folder, [row]), columns=Columns(options="choices"))
    assert (asked(shown), shown["answer"]) == ("Which?\nChoices:\n(A) 1\n(B) 2", "7")


# ---- files -----------------------------------------------------------------------------------

ROW = {"question": "Which?", "answer": "1", "image": "red.png"}
FORMS = {
    "data beside other lists": {"licenses": [{"id": 1}], "data": [ROW]},
    "called like the split": {"test": [{"question": "No?"}], "train": [ROW]},
    "the only rows": {"about": "x", "tags": ["a"], "items": [ROW]},
    "by id": {"7": ROW},
    "by column": {name: [value] for name, value in ROW.items()},
    "by column, as pandas does": {name: {"0": value} for name, value in ROW.items()},
}


@pytest.mark.parametrize("name", FORMS)
def test_rows_are_found_in_every_json_structure(name, folder):
    (folder / "rows.json").write_text(json.dumps(FORMS[name]))
    (row,) = opened(str(folder / "rows.json"))
    assert (asked(row), row["answer"], colours(row)) == ("<image>Which?", "1", ["red"])


def test_several_lists_of_rows_require_a_split_name(folder):
    (folder / "rows.json").write_text(json.dumps({"a": [ROW], "b": [ROW]}))
    with pytest.raises(
        InputError, match=r"several lists of rows \('a', 'b'\): name one as the split"
    ):
        opened(str(folder / "rows.json"))
    assert len(load(str(folder / "rows.json"), split="b")) == 1


def test_tsv_files_are_read(folder):
    coded = base64.b64encode(encoded("red")).decode()
    text = f"index\timage\tquestion\tA\tB\tanswer\n0\t{coded}\tWhich?\tred\tblue\tA\n"
    (folder / "rows.tsv").write_text(text)
    (row,) = opened(str(folder / "rows.tsv"))
    assert (asked(row), row["answer"], colours(row)) == (f"<image>{LISTED}", "A", ["red"])


@pytest.mark.parametrize("path", ["red.png", "./red.png", ".\\red.png", "{folder}/red.png"])
def test_every_spelling_of_a_path_is_resolved(path, folder, monkeypatch):
    row = {**ROW, "image": path.replace("{folder}", str(folder))}
    assert colours(opened(lines(folder, [row]))[0]) == ["red"]
    monkeypatch.chdir(folder.parent)
    for spelling in ("data/red.png", f"file://{folder}/red.png"):
        assert colours(opened(lines(folder, [{**ROW, "image": spelling}]))[0]) == ["red"]
