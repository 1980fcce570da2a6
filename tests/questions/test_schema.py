"""Rows become questions, and questions become prompts."""

from contextlib import nullcontext as nothing

import pytest
from PIL import Image

from vantage.errors import InputError
from vantage.questions.pictures import Picture
from vantage.questions.schema import (
    Question,
    fault_of,
    frame,
    pictures,
    prepend,
    read,
    refuse,
    render,
    taken,
    with_step,
    with_text,
)

RED, BLUE = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))


def shrunk(image):
    return image.resize((2, 2))


SYSTEM = {"role": "system", "content": "Be brief."}


def user(content):
    return {"role": "user", "content": content}


def text(words):
    return {"type": "text", "text": words}


def said(content):
    return {"role": "assistant", "content": content}


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
        [user("2 + 2?")],
    ),
    "an empty list of images": (
        {"prompt": [user("2 + 2?")], "images": []},
        Question("2 + 2?"),
        [user("2 + 2?")],
    ),
    "an image inside and one in its column": (
        {"prompt": [user([image(RED), text("Or "), image(), text("?")])], "image": BLUE},
        Question("<image>Or <image>?", (RED, BLUE)),
        [user([image(RED), text("Or "), image(BLUE), text("?")])],
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
        [SYSTEM, user("Hi."), said("Yes?"), user("2 + 2?")],
    ),
    "texts in parts stay in parts": (
        {"prompt": [user([text("2 + "), text("2?")])]},
        Question("2 + 2?"),
        [user([text("2 + "), text("2?")])],
    ),
    "an image in front of the first of several turns": (
        {"prompt": [SYSTEM, user("See?"), said("Yes."), user("How many?")], "image": RED},
        Question("How many?"),
        [
            {"role": "system", "content": [text("Be brief.")]},
            user([image(RED), text("See?")]),
            said([text("Yes.")]),
            user([text("How many?")]),
        ],
    ),
    "places in an earlier turn": (
        {
            "prompt": [user([image(), text("See?")]), said("Yes."), user([text("And?"), image()])],
            "images": [RED, BLUE],
        },
        Question("And?<image>", (BLUE,)),
        [
            user([image(RED), text("See?")]),
            said([text("Yes.")]),
            user([text("And?"), image(BLUE)]),
        ],
    ),
    "places in the text of an earlier turn": (
        {"prompt": [user("See <image>?"), said("Yes."), user("<image>?")], "images": [RED, BLUE]},
        Question("<image>?", (BLUE,)),
        [
            user([text("See "), image(RED), text("?")]),
            said([text("Yes.")]),
            user([image(BLUE), text("?")]),
        ],
    ),
    "a turn of the user that is a picture": (
        {"prompt": [user("Look:"), user([image(RED)])]},
        Question("Look:"),
        [user("Look:"), user([image(RED)])],
    ),
    "the beginning of an answer": (
        {"prompt": [user("2 + 2?"), said("It is")]},
        Question("2 + 2?"),
        [user("2 + 2?"), said("It is")],
    ),
    "the beginning of an answer about an image": (
        {"prompt": [user("How many?"), said("I see")], "image": RED},
        Question("How many?", (RED,)),
        [user([image(RED), text("How many?")]), said([text("I see")])],
    ),
    "the result of a tool at the end": (
        {
            "prompt": [
                user("2 + 2?") | {"tool_calls": None},
                said(None) | {"tool_calls": [{"name": "add", "arguments": {"a": 2, "b": None}}]},
                {"role": "tool", "content": "4", "name": "add", "tool_calls": None},
            ]
        },
        Question("2 + 2?"),
        [
            user("2 + 2?"),
            said(None) | {"tool_calls": [{"name": "add", "arguments": {"a": 2}}]},
            {"role": "tool", "content": "4", "name": "add"},
        ],
    ),
    "a system prompt alone": ({"prompt": [SYSTEM]}, Question("Be brief."), [SYSTEM]),
    "keys of a message": (
        {"prompt": [user("Why?") | {"name": "Ann"}], "image": RED},
        Question("Why?", (RED,)),
        [user([image(RED), text("Why?")]) | {"name": "Ann"}],
    ),
    "a word that looks like a place": (
        {"prompt": [SYSTEM, user("What does <image> mean?")]},
        Question("What does <image> mean?"),
        [SYSTEM, user("What does <image> mean?")],
    ),
    "such a word in a plain text": (
        {"prompt": "<image> is"},
        Question("<image> is", earlier=None),
        "<image> is",
    ),
    "a plain text": ({"prompt": "2 + 2 ="}, Question("2 + 2 =", earlier=None), "2 + 2 ="),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_become_questions_and_prompts_with_images_in_place(name):
    row, expected, prompt = ROWS[name]
    question = read(row)
    assert question.images == tuple(map(Picture, expected.images))
    assert question.text.replace("<image>", "") == expected.text.replace("<image>", "")
    if pictures(question):
        assert question.text.count("<image>") == len(question.images)
    assert render(question) == prompt


BAD = {
    "no prompt": ({"image": RED}, "'prompt' is 'None'"),
    "an empty conversation": ({"prompt": []}, "expected a text or a conversation"),
    "an empty question at the end": ({"prompt": [user("Hi."), said("4"), user("")]}, "empty"),
    "an empty question": ({"prompt": [user("  ")]}, "empty question: '  '"),
    "nothing but an image": ({"prompt": [user("<image>")], "image": RED}, "empty question"),
    "an empty text": ({"prompt": ""}, "empty question"),
    "a number": ({"prompt": 7}, "'prompt' is '7'"),
    "places without images in their column": (
        {"prompt": [user("<image> Why?")], "image": None},
        "1 <image> for 0 images",
    ),
    "a place without an image": ({"prompt": [user([image(), text("?")])]}, "1 <image> for 0"),
    "an image inside, and one that has no place": (
        {"prompt": [user([image(RED), text("Why?")])], "image": BLUE},
        "1 <image> for 2 images",
    ),
    "an image inside, and a place in the text": (
        {"prompt": [user([image(RED), text("Why <image>?")])]},
        "2 <image> for 1 images",
    ),
    "a text with an image": ({"prompt": [user([text("?") | {"image": RED}])]}, "holds"),
    "a placeholder too many": (
        {"prompt": [user("<image> or <image>?")], "image": RED},
        "2 <image> for 1 images",
    ),
    "a placeholder too few": (
        {"prompt": [user("<image> Same?")], "images": [RED, BLUE]},
        "1 <image> for 2 images",
    ),
    "an image with a plain text": ({"prompt": "Why?", "image": RED}, "plain text, but the row has"),
    "a strange part": ({"prompt": [user([{"type": "video"}, text("?")])]}, "'video'"),
    "a message without a role": ({"prompt": [{"content": "Why?"}]}, "expected a text or a conv"),
    "a list of texts": ({"prompt": ["Why?"]}, "expected a text or a conversation"),
    "a message without content": ({"prompt": [{"role": "user"}]}, "holds \"{'role': 'user'}\""),
    "a text part without a text": ({"prompt": [user([{"type": "text"}])]}, "{'type': 'text'}"),
    "a missing picture": (
        {"prompt": [user("Same?")], "images": [RED, None]},
        "'None' is no",
    ),
    "a number for a picture": ({"prompt": [user("Why?")], "image": 7}, "'7' is not an image"),
    "a number for a picture, inline": (
        {"prompt": [user([{"type": "image", "image": 7}, text("Why?")])]},
        "'7' is not an image",
    ),
    "a picture missing earlier": (
        {"prompt": [user([image(), text("See?")]), user("Why?")], "images": [RED, BLUE]},
        "1 <image> for 2 images: '<image>See? Why?'",
    ),
    "a strange part earlier": ({"prompt": [user([{"type": "audio"}]), user("Why?")]}, "'audio'"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_row_error_quotes_the_value(name):
    row, words = BAD[name]
    with pytest.raises(InputError) as caught:
        read(row)
    assert words in str(caught.value)


def test_a_rewrite_keeps_images_in_front_or_at_its_placeholders():
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
def test_a_note_is_inserted_once_after_leading_images(before, after):
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
def test_a_template_is_applied_after_leading_images(template, before, after):
    question = Question(before, (RED,) * before.count("<image>"))
    assert frame(question, template, None).text == after


# Questions with and without the note of a transform, and the resulting prompts.
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
def test_leading_images_move_to_the_placeholder_of_the_template(template, before, after, note):
    question = Question(before, (RED, BLUE)[: before.count("<image>")])
    if note:
        question = prepend(question, note.strip())
        bare = before.removeprefix("<image>").removeprefix(" <image>").lstrip()
        after = after.replace(bare, note + bare)
    made = frame(question, template, None)
    assert made.text == after
    assert made.images == question.images


def test_images_of_earlier_turns_are_not_moved():
    talk = [
        user([image(RED), text("See?")]),
        {"role": "assistant", "content": "Yes."},
        user("Why?"),
    ]
    (_, *_, last), plain = (
        render(frame(read(row), "Think.\n<image>\n{question}", None))
        for row in ({"prompt": talk}, {"prompt": "Why?"})
    )
    assert last == user("Think.\nWhy?")
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
        ("Sum?", "does not contain {question}"),
        ("<image>", "does not contain {question}"),
        ("<image><image>{question}", "has <image> 2 times"),
        ("{question} <image>", "has <image> after {question}"),
    ],
)
def test_fault_of_an_invalid_template(template, fault):
    found = fault_of(template)
    assert found is None if fault is None else fault in found


def test_a_system_message_is_prepended():
    talk = read({"prompt": [user("Hi."), {"role": "assistant", "content": "Yes?"}, user("Why?")]})
    framed = render(frame(talk, "{question}", "Be brief."))
    assert framed[0] == SYSTEM
    assert [message["role"] for message in framed] == ["system", "user", "assistant", "user"]


def test_a_system_message_has_the_same_form_as_the_question():
    shown = read({"prompt": [user("Why?")], "image": RED})
    framed = render(frame(shown, "{question}", "Be brief."))
    assert framed[0] == {"role": "system", "content": [text("Be brief.")]}


def test_only_the_turn_to_answer_gets_rewrite_template_and_note():
    talk = read({"prompt": [user("See?"), said("Yes."), user("Why?"), said("As")], "image": RED})
    asked = frame(prepend(with_text(talk, "How come?"), "Note."), "{question} Answer:", None)
    assert render(asked) == [
        user([image(RED), text("See?")]),
        said([text("Yes.")]),
        user([text("Note. How come? Answer:")]),
        said([text("As")]),
    ]


def test_a_placeholder_in_a_text_question_stays_a_word():
    question = read({"prompt": [user("<image> is a tag?")]})
    assert frame(prepend(question, "Note."), "Think. {question}", None).text == (
        "Think. Note. <image> is a tag?"
    )
    assert with_text(question, "What does <image> mean?").text == "What does <image> mean?"
    with pytest.raises(InputError, match="1 <image> for 0 images"):
        with_text(read({"prompt": [user("Why?")]}), "<image> Why?")


def test_a_step_applies_to_the_images_of_every_turn():
    talk = read({"prompt": [user("See <image>?"), user("<image>?")], "images": [RED, BLUE]})
    assert pictures(with_step(talk, shrunk)) == (
        Picture(RED).then(shrunk),
        Picture(BLUE).then(shrunk),
    )
    *_, shown = render(with_step(talk, shrunk))
    assert shown["content"][0]["image"].size == (2, 2)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prompt": [user("What does <image> mean?")]}, True),
        ({"prompt": "<image> is"}, True),
        ({"prompt": [user([text("See "), text("<image>")])]}, True),
        ({"prompt": [SYSTEM, user("Why?"), said("As <image>")], "image": RED}, True),
        ({"prompt": [user("<image>Why?")], "image": RED}, False),
        ({"prompt": [user("Why?")]}, False),
    ],
)
def test_placeholders_of_the_processor_are_rejected(row, found):
    question = read(row)
    with pytest.raises(InputError, match="'<image>', which the processor") if found else nothing():
        refuse(question, ["<|video|>", "<image>"])


def test_templates_get_only_parts_or_only_texts():
    prompt = [SYSTEM, user([text("2 + "), text("2?")]), said(None)]
    assert taken(prompt, sees=False) == [SYSTEM, user("2 + 2?"), said(None)]
    assert taken(prompt, sees=True) == [
        {"role": "system", "content": [text("Be brief.")]},
        user([text("2 + "), text("2?")]),
        said([]),
    ]
    assert taken("2 + 2 =", sees=True) == "2 + 2 ="


def test_a_plain_text_prompt_rejects_a_system_message():
    with pytest.raises(InputError, match="plain text prompt cannot have a system message"):
        frame(read({"prompt": "Why?"}), "{question}", "Be brief.")


def test_reading_a_question_does_not_modify_the_row():
    row = {"prompt": [user("Why?")], "image": RED}
    render(frame(read(row), "Think. {question}", "Be brief."))
    assert row["prompt"] == [user("Why?")]
