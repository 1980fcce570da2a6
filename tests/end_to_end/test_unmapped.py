"""In every command, images reach the model or the data raises an error."""

import base64
import json

import pytest
import yaml
from datasets import Dataset
from PIL import Image
from transformers import CLIPImageProcessorPil

from vantage.demo import digits
from vantage.record.reading import Record

WORDINGS = list(digits.WORDINGS)


def written(folder, rows: list[dict]) -> str:
    for number in range(4):
        digits.picture([number, number + 1]).save(folder / f"{number}.png")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


def configured(folder, model: str, data: str) -> str:
    values = {
        "model": {"path": model},
        "data": {"train": data, "template": "{question}"},
        "batch": {"questions": 2, "rollouts": 4},
        "generation": {"max_tokens": 4},
        "run": {"output": str(folder / "run"), "batches": 1},
        "trl": {"use_cpu": True, "bf16": False},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "run.yaml")


@pytest.mark.parametrize("command", ["train", "dry run", "check", "eval", "expand"])
def test_every_command_rejects_unmapped_images(command, vantage, tiny_model, tmp_path):
    rows = [{"question": w, "answer": "1", "figure_of": f"{n}.png"} for n, w in enumerate(WORDINGS)]
    data = written(tmp_path, rows[:4])
    config = configured(tmp_path, tiny_model, data)
    given = {
        "train": ("train", config),
        "dry run": ("train", config, "--dry-run"),
        "check": ("check", data, "--model", tiny_model),
        "eval": ("eval", tiny_model, data, "--output", tmp_path / "eval"),
        "expand": (
            "expand",
            data,
            "--output",
            tmp_path / "o.parquet",
            "--rewrites",
            1,
            "--built-in",
        ),
    }
    status, _, err = vantage(*given[command])
    assert status == 2
    assert "column 'figure_of' holds images, which the model would not see" in err
    assert "columns: {images: figure_of}" in err
    assert "columns: {images: null}" in err


def as_paths(n: int) -> dict:
    return {"problem": WORDINGS[n], "label": n, "img_path": f"{n}.png"}


def as_text_or_list(n: int) -> dict:
    return {
        "query": WORDINGS[n],
        "response": str(n),
        "images": f"{n}.png" if n % 2 else [f"{n}.png"],
    }


def as_base64(n: int) -> dict:
    return {"question": WORDINGS[n], "A": "1", "B": "2", "answer": "B", "image": n}


def as_openai(n: int) -> dict:
    parts = [
        {"type": "image_url", "image_url": {"url": f"{n}.png"}},
        {"type": "text", "text": WORDINGS[n]},
    ]
    said = [{"role": "user", "content": parts}, {"role": "assistant", "content": str(n)}]
    return {"messages": said}


def as_llava(n: int) -> dict:
    said = [
        {"from": "human", "value": f"<image>\n{WORDINGS[n]}"},
        {"from": "gpt", "value": str(n)},
    ]
    return {"id": n, "image": f"{n}.png", "conversations": said}


@pytest.mark.parametrize("way", [as_paths, as_text_or_list, as_base64, as_openai, as_llava])
def test_rows_in_common_formats_train_with_their_images(way, vantage, tiny_model, tmp_path):
    written(tmp_path, [])
    rows = [way(n) for n in range(4)]
    for row in rows:
        if way is as_base64:
            content = (tmp_path / f"{row['image']}.png").read_bytes()
            row["image"] = base64.b64encode(content).decode()
    data = written(tmp_path, rows)
    status, out, err = vantage("train", configured(tmp_path, tiny_model, data))
    assert status == 0, out + err
    prompts = Record(tmp_path / "run").step(0, "prompts").to_pylist()
    assert len(prompts) == 2
    assert [len(prompt["pictures"]) for prompt in prompts] == [1, 1]


def test_image_that_the_processor_rejects_is_found_at_the_start(
    vantage, tiny_model, tmp_path, monkeypatch
):
    taken = CLIPImageProcessorPil.preprocess

    def preprocess(self, images, *arguments, **options):
        given = images if isinstance(images, list) else [images]
        for image in given:
            while isinstance(image, list):
                image = image[0]
            if max(image.size) > 200 * min(image.size):
                raise ValueError("absolute aspect ratio must be smaller than 200")
        return taken(self, images, *arguments, **options)

    monkeypatch.setattr(CLIPImageProcessorPil, "preprocess", preprocess)
    data = written(tmp_path, [as_paths(n) for n in range(4)])
    Image.new("RGB", (1000, 4)).save(tmp_path / "1.png")
    config = configured(tmp_path, tiny_model, data)
    for command in (
        ("train", config),
        ("train", config, "--dry-run"),
        ("check", data, "--model", tiny_model),
    ):
        status, out, err = vantage(*command)
        assert status != 0
        assert "an image of 1000 x 4 pixels" in out + err
    status, out, err = vantage("eval", tiny_model, data, "--output", tmp_path / "eval")
    assert status == 2 and "question 1: an image of 1000 x 4 pixels" in err
    status, out, err = vantage("train", config, "--data.on_bad_row", "skip")
    assert status == 0, out + err
    (reject,) = map(json.loads, (tmp_path / "run" / "rejects.jsonl").read_text().splitlines())
    assert reject["row"] == 1 and "absolute aspect ratio" in reject["reason"]


def test_expanded_data_keeps_images_and_trains(vantage, tiny_model, tmp_path):
    data = written(tmp_path, [as_llava(n) for n in range(4)])
    out = tmp_path / "elsewhere" / "out.parquet"
    status, said, err = vantage("expand", data, "--output", out, "--rewrites", 1, "--built-in")
    assert status == 0, said + err
    made = Dataset.from_parquet(str(out), cache_dir=str(tmp_path / "cache"))
    assert all(row["image"] is not None and row["new_questions"] for row in made)
    _, said, _ = vantage("check", out, "--model", tiny_model)
    assert "row 0 as the model sees it, 1 of 4 with layout (user; 1 image)" in said
