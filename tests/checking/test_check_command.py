"""`vantage check`: planted faults are found and named, clean data pass."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from planting import encoded, painted, row, saved

from vantage import config as configuration
from vantage.checking import run
from vantage.errors import ConfigError
from vantage.questions.parallel import SMALL

SENTENCE = "What do the handwritten digits add up to? "

# Planted faults by row number.
BROKEN = {
    3: {"image": {"bytes": b"\x89PNG\r\n\x1a\nnot a picture", "path": None}},
    4: {"question": "   "},
    5: {"answer": ""},
    6: {"question": "<image> and <image>: which?"},
    7: {"answer": "}{"},  # cannot be written inside \boxed{...}
}


def planted(tmp_path):
    """Training and test rows: the paths."""
    rows = [row(number) for number in range(20)]
    for number, changes in BROKEN.items():
        rows[number] |= changes
    rows[10]["question"] = SENTENCE * 8
    rows[11]["question"] = "Read <|end|> the digits."
    rows[12]["question"] = "Read <|user|> the digits."
    rows[14] = row(13, question="Add the digits, that you see")
    rows[15] = row(13, answer="99")
    test = [
        row(100),
        row(16, image=encoded(painted(16), "bmp"), question="add the digits that you see"),
        row(17, question="Which is the largest?"),
    ]
    return saved(rows, tmp_path / "train.parquet"), saved(test, tmp_path / "test.parquet")


def written(tmp_path, path_of_model, train, **sections) -> str:
    values = {
        "model": {"path": path_of_model},
        "data": {"train": train},
        "batch": {"questions": 4, "rollouts": 4},
        "generation": {"max_tokens": 8},
        "run": {"output": str(tmp_path / "run"), "epochs": 1},
        "trl": {"use_cpu": True, "bf16": False},
    }
    for name, options in sections.items():
        values[name] = {**values.get(name, {}), **options}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.fixture
def clean(tmp_path):
    return saved([row(number) for number in range(40)], tmp_path / "clean.parquet")


def test_every_planted_fault_is_reported(vantage, tiny_model, tmp_path):
    train, test = planted(tmp_path)
    rejects = tmp_path / "bad" / "rejects.jsonl"
    limit = ("--max-prompt-tokens", 40)
    given = (*limit, "--test", test, "--rejects", rejects)
    status, out, _ = vantage("check", train, "--model", tiny_model, *given)
    assert status == 1
    for words in (
        "5 of 20 rows cannot be used",
        "not an image in a supported format",
        "the question is empty",
        "the answer is empty",
        "2 <image> for 1 images: write it once per image",
        "the accuracy reward cannot read the answer",
        "1 of 15 rows are longer than 40 tokens: the text alone of row 10 is too long",
        "error special tokens: row 11: '<|end|>'",
        "warning special tokens: row 12: '<|user|>'",
        "1 of 15 rows have the question and answer of an earlier row: row 14 = training row 13",
        "but another answer: row 15 = training row 13",
        "1 of 3 rows of",
        "are also training rows: row 1 = training row 16",
        "row 2 = training row 17",
    ):
        assert words in out, words
    last = out.strip().splitlines()[-1]
    assert last.startswith("Not ready to train: 4 errors")
    for about in ("bad rows", "long prompts", "special tokens", "leakage"):
        assert about in last
    faults = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [fault["row"] for fault in faults] == list(BROKEN)
    assert {fault["source"] for fault in faults} == {train}


def test_clean_data_are_ready(vantage, tiny_model, clean):
    status, out, _ = vantage("check", clean, "--model", tiny_model, "--max-prompt-tokens", 60)
    assert status == 0
    assert out.strip().splitlines()[-1] == "Ready to train."
    assert "40 usable rows" in out
    assert "equal on all 40 rows compared" in out


def test_a_configuration_file_defines_the_check(vantage, tiny_model, clean, tmp_path):
    path = written(tmp_path, tiny_model, clean)
    status, out, _ = vantage("check", path)
    assert status == 0
    assert "10 rollout batches, 10 updates, 160 rollouts" in out
    status, out, _ = vantage("check", path, "--data.max_prompt_tokens", 20)
    assert status == 1
    assert "Not ready to train: 1 error (long prompts)." in out
    drop = ("--data.on_long_prompt", "skip", "--max-prompt-tokens", 20)
    status, out, _ = vantage("check", path, *drop)
    assert status == 1
    assert "no row is left" in out


def test_lenient_policies_turn_errors_into_warnings(vantage, tiny_model, tmp_path):
    rows = [row(number) for number in range(12)]
    rows[2]["answer"] = ""
    rows[5]["question"] = SENTENCE * 8
    data = saved(rows, tmp_path / "some.parquet")
    options = {"on_bad_row": "skip", "on_long_prompt": "skip", "max_prompt_tokens": 60}
    path = written(tmp_path, tiny_model, data, data=options)
    status, out, _ = vantage("check", path)
    assert status == 0
    assert "Ready to train, with 2 warnings." in out
    assert "would be skipped" in out
    assert "would be dropped" in out
    assert "2 rollout batches" in out  # 10 of 12 rows, 4 questions per batch


def test_validation_rows_among_training_rows_are_leakage(vantage, tiny_model, clean, tmp_path):
    path = written(
        tmp_path,
        tiny_model,
        clean,
        data={"validation": clean, "validation_split": "train"},
    )
    status, out, _ = vantage("check", path)
    assert status == 1
    assert "40 of 40 rows of" in out


def test_a_failing_or_useless_reward_is_named(vantage, tiny_model, clean, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def flat(completions, **columns):\n    return [0.5] * len(completions)\n\n\n"
        "def broken(completions, answer, **columns):\n    return [a.no for a in answer]\n\n\n"
        "def leaves(completions, **columns):\n    raise SystemExit(0)\n\n\n"
        "async def fine(completions, answer, **columns):\n"
        "    pairs = zip(completions, answer)\n"
        "    return [float(a in c[0]['content']) for c, a in pairs]\n\n\n"
        "def needs(completions, level, **columns):\n    return [0.0 for _ in completions]\n"
    )
    mine = f"{tmp_path}/mine.py"
    path = written(tmp_path, tiny_model, clean, rewards={f"{mine}:fine": 1.0})
    assert vantage("check", path)[0] == 0
    path = written(tmp_path, tiny_model, clean, rewards={f"{mine}:flat": 1.0})
    status, out, _ = vantage("check", path)
    assert status == 0
    assert "on 40 of 40 rows a perfect response" in out
    path = written(tmp_path, tiny_model, clean, rewards={f"{mine}:broken": 1.0})
    status, out, _ = vantage("check", path)
    assert status == 1
    assert "failed on a response: AttributeError" in out
    path = written(tmp_path, tiny_model, clean, rewards={f"{mine}:leaves": 1.0})
    status, out, _ = vantage("check", path)
    assert status == 1
    assert "failed on a response: SystemExit: 0" in out
    path = written(tmp_path, tiny_model, clean, rewards={f"{mine}:needs": 1.0})
    status, out, _ = vantage("check", path)
    assert status == 1
    assert "no column 'level'" in out


def test_a_tokenizer_in_place_of_a_processor_is_reported(
    vantage, tiny_model, clean, tmp_path, monkeypatch
):
    from transformers import AutoTokenizer

    monkeypatch.setattr("transformers.AutoProcessor", AutoTokenizer)
    status, out, _ = vantage("check", clean, "--model", tiny_model)
    assert status == 1
    assert "which reads only text" in out
    assert "Not ready to train: 1 error (processor)." in out


def test_a_mismatch_of_processor_and_model_is_reported(vantage, tiny_model, clean, tmp_path):
    directory = tmp_path / "mixed"
    shutil.copytree(tiny_model, directory)
    values = json.loads((directory / "config.json").read_text())
    for name in ("image_token_id", "image_token_index"):
        if name in values:
            values[name] += 1
    (directory / "config.json").write_text(json.dumps(values))
    status, out, _ = vantage("check", clean, "--model", directory)
    assert status == 1
    assert "do not match" in out


@pytest.mark.parametrize("field", ["template", "system_prompt"])
def test_the_template_and_system_prompt_are_checked_too(
    vantage, tiny_model, clean, tmp_path, field
):
    text = "{question} <|end|>" if field == "template" else "Be <|end|> kind."
    path = written(tmp_path, tiny_model, clean, data={field: text})
    status, out, _ = vantage("check", path)
    assert status == 1
    assert f"data.{field}: '<|end|>'" in out


def test_rows_keep_their_numbers_and_processes_agree(tiny_model, tmp_path):
    rows = [row(number) for number in range(2 * SMALL + 10)]
    rows[0]["answer"] = ""
    rows[-1]["question"] = SENTENCE * 8
    data = saved(rows, tmp_path / "many.parquet")
    values = {
        "model": {"path": tiny_model},
        "data": {"train": data, "max_prompt_tokens": 60},
        "run": {"output": "r", "epochs": 1},
    }
    report = run.check(configuration.parse(values))
    assert report.rows == len(rows) - 1
    assert report.long.rows[0][0] == len(rows) - 1
    assert report.prompt_tokens.longest == len(rows) - 1
    assert sum(report.prompt_tokens.counts) == len(rows) - 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.parquet"], "--model"),
        (["gone.parquet", "--model", "m", "--batch.micro_batch", "1"], "only with the YAML file"),
        (["gone.yaml"], "cannot read configuration"),
        (["gone.parquet", "--model", "nowhere/at-all"], "cannot be loaded"),
    ],
    ids=str,
)
def test_failed_check_gives_a_reason(vantage, arguments, words):
    status, _, err = vantage("check", *arguments)
    assert status == 2
    assert words in err


def test_options_override_a_configuration_file(tiny_model, clean, tmp_path):
    path = written(tmp_path, tiny_model, clean)
    given = {"model.max_pixels": 900, "data.split": None, "data.columns.image": "image"}
    config = configuration.config_to_check(path, given, {"batch.questions": "8"})
    assert config.model.max_pixels == 900
    assert config.data.columns.image == "image"
    assert config.batch.questions == 8
    with pytest.raises(ConfigError, match="max_pixel"):
        configuration.config_to_check(path, {}, {"model.max_pixel": "3"})


def test_a_template_may_place_the_images_once(vantage, tiny_model, clean, tmp_path):
    path = written(tmp_path, tiny_model, clean, data={"template": "Look at <image>: {question}"})
    status, out, _ = vantage("check", path)
    assert status == 0
    assert "special token" not in out
    path = written(tmp_path, tiny_model, clean, data={"template": "<image> <image> {question}"})
    status, _, err = vantage("check", path)
    assert status == 2
    assert "data.template: '<image> <image> {question}' has <image> 2 times" in err


def test_prompts_that_fail_to_render_are_reported(
    vantage, tiny_model, clean, tmp_path, monkeypatch
):
    def refuse(question):
        raise ValueError("no such role")

    monkeypatch.setattr("vantage.checking.inspecting.render", refuse)
    status, out, _ = vantage("check", written(tmp_path, tiny_model, clean))
    assert status == 1
    assert "rows 0, 1, 2, 3, 4 and 35 more: cannot be encoded" in out


def test_help_imports_no_heavy_module():
    script = """if True:
        import sys
        from vantage import cli
        sys.argv = ["vantage", "check", "--help"]
        try:
            cli.main()
        finally:
            print("LOADED", *{name.partition(".")[0] for name in sys.modules})
    """
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    printed, _, loaded = ran.stdout.partition("LOADED")
    assert "--max-prompt-tokens" in printed
    assert not {"torch", "transformers", "trl", "datasets"} & set(loaded.split())


def test_fewer_rows_than_a_batch_is_a_warning(vantage, tiny_model, tmp_path):
    data = saved([row(number) for number in range(3)], tmp_path / "few.parquet")
    status, out, _ = vantage("check", written(tmp_path, tiny_model, data))
    assert status == 0
    assert "3 rows for the 4 questions of a batch" in out


@pytest.mark.parametrize(
    "sections",
    [
        {"trl": {"model_init_kwargs": {"dtype": "bfloat16"}}},
        {"trl": {"model_init_kwargs": {"dtype": "float16"}, "optim": "adafactor"}},
    ],
)
@pytest.mark.parametrize("how", [("check",), ("train", "--dry-run"), ("train",)])
def test_steps_lost_to_rounding_are_rejected(vantage, tiny_model, clean, tmp_path, how, sections):
    path = written(tmp_path, tiny_model, clean, **sections)
    status, out, err = vantage(how[0], path, *how[1:])
    assert status
    optimizer = sections["trl"].get("optim", "adamw_torch_fused")
    words = f"{optimizer} at learning rate 1e-06 cannot train weights kept in"
    assert words in " ".join((out + err).split())
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("how", [["check"], ["train", "--dry-run"], ["train"]])
@pytest.mark.parametrize("override", [[], ["--trl.num_generations", "3"]])
def test_an_option_that_contradicts_a_section_is_rejected(
    vantage, tiny_model, clean, tmp_path, how, override
):
    in_file = {} if override else {"num_generations": 3}
    path = written(tmp_path, tiny_model, clean, batch={"rollouts": 4}, trl=in_file)
    status, out, err = vantage(how[0], path, *how[1:], *override)
    assert status
    words = "trl.num_generations=3: must stay 4; set batch.rollouts"
    assert words in " ".join((out + err).split())
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_unknown_step_size_is_a_warning(vantage, tiny_model, clean, tmp_path):
    unknown = {"model_init_kwargs": {"dtype": "bfloat16"}, "optim": "lomo"}
    status, out, _ = vantage("check", written(tmp_path, tiny_model, clean, trl=unknown))
    assert status == 0
    assert "cannot determine whether lomo at learning rate 1e-06 moves weights kept in" in out


def test_weights_in_bfloat16_with_compensated_sums_are_ready(vantage, tiny_model, clean, tmp_path):
    full = run.check(configuration.load(written(tmp_path, tiny_model, clean)))
    sums = {"optimizer": {"weights": "bfloat16"}, "trl": {"bf16": True}}
    path = written(tmp_path, tiny_model, clean, **sums)
    status, out, _ = vantage("check", path)
    assert status == 0, out
    less = run.check(configuration.load(path))
    assert 2 * less.memory.weights == full.memory.weights
    assert less.memory.optimizer == 3 * less.memory.weights
    assert full.memory.optimizer == 2 * full.memory.weights


def test_the_smallest_sufficient_gpu_is_reported(vantage, tiny_model, clean, tmp_path):
    _, out, _ = vantage("check", written(tmp_path, tiny_model, clean))
    assert "a GPU of 24 GiB is enough by the estimate" in out
    sampler = {"use_vllm": True, "vllm_mode": "colocate", "vllm_enable_sleep_mode": True}
    _, out, _ = vantage("check", written(tmp_path, tiny_model, clean, trl=sampler))
    assert "with vLLM, which takes 30% of it and sleeps during updates" in " ".join(out.split())


def test_adapters_and_a_reference_are_part_of_the_estimate(tiny_model, clean, tmp_path):
    full = run.check(configuration.load(written(tmp_path, tiny_model, clean, trl={"beta": 0.1})))
    assert full.memory.reference == full.memory.weights == full.memory.gradients
    path = written(tmp_path, tiny_model, clean, model={"lora": {"r": 4}}, trl={"beta": 0.1})
    light = run.check(configuration.load(path))
    assert light.memory.reference == 0
    assert light.memory.gradients < full.memory.gradients / 4
    path = written(tmp_path, tiny_model, clean, model={"lora": {"target_modules": ["nowhere"]}})
    with pytest.raises(ConfigError, match="nowhere"):
        run.check(configuration.load(path))


# ---- a dry run -----------------------------------------------------------------------------


def test_a_dry_run_checks_and_shows_the_planned_run(vantage, tiny_model, tmp_path, clean):
    path = written(tmp_path, tiny_model, clean, model={"lora": {"r": 8}})
    status, out, _ = vantage("train", path, "--dry-run", "--recipe", "shuffle-r1")
    assert status == 0
    for words in (
        "Ready to train",
        "trl 1.16",
        "adapters of rank 8",
        "shuffle-r1",
        "0.9 accuracy, 0.1 format",
        "4 questions x 1 prompts x 4 rollouts = 16 rollouts, 4 updates",
        "10 rollout batches, 40 updates",
        "from the start",
    ):
        assert words in out
    assert not (tmp_path / "run").exists()


def test_a_dry_run_reports_the_findings_of_a_check(vantage, tiny_model, tmp_path):
    train, _ = planted(tmp_path)
    status, out, _ = vantage("train", written(tmp_path, tiny_model, train), "--dry-run")
    assert status == 1
    assert "5 of 20 rows cannot be used" in out


LACKING = {
    "vllm is missing": {"trl": {"use_vllm": True}},
    "flash_attention_2 is missing": {"model": {"attention": "flash_attention_2"}},
    "flash_attention_3 is missing": {
        "trl": {"model_init_kwargs": {"attn_implementation": "flash_attention_3"}}
    },
    "run.report_to: neptune is missing": {"run": {"report_to": ["neptune"]}},
    "doesn't support bf16/gpu": {"trl": {"use_cpu": False, "bf16": True}},
}


@pytest.mark.parametrize("words", LACKING)
def test_a_dry_run_reports_missing_requirements(words, vantage, tiny_model, tmp_path, clean):
    path = written(tmp_path, tiny_model, clean, **LACKING[words])
    status, out, _ = vantage("train", path, "--dry-run")
    assert status == 1
    assert words in out
    assert vantage("check", path)[0] == 0  # another machine may have them


def test_a_dry_run_compares_the_estimate_with_the_gpu(
    vantage, monkeypatch, tiny_model, tmp_path, clean
):
    monkeypatch.setattr("vantage.checking.run.gpu_memory", lambda: 2**20)
    status, out, _ = vantage("train", written(tmp_path, tiny_model, clean), "--dry-run")
    assert status == 0
    assert "warning memory: an estimated" in out
    assert "the GPU has 0.0" in out


def test_a_dry_run_rejects_the_directory_of_another_run(vantage, tiny_model, tmp_path, clean):
    (tmp_path / "run").write_text("a file")
    status, _, err = vantage("train", written(tmp_path, tiny_model, clean), "--dry-run")
    assert status == 2
    assert "is a file, expected a directory" in err


# ---- example prompts -----------------------------------------------------------------------

BEFORE = "First think about the problem inside"
EARNED = "rewards in a box: accuracy 1, format 0"


def asked(folder, rows: list[dict]) -> str:
    """A file of rows beside two images."""
    for number, size in enumerate([(28, 56), (56, 28)]):
        painted(number, size).save(folder / f"{number}.png")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


USER = {"role": "user", "content": "Which digits?"}
SYSTEM = {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "7"}
ONE = "images: 28 x 56\nreference answer: '7'"
# A row of each layout and its output: roles and number of images, text, following lines.
SHOWN = {
    "text": (
        {"question": "Which digits?", "answer": "7"},
        "(user; no image)",
        "<|user|>Which digits?",
        "reference answer: '7'",
    ),
    "a picture": (
        {"question": "Which digits?", "answer": "7", "img_path": "0.png"},
        "(user; 1 image)",
        "<|user|><image>Which digits?",
        ONE,
    ),
    "pictures": (
        {"problem": "<image> or <image>?", "solution": 7, "images": ["0.png", "1.png"]},
        "(user; several images)",
        "<|user|><image> or <image>?",
        "images: 28 x 56, 56 x 28\nreference answer: '7'",
    ),
    "trl": (
        {"prompt": [SYSTEM, USER], "answer": "7", "image": "0.png"},
        "(system, user; 1 image)",
        "<image>Which digits?",
        ONE,
    ),
    "sharegpt": (
        {
            "conversations": [
                {"from": "human", "value": "<image>\nWhich digits?"},
                {"from": "gpt", "value": "7"},
            ],
            "image": "0.png",
        },
        "(user; 1 image)",
        "<|user|><image>\nWhich digits?",
        ONE,
    ),
    "openai": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "0.png"}},
                        {"type": "text", "text": "Which digits?"},
                    ],
                },
                SAID,
            ]
        },
        "(user; 1 image)",
        "<|user|><image>Which digits?",
        ONE,
    ),
    "several turns": (
        {"messages": [USER, SAID, {"role": "user", "content": "Add the digits."}, SAID]},
        "(user, assistant, user; no image)",
        "Add the digits.",
        "reference answer: '7'",
    ),
    "verl": (
        {
            "prompt": [{"role": "user", "content": "<image>Which digits?"}],
            "images": [{"path": "0.png"}],
            "reward_model": {"ground_truth": "7"},
        },
        "(user; 1 image)",
        "<|user|><image>Which digits?",
        ONE,
    ),
    "options": (
        {"question": "Which digits?", "A": "6", "B": "7", "answer": "B", "image": "0.png"},
        "(user; 1 image)",
        "<|user|><image>Which digits?\nChoices:\n(A) 6\n(B) 7",
        "images: 28 x 56\nreference answer: 'B'",
    ),
    "alpaca": (
        {"instruction": "Add the digits.", "input": "Which digits?", "output": "7"},
        "(user; no image)",
        "<|user|>Add the digits.\nWhich digits?",
        "reference answer: '7'",
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_prompt_of_each_layout_is_shown(name, vantage, tiny_model, tmp_path):
    row, made_of, text, after = SHOWN[name]
    _, out, _ = vantage("check", asked(tmp_path, [row]), "--model", tiny_model)
    lines = [line.strip("│ ") for line in out.splitlines()]
    start = next(n for n, line in enumerate(lines) if "as the model sees it" in line)
    assert f"row 0 as the model sees it, 1 of 1 with layout {made_of}" in lines[start]
    assert text in "\n".join(lines[start:])
    assert BEFORE in out
    assert after in out
    assert EARNED in out


def test_each_layout_is_shown_once_with_its_row_count(vantage, tiny_model, tmp_path):
    rows = [{"question": f"Add {n}.", "answer": "7", "image": "0.png"} for n in range(3)]
    rows += [{"question": "Which digits?", "answer": "7"}]
    _, out, _ = vantage("check", asked(tmp_path, rows), "--model", tiny_model)
    assert out.count("as the model sees it") == 2
    assert "row 0 as the model sees it, 1 of 3 with layout (user; 1 image)" in out
    assert "row 3 as the model sees it, 1 of 1 with layout (user; no image)" in out


def test_remarks_about_columns_are_notes(vantage, tiny_model, tmp_path):
    row = {"prompt": "Why?", "problem": "How?", "answer": "7", "image": "0.png", "mask": "1.png"}
    source = asked(tmp_path, [row])
    status, _, err = vantage("check", source, "--model", tiny_model)
    assert status == 2
    assert "columns: {images: [image, mask]}" in err
    _, out, _ = vantage("check", source, "--model", tiny_model, "--images", "image")
    assert "note columns: questions are read from column 'prompt', not from 'problem'" in out
    assert "note columns: images in column 'mask' are not shown to the model" in out
    _, out, _ = vantage("check", source, "--model", tiny_model, "--images", "")
    assert "(user; no image)" in out


def test_a_template_with_an_unknown_column_is_rejected(vantage, tiny_model, clean, tmp_path):
    path = written(tmp_path, tiny_model, clean, data={"template": "{question} {A}"})
    for command in (("check",), ("train", "--dry-run"), ("train",)):
        status, _, err = vantage(command[0], path, *command[1:])
        assert status == 2
        assert "template: {A} is not a column" in err
