"""Small synthetic sets in the published schemas, with responses and hand-written verdicts.

`CASES[name]` holds (row, response, whether it is right). Pictures are added by `pictured`.
"""

import base64
import csv
import io
import json
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

THOUGHT = "<think>\nLet me see. Is it (A) 7 or (B) 8? No.\n</think>\n"


def box(answer: str) -> str:
    return f"{THOUGHT}\\boxed{{{answer}}}"


def png(shade: int = 0) -> bytes:
    stream = io.BytesIO()
    Pictures.new("RGB", (8, 8), (shade % 256, 0, 0)).save(stream, "png")
    return stream.getvalue()


def _mathverse(number, answer, *, options=None, version="Text Lite"):
    text = f"As shown in the figure, find x in problem {number}."
    if options:
        text += "\nChoices:\n" + "\n".join(f"{a}:{b}" for a, b in zip("ABCD", options, strict=True))
    kind = "multi-choice" if options else "free-form"
    lead = "Please first conduct reasoning, and then answer the question"
    return {
        "sample_index": str(number),
        "problem_index": str(number // 2),
        "problem_version": version,
        "question": "" if version == "Vision Only" else text,
        "answer": answer,
        "question_type": kind,
        "metadata": {
            "split": "testmini",
            "source": "GeoQA",
            "subject": "Plane Geometry",
            "subfield": "Angle",
        },
        "query_wo": f"Please directly answer the question.\nQuestion: {text}",
        "query_cot": f"{lead}.\nQuestion: {text}",
        "question_for_eval": text,
    }


ANGLES = ["40°", "60°", "120°", "140°"]
LENGTHS = ["2\\sqrt{3}", "\\frac{3}{2}", "1", "4 cm"]
MATHVERSE = [
    (_mathverse(1, "C", options=ANGLES), box("C"), True),
    (_mathverse(2, "C", options=ANGLES, version="Vision Only"), box("C: 120°"), True),
    (_mathverse(3, "C", options=ANGLES), box("120"), True),
    (_mathverse(4, "C", options=ANGLES), box("120^\\circ"), True),
    (_mathverse(5, "C", options=ANGLES), box("(A) or (C)"), False),
    (_mathverse(6, "B", options=LENGTHS), box("1.5"), True),
    (_mathverse(7, "A", options=LENGTHS), box("\\sqrt{12}"), True),
    (_mathverse(8, "D", options=LENGTHS), "The length is 4 cm, so the answer is (D) 4 cm.", True),
    (_mathverse(9, "y = 2x + 1"), box("y=2x+1"), True),
    (_mathverse(10, "(-2, 1]"), box("(-2, 1)"), False),
    (_mathverse(11, "22.3 m"), box("22.3 \\text{ meters}"), True),
    (_mathverse(12, "1/2"), box("0.25") + " wait, " + box("\\frac{1}{2}"), True),
    (_mathverse(13, "1/2"), box("\\frac{1}{2}") + " wait, " + box("0.25"), False),
    (_mathverse(14, "50%"), box("0.5"), True),
    (_mathverse(15, "12"), "<think>The answer is 12, but", False),
    (_mathverse(16, "12"), "", False),
]


def _mathvision(number, answer, options=(), subject="counting"):
    return {
        "id": str(number),
        "question": f"How many are there in <image1> (row {number})?",
        "options": list(options),
        "image": f"images/{number}.jpg",
        "answer": answer,
        "solution": None,
        "level": 1 + number % 5,
        "subject": subject,
    }


FIVE = ["3", "\\frac{1}{2}", "0.25", "8 cm", "none"]
MATHVISION = [
    (_mathvision(1, "A", FIVE), box("A"), True),
    (_mathvision(2, "A", FIVE), box("3"), True),
    (_mathvision(3, "B", FIVE), box("0.5"), True),
    (_mathvision(4, "C", FIVE), box("\\frac{1}{4}"), True),
    (_mathvision(5, "D", FIVE), box("8"), True),
    (_mathvision(6, "E", FIVE), box("None"), True),
    (_mathvision(7, "A", FIVE), box("4"), False),
    (_mathvision(8, "D", ["A", "B", "C", "D", "E"], "logic"), box("D"), True),
    (_mathvision(9, "7"), box("7"), True),
    (_mathvision(10, "7", subject="area"), box("7\\text{ cm}^2"), True),
    (_mathvision(11, "3.14", subject="area"), box("3.1416"), True),
    (_mathvision(12, "3.14", subject="area"), box("3.2"), False),
    (_mathvision(13, "1/3"), box("0.33"), True),
    (_mathvision(14, "2,5"), box("2, 5"), True),
    (_mathvision(15, "7"), f"{box('7')} or {box('8')}", False),
    (_mathvision(16, "7"), "I cannot see it.", False),
]


def _mathvista(number, answer, kind, *, choices=None, precision=None, unit=None, task=None):
    choice = choices is not None
    hint = "Hint: Please answer the question and provide the final value at the end."
    text = f"Question: What is shown in row {number}?"
    if choice:
        text += "\nChoices:\n" + "\n".join(
            f"({name}) {one}" for name, one in zip("ABCDEF", choices, strict=False)
        )
    return {
        "pid": str(number),
        "question": f"What is shown in row {number}?",
        "image": f"images/{number}.jpg",
        "choices": choices,
        "unit": unit,
        "precision": precision,
        "answer": answer,
        "question_type": "multi_choice" if choice else "free_form",
        "answer_type": kind,
        "metadata": {
            "category": "math-targeted-vqa",
            "context": "table",
            "grade": "not applicable",
            "img_height": 8,
            "img_width": 8,
            "language": "english",
            "skills": ["arithmetic reasoning"],
            "source": "TabMWP",
            "split": "testmini",
            "task": task or "math word problem",
        },
        "query": f"{hint}\n{text}",
    }


PARTS = ["3/11", "8/11", "6/11", "3/5"]
RELATIONS = ["larger than", "equal to", "smaller than"]
MATHVISTA = [
    (_mathvista(1, "8/11", "text", choices=PARTS), box("B"), True),
    (_mathvista(2, "8/11", "text", choices=PARTS), box("8/11"), True),
    (_mathvista(3, "8/11", "text", choices=PARTS), box("(B) 8/11"), True),
    (_mathvista(4, "8/11", "text", choices=PARTS), box("\\frac{8}{11}"), True),
    (_mathvista(5, "equal to", "text", choices=RELATIONS), box("equals to"), True),
    (_mathvista(6, "equal to", "text", choices=RELATIONS), box("smaller"), False),
    (_mathvista(7, "14", "integer"), box("14"), True),
    (_mathvista(8, "14", "integer", unit="fish"), box("14 fish"), True),
    (_mathvista(9, "14", "integer"), box("14.6"), True),  # integers are truncated
    (_mathvista(10, "14", "integer"), box("13.9"), False),
    (_mathvista(11, "1.45", "float", precision=2.0, unit="$"), box("\\$1.45"), True),
    (_mathvista(12, "1.2", "float", precision=1.0), box("1.23"), True),
    (_mathvista(13, "1.2", "float", precision=1.0), box("1.3"), False),
    (_mathvista(14, "0.6", "float", precision=1.0), box("60%"), False),
    (_mathvista(15, "[2007, 2008]", "list"), box("[2007,2008]"), True),
    (_mathvista(16, "[2007, 2008]", "list"), box("2007"), False),
    (_mathvista(17, "14", "integer"), "The number missing in the sequence is 14.", True),
    (_mathvista(18, "8/11", "text", choices=PARTS), "<think>It is (B)", False),
]


def _wemath(problem, key, answer="B", option="A. 10 cm; B. 20 cm;C. 3, 40; D. No correct answer"):
    return {
        "ID": problem,
        "split": "testmini",
        "knowledge concept": "Circumference of Circles",
        "question": f"As shown in the diagram, find the length ({problem}, {key}).",
        "option": option,
        "answer": answer,
        "key": key,
        "question number": 1,
        "knowledge concept description": "Circles: ...",
    }


TRICKY = "A. F;    B. D;    C. B;    D. I; E. No correct answer"
WEMATH = [  # test_measures has both metrics of these problems
    (_wemath("2steps_1", "2steps_1"), box("B"), True),
    (_wemath("2steps_1", "2steps_2"), box("B. 20 cm"), True),
    (_wemath("2steps_1", "2steps_multi"), box("20"), True),
    (_wemath("2steps_2", "2steps_1"), box("20 cm"), True),
    (_wemath("2steps_2", "2steps_2"), box("200 mm"), True),
    (_wemath("2steps_2", "2steps_multi"), box("A"), False),
    (_wemath("2steps_3", "2steps_1", "D", TRICKY), box("D"), True),
    (_wemath("2steps_3", "2steps_2", "D", TRICKY), box("I"), False),  # the letter I is no option
    (_wemath("2steps_3", "2steps_multi", "C"), box("3, 40"), True),
    (_wemath("3steps_1", "3steps_1"), box("A and B"), False),
    (_wemath("3steps_1", "3steps_2"), "", False),
    (_wemath("3steps_1", "3steps_3"), "So the answer is C.", False),
    (_wemath("3steps_1", "3steps_multi", "D"), box("no correct answer"), True),
    (_wemath("3steps_2", "3steps_1"), box("B"), True),
    (_wemath("3steps_2", "3steps_2"), box("\\text{B}"), True),
    (_wemath("3steps_2", "3steps_3"), f"{box('B')}\n{box('A')}", False),
    (_wemath("3steps_2", "3steps_multi"), box("E"), False),
]


def _hallusion(category, set_id, figure, question, truth, *, seen=True, kind="illusion"):
    return {
        "category": category,
        "subcategory": kind,
        "visual_input": "1" if seen else "0",
        "set_id": str(set_id),
        "figure_id": str(figure),
        "sample_note": "circle",
        "question_id": str(question),
        "question": "Is the right circle as large as the left one?",
        "gt_answer_details": "It is.",
        "gt_answer": "1" if truth else "0",
        "filename": f"./hallusion_bench/{category}/{kind}/{set_id}_{figure}.png" if seen else None,
    }


HALLUSIONBENCH = [
    (_hallusion("VD", 0, 0, 0, True), box("Yes"), True),
    (_hallusion("VD", 0, 0, 1, False), box("No."), True),
    (_hallusion("VD", 0, 1, 0, False), box("yes"), False),
    (_hallusion("VD", 0, 1, 1, True), "Yes, they are equally large.", True),
    (_hallusion("VD", 1, 0, 0, True), box("\\text{yes}"), True),
    (_hallusion("VD", 1, 1, 0, False), box("yes and no"), False),
    (_hallusion("VS", 0, 0, 0, True, seen=False, kind="chart"), box("I cannot know"), True),
    (_hallusion("VS", 0, 0, 1, True, seen=False, kind="chart"), box("no"), False),
    (_hallusion("VS", 0, 1, 0, True, kind="chart"), box("I cannot know"), False),
    (_hallusion("VS", 0, 1, 1, False, kind="chart"), "<think>Yes? It is no", False),
    (_hallusion("VS", 1, 0, 0, False, seen=False, kind="map"), "", True),
    (_hallusion("VS", 1, 1, 0, False, kind="map"), f"{box('yes')} hm {box('no')}", True),
]


def _chartqa(answer, human=True):
    kind = "human_test" if human else "augmented_test"
    return {"type": kind, "question": "What is the value?", "answer": answer}


CHARTQA = [
    (_chartqa("62"), box("62"), True),
    (_chartqa("62"), box("65.1"), True),  # exactly 5 % off
    (_chartqa("62"), box("65.2"), False),
    (_chartqa("0.57"), box("0.55"), True),
    (_chartqa("62"), box("62\\%"), False),  # 62% is 0.62
    (_chartqa("62%"), box("0.62"), True),
    (_chartqa("0"), box("0"), True),
    (_chartqa("0"), box("0.01"), False),
    (_chartqa("Angry", False), box("\\text{angry}"), True),
    (_chartqa("Angry", False), box("Happy"), False),
    (_chartqa("15", False), box("15 items"), False),  # units are not removed
    (_chartqa("2014", False), "The answer is 2014", True),
    (_chartqa("[Ireland, Italy]", False), box("[Ireland, Italy]"), True),
    (_chartqa("62", False), "", False),
]


def _mmmu(subject, number, answer, options=None, question="What is it?", kind="multiple-choice"):
    row = {
        "id": f"validation_{subject}_{number}",
        "question": question,
        "options": repr(options or []),
        "explanation": "",
        "img_type": "['Diagrams']",
        "answer": answer,
        "topic_difficulty": "Medium",
        "question_type": kind,
        "subfield": "General",
    }
    return row


GOODS = ["$6", "$7", "$8", "$9"]
SHOWN = ["<image 2>", "<image 3>", "a cow's head"]
OPEN = {"kind": "open"}
MMMU = [
    (_mmmu("Accounting", 1, "B", GOODS, "In <image 1>, what is the price?"), box("B"), True),
    (_mmmu("Accounting", 2, "B", GOODS, "<image 1> And here?"), box("\\$7"), True),
    (_mmmu("Accounting", 3, "B", GOODS, "<image 1> And here?"), box("7"), True),
    (_mmmu("Accounting", 4, "B", GOODS, "<image 1> And here?"), box("B or C"), False),
    (_mmmu("Art_Theory", 1, "C", SHOWN, "<image 1> Which matches <image 1>?"), box("C"), True),
    (_mmmu("Art_Theory", 2, "C", SHOWN, "<image 1> Which?"), box("a cow's head"), True),
    (_mmmu("Art_Theory", 3, "A", SHOWN, "<image 1> Which?"), "No idea.", False),
    (_mmmu("Math", 1, "24", question="<image 1> How many?", **OPEN), box("24.00"), True),
    (_mmmu("Math", 2, "1/2", question="<image 1> How much?", **OPEN), box("1/2 of it"), True),
    (_mmmu("Math", 3, "['0.5', 'half']", question="<image 1> So?", **OPEN), box("half"), True),
    (_mmmu("Math", 4, "['0.5', 'half']", question="<image 1> So?", **OPEN), box("0.501"), True),
    (_mmmu("Math", 5, "6.3", question="<image 1> So?", **OPEN), box("it is 6.3 m/s"), True),
    (_mmmu("Math", 6, "6.3", question="<image 1> So?", **OPEN), box("63"), False),
    (_mmmu("Math", 7, "T", question="<image 1> Which?", **OPEN), box("the T joint"), True),
    (_mmmu("Math", 8, "T", question="<image 1> Which?", **OPEN), box("tee"), False),
    (_mmmu("Math", 9, "T", question="<image 1> Which?", **OPEN), "", False),
]


def _mmstar(number, answer, category="math", options="A: 7, 8, B: 9, C: both, D: 0.5"):
    return {
        "index": number,
        "question": f"How many are in row {number}?\nOptions: {options}",
        "answer": answer,
        "category": category,
        "l2_category": "geometry" if category == "math" else "localization",
        "meta_info": {"source": "MMBench", "split": "val", "image_path": f"images/{number}.jpg"},
    }


MMSTAR = [
    (_mmstar(0, "A"), box("A"), True),
    (_mmstar(1, "A"), box("(A)"), True),
    (_mmstar(2, "A"), box("A: 7, 8"), True),
    (_mmstar(3, "B"), "The answer is B", True),
    (_mmstar(4, "B"), box("9"), True),
    (_mmstar(5, "C", "coarse perception"), box("Both"), True),
    (_mmstar(6, "D", "coarse perception"), box("\\frac{1}{2}"), True),
    (_mmstar(7, "D", "coarse perception"), box("50%"), True),
    (_mmstar(8, "D", "coarse perception"), box("E"), False),
    (_mmstar(9, "D", "coarse perception"), box("A, D"), False),
    (_mmstar(10, "D", "coarse perception"), f"{box('D')}{box('A')}", False),
    (_mmstar(11, "D", "coarse perception"), "", False),
]


def _ai2d(answer, options=("the leaf", "an owl", "grass", "rabbit")):
    return {"question": "What eats the rabbit?", "options": list(options), "answer": answer}


AI2D = [
    (_ai2d("1"), box("B"), True),
    (_ai2d("1"), box("owl"), True),
    (_ai2d("1"), box("(B) an owl"), True),
    (_ai2d("1"), "It is the owl.\n\nAnswer: an owl", True),
    (_ai2d("1"), box("an eagle"), False),
    (_ai2d("0"), box("1"), False),  # options have letters
    (_ai2d("0", ("2", "1", "0", "3")), box("2"), True),
    (_ai2d("2", ("2", "1", "0", "3")), box("2"), False),
    (_ai2d("3", ("C", "A", "D", "B")), box("D"), True),
    (_ai2d("3", ("C", "A", "D", "B")), box("B"), False),
    (_ai2d("1"), box("B and C"), False),
    (_ai2d("1"), box(""), False),
]


def _geometry3k(answer, **more):
    return {"problem": "<image>Find x.", "answer": answer, **more}


GEOMETRY3K = [
    (_geometry3k("3"), box("3"), True),
    (_geometry3k("3"), box("x = 3"), True),
    (_geometry3k("8 \\sqrt { 3 }"), box("8\\sqrt{3}"), True),
    (_geometry3k("8 \\sqrt { 3 }"), box("13.86"), False),
    (_geometry3k("\\frac { 1 } { 2 }"), box("0.5"), True),
    (_geometry3k("120"), box("120^\\circ"), True),
    (_geometry3k("17.1"), box("17.1 \\text{ in}"), True),
    (_geometry3k("17.1"), box("17"), False),
    (_geometry3k("\\frac { 40 } { 3 } \\pi"), box("\\frac{40\\pi}{3}"), True),
    (_geometry3k("3, 4"), box("4, 3"), True),
    (_geometry3k("3"), f"{box('4')} no, {box('3')}", True),
    (_geometry3k("50\\%"), box("50"), True),
    (_geometry3k("3"), "The answer is 3", False),  # the reward requires a box
    (_geometry3k("3"), "", False),
]

CASES = {
    "mathverse": MATHVERSE,
    "mathvision": MATHVISION,
    "mathvista": MATHVISTA,
    "wemath": WEMATH,
    "hallusionbench": HALLUSIONBENCH,
    "chartqa": CHARTQA,
    "mmmu": MMMU,
    "mmstar": MMSTAR,
    "ai2d": AI2D,
    "geometry3k": GEOMETRY3K,
}
# Column of images and name of the file on the hub.
STORED = {
    "mathverse": ("image", "testmini.parquet"),
    "mathvision": ("decoded_image", "data/test-00000-of-00001-3532b8d3f1b4047a.parquet"),
    "mathvista": ("decoded_image", "data/testmini-00000-of-00001-725687bf7a18d64b.parquet"),
    "wemath": ("image_path", "data/testmini-00000-of-00001-adbfe22dcd3558e6.parquet"),
    "hallusionbench": ("image", None),
    "chartqa": ("image", "data/test-00000-of-00001.parquet"),
    "mmmu": (None, None),
    "mmstar": ("image", "mmstar.parquet"),
    "ai2d": ("image", "data/test-00000-of-00002.parquet"),
    "geometry3k": ("images", "data/test-00000-of-00001.parquet"),
}


def _table(rows: list[dict], pictures: dict[str, list]) -> Dataset:
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    made = Dataset.from_dict(columns)
    several = any(isinstance(one, list) for value in pictures.values() for one in value)
    kind = List(Image()) if several else Image()
    features = Features({**made.features, **dict.fromkeys(pictures, kind)})
    for name, feature in features.items():
        if feature == Value("null"):
            features[name] = Value("string")
    return Dataset.from_dict({**columns, **pictures}, features=features)


def publish(name: str, folder) -> str:
    """Write the synthetic set of a benchmark in its published format; return the directory."""
    rows = [row for row, *_ in CASES[name]]
    column, file = STORED[name]
    shown = [{"bytes": png(number), "path": None} for number in range(len(rows))]
    parts: dict[str, Dataset] = {}
    if name == "hallusionbench":
        seen = [row for row in rows if row["filename"]]
        unseen = [row for row in rows if not row["filename"]]
        parts["data/image-00000-of-00001.parquet"] = _table(seen, {"image": shown[: len(seen)]})
        parts["data/non_image-00000-of-00001.parquet"] = _table(
            unseen, {"image": [None] * len(unseen)}
        )
    elif name == "mmmu":
        for subject in dict.fromkeys(row["id"].rpartition("_")[0] for row in rows):
            mine = [row for row in rows if row["id"].startswith(f"{subject}_")]
            pictures = {f"image_{n}": [None] * len(mine) for n in range(1, 8)}
            for place, row in enumerate(mine):
                for n in (1, 2, 3):
                    if f"<image {n}>" in row["question"] + row["options"]:
                        pictures[f"image_{n}"][place] = shown[n]
            file = f"{subject.removeprefix('validation_')}/validation-00000-of-00001.parquet"
            parts[file] = _table(mine, pictures)
    else:
        value = [[one] for one in shown] if column == "images" else shown
        parts[file] = _table(rows, {column: value})
    for file, table in parts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / file)
    return str(folder)


def case(name: str, item_id: str, number: int):
    """Find the case of a question, by its id if the row has one."""
    keys = {
        "hallusionbench": lambda row: "/".join(
            str(row[k]) for k in ("category", "subcategory", "set_id", "figure_id", "question_id")
        ),
        "mmmu": lambda row: row["id"],
    }
    if name not in keys:
        return CASES[name][number]
    return next(one for one in CASES[name] if keys[name](one[0]) == item_id)


def as_json(name: str, folder, file: str, picture_of, lacks=lambda row: False) -> str:
    """Write the synthetic set as a JSON file with image files; return the directory."""
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, (row, *_) in enumerate(CASES[name]):
        if lacks(row):
            rows.append(row)
            continue
        column, path = picture_of(number)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png(number))
        rows.append({**row, column: path.removeprefix("images/")})
    (folder / file).write_text(json.dumps(rows), encoding="utf-8")
    return str(folder)


def mm_eval(folder: Path) -> dict[str, str]:
    """The evaluation data of Shuffle-R1 as its scripts read them: benchmark -> directory.

    Source: evaluation/utils/data_loaders.py of github.com/xiaomi-research/shuffle-r1; the columns
    of MathVision.tsv as VLMEvalKit has them.
    """
    hallusion = as_json(
        "hallusionbench",
        folder / "hallubench",
        "HallusionBench.json",
        lambda n: ("filename", f"images/VD/illusion/{n}.png"),
        lacks=lambda row: row["filename"] is None,
    )
    verse = as_json(
        "mathverse", folder / "mathverse", "testmini.json", lambda n: ("image", f"images/v/{n}.png")
    )
    we_math = as_json(
        "wemath", folder / "wemath", "testmini.json", lambda n: ("image_path", f"images/{n}.png")
    )
    return {
        "geometry3k": _in_folders(folder / "geometry3k"),
        "hallusionbench": hallusion,
        "mathverse": verse,
        "mathvision": math_vision_table(folder / "mathvision"),
        "mathvista": publish("mathvista", folder / "mathvista"),
        "wemath": we_math,
        "chartqa": publish("chartqa", folder / "ChartQA_test"),
    }


def math_vision_table(folder: Path, *, written_out: bool = False) -> str:
    """Write MathVision as VLMEvalKit's table, with images in base64 or in files."""
    (folder / "images").mkdir(parents=True)
    with (folder / "MathVision.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        more = ["image"] if written_out else []
        table.writerow(["index", "question", "answer", "category", "choices", *more])
        for number, (row, *_) in enumerate(CASES["mathvision"]):
            values = [row["id"], row["question"], row["answer"], row["subject"]]
            shown = png(number)
            values.append(repr(row["options"]))
            if written_out:
                values.append(base64.b64encode(shown).decode())
            else:
                (folder / "images" / f"{row['id']}.jpg").write_bytes(shown)
            table.writerow(values)
    return str(folder)


def _in_folders(folder: Path) -> str:
    """Write Geometry3K in the format of Inter-GPS: a folder per question inside one per split."""
    for number, (row, *_) in enumerate(CASES["geometry3k"]):
        home = folder / "test" / str(2401 + number)
        home.mkdir(parents=True)
        choices = ["0.7", row["answer"], "no", "200"]
        data = {
            "problem_text": "Find x .",
            "annotat_text": "Find $x$.",
            "choices": choices,
            "compact_choices": choices,
            "answer": "B",
            "problem_type_graph": ["Line"],
            "problem_type_goal": ["Angle"],
            "id": 2401 + number,
            "data_type": "test",
        }
        (home / "data.json").write_text(json.dumps(data), encoding="utf-8")
        (home / "logic_form.json").write_text("{}", encoding="utf-8")
        (home / "img_diagram.png").write_bytes(png(number))
    (folder / "train" / "0").mkdir(parents=True)
    (folder / "train" / "0" / "data.json").write_text("{}", encoding="utf-8")
    return str(folder)
