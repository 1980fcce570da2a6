"""Data that TRL accepts also works here: evaluation streams, transforms, any last message."""

import pytest
from datasets import Dataset, IterableDataset
from talking import (
    RED,
    SYSTEM,
    Told,
    said,
    text_model,  # noqa: F401, a fixture
    trained_by,
    user,
)
from training_cases import Reward, mixed_rows, trainer

from vantage.errors import ConfigError, InputError
from vantage.questions.schema import render
from vantage.training.trl.data_sets import shortened
from vantage.training.trl.turn import in_one_form

ADD = [user("Add 3 + 4.")]


def streamed(rows) -> IterableDataset:
    """A generator of the rows."""
    return IterableDataset.from_generator(lambda: iter(rows))


def test_stream_evaluates_like_a_data_set(tiny_model, tmp_path):
    rows, rewards = mixed_rows(4), []
    for held_out in (rows, streamed(rows), {"own": streamed(rows)}):
        rest = {"eval_dataset": held_out}
        made = trainer(tiny_model, rows, tmp_path, rest=rest, top_k=1, num_generations_eval=1)
        found = made.evaluate()
        rewards.append(found.get("eval_reward", found.get("eval_own_reward")))
    assert rewards[0] is not None
    assert rewards == [pytest.approx(rewards[0])] * 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "eval_dataset has no rows"),
        ([{"question": "Why?"}], "eval_dataset has no column 'prompt'"),
        ([{"prompt": [user(" ")]}], "empty question"),
    ],
)
def test_stream_with_invalid_first_row_raises(tiny_model, tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        trainer(tiny_model, mixed_rows(4), tmp_path, rest={"eval_dataset": streamed(rows)})


def test_training_on_a_stream_raises(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match=r"train_dataset is an? IterableDataset: .* any order"):
        trainer(tiny_model, streamed([{"prompt": ADD}]), tmp_path)


def test_data_set_transforms_apply(tiny_model, tmp_path):
    def made(batch):
        return {
            "prompt": [[user(text)] for text in batch["text"]],
            "image": [RED] * len(batch["text"]),
            "level": [len(text) for text in batch["text"]],
        }

    rows, told = Dataset.from_dict({"text": ["Add.", "Why?"]}).with_transform(made), Told()

    def reward(prompts, completions, completion_ids, level, **columns):
        return told.reward(prompts, completions, completion_ids, level=level)

    rest = {"eval_dataset": rows}
    trained_by("vantage", tiny_model, rows, tmp_path, [reward], rest)
    prompts, _, columns = told.rewarded[0]
    assert [prompt[0]["content"][1]["text"] for prompt in prompts] == ["Add."] * 2 + ["Why?"] * 2
    assert columns == {"level": [4] * 4}


def test_columns_excluded_by_a_format_are_ignored(tiny_model, tmp_path):
    rows = Dataset.from_list([{"prompt": ADD, "image": RED, "answer": "7"}])
    told = Told()
    kept = rows.with_format(columns=["prompt", "answer"])
    trained_by("vantage", tiny_model, kept, tmp_path, [told.reward])
    prompts, _, columns = told.rewarded[0]
    assert prompts == [ADD] * 2 and columns == {"answer": ["7"] * 2}


@pytest.mark.parametrize(
    "rows",
    [
        {"prompt": [[user("What does <image> mean?")]]},
        {"prompt": ["<image> is"]},
        {"prompt": [ADD], "others": [["Is <image> a word?"]]},
        {"prompt": [[*ADD, said("As <image> I")]]},
    ],
)
@pytest.mark.parametrize("check_data", [True, False])
def test_image_placeholder_in_text_raises_at_the_start(tiny_model, tmp_path, rows, check_data):
    options = {"variants": {"prompts": 2, "rewrites": "others"}} if "others" in rows else {}
    with pytest.raises(InputError, match=r"row 0, column .* '<image>'|row 0, .* 1 <image> for 0"):
        trainer(tiny_model, Dataset.from_dict(rows), tmp_path, check_data=check_data, **options)


def test_image_placeholder_is_plain_text_for_text_models(text_model, tmp_path):  # noqa: F811
    rows = Dataset.from_list([{"prompt": [user("What does <image> mean?")]}])
    made = trainer(text_model, rows, tmp_path, reward=Reward())
    assert render(made.session.prompts.original(rows[0])) == [user("What does <image> mean?")]


def test_image_in_a_batch_makes_all_prompts_multimodal():
    shown = {"prompt": [user([{"type": "image", "image": RED}])], "image": RED}
    text = {"prompt": [SYSTEM, *ADD], "image": None}
    assert in_one_form([text, text]) == [text, text]
    assert in_one_form([{"prompt": "Add."}]) == [{"prompt": "Add."}]
    one, other = in_one_form([shown, text])
    assert one == shown
    assert other["prompt"][1] == user([{"type": "text", "text": "Add 3 + 4."}])


def test_long_prompts_of_a_stream_are_dropped_or_raise_lazily(tiny_model, tmp_path):
    rows = [{"prompt": ADD}, {"prompt": [user("Add 3 + 4 + 5 + 6 + 7.")]}]
    made = trainer(tiny_model, mixed_rows(4), tmp_path)
    for policy in ("skip", "error"):
        kept = shortened(
            streamed(rows),
            10,
            policy,
            made.session.prompts,
            lambda question: len(made._encoder.encode(render(question)).ids),
            lambda prompts, room: pytest.fail("a stream has no numbers"),
        )
        if policy == "skip":
            assert [row["prompt"] for row in kept] == [ADD]
        else:
            with pytest.raises(
                InputError, match="a prompt has 14 tokens, but vLLM has room for 10"
            ):
                list(kept)
