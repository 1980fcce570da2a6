"""Every benchmark reads, asks and scores a small set in its published schema as by hand."""

import time

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from published import CASES, as_json, box, case, math_vision_table, mm_eval, png, publish

from vantage.errors import InputError
from vantage.evaluation.benchmarks import BENCHMARKS
from vantage.evaluation.question_sets import question_set
from vantage.evaluation.scoring import score
from vantage.questions.schema import IMAGE, in_parts, render


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return {
        name: question_set(f"{name}={publish(name, tmp_path_factory.mktemp(name))}")
        for name in CASES
    }


def test_every_benchmark_has_at_least_ten_cases():
    assert list(CASES) == list(BENCHMARKS)
    assert min(map(len, CASES.values())) >= 10


ALL = [(name, number) for name, cases in CASES.items() for number in range(len(cases))]


@pytest.mark.parametrize(("name", "number"), ALL)
def test_scores_match_the_hand_written_verdicts(sets, name, number):
    item = sets[name].read(number)
    _, response, right = case(name, item.id, number)
    told = score(sets[name].benchmark, item, response)
    assert told.right is right, told.answer


@pytest.mark.parametrize("name", CASES)
def test_every_question_can_be_asked_with_its_images(sets, name):
    assert sets[name].size == len(CASES[name])
    items = [sets[name].read(number) for number in range(sets[name].size)]
    for number, item in enumerate(items):
        row, *_ = case(name, item.id, number)
        asked = render(item.question)[-1]["content"]
        images = [part for part in in_parts(asked) if part["type"] == "image"]
        expected = 0 if name == "hallusionbench" and not row["filename"] else 1
        assert len(images) >= expected
        assert all(part["image"].size == (8, 8) for part in images)
        assert item.question.text.count(IMAGE) == len(images)
        assert "<image " not in item.question.text
        assert "<image1>" not in item.question.text


def first(sets, name):
    return sets[name].read(0)


def test_mathverse_asks_its_own_query_and_reads_the_options(sets):
    item = first(sets, "mathverse")
    assert item.question.text.startswith(f"{IMAGE}Please first conduct reasoning")
    assert item.options == ("40°", "60°", "120°", "140°")
    assert item.parts == {"version": "Text Lite", "subject": "Plane Geometry"}
    assert item.cluster == "0"
    assert sets["mathverse"].read(8).options == ()


def test_mathvision_places_the_image_where_the_question_mentions_it(sets):
    item = first(sets, "mathvision")
    assert item.question.text.startswith(f"How many are there in {IMAGE} (row 1)?\nChoices:\n(A) 3")
    assert sets["mathvision"].read(8).question.text == f"How many are there in {IMAGE} (row 9)?"


def test_mathvista_asks_its_own_query_and_finds_the_letter(sets):
    item = first(sets, "mathvista")
    assert item.question.text.startswith(f"{IMAGE}Hint: ")
    assert (item.reference, item.options) == ("B", ("3/11", "8/11", "6/11", "3/5"))
    assert item.parts == {"task": "math word problem", "category": "math-targeted-vqa"}


def test_wemath_reads_its_options_from_their_line(sets):
    assert first(sets, "wemath").options == (
        "10 cm",
        "20 cm",
        "3, 40",
        "No correct answer",
    )
    assert sets["wemath"].read(6).options == ("F", "D", "B", "I", "No correct answer")


def test_mmmu_places_images_in_questions_and_options(sets):
    by_id = {item.id: item for item in sets["mmmu"].items()}
    item = by_id["validation_Art_Theory_1"]
    assert item.question.text == (
        f"{IMAGE} Which matches image 1?\nChoices:\n(A) {IMAGE}\n(B) {IMAGE}\n(C) a cow's head"
    )
    assert item.parts == {"field": "Art and Design", "subject": "Art_Theory"}
    assert by_id["validation_Math_1"].options == ()


def test_hallusionbench_asks_both_parts(sets):
    items = [sets["hallusionbench"].read(number) for number in range(12)]
    assert [bool(item.question.images) for item in items].count(False) == 3
    assert {item.reference for item in items} == {"yes", "no"}


def test_chartqa_reads_the_older_columns(tmp_path):
    rows = {"query": ["Which?"] * 2, "label": [["62", "Paris"]] * 2, "human_or_machine": [0, 1]}
    Dataset.from_dict({**rows, "image": [None, None]}).to_parquet(tmp_path / "test-0.parquet")
    found = question_set(f"chartqa={tmp_path}")
    assert found.read(0).parts == {"written by": "human"}
    answers = [
        score(found.benchmark, found.read(1), box(one)).right for one in ("paris", "62", "x")
    ]
    assert answers == [True, True, False]


def test_json_file_with_image_files(tmp_path):
    folder = as_json(
        "mathverse", tmp_path, "testmini.json", lambda n: ("image", f"images/v/image_{n}.png")
    )
    found = question_set(f"mathverse={folder}")
    assert found.size == len(CASES["mathverse"])
    (part, *_) = render(found.read(3).question)[-1]["content"]
    assert part["image"].getpixel((0, 0)) == (3, 0, 0)
    assert question_set(f"mathverse={folder}/testmini.json").size == found.size


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    copies = mm_eval(tmp_path_factory.mktemp("MM_Eval"))
    return {name: question_set(f"{name}={copy}") for name, copy in copies.items()}


AS_DOWNLOADED = (
    "geometry3k",
    "hallusionbench",
    "mathverse",
    "mathvision",
    "mathvista",
    "wemath",
    "chartqa",
)


@pytest.mark.parametrize("name", AS_DOWNLOADED)
def test_evaluation_data_of_shuffle_r1_are_read_as_downloaded(downloaded, sets, name):
    found = downloaded[name]
    assert found.size == len(CASES[name])
    for number in range(found.size):
        item, on_the_hub = found.read(number), sets[name].read(number)
        row, *_ = case(name, item.id, number)
        if name == "hallusionbench":  # on the hub, questions without a figure stand last
            on_the_hub = next(one for one in sets[name].items() if one.id == item.id)
        assert (item.reference, item.options) == (on_the_hub.reference, on_the_hub.options)
        assert len(item.question.images) == (0 if row.get("filename", "") is None else 1)
        for picture in item.question.images:
            assert picture.open().getpixel((0, 0)) == (number, 0, 0)


@pytest.mark.parametrize("name", ["geometry3k", "mathvision", "hallusionbench"])
def test_downloaded_questions_are_scored_like_those_of_the_hub(downloaded, name):
    found = downloaded[name]
    for number in range(found.size):
        item = found.read(number)
        _, response, right = case(name, item.id, number)
        assert score(found.benchmark, item, response).right is right


def test_folders_are_read_from_the_split_in_numeric_order(downloaded):
    items = downloaded["geometry3k"].items()
    assert [item.row["id"] for item in items] == [*range(2401, 2401 + len(items))]
    assert items[0].question.text == f"{IMAGE}Find $x$."


def test_error_names_the_folder_of_a_broken_question(tmp_path):
    copy = mm_eval(tmp_path)["geometry3k"]
    (tmp_path / "geometry3k" / "test" / "2405" / "data.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"row 4.*test/2405: not valid JSON"):
        question_set(f"geometry3k={copy}")


def test_table_with_images_in_base64(tmp_path):
    found = question_set(f"mathvision={math_vision_table(tmp_path / 'data', written_out=True)}")
    (picture,) = found.read(3).question.images
    assert picture.open().getpixel((0, 0)) == (3, 0, 0)
    assert found.read(7).parts == {"subject": "logic"}


def test_options_in_the_question_are_not_appended_again(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(png())
    asked = "Which?\nChoices:\n(A) 3\n(B) 4"
    row = f"index\tquestion\tanswer\tcategory\tchoices\n1\t\"{asked}\"\tB\tlogic\t\"['3', '4']\"\n"
    (tmp_path / "MathVision.tsv").write_text(row, encoding="utf-8")
    item = question_set(f"mathvision={tmp_path}").read(0)
    assert item.question.text == f"{IMAGE}{asked}"
    assert item.options == ("3", "4")


def test_items_for_scoring_have_no_images(sets):
    for item in sets["hallusionbench"].items() + sets["mmmu"].items():
        assert not item.question.images
        assert not any(isinstance(one, bytes | dict) for one in item.row.values())


def test_limit_keeps_the_first_questions(tmp_path):
    found = question_set(f"ai2d={publish('ai2d', tmp_path)}", limit=3)
    assert len(found.items()) == 3


def test_without_a_copy_the_published_name_is_loaded_from_the_hub(monkeypatch):
    asked = []

    def load(name, config=None):
        asked.append((name, config))
        raise OSError("no network")

    monkeypatch.setattr("vantage.questions.tables.load_dataset", load)
    for name in ("mathverse", "hallusionbench"):
        with pytest.raises(InputError, match="no network"):
            question_set(name)
    assert asked == [("AI4Math/MathVerse", "testmini"), ("lmms-lab/HallusionBench", None)]


BAD = {
    "no answer": ({"answer": ""}, "no reference answer"),
    "no question": ({"question": " "}, "no question"),
    "no option": ({"answer": "7"}, "names none of the 4 options"),
    "no picture": (
        {"image": {"bytes": b"none", "path": None}},
        "not an image in a supported format",
    ),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_error_names_rows_that_cannot_be_asked(tmp_path, change):
    change, words = change
    rows = [{**row, "image": None} for row, *_ in CASES["ai2d"]]
    rows[2] |= change
    Dataset.from_list(rows).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(InputError, match=f"row 2.*{words}"):
        question_set(f"ai2d={tmp_path}")


def test_missing_column_error_names_the_column_and_the_others(tmp_path):
    Dataset.from_dict({"ask": ["?"], "answer": ["1"]}).to_parquet(tmp_path / "test.parquet")
    words = r"column 'problem' or 'annotat_text'; the columns are answer"
    with pytest.raises(InputError, match=words):
        question_set(f"geometry3k={tmp_path}")


def test_duplicate_ids_are_refused(tmp_path):
    row = CASES["mmstar"][0][0]
    Dataset.from_list([row, row]).to_parquet(tmp_path / "mmstar.parquet")
    with pytest.raises(InputError, match="2 questions have this id"):
        question_set(f"mmstar={tmp_path}")


HOSTILE = [
    "9^{9^{9^{9}}}",
    "\\boxed{" * 20_000,
    "A" * 1_000_000,
    "(A) (B) " * 100_000,
    "\x00\ud800",
]


@pytest.mark.parametrize("name", CASES)
def test_hostile_responses_are_scored_wrong_in_time(sets, name):
    for item in (sets[name].read(0), sets[name].read(len(CASES[name]) - 1)):
        for text in HOSTILE:
            began = time.perf_counter()
            right = score(sets[name].benchmark, item, box(text)).right
            assert not right or sets[name].benchmark.unclear(item)
            assert time.perf_counter() - began < 8


PIECES = st.sampled_from(
    [
        *("\\boxed{", "}", "{", "<think>", "</think>", "<answer>", "The answer is", "\\frac"),
        *("(A)", "B", "yes", "no", "1", "2", "/", ".", ",", "%", "-", "[", "]", "e9", "cm"),
        *(" ", "\n", "\x00"),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=15).map("".join), st.integers(0, 11))
def test_any_response_gets_a_score(sets, response, number):
    for asked in sets.values():
        told = score(asked.benchmark, asked.read(number), response)
        assert told.right in (True, False)
        assert told.answer is None or told.answer.strip()


def test_an_empty_box_is_not_an_answer(sets):
    for asked in sets.values():
        assert score(asked.benchmark, asked.read(0), "\\boxed{ }").answer is None


def test_error_names_a_row_with_other_columns(tmp_path):
    rows = [{"question": "Is it?", "gt_answer": "1", "image": None}]
    Dataset.from_list(rows).to_parquet(tmp_path / "image.parquet")
    with pytest.raises(
        InputError, match=r"row 0.*not a row of HallusionBench: KeyError\('category'\)"
    ):
        question_set(f"hallusionbench={tmp_path}")
