"""Every example in docs/data.md trains, on data in the true schema of its layout."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from vantage import config as configuration
from vantage.demo import digits
from vantage.training.trl import run

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```yaml\n# ([\w-]+)\n(.*?)```", PAGE, re.DOTALL))
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ROWS = range(6)


def encoded(number: int) -> bytes:
    stream = io.BytesIO()
    digits.picture([number, number + 1]).save(stream, "png")
    return stream.getvalue()


def struct(number: int) -> dict:
    return {"bytes": encoded(number), "path": f"{number}.png"}


def answers() -> list[str]:
    return [str(int(digits._digits().target[[n, n + 1]].sum())) for n in ROWS]


def table(path: str, **columns) -> None:
    pq.write_table(pa.table(columns), path)


def geometry3k() -> None:
    table(
        "geometry3k.parquet",
        images=pa.array([[struct(n)] for n in ROWS], pa.list_(STRUCT)),
        problem=[f"<image>{digits.WORDINGS[n]}" for n in ROWS],
        answer=answers(),
    )


def share_vl() -> None:
    others = [[f"<image>{words}" for words in digits.WORDINGS[6:]], *[["Sum it."]] * 5]
    table(
        "share-vl.parquet",
        problem=[f"<image>{digits.WORDINGS[n]}" for n in ROWS],
        answer=answers(),
        images=pa.array([[struct(n)] for n in ROWS], pa.list_(STRUCT)),
        new_questions=[str(texts) for texts in others],  # as a text, as Python writes a list
    )


def mmk12() -> None:
    table(
        "mmk12.parquet",
        id=[f"q{n}" for n in ROWS],
        question=[digits.WORDINGS[n] for n in ROWS],
        answer=answers(),
        subject=["math"] * 6,
        image=pa.array([struct(n) for n in ROWS], STRUCT),
    )


def trl() -> None:
    table(
        "trl.parquet",
        prompt=[[{"role": "user", "content": digits.WORDINGS[n]}] for n in ROWS],
        solution=answers(),
        images=pa.array([[struct(n)] for n in ROWS], pa.list_(STRUCT)),
    )


def image_folder() -> None:
    Path("photos").mkdir()
    lines = ["file_name,question,answer"]
    for n in ROWS:
        (Path("photos") / f"{n}.png").write_bytes(encoded(n))
        lines.append(f"{'' if n == 3 else f'{n}.png'},{digits.WORDINGS[n]},{answers()[n]}")
    (Path("photos") / "metadata.csv").write_text("\n".join(lines))


def own() -> None:
    Path("pictures").mkdir()
    rows = []
    for n in ROWS:
        (Path("pictures") / f"{n}.png").write_bytes(encoded(n))
        views = [f"pictures/{m}.png" for m in range(3)][: [0, 1, 3][n % 3]]
        row = {"ask": digits.WORDINGS[n], "truth": int(answers()[n]), "views": views}
        rows.append(row | ({"others": ["Sum it.", "Add them."]} if n % 2 else {}))
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


MAKERS: dict[str, Callable[[], None]] = {
    "geometry3k": geometry3k,
    "share-vl": share_vl,
    "mmk12": mmk12,
    "trl": trl,
    "image-folder": image_folder,
    "own": own,
    "noisy-rollout": geometry3k,
    "sampling": mmk12,
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def test_page_has_exactly_one_example_per_layout():
    assert set(EXAMPLES) == set(MAKERS)
    assert all(text.count("\n") <= 5 for text in EXAMPLES.values())


@pytest.mark.parametrize("name", MAKERS)
def test_examples_of_the_page_train_two_updates(name, tiny_model):
    MAKERS[name]()
    example = yaml.safe_load(EXAMPLES[name])
    example["data"]["template"] = "{question}"
    rest = {
        "model": {"path": tiny_model, "dtype": "float32"},
        "run": {"output": "run", "batches": 1, "save_every": 1},
        "batch": {"questions": 4, "rollouts": 4, "updates": 2, "micro_batch": 8},
        "generation": {"max_tokens": 4},
        "rewards": {"accuracy": 0.9, "format": 0.1},
        "trl": {"use_cpu": True, "bf16": False, "gradient_checkpointing": False},
    }
    made = run.train(configuration.parse({**rest, **example}))
    assert made.state.global_step == 2
    assert len(made.train_dataset) == 6
    count = example["variants"]["prompts"]
    assert len(made.batch.plan.rollouts) == 4 * 4 * count
    assert (Path("run") / "checkpoint-2" / "complete").is_file()


def test_mixed_set_has_prompts_with_0_1_and_3_images():
    from vantage.questions.layouts import Columns
    from vantage.questions.loading import load
    from vantage.questions.prompts import Prompts
    from vantage.questions.reading import Reader
    from vantage.questions.sampling import Asked
    from vantage.questions.variants import Variants

    own()
    columns = Columns(question="ask", answer="truth", images="views")
    variants = Variants(prompts=3, rewrites="others", transforms={})
    rows = load("own.jsonl", split="train", columns=columns, variants=variants)
    prompts = Prompts(Reader(rows), variants)
    prompts.begin(done=0.0)
    prompts.ask([Asked(question, 0) for question in range(6)])
    made = [[prompts.prompt(3 * place + number) for number in range(3)] for place in range(6)]
    assert [len(first.images) for first, *_ in made] == [0, 1, 3, 0, 1, 3]
    assert [len({prompt.text for prompt in row}) > 1 for row in made][1::2] == [True] * 3
