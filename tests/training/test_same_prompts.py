"""Rewards, rollout functions and logs get the same prompts as with TRL's trainer."""

import pandas as pd
import pytest
from datasets import Dataset
from talking import (
    BLUE,
    RED,
    SYSTEM,
    Listening,
    Told,
    image,
    part,
    plain,
    reward_model,
    said,
    text_model,  # noqa: F401, a fixture
    trained_by,
    user,
)

ADD, SUM = "Add 3 + 4.", "What is the sum of the digits in the image?"
WORD = "an image as a word"
TEXTS = {
    "a plain text": [{"prompt": ADD}],
    "a string": [{"prompt": [user(ADD)], "answer": "7"}],
    "parts": [{"prompt": [user([part("Add"), part(" 3 + 4.")])]}],
    "a system message": [{"prompt": [SYSTEM, user(ADD)]}],
    "several turns": [{"prompt": [user(ADD), said("7"), user("Why?")]}],
    "keys of messages": [{"prompt": [user(ADD, name="Ann"), said("7"), user("Why?")]}],
    "the beginning of an answer": [{"prompt": [user(ADD), said("I think")]}],
    "a system message at the end": [{"prompt": [user(ADD), SYSTEM]}],
    "the result of a tool at the end": [
        {"prompt": [user(ADD), {"role": "tool", "name": "add", "content": "7"}]}
    ],
    "no user": [{"prompt": [SYSTEM]}],
    WORD: [{"prompt": [user("What does <image> mean?")]}],
    "two rows": [{"prompt": [user(ADD)]}, {"prompt": [SYSTEM, user("Why?")]}],
}
SHOWN = {
    "images": [{"prompt": [user(SUM)], "images": [RED, BLUE]}],
    "an image": [{"prompt": [SYSTEM, user(SUM)], "image": RED, "answer": "3"}],
    "an image and several turns": [{"prompt": [user(SUM), said("3"), user("Why?")], "image": RED}],
    "an image and the beginning of an answer": [{"prompt": [user(SUM), said("I")], "image": RED}],
    "places in several turns": [
        {
            "prompt": [user([image(), part(SUM)]), said([part("3")]), user([part("And"), image()])],
            "images": [RED, BLUE],
        }
    ],
    "no images in their column": [{"prompt": [user(ADD)], "images": []}],
}
# Data sets that store images inside a conversation give them back as bytes, so they come by a
# transform.
INSIDE = {
    "an image inside the conversation": [
        {"prompt": [SYSTEM, user([image(RED), part(SUM)]), said("3"), user("Why?")]}
    ],
}


def as_given(rows: list[dict]) -> Dataset:
    """Rows whose values are what a transform gives, untouched by Arrow."""
    numbers = Dataset.from_dict({"number": list(range(len(rows)))})
    names = list(rows[0])

    def given(batch):
        return {name: [rows[number][name] for number in batch["number"]] for name in names}

    return numbers.with_transform(given)


def heard(kind: str, model: str, rows: Dataset, tmp_path, rollouts: bool) -> Told:
    """By a reward function and a reward model; with `rollouts` by a rollout function too."""
    told, (scorer, tokenizer) = Told(), reward_model()
    processors = {"reward_processing_classes": [None, Listening(tokenizer, told.scored)]}
    trained_by(kind, model, rows, tmp_path, [told.reward, scorer], processors)
    if rollouts:
        trained_by(kind, model, rows, tmp_path, [told.reward], {"rollout_func": told.rollout})
    return told


def tables() -> list:
    """Every row with every model that can read it."""
    cases = [("tiny_model", given, name) for given in (TEXTS, SHOWN, INSIDE) for name in given]
    cases = [case for case in cases if case[-1] != WORD]  # which its processor refuses
    cases += [("text_model", TEXTS, name) for name in ("a plain text", "parts", "no user", WORD)]
    return [
        pytest.param(model, given[name], given is INSIDE, id=f"{name}, {model}")
        for model, given, name in cases
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "rows", "inside"), tables())
def test_rewards_and_rollout_functions_get_the_same_arguments_as_in_trl(
    model, rows, inside, tmp_path, request, monkeypatch
):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    directory = request.getfixturevalue(model)
    data = as_given(rows) if inside else Dataset.from_list(rows)
    theirs, ours = (
        heard(kind, directory, data, tmp_path, model == "tiny_model") for kind in ("trl", "vantage")
    )
    assert ours.rewarded == theirs.rewarded
    assert ours.scored == theirs.scored
    assert ours.rolled_out == theirs.rolled_out
    prompts, _, _ = ours.rewarded[0]
    assert len(prompts) == len(ours.scored) == 2 * len(rows)
    if not any(name in rows[0] for name in ("image", "images")):
        expected = [plain(row["prompt"]) for row in rows for _ in range(2)]
        assert prompts == expected


def test_template_and_variants_keep_the_prompt_format(tiny_model, tmp_path):
    rows = [
        {"prompt": [user(ADD), said("7"), user("Why?")], "new_questions": ["How come?"]},
        {"prompt": [user([part("What"), part("?")])], "new_questions": ["Which?"]},
    ]
    told = Told()
    trained_by(
        "vantage",
        tiny_model,
        as_given(rows),
        tmp_path,
        [told.reward],
        variants={"prompts": 2, "rewrites": "new_questions"},
        per_device_train_batch_size=8,
        recipe="share-grpo",
        epsilon=0.2,
        prompt_template="{question} Think.",
        system_prompt="Be brief.",
    )
    brief = {"role": "system", "content": "Be brief."}
    parts = {"role": "system", "content": [part("Be brief.")]}
    turns = [brief, user(ADD), said("7")]
    prompts, _, _ = told.rewarded[0]
    assert prompts[::2] == [
        [*turns, user("Why? Think.")],
        [*turns, user("How come? Think.")],
        [parts, user([part("What? Think.")])],
        [parts, user([part("Which? Think.")])],
    ]


@pytest.mark.filterwarnings("ignore")
def test_logged_completions_have_the_same_prompts_as_in_trl(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("trl.trainer.grpo_trainer.is_rich_available", lambda: False)
    rows = Dataset.from_list([*SHOWN["an image"], *SHOWN["an image and several turns"]])
    shown = []
    for kind in ("trl", "vantage"):
        made = trained_by(kind, tiny_model, rows, tmp_path, [Told().reward], log_completions=True)
        (file,) = (tmp_path / kind / "completions").glob("*.parquet")
        images = [plain(pictures) for pictures in made._logs["images"]]
        shown.append((pd.read_parquet(file)["prompt"].map(str).tolist(), images))
    assert shown[0] == shown[1]
    assert shown[0][1] == [plain([RED])] * 4
