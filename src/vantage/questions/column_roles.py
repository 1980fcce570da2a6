"""Assign roles (question, answer, images, ...) to the columns of a data set.

First `vantage.questions.column_kinds` detects what each column holds. Then names and contents
decide its role. A column with images that would be dropped is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from vantage.errors import ConfigError, InputError, nearest
from vantage.questions.column_kinds import ANSWERING, ASKING, SAMPLE, Data, Held, held, is_in
from vantage.questions.layouts import (
    ANSWERS,
    INDICES,
    LAYOUTS,
    QUESTIONS,
    WORDS,
    Columns,
    Layout,
    named,
)
from vantage.questions.options import candidates, counted_from, option_columns
from vantage.questions.picture_columns import by_shape, picture_columns
from vantage.questions.reading import undecoded
from vantage.questions.tables import Rows, names


def layout_of(
    rows: Rows,
    given: Columns,
    layout: str | None,
    source: str,
    root: Path | None,
    besides: Collection[str] = (),
) -> Layout:
    """Detect the roles of the columns from a sample of rows; see `resolve`."""
    seen = list(sample(rows))
    data = Data(source, names(rows), held(seen, root), seen)
    return resolve(given, layout, data, besides)


def sample(rows: Rows) -> Iterator[Mapping[str, Any]]:
    """Yield evenly spaced rows, without decoding images. Unreadable rows are left out."""
    stored = undecoded(rows) if isinstance(rows, Dataset) else rows
    for place in range(0, len(stored), -(-len(stored) // SAMPLE)):
        try:
            row = stored[place]
        except Exception:  # Arrow raises many types on invalid text; the row's check reports it
            continue
        if isinstance(row, Mapping):
            yield row


def resolve(
    given: Columns, layout: str | None, data: Data, besides: Collection[str] = ()
) -> Layout:
    """Combine the user's columns with those of the layout.

    Args:
        given: Columns named by the user.
        layout: One of `LAYOUTS`; None to detect the columns.
        data: What the columns hold.
        besides: Columns used for something else.

    Raises:
        ConfigError: An unknown layout, or `question` set to null.
        InputError: A column that does not exist (suggests the nearest name), or one that holds
            images but has no role.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r}: {nearest(layout, LAYOUTS)}")
    said = given.model_dump(exclude_unset=True)
    _check_there(said, data)
    if "question" in said and said["question"] is None:
        raise ConfigError("columns.question is null: every row needs a question")
    usual = LAYOUTS[layout] if layout else {"question": QUESTIONS, "answer": (*ANSWERS, *INDICES)}
    chosen = _told(said, usual, data)
    talk = data.held.get(chosen["question"] or "", Held("empty"))
    decided = "image" in said or "images" in said
    if decided:
        pictures = {"image": said.get("image"), "images": said.get("images")}
    else:
        used = [*named(*chosen.values()), *besides]
        pictures = picture_columns(usual if layout else None, data, used, talk)
    options = said["options"] if "options" in said else option_columns(data, chosen["answer"])
    if chosen["answer"] in INDICES and "answer" not in said and not options:
        raise InputError(
            f"{data.source}: column {chosen['answer']!r} holds option numbers, but no column "
            "holds options: name it, as columns: {options: NAME}, or name another answer"
        )
    columns = Columns(**chosen, **by_shape(pictures, data), options=options)
    used = [*named(*columns.model_dump().values()), *besides]
    free = [name for name in data.names if name not in used]
    return Layout(
        columns,
        answered="answer" not in said and talk.answered and chosen["answer"] is None,
        without_pictures=() if decided else tuple(n for n in free if not data.shows(n)),
        without_videos=() if "videos" in said else tuple(free),
        pictures_left_out=decided and not any(pictures.values()),
        videos_left_out="videos" in said,
        counted_from=counted_from(data, options, chosen["answer"]) if options else None,
        remarks=(
            *_remarks(columns, data, talk),
            *(_unseen(data, free, columns) if decided else ()),
        ),
    )


def _told(
    said: Mapping[str, Any], usual: Mapping[str, Sequence[str]], data: Data
) -> dict[str, str | None]:
    """Question, answer and id columns: as named by the user, or else by their usual names."""
    question = said.get("question") or _question(usual["question"], data)
    answer = said["answer"] if "answer" in said else _answer(usual["answer"], data, question)
    known = "id" if "id" in data.names else None
    return {"question": question, "answer": answer, "id": said.get("id", known)}


def _check_there(said: Mapping[str, Any], data: Data) -> None:
    for kind, value in said.items():
        for name in named(value):
            if not data.has(name):
                raise InputError(
                    f"{data.source}: no column {name!r} for the {kind}; "
                    f"{nearest(name, [*data.names, *data.held])}"
                )


def _question(candidates: Sequence[str], data: Data) -> str:
    there = data.first(candidates, ASKING)
    if there:
        return there[0]
    if len(candidates) == 1 or any(name in data.names for name in candidates):
        name = next((name for name in candidates if name in data.names), candidates[0])
        if name in data.names:
            return name
        raise InputError(
            f"{data.source}: no column {name!r} for the question; {nearest(name, data.names)}"
        )
    raise InputError(
        f"{data.source}: no column for the question among {', '.join(data.names)}: name it, as "
        f"columns: {{question: {_likely(data, 'question', ASKING)}}}"
    )


def _answer(candidates: Sequence[str], data: Data, asked: str) -> str | None:
    there = data.first(candidates, ANSWERING)
    there = [name for name in there if name != asked]
    if there or data.held.get(asked, Held("empty")).answered:
        return there[0] if there else None
    name = next((name for name in candidates if data.has(name) and name != asked), None)
    if name is not None and data.inside(name):
        texts = [place for place in data.inside(name) if data.kind(place) in ("text", "texts")]
        raise InputError(
            f"{data.source}: column {name!r} holds objects: name a place inside it, as columns: "
            f"{{answer: {(texts or data.inside(name))[0]}}}"
        )
    if name is not None:
        return name
    if len(candidates) <= 2:
        raise InputError(
            f"{data.source}: no column {candidates[0]!r} for the answer; "
            f"{nearest(candidates[0], data.names)}"
        )
    raise InputError(
        f"{data.source}: no column for the answer among {', '.join(data.names)}: name it, as "
        f"columns: {{answer: {_likely(data, 'answer', ANSWERING, asked)}}}, or columns: "
        "{answer: null} where no reward needs one"
    )


def _likely(data: Data, wanted: str, kinds: Collection[str], asked: str = "") -> str:
    """The column, or place inside one, whose name fits the wanted role best; or "NAME"."""
    there = [name for name in data.held if data.kind(name) in kinds and not is_in(name, [asked])]
    known = {name.lower() for name in (QUESTIONS if wanted == "question" else ANSWERS)}

    def rank(name: str) -> int:
        last = name.rpartition(".")[2].lower()
        if last in known or (wanted == "question" and data.kind(name) == "conversation"):
            return 0
        return 1 if any(word in last for word in WORDS[wanted]) else 2

    best = min(there, key=rank, default="NAME")
    return best if best in there and rank(best) < 2 else "NAME"


def _remarks(columns: Columns, data: Data, talk: Held) -> Iterator[str]:
    """Yield remarks about columns that could have been used but are not."""
    asked = [name for name in data.first(QUESTIONS, ASKING) if name != columns.question]
    asked = [name for name in asked if name not in named(*columns.model_dump().values())]
    if asked:
        others = " or ".join(map(repr, asked))
        yield f"questions are read from column {columns.question!r}, not from {others}"
    told = [name for name in data.first(ANSWERS, ANSWERING) if name != columns.answer]
    if told and columns.answer:
        others = " or ".join(map(repr, told))
        yield f"answers are read from column {columns.answer!r}, not from {others}"
    if talk.answered and columns.answer:
        yield (
            "a final assistant turn is removed from the prompts: answers are read from column "
            f"{columns.answer!r}"
        )
    options = candidates(data)
    if options is not None and columns.options is None:
        name = options if isinstance(options, str) else f"[{', '.join(options)}]"
        yield (
            f"options in column {name} are not shown to the model; columns: {{options: {name}}} "
            "shows them"
        )


def _unseen(data: Data, free: Collection[str], columns: Columns) -> Iterator[str]:
    """Yield remarks about images that the user leaves out."""
    shown = named(columns.image, columns.images)
    for name in free:
        if data.shows(name) and not any(data.same(name, one) for one in shown):
            yield f"images in column {name!r} are not shown to the model, as data.columns sets it"
