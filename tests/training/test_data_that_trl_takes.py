"""Data that TRL takes are taken: streams to evaluate on, transforms, prompts of any end."""

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
    """The rows one after the other."""
    return IterableDataset.from_generator(lambda: iter(rows))


def test_a_stream_is_evaluated_as_its_rows_are(tiny_model, tmp_path):
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
def test_a_stream_whose_first_row_cannot_be_asked_is_refused(tiny_model, tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        trainer(tiny_model, mixed_rows(4), tmp_path, rest={"eval_dataset": streamed(rows)})


def test_a_stream_is_not_trained(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match=r"train_dataset is an? IterableDataset: .* any order"):
        trainer(tiny_model, streamed([{"prompt": ADD}]), tmp_path)


def test_rows_come_as_a_transform_makes_them(tiny_model, tmp_path):
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


def test_columns_that_a_format_leaves_out_are_left_out(tiny_model, tmp_path):
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
def test_what_a_processor_takes_for_a_picture_is_refused_at_the_start(
    tiny_model, tmp_path, rows, check_data
):
    options = {"variants": {"prompts": 2, "rewrites": "others"}} if "others" in rows else {}
    with pytest.raises(InputError, match=r"row 0, column .* '<image>'|row 0, .* 1 <image> for 0"):
        trainer(tiny_model, Dataset.from_dict(rows), tmp_path, check_data=check_data, **options)


def test_it_is_a_word_to_a_model_of_text(text_model, tmp_path):  # noqa: F811
    rows = Dataset.from_list([{"prompt": [user("What does <image> mean?")]}])
    made = trainer(text_model, rows, tmp_path, reward=Reward())
    assert render(made.session.prompts.original(rows[0])) == [user("What does <image> mean?")]


def test_a_picture_in_a_batch_puts_all_its_prompts_in_parts():
    shown = {"prompt": [user([{"type": "image", "image": RED}])], "image": RED}
    text = {"prompt": [SYSTEM, *ADD], "image": None}
    assert in_one_form([text, text]) == [text, text]
    assert in_one_form([{"prompt": "Add."}]) == [{"prompt": "Add."}]
    one, other = in_one_form([shown, text])
    assert one == shown
    assert other["prompt"][1] == user([{"type": "text", "text": "Add 3 + 4."}])


def test_long_prompts_of_a_stream_are_left_out_or_refused_when_they_come(tiny_model, tmp_path):
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
            with pytest.raises(InputError, match="a prompt of 14 tokens, vLLM has 10"):
                list(kept)
