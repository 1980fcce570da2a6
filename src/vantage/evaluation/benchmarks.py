"""Declarations of the benchmarks that the papers report; add yours to `BENCHMARKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vantage.evaluation import measures, rules
from vantage.evaluation.items import Field, Item, Row, needed, pictures, value
from vantage.evaluation.measures import Measures
from vantage.evaluation.rules import Rule
from vantage.questions.options import lettered, listing
from vantage.questions.picture_placement import place
from vantage.questions.pictures import is_encoded
from vantage.questions.schema import texts
from vantage.rewards.text import boxed, final
from vantage.rewards.values import LETTERS


def never(item: Item) -> bool:
    """Return False for every question."""
    return False


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its data, its columns, its scoring rule and its measures.

    Attributes:
        name, title: Names on the command line and in tables.
        source, split, config: Data set on the hub; several splits are joined by "+".
        question, answer, images, options: Fields of a row; see `vantage.evaluation.items`.
        lists_options: Whether to append the options to a question that does not list them.
        in_folders: File name of a question in copies with a folder for each question. Rows of
            such a copy have a column `folder`.
        id: Field with the id of a question; None for the number of its row.
        parts: Fields that divide the benchmark into parts, whose accuracies are reported.
        cluster: Field that dependent questions share; None if all are independent.
        rule: Decides whether an answer is right.
        unclear: Decides whether an unclear answer to a question counts as right.
        measures: Computes the measures.
        shown: Names of the measures in the table.
        answer_of: Extracts the final answer of a response.
    """

    name: str
    title: str
    source: str
    split: str
    rule: Rule
    config: str | None = None
    question: Field = "question"
    answer: Field = "answer"
    images: Field = "image"
    options: Field | None = None
    lists_options: bool = False
    in_folders: str | None = None
    id: Field | None = None
    parts: Mapping[str, Field] = field(default_factory=dict)
    cluster: Field | None = None
    unclear: Callable[[Item], bool] = never
    measures: Measures = measures.accuracies
    shown: tuple[str, ...] = ("accuracy",)
    answer_of: Callable[[str], str | None] = final

    def item(self, row: Row, number: int, root: Path | None = None) -> Item:
        """Read the question in a row.

        Raises:
            InputError: If a value is missing or an image cannot be read; names the column.
        """
        options = tuple(value(row, self.options) or ()) if self.options else ()
        text = needed(value(row, self.question), self.question, "question")
        if self.lists_options and options and lettered(text) != options:
            text += listing(options)
        name = str(number if self.id is None else value(row, self.id))
        parts = {division: value(row, part) for division, part in self.parts.items()}
        return Item(
            name,
            place(text, pictures(value(row, self.images), root)),
            needed(value(row, self.answer), self.answer, "reference answer").strip(),
            options,
            {division: str(part) for division, part in parts.items() if part is not None},
            name if self.cluster is None else str(value(row, self.cluster)),
            row,
        )


def _math_vista_answer(row: Row) -> str | None:
    """Return the letter of the option whose text is the answer."""
    answer, options = row.get("answer"), row.get("choices") or []
    return LETTERS[options.index(answer)] if answer in options else answer


def _by_number(row: Row) -> str | None:
    """Return the letter of an answer given as the number of an option, from 0."""
    answer = str(row.get("answer") or "").strip()
    return LETTERS[int(answer)] if answer.isdecimal() and int(answer) < len(LETTERS) else answer


def _in_text(column: str) -> Callable[[Row], tuple[str, ...]]:
    return lambda row: lettered(str(row.get(column) or ""))


def _math_verse_options(row: Row) -> tuple[str, ...]:
    free = row.get("question_type") == "free-form"
    return () if free else lettered(str(row.get("question_for_eval") or row.get("question") or ""))


def _math_vision_picture(row: Row) -> object:
    """Read the image; VLMEvalKit's table holds it, or refers to a file named by `index`."""
    found = value(row, "decoded_image|image")
    return f"{row['index']}.jpg" if "index" in row and not is_encoded(found) else found


def _hallusion_id(row: Row) -> str:
    names = ("category", "subcategory", "set_id", "figure_id", "question_id")
    return "/".join(str(row[name]) for name in names)


def _asked(row: Row) -> str:
    return "with a figure" if row.get("image") or row.get("filename") else "without a figure"


def _without_figure(item: Item) -> bool:
    """Return whether a question refers to a figure that is missing; "unclear" is then right."""
    return item.row["category"] == "VS" and str(item.row["figure_id"]) == "0"


def _chart_qa_answer(row: Row) -> object:
    answer = row.get("answer") or row.get("label")
    return answer[0] if isinstance(answer, list) and answer else answer


def _written_by(row: Row) -> str | None:
    kind = row.get("type", row.get("human_or_machine"))
    return {0: "human", 1: "machine", "human_test": "human", "augmented_test": "machine"}.get(kind)


MMMU_FIELDS = {
    "Art and Design": "Art Art_Theory Design Music",
    "Business": "Accounting Economics Finance Manage Marketing",
    "Science": "Biology Chemistry Geography Math Physics",
    "Health and Medicine": "Basic_Medical_Science Clinical_Medicine "
    "Diagnostics_and_Laboratory_Medicine Pharmacy Public_Health",
    "Humanities and Social Science": "History Literature Sociology Psychology",
    "Tech and Engineering": "Agriculture Architecture_and_Engineering Computer_Science "
    "Electronics Energy_and_Power Materials Mechanical_Engineering",
}


def _mmmu_subject(row: Row) -> str:
    """Return the subject in an id: Accounting for validation_Accounting_12."""
    return "_".join(str(row.get("id")).split("_")[1:-1])


def _mmmu_field(row: Row) -> str | None:
    subject = _mmmu_subject(row)
    return next((name for name, all_ in MMMU_FIELDS.items() if subject in all_.split()), None)


def _mmmu_options(row: Row) -> list[str]:
    return texts(row.get("options"), "options") if row.get("question_type") != "open" else []


def _geometry_answer(row: Row) -> str | None:
    """Return the text of the right option, which the files of Inter-GPS give as a letter."""
    options, answer = row.get("choices"), row.get("answer")
    return options[LETTERS.index(str(answer))] if options else answer


def _geometry_picture(row: Row) -> object:
    return f"{row['folder']}/img_diagram.png" if "folder" in row else row.get("images")


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "mathverse",
            "MathVerse",
            source="AI4Math/MathVerse",
            config="testmini",
            split="testmini",
            question="query_cot|question",
            options=_math_verse_options,
            id="sample_index",
            parts={"version": "problem_version", "subject": "metadata.subject"},
            cluster="problem_index",
            rule=rules.option_or_mathematics,
        ),
        Benchmark(
            "mathvision",
            "MathVision",
            source="MathLLMs/MathVision",
            split="test",
            images=_math_vision_picture,
            options=lambda row: texts(value(row, "options|choices"), "choices"),
            lists_options=True,
            id="id|index",
            parts={"subject": "subject|category", "level": "level"},
            rule=rules.math_vision,
        ),
        Benchmark(
            "mathvista",
            "MathVista",
            source="AI4Math/MathVista",
            split="testmini",
            question="query|question",
            answer=_math_vista_answer,
            images="decoded_image|image",
            options="choices",
            id="pid",
            parts={"task": "metadata.task", "category": "metadata.category"},
            rule=rules.math_vista,
        ),
        Benchmark(
            "wemath",
            "We-Math",
            source="We-Math/We-Math",
            split="testmini",
            question=lambda row: f"{row['question']}\nOptions: {row['option']}",
            images="image_path|image",
            options=_in_text("option"),
            id=lambda row: f"{row['ID']}@{row['key']}",
            parts={"steps": "key"},
            cluster="ID",
            rule=rules.option,
            measures=measures.we_math,
            shown=("accuracy", "strict", "loose"),
        ),
        Benchmark(
            "hallusionbench",
            "HallusionBench",
            source="lmms-lab/HallusionBench",
            split="image+non_image",
            question=lambda row: f"{row['question']} Answer yes or no.",
            answer=lambda row: {"1": "yes", "0": "no"}.get(str(row.get("gt_answer"))),
            images="image|filename",
            id=_hallusion_id,
            parts={"category": "category", "asked": _asked},
            cluster=lambda row: "/".join(_hallusion_id(row).split("/")[:3]),
            rule=rules.yes_or_no,
            unclear=_without_figure,
            measures=measures.hallusion,
            shown=("aAcc", "fAcc", "qAcc", "asked: with a figure"),
        ),
        Benchmark(
            "chartqa",
            "ChartQA",
            source="lmms-lab/ChartQA",
            split="test",
            question="question|query",
            answer=_chart_qa_answer,
            parts={"written by": _written_by},
            rule=rules.chart_qa,
        ),
        Benchmark(
            "mmmu",
            "MMMU",
            source="lmms-lab/MMMU",
            split="validation",
            images=lambda row: {number: row.get(f"image_{number}") for number in range(1, 8)},
            options=_mmmu_options,
            lists_options=True,
            id="id",
            parts={"field": _mmmu_field, "subject": _mmmu_subject},
            rule=rules.mmmu,
        ),
        Benchmark(
            "mmstar",
            "MMStar",
            source="Lin-Chen/MMStar",
            split="val",
            options=_in_text("question"),
            id="index",
            parts={"category": "category", "detail": "l2_category"},
            rule=rules.option,
        ),
        Benchmark(
            "ai2d",
            "AI2D",
            source="lmms-lab/ai2d",
            split="test",
            answer=_by_number,
            options="options",
            lists_options=True,
            rule=rules.option,
        ),
        Benchmark(
            "geometry3k",
            "Geometry3K",
            source="hiyouga/geometry3k",
            split="test",
            question="problem|annotat_text",
            answer=_geometry_answer,
            images=_geometry_picture,
            in_folders="data.json",
            rule=rules.mathematics,
            answer_of=boxed,
        ),
    )
}
