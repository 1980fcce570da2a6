"""From a row to a question, and from a question to a prompt."""

import pytest
from PIL import Image

from vantage.errors import InputError
from vantage.questions.pictures import Picture
from vantage.questions.schema import Question, fault_of, frame, prepend, read, render, with_text

RED, BLUE = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
SYSTEM = {"role": "system", "content": "Be brief."}


def user(content):
    return {"role": "user", "content": content}


def text(words):
    return {"type": "text", "text": words}


def image(picture=None):
    return {"type": "image"} if picture is None else {"type": "image", "image": picture}


ROWS = {
    "one image, not placed": (
        {"prompt": [user("How many?")], "image": RED},
        Question("How many?", (RED,)),
        [user([image(RED), text("How many?")])],
    ),
    "an image placed in the text": (
        {"prompt": [user("Look: <image> How many?")], "image": RED},
        Question("Look: <image> How many?", (RED,)),
        [user([text("Look: "), image(RED), text(" How many?")])],
    ),
    "an image placed by a part": (
        {"prompt": [user([text("Look: "), image(), text("How many?")])], "image": RED},
        Question("Look: <image>How many?", (RED,)),
        [user([text("Look: "), image(RED), text("How many?")])],
    ),
    "images inside the conversation": (
        {"prompt": [user([image(RED), image(BLUE), text("Same?")])]},
        Question("<image><image>Same?", (RED, BLUE)),
        [user([image(RED), image(BLUE), text("Same?")])],
    ),
    "two images, not placed": (
        {"prompt": [user("Same?")], "images": [RED, BLUE]},
        Question("Same?", (RED, BLUE)),
        [user([image(RED), image(BLUE), text("Same?")])],
    ),
    "two images, placed": (
        {"prompt": [user("<image> or <image>?")], "images": [RED, BLUE]},
        Question("<image> or <image>?", (RED, BLUE)),
        [user([image(RED), text(" or "), image(BLUE), text("?")])],
    ),
    "no image in the row": (
        {"prompt": [user("2 + 2?")], "image": None},
        Question("2 + 2?"),
        [user([text("2 + 2?")])],
    ),
    "an empty list of images": (
        {"prompt": [user("2 + 2?")], "images": []},
        Question("2 + 2?"),
        [user([text("2 + 2?")])],
    ),
    "an image inside and in its column": (
        {"prompt": [user([image(RED), text("Why?")])], "image": BLUE},
        Question("<image>Why?", (RED,)),
        [user([image(RED), text("Why?")])],
    ),
    "parts filled up by a data set": (
        {
            "prompt": [
                user([image(RED) | {"text": None}, text("See?") | {"image": None}]),
                {"role": "assistant", "content": [text("Yes.") | {"image": None}]},
                user([text("How many?") | {"image": None}]),
            ]
        },
        Question("How many?"),
        [
            user([image(RED), text("See?")]),
            {"role": "assistant", "content": [text("Yes.")]},
            user([text("How many?")]),
        ],
    ),
    "earlier turns": (
        {"prompt": [SYSTEM, user("Hi."), {"role": "assistant", "content": "Yes?"}, user("2 + 2?")]},
        Question("2 + 2?"),
        [
            {"role": "system", "content": [text("Be brief.")]},
            user([text("Hi.")]),
            {"role": "assistant", "content": [text("Yes?")]},
            user([text("2 + 2?")]),
        ],
    ),
    "a plain text": ({"prompt": "2 + 2 ="}, Question("2 + 2 =", earlier=None), "2 + 2 ="),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_becomes_a_question_and_a_prompt_with_its_images_in_place(name):
    row, expected, prompt = ROWS[name]
    question = read(row)
    assert question.images == tuple(map(Picture, expected.images))
    assert question.text.replace("<image>", "") == expected.text.replace("<image>", "")
    assert question.text.count("<image>") == len(question.images)
    assert render(question) == prompt


BAD = {
    "no prompt": ({"image": RED}, "'prompt' is 'None'"),
    "an empty conversation": ({"prompt": []}, "conversation that ends with the user's question"),
    "an answer at the end": (
        {"prompt": [user("Hi."), {"role": "assistant", "content": "4"}]},
        "ends with the user's question",
    ),
    "an empty question": ({"prompt": [user("  ")]}, "empty question: '  '"),
    "nothing but an image": ({"prompt": [user("<image>")], "image": RED}, "empty question"),
    "an empty text": ({"prompt": ""}, "empty question"),
    "a number": ({"prompt": 7}, "'prompt' is '7'"),
    "placeholders without images": ({"prompt": [user("<image> Why?")]}, "1 <image> for 0 images"),
    "a placeholder too many": (
        {"prompt": [user("<image> or <image>?")], "image": RED},
        "2 <image> for 1 images",
    ),
    "a placeholder too few": (
        {"prompt": [user("<image> Same?")], "images": [RED, BLUE]},
        "1 <image> for 2 images",
    ),
    "an image with a plain text": ({"prompt": "Why?", "image": RED}, "plain text but the row has"),
    "a strange part": ({"prompt": [user([{"type": "video"}, text("?")])]}, "'video'"),
    "a message without a role": ({"prompt": [{"content": "Why?"}]}, "ends with the user's"),
    "a list of texts": ({"prompt": ["Why?"]}, "ends with the user's question"),
    "a message without content": ({"prompt": [{"role": "user"}]}, "holds \"{'role': 'user'}\""),
    "a text part without a text": ({"prompt": [user([{"type": "text"}])]}, "{'type': 'text'}"),
    "a missing picture": (
        {"prompt": [user("Same?")], "images": [RED, None]},
        "'None' is no",
    ),
    "a number for a picture": ({"prompt": [user("Why?")], "image": 7}, "'7' is no picture"),
    "a number for a picture, inline": (
        {"prompt": [user([{"type": "image", "image": 7}, text("Why?")])]},
        "'7' is no picture",
    ),
    "a picture missing earlier": (
        {"prompt": [user([image(), text("See?")]), user("Why?")], "image": RED},
        "1 <image> for 0 images: '<image>See?'",
    ),
    "a strange part earlier": ({"prompt": [user([{"type": "audio"}]), user("Why?")]}, "'audio'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_is_no_question_is_refused_with_what_it_holds(name):
    row, words = BAD[name]
    with pytest.raises(InputError) as caught:
        read(row)
    assert words in str(caught.value)


def test_another_wording_keeps_the_images_in_front_or_where_it_says():
    question = read({"prompt": [user("<image> or <image>?")], "images": [RED, BLUE]})
    assert with_text(question, "Which?").text == "<image><image>Which?"
    assert with_text(question, "<image> against <image>").text == "<image> against <image>"
    assert with_text(question, "Which?").images == (Picture(RED), Picture(BLUE))
    with pytest.raises(InputError, match="1 <image> for 2 images"):
        with_text(question, "<image> Which?")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Why?", "Note. Why?"),
        ("<image>Why?", "<image>Note. Why?"),
        ("<image> <image>\nWhy <image>?", "<image> <image>\nNote. Why <image>?"),
        ("Why <image>?", "Note. Why <image>?"),
    ],
)
def test_words_are_put_once_behind_the_images_that_stand_first(before, after):
    question = Question(before, (RED,) * before.count("<image>"))
    assert prepend(question, "Note.").text == after


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        ("{question}", "Why?", "Why?"),
        ("Think. {question} Answer:", "<image>Why?", "<image>Think. Why? Answer:"),
        ("Think. {question}", "Why <image>?", "Think. Why <image>?"),
        ("{question} {x} \\boxed{}", "Is {question} here?", "Is {question} here? {x} \\boxed{}"),
    ],
)
def test_a_template_stands_around_the_question_behind_the_images_in_front(template, before, after):
    question = Question(before, (RED,) * before.count("<image>"))
    assert frame(question, template, None).text == after


# What is asked, with a note of a transform in front or without, and what becomes of it.
INSTRUCTED = "Think first.\n<image>\n{question} Answer:"
LED = [
    ("one image", INSTRUCTED, "<image>Why?", "Think first.\n<image>\nWhy? Answer:"),
    ("none", INSTRUCTED, "Why?", "Think first.\nWhy? Answer:"),
    ("white space of the row", INSTRUCTED, "<image>\n Why?", "Think first.\n<image>\nWhy? Answer:"),
    ("several", INSTRUCTED, "<image> <image>Same?", "Think first.\n<image> <image>\nSame? Answer:"),
    ("inside", INSTRUCTED, "Is <image> it?", "Think first.\nIs <image> it? Answer:"),
    (
        "in front and inside",
        INSTRUCTED,
        "<image>Is <image> it?",
        "Think first.\n<image>\nIs <image> it? Answer:",
    ),
    ("white space kept", "Think. <image>{question}", "<image>\nWhy?", "Think. <image>\nWhy?"),
    ("nothing between, none", "Think. <image>{question}", "Why?", "Think. Why?"),
    ("nothing before", "<image> {question}", "<image>\nWhy?", "<image> Why?"),
    ("nothing before, none", "<image> {question}", "Why?", "Why?"),
    (
        "{question} in a question",
        "A <image>{question}",
        "<image>{question}?",
        "A <image>{question}?",
    ),
]


@pytest.mark.parametrize(("template", "before", "after"), [case[1:] for case in LED])
@pytest.mark.parametrize("note", ["", "Turned. "])
def test_images_in_front_go_where_the_template_has_them(template, before, after, note):
    question = Question(before, (RED, BLUE)[: before.count("<image>")])
    if note:
        question = prepend(question, note.strip())
        bare = before.removeprefix("<image>").removeprefix(" <image>").lstrip()
        after = after.replace(bare, note + bare)
    made = frame(question, template, None)
    assert made.text == after
    assert made.images == question.images


def test_images_of_earlier_turns_stay_there():
    talk = [
        user([image(RED), text("See?")]),
        {"role": "assistant", "content": "Yes."},
        user("Why?"),
    ]
    (_, *_, last), plain = (
        render(frame(read(row), "Think.\n<image>\n{question}", None))
        for row in ({"prompt": talk}, {"prompt": "Why?"})
    )
    assert last == user([text("Think.\nWhy?")])
    assert plain == "Think.\nWhy?"
    both = render(
        frame(read({"prompt": [*talk[:2], user([image(BLUE), text("Why?")])]}), LED[0][1], None)
    )
    assert both[0] == talk[0]
    assert both[-1] == user([text("Think first.\n"), image(BLUE), text("\nWhy? Answer:")])


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{question}", None),
        ("<image>{question}", None),
        ("A <image> b {question} {question}", None),
        ("Sum?", "has no {question}"),
        ("<image>", "has no {question}"),
        ("<image><image>{question}", "has <image> 2 times"),
        ("{question} <image>", "has <image> behind {question}"),
    ],
)
def test_a_template_that_cannot_be_filled_is_told(template, fault):
    found = fault_of(template)
    assert found is None if fault is None else fault in found


def test_a_system_message_comes_first():
    talk = read({"prompt": [user("Hi."), {"role": "assistant", "content": "Yes?"}, user("Why?")]})
    framed = render(frame(talk, "{question}", "Be brief."))
    assert framed[0] == {"role": "system", "content": [text("Be brief.")]}
    assert [message["role"] for message in framed] == ["system", "user", "assistant", "user"]


def test_a_plain_text_takes_no_system_message():
    with pytest.raises(InputError, match="plain text prompt takes no system message"):
        frame(read({"prompt": "Why?"}), "{question}", "Be brief.")


def test_a_question_is_read_without_changing_its_row():
    row = {"prompt": [user("Why?")], "image": RED}
    render(frame(read(row), "Think. {question}", "Be brief."))
    assert row["prompt"] == [user("Why?")]
