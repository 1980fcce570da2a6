"""`VantageTrainer`: generation, caching, padding, errors and logs."""

import logging
import math
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset, Image, IterableDataset
from families import FAMILIES
from PIL import Image as Pictures
from training_cases import OtherEngine, Recorder, Reward, difference, mixed_rows, trained, trainer
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationMixin,
)

import vantage
from vantage.errors import ConfigError, EngineError, InputError
from vantage.training import clock, columns
from vantage.training.towers import freeze_vision_tower
from vantage.training.trl.policy import Policy
from vantage.training.versions import check_version

TWO_PROMPTS = {"prompts": 2, "rewrites": "new_questions"}
SHARE = {"recipe": "share-grpo", "variants": TWO_PROMPTS, "steps_per_generation": 4}
IMAGE = 6  # id of <image> in the tiny tokenizer


def logged(made, key: str) -> list[float]:
    return [entry[key] for entry in made.state.log_history if key in entry]


def weights(made) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def texts(made, prompts) -> list[str]:
    """What the model reads of conversations, images as the template writes them."""
    words = made.processing_class
    return [
        words.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts
    ]


# ---- rollouts ------------------------------------------------------------------------------


def test_each_prompt_has_its_own_rollouts_original_first(tiny_model, tmp_path):
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, **SHARE)
    asked = texts(made, made.reward_funcs[0].prompts)
    assert [len(set(asked[first : first + 4])) for first in range(0, 32, 4)] == [1] * 8
    one, other = asked[0], asked[4]
    assert one == ("<|user|><image>What is the sum of the digits in the image?<|end|><|assistant|>")
    assert other.startswith("<|user|><image>") and other != one
    assert asked[24] == asked[28] == "<|user|>Add 3 + 4.<|end|><|assistant|>"


def test_batched_generation_matches_single_prompts(tiny_model, tmp_path):
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, top_k=1)
    plain = AutoModelForImageTextToText.from_pretrained(tiny_model)
    reader = AutoProcessor.from_pretrained(tiny_model)
    reward = made.reward_funcs[0]
    assert len({tuple(ids) for ids in reward.responses}) == 3  # two questions are the same
    for prompt, response in zip(reward.prompts, reward.responses, strict=True):
        inputs = reader.apply_chat_template(
            [prompt],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        whole = plain.generate(**inputs, do_sample=False, max_new_tokens=6)
        assert whole[0, inputs["input_ids"].shape[1] :].tolist() == response


def test_template_and_system_message_wrap_the_question(tiny_model, tmp_path):
    made, _ = trained(
        tiny_model,
        mixed_rows(2),
        tmp_path,
        prompt_template="First think. {question} Answer:",
        system_prompt="You are a helpful assistant.",
    )
    front = "<|system|>You are a helpful assistant.<|end|><|user|>"
    assert set(texts(made, made.reward_funcs[0].prompts)) == {
        f"{front}<image>First think. What is the sum of the digits in the image? Answer:"
        "<|end|><|assistant|>",
        f"{front}First think. Add 3 + 4. Answer:<|end|><|assistant|>",
    }


def test_template_may_put_text_before_the_images(tiny_model, tmp_path):
    made, _ = trained(
        tiny_model, mixed_rows(2), tmp_path, prompt_template="Think.\n<image>{question}"
    )
    assert set(texts(made, made.reward_funcs[0].prompts)) == {
        "<|user|>Think.\n<image>What is the sum of the digits in the image?<|end|><|assistant|>",
        "<|user|>Think.\nAdd 3 + 4.<|end|><|assistant|>",
    }


def test_equal_prompts_have_one_id(tiny_model, tmp_path):
    variants = {"prompts": 4, "rewrites": "new_questions"}
    options = {"variants": variants, "per_device_train_batch_size": 32}
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, recipe="share-grpo", **options)
    rollouts = Counter(made.batch.plan.rollouts.prompt_N.tolist())
    # 2 rewrites for 3 more prompts; the last question has none.
    assert rollouts == {0: 8, 1: 4, 2: 4, 4: 8, 5: 4, 6: 4, 8: 8, 9: 4, 10: 4, 12: 16}


class Listening(Reward):
    """A reward that records the questions it scores."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __call__(self, answer, **columns):
        self.asked.extend(answer)
        return super().__call__(**columns)


def test_every_question_occurs_once_per_epoch(tiny_model, tmp_path):
    reward = Listening()
    trained(
        tiny_model,
        mixed_rows(6),
        tmp_path,
        reward=reward,
        num_train_epochs=2,
        shuffle_dataset=True,
        steps_per_generation=1,
        max_steps=-1,
    )
    asked = reward.asked
    assert len(asked) == 6 * 4 * 2
    for epoch in (asked[:24], asked[24:]):
        assert Counter(epoch) == {str(number): 4 for number in range(6)}
    assert asked[:24] != asked[24:]
    assert asked[:24] != [str(number) for number in range(6) for _ in range(4)]


def test_media_tokens_are_never_sampled(tiny_model, tmp_path):
    made = trainer(tiny_model, mixed_rows(4), tmp_path)
    eager = torch.zeros(made.model.config.text_config.vocab_size)
    eager[IMAGE] = 100.0
    made.model.lm_head.register_forward_hook(lambda module, inputs, output: output + eager)
    made.train()
    responses = made.reward_funcs[0].responses
    assert responses
    assert not any(IMAGE in ids for ids in responses)


def given(responses):
    """A rollout function that answers with the given responses."""

    def rollout(prompts, made):
        read = made.processing_class.apply_chat_template
        ids = [
            read([p], tokenize=True, add_generation_prompt=True, return_dict=True)["input_ids"][0]
            for p in prompts
        ]
        return {"prompt_ids": ids, "completion_ids": responses, "logprobs": None}

    return rollout


def test_rollout_function_response_with_image_token_is_dropped(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    responses = [[20 + number, 30, 2] for number in range(16)]
    responses[5] = [20, IMAGE, 2]
    rest = {"rollout_func": given(responses)}
    made, steps = trained(tiny_model, mixed_rows(4, live=(0, 1, 2, 3)), tmp_path, rest=rest)
    assert logged(made, "plan/unscored") == [1]
    assert len(made.batch.plan.rollouts) == 15
    assert Counter(made.batch.plan.rollouts.question_N.tolist()) == {0: 4, 1: 3, 2: 4, 3: 4}
    assert all(math.isfinite(step.loss) for step in steps)


# ---- rewards -------------------------------------------------------------------------------


class Fixed(Reward):
    """Rewards from a list, in the order of the rollouts."""

    def __init__(self, rewards, name="fixed"):
        super().__init__()
        self.fixed, self.__name__ = rewards, name

    def __call__(self, prompts, completion_ids, **columns):
        super().__call__(prompts, completion_ids)
        self.rewards = self.fixed
        return self.fixed


TWO_QUESTIONS = {"per_device_train_batch_size": 4, "reward_weights": [1.0, 0.5]}


def test_advantages_follow_from_rewards(tiny_model, tmp_path):
    reward = Fixed([3, 1, 1, 3, 5, 5, 5, 5, 0, 0, 0, 2, 0.3, 0.3, 0.3, 0.3])
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, reward=reward)
    expected = [0.8660, -0.8660, -0.8660, 0.8660, 0, 0, 0, 0, -0.5, -0.5, -0.5, 1.5, 0, 0, 0, 0]
    assert made.batch.plan.of_rollouts.advantage_M.tolist() == pytest.approx(expected, abs=1e-4)
    assert not made.batch.plan.of_rollouts.advantage_M[[4, 5, 6, 7, 12, 13, 14, 15]].any()


def test_plan_depends_only_on_rewards_seed_and_batch_number(tiny_model, tmp_path):
    reward = Reward()
    options = {"recipe": {"name": "share-shuffle", "rounds": 4}, "variants": TWO_PROMPTS}
    made, _ = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        reward=reward,
        steps_per_generation=4,
        max_steps=8,
        **options,
    )
    prompt_N = np.repeat([0, 1, 2, 3, 4, 5, 6, 6], 4)
    rollouts = vantage.Rollouts(prompt_N // 2, prompt_N, reward.rewards)
    expected = vantage.recipe("share-shuffle", rounds=4).plan(
        rollouts, np.random.default_rng([made.args.seed, 1])
    )
    for column in ("prompt_M", "rollout_M", "advantage_M", "pair_M", "padding_M", "weight_M"):
        assert np.array_equal(
            getattr(made.batch.plan.of_rollouts, column), getattr(expected, column)
        )


def test_reward_parts_are_weighted_and_missing_ones_unscored(tiny_model, tmp_path):
    rewards = [
        Fixed([1, 0, None, None, 1, 1, 0, 0], "first"),
        Fixed([0, 2, 2, None, 0, 2, None, 2], "second"),
    ]
    made, _ = trained(tiny_model, mixed_rows(2), tmp_path, reward=rewards, **TWO_QUESTIONS)
    assert made.batch.plan.rollouts.reward_N.tolist() == [1, 1, 1, 2, 1]
    assert made.batch.plan.rollouts.question_N.tolist() == [0, 0, 1, 1, 1]
    assert logged(made, "plan/unscored") == [3]


def test_rewards_get_the_tag_opened_by_the_chat_template(tiny_model, tmp_path):
    seen = []

    def reward(completions, **columns):
        seen.extend(completion[0]["content"] for completion in completions)
        return [0.0] * len(completions)

    processor = AutoProcessor.from_pretrained(tiny_model)
    processor.chat_template = processor.chat_template.replace(
        "<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}"
    )
    rest = {"processing_class": processor}
    trainer(tiny_model, mixed_rows(4), tmp_path, reward=reward, rest=rest).train()
    assert len(seen) == 16 and all(text.startswith("<think>") for text in seen)


def test_equal_parts_give_exactly_equal_rewards(tiny_model, tmp_path):
    parts = [Fixed([1] * 8, "accuracy"), Fixed([1] * 8, "format")]
    made, _ = trained(tiny_model, mixed_rows(2), tmp_path, reward=parts, **TWO_QUESTIONS)
    assert not made.batch.plan.of_rollouts.advantage_M.any()


class Failing(Reward):
    """A reward that works for the first batch only."""

    def __call__(self, prompts, completion_ids, trainer_state, **columns):
        scores = super().__call__(prompts, completion_ids, **columns)
        return scores if trainer_state.global_step == 0 else [None] * len(scores)


@pytest.mark.parametrize("recipe", ["grpo", "share-grpo", "shuffle-r1", "dr-grpo"])
def test_unscored_batch_trains_nothing(recipe, tiny_model, tmp_path):
    made, steps = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        reward=Failing(),
        recipe=recipe,
        variants=TWO_PROMPTS if recipe == "share-grpo" else None,
        per_device_train_batch_size=16,
        max_steps=4,
    )
    assert made.batch.plan.rollouts is None
    assert made.batch.plan.of_rollouts is None
    assert logged(made, "plan/unscored") == [0, 32]
    assert difference(steps[1].weights, steps[2].weights) > 0
    for step in steps[2:]:
        assert step.loss == 0
        assert not any(gradient.any() for gradient in step.gradients.values())
        assert difference(weights(made), step.weights) == 0


@pytest.mark.parametrize("value", [1.0, 0.0], ids=["all right", "all wrong"])
def test_equal_rewards_give_a_valid_step_without_gradient(value, tiny_model, tmp_path):
    made, steps = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        reward=Fixed([value] * 16),
        recipe="shuffle-r1",
    )
    assert made.batch.plan.of_rollouts.padding_M.all()
    assert logged(made, "plan/silent_questions") == [1.0]
    assert all(step.loss == 0 for step in steps)
    assert difference(weights(made), steps[0].weights) == 0


# ---- once ----------------------------------------------------------------------------------


@pytest.fixture
def scored(monkeypatch):
    """Tokens of rows that were scored without a gradient, without padding."""
    rows = []
    forward = Policy.whole_rows

    def spy(self, model, encodings, tokens_RT, seen_RT, **options):
        if not torch.is_grad_enabled():
            whole = zip(encodings, tokens_RT, seen_RT, strict=True)
            rows.extend((*row.ids, *ids[mask.bool()].tolist()) for row, ids, mask in whole)
        return forward(self, model, encodings, tokens_RT, seen_RT, **options)

    monkeypatch.setattr(Policy, "whole_rows", spy)
    return rows


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": {"name": "shuffle-r1", "rounds": 4}, "steps_per_generation": 4},
        {**SHARE, "steps_per_generation": 8},
        {**SHARE, "recipe": {"name": "share-shuffle", "rounds": 8}, "steps_per_generation": 8},
    ],
    ids=["shuffled", "shared", "both"],
)
def test_old_log_probs_are_computed_once_per_distinct_sample(options, scored, tiny_model, tmp_path):
    rows = mixed_rows(8, live=(0, 1, 2, 6))
    made, _ = trained(tiny_model, rows, tmp_path, packing="off", **options)
    samples = made.batch.plan.of_rollouts
    keys = [*zip(samples.prompt_M.tolist(), samples.rollout_M.tolist(), strict=True)]
    real = {key for key, padding in zip(keys, samples.padding_M, strict=True) if not padding}
    trained_M = ~samples.padding_M & (samples.advantage_M != 0)
    with_gradient = {key for key, trains in zip(keys, trained_M, strict=True) if trains}
    assert len(scored) == len(with_gradient) <= len(real)
    assert logged(made, "plan/distinct_samples") == [len(real)]


@pytest.mark.parametrize("updates", [1, 2])
def test_single_update_needs_no_old_log_probs(updates, scored, tiny_model, tmp_path):
    options = {"gradient_accumulation_steps": 2 // updates, "packing": "off"}
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, **options)
    with_gradient = (made.batch.samples.advantage_M != 0).sum()
    assert 0 < with_gradient < 16
    assert len(scored) == (with_gradient if updates == 2 else 0)


def test_sampler_correction_scores_only_trained_rollouts(scored, tiny_model, tmp_path):
    options = {**SHARE, "packing": "off"}
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, kind=OtherEngine, **options)
    samples, scored_rollouts = made.batch.samples, made.batch.scored
    assert len(samples) == 3 * 16 + 8
    forwarded_M = samples.advantage_M != 0
    rollouts = samples.rollout_M[forwarded_M]
    under = zip(samples.prompt_M[forwarded_M].tolist(), rollouts.tolist(), strict=True)
    own = zip(scored_rollouts.prompt_N[rollouts].tolist(), rollouts.tolist(), strict=True)
    assert len(scored) == len({*under, *own}) < 3 * 16 + 8
    assert logged(made, "sampling/importance_sampling_ratio/mean")[0] > 0


def test_processor_runs_once_per_distinct_prompt(tiny_model, tmp_path):
    made = trainer(tiny_model, mixed_rows(8), tmp_path, max_steps=8, **SHARE)
    read, calls = made.processing_class.apply_chat_template, []

    def spy(conversation, **kwargs):
        calls.extend(conversation)
        return read(conversation, **kwargs)

    made.processing_class.apply_chat_template = spy
    made.train()
    distinct = 2 * (3 * 2 + 1)  # batches x prompts of 4 questions, one of them with one wording
    assert len(calls) == distinct


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_reference_model_is_loaded_only_for_kl(beta, tiny_model, tmp_path):
    made = trainer(tiny_model, mixed_rows(4), tmp_path, beta=beta)
    assert (made.ref_model is None) == (beta == 0)


# ---- the vision tower ----------------------------------------------------------------------


def test_a_frozen_vision_tower_gets_no_gradient(tiny_model, tmp_path):
    rows = mixed_rows(4)
    _, (free, *_) = trained(tiny_model, rows, tmp_path)
    _, (frozen, *_) = trained(tiny_model, rows, tmp_path, freeze_vision_tower=True)
    tower = {name for name in free.gradients if "vision_tower" in name}
    assert tower
    assert frozen.gradients.keys() == free.gradients.keys() - tower
    rest = {name: value for name, value in free.gradients.items() if name not in tower}
    assert difference(frozen.gradients, rest) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vision_tower_of_every_family_is_found(family):
    model, _ = FAMILIES[family]()
    freeze_vision_tower(model)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if ".vis" in name}


def test_freezing_a_missing_vision_tower_raises():
    with pytest.raises(ConfigError, match=r"freeze_vision_tower: Linear has no module named"):
        freeze_vision_tower(torch.nn.Linear(2, 2))


# ---- refused at the start ------------------------------------------------------------------


def rows_of(prompts, **columns) -> Dataset:
    prompts = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    return Dataset.from_dict({"prompt": prompts, **columns})


def picture(value: int = 0) -> Pictures.Image:
    return Pictures.new("RGB", (28, 28), (value,) * 3)


def needs_answer(completions, answer, **columns):
    return [0.0] * len(completions)


def broken_picture() -> Dataset:
    rows = rows_of(["Add."] * 3, image=[picture()] * 3).cast_column("image", Image(decode=False))
    spoil = {"image": {"bytes": b"no picture", "path": None}}
    rows = rows.map(lambda row, number: spoil if number == 1 else row, with_indices=True)
    return rows.cast_column("image", Image())


BAD_ROWS = {
    "no data": (None, ConfigError, ["train_dataset", "NoneType", "datasets.Dataset"]),
    "a stream": (
        IterableDataset.from_generator(lambda: iter([{"prompt": "Add."}])),
        ConfigError,
        ["train_dataset", "IterableDataset"],
    ),
    "no rows": (rows_of([]), InputError, ["train_dataset has no rows"]),
    "no prompt": (
        Dataset.from_dict({"question": ["Add."]}),
        InputError,
        ["no column 'prompt'", "its columns: question"],
    ),
    "a column of the reward": (
        rows_of(["Add."]),
        InputError,
        ["no column 'answer'", "'needs_answer'"],
    ),
    "an empty question": (
        rows_of(["Add.", " "], answer=["1", "2"]),
        InputError,
        ["row 1,", "empty question"],
    ),
    "an image too few": (
        rows_of(["<image> Add.", "Add <image><image>."], answer=["1", "2"], image=[picture()] * 2),
        InputError,
        ["row 1,", "2 <image> for 1 images"],
    ),
    "a picture that is none": (
        broken_picture().add_column("answer", ["1"] * 3),
        InputError,
        ["row 1, column 'images': not an image in a supported format"],
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_invalid_rows_are_named_before_generation(name, tiny_model, tmp_path):
    rows, kind, named = BAD_ROWS[name]
    with pytest.raises(kind) as caught:
        trainer(tiny_model, rows, tmp_path, reward=needs_answer, per_device_train_batch_size=4)
    assert isinstance(caught.value, ValueError)
    missing = [words for words in named if words not in str(caught.value)]
    assert not missing, str(caught.value)


def test_invalid_rewrite_error_names_the_row(tiny_model, tmp_path):
    rows = rows_of(["Add.", "Add."], other=[["Sum <image>."], ["Sum."]])
    with pytest.raises(InputError, match=r"row 0, column .other.: .*1 <image> for 0 images"):
        trainer(tiny_model, rows, tmp_path, variants={"prompts": 2, "rewrites": "other"})


def test_missing_column_of_rewrites_raises(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"no column 'other', needed by variants\.rewrites"):
        trainer(tiny_model, mixed_rows(4), tmp_path, variants={"prompts": 2, "rewrites": "other"})


def test_missing_column_of_allowed_transforms_raises(tiny_model, tmp_path):
    with pytest.raises(
        InputError, match=r"no column 'may', needed by variants\.transforms\.allowed"
    ):
        variants = {"prompts": 2, "transforms": {"allowed": "may"}}
        trainer(tiny_model, mixed_rows(4), tmp_path, variants=variants)


def test_invalid_validation_rows_raise(tiny_model, tmp_path):
    rest = {"eval_dataset": {"easy": rows_of(["Add."]), "hard": rows_of(["Add.", ""])}}
    with pytest.raises(InputError, match=r"eval_dataset\['hard'\]: 1 row cannot.*\n  row 1, .*em"):
        trainer(tiny_model, rows_of(["Add."]), tmp_path, rest=rest)


@pytest.mark.parametrize("name", ["tools", "environment_factory"])
def test_tools_and_environments_raise(name, tiny_model, tmp_path):
    with pytest.raises(ConfigError, match=name):
        trainer(tiny_model, mixed_rows(4), tmp_path, rest={name: [print]})


def test_images_require_a_multimodal_processor(tiny_model, tmp_path):
    words = AutoTokenizer.from_pretrained(tiny_model)
    with pytest.raises(EngineError, match=r"rows have images, but the processor is a .*Tokenizer"):
        trainer(tiny_model, mixed_rows(4), tmp_path, rest={"processing_class": words})


@pytest.mark.parametrize("version", ["1.15.9", "1.17.0", "2.0"])
def test_unsupported_version_of_trl_raises(version):
    with pytest.raises(EngineError, match=rf"trl {version} is installed, vantage needs trl.*1\.16"):
        check_version("trl", version)


def test_long_prompt_error_names_the_rows(tiny_model, tmp_path):
    with pytest.raises(InputError) as caught:
        trainer(tiny_model, mixed_rows(6), tmp_path, max_prompt_length=12)
    assert "prompts of 3 rows are longer than max_prompt_length=12: rows 0, 2, 4" in str(
        caught.value
    )
    assert "on_long_prompt to 'skip'" in str(caught.value)


def test_dropped_long_prompts_are_never_asked(tiny_model, tmp_path):
    reward = Listening()
    options = {"max_prompt_length": 12, "on_long_prompt": "skip", "max_steps": 6}
    trained(tiny_model, mixed_rows(6), tmp_path, reward=reward, **options)
    assert Counter(reward.asked) == {"1": 16, "3": 16, "5": 16}


def test_dropping_all_prompts_raises(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"prompts of 6 rows"):
        trainer(tiny_model, mixed_rows(6), tmp_path, max_prompt_length=2, on_long_prompt="skip")


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [(56, 28), (28, 28)]),
        ({"max_pixels": 392}, [(28, 14), (19, 19)]),
        ({"min_pixels": 3136}, [(80, 40), (56, 56)]),
    ],
    ids=str,
)
def test_pixel_limits_bound_image_size(options, sizes, tiny_model, tmp_path):
    made = trainer(tiny_model, mixed_rows(4), tmp_path, **options)
    pictures = mixed_rows(3)[2]["images"]  # 56 x 28 and 28 x 28
    row = {"prompt": [{"role": "user", "content": "Add."}], "images": pictures}
    assert [image.open().size for image in made.session.prompts.original(row).images] == sizes


# ---- metrics -------------------------------------------------------------------------------

EVERY_BATCH = [
    "reward",
    "plan/silent_questions",
    "plan/silent_rollouts",
    "plan/silent_samples",
    "plan/all_correct",
    "plan/all_incorrect",
    "plan/abs_advantage_before_p50",
    "plan/abs_advantage_after_p90",
    "plan/distinct_samples",
    "plan/repeats",
    "plan/padding",
    "plan/dropped_rollouts",
    "plan/unscored",
    "plan/useful_rollouts_per_second",
    "seconds/generate",
    "seconds/reward",
    "seconds/plan",
    "seconds/log_probs",
    "seconds/update",
    "seconds/rollout_batch",
]


def test_every_rollout_batch_logs_plan_metrics(tiny_model, tmp_path):
    made, _ = trained(
        tiny_model,
        mixed_rows(8),
        tmp_path,
        recipe={"name": "shuffle-r1", "rounds": 4},
        max_steps=6,
    )
    values = {key: logged(made, key) for key in EVERY_BATCH}
    assert {key: len(found) for key, found in values.items()} == dict.fromkeys(EVERY_BATCH, 3)
    assert all(math.isfinite(value) for found in values.values() for value in found)
    stages = sum(np.array(values[f"seconds/{name}"]) for name in clock.STAGES)
    assert np.all(stages <= np.array(values["seconds/rollout_batch"]))
    assert len(logged(made, "loss")) == 6


def test_filler_is_excluded_from_logged_means(tiny_model, tmp_path):
    made, _ = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        reward=Fixed([1, 0, 1, 0] + [1] * 12),
        recipe={"name": "dapo-filter", "refills": 0},
        steps_per_generation=8,
        per_device_train_batch_size=2,
    )
    assert len(logged(made, "loss")) == 8
    assert len(logged(made, "entropy")) == 4
    assert min(logged(made, "entropy")) > 5


# ---- validation ----------------------------------------------------------------------------


class Peaking(Reward):
    """A reward that is highest, for every response alike, after some steps."""

    def __init__(self, values: dict[int, float]):
        super().__init__()
        self.values, self.asked = values, []

    def __call__(self, prompts, completion_ids, trainer_state, **columns):
        self.asked.append(prompts)
        if len(completion_ids) == 8:  # training
            return super().__call__(prompts, completion_ids, **columns)
        return [self.values[trainer_state.global_step]] * len(completion_ids)


VALIDATED = {
    "steps_per_generation": 2,
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 3,
    "num_generations_eval": 1,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "max_steps": 8,
    "variants": {"prompts": 2, "transforms": {"names": ["upside-down"], "probability": 1.0}},
    "num_generations": 2,
    "shuffle_dataset": True,
}


def test_best_checkpoint_is_kept_and_loaded_at_the_end(tiny_model, tmp_path):
    recorder = Recorder()
    made = trainer(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        reward=Peaking({2: 0.1, 4: 0.5, 6: 0.3, 8: 0.2}),
        rest={"eval_dataset": mixed_rows(3), "callbacks": [recorder]},
        load_best_model_at_end=True,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=1,
        **VALIDATED,
    )
    made.train()
    assert logged(made, "eval_reward") == pytest.approx([0.1, 0.5, 0.3, 0.2])
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    assert (tmp_path / "checkpoint-4" / "complete").is_file()
    after_4 = recorder.steps[4].weights
    assert difference(weights(made), after_4) < 1e-6
    assert difference(weights(made), recorder.steps[-1].weights) > 1e-4


def test_validation_asks_original_questions_without_side_effects(tiny_model, tmp_path):
    rows, reward = mixed_rows(4), Peaking(dict.fromkeys(range(0, 10, 2), 1.0))
    options = {**VALIDATED, "system_prompt": "You are a helpful assistant."}
    with_it, _ = trained(
        tiny_model, rows, tmp_path, reward=reward, rest={"eval_dataset": rows}, **options
    )
    without, _ = trained(tiny_model, rows, tmp_path, **{**options, "eval_strategy": "no"})
    assert difference(weights(with_it), weights(without)) == 0
    validation = [prompt for batch in reward.asked if len(batch) != 8 for prompt in batch]
    assert len(validation) == 4 * 4
    front = "<|system|>You are a helpful assistant.<|end|><|user|>"
    assert set(texts(with_it, validation)) == {
        f"{front}{'<image>' * images}{text}<|end|><|assistant|>"
        for images, text in [
            (1, "What is the sum of the digits in the image?"),
            (2, "What is the sum of the digits in the image?"),
            (0, "Add 3 + 4."),
        ]
    }


# ---- the rest of TRL -----------------------------------------------------------------------


def test_loaded_model_trains_like_a_path(tiny_model, tmp_path):
    _, by_path = trained(tiny_model, mixed_rows(4), tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tiny_model)
    reader = AutoProcessor.from_pretrained(tiny_model)
    _, in_memory = trained(model, mixed_rows(4), tmp_path, rest={"processing_class": reader})
    assert difference(in_memory[0].gradients, by_path[0].gradients) < 1e-5


def test_plain_text_trains_without_a_chat_template(tiny_model, tmp_path):
    rows = Dataset.from_dict({"prompt": ["3 + 4 =", "1 + 2 ="]})
    made, _ = trained(tiny_model, rows, tmp_path)
    assert set(made.reward_funcs[0].prompts) == {"3 + 4 =", "1 + 2 ="}


def test_completions_are_logged_with_prompts_of_all_kinds(tiny_model, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    trained(tiny_model, mixed_rows(4), tmp_path, log_completions=True)
    assert list((tmp_path / "completions").glob("*.parquet"))


# ---- which questions -----------------------------------------------------------------------


class Numbered(Reward):
    """Silent for some questions; which were asked in each generation is noted."""

    def __init__(self, silent):
        super().__init__()
        self.silent, self.rounds = silent, []

    def __call__(self, completion_ids, answer, **columns):
        self.rounds.append(answer)
        quiet = [self.silent(int(number)) for number in answer]
        return [1.0 if q else place % 2 for place, q in enumerate(quiet)]


def refilled(tiny_model, tmp_path, silent, refills, rows=8, **options):
    reward = Numbered(silent)
    recipe = {"name": "dapo-filter", "refills": refills}
    made, steps = trained(
        tiny_model, mixed_rows(rows), tmp_path, reward=reward, recipe=recipe, **options
    )
    return made, reward.rounds, steps


def test_silent_questions_are_refilled(tiny_model, tmp_path):
    made, rounds, _ = refilled(tiny_model, tmp_path, lambda number: number < 4, refills=8)
    first = [int(number) for number in rounds[0][::4]]
    missing = sum(number < 4 for number in first)
    assert missing and len(rounds[1]) == 4 * missing
    assert made.batch.plan.of_rollouts.padding_M.sum() == 0
    assert len(made.batch.plan.rollouts) == 16
    assert logged(made, "questions/asked")[0] > 4
    assert logged(made, "plan/silent_questions") == [0.0]


def test_questions_silent_after_the_last_refill_are_kept(tiny_model, tmp_path):
    made, rounds, _ = refilled(tiny_model, tmp_path, lambda number: number != 1, refills=2)
    assert len(rounds) == 3
    assert len(made.batch.plan.rollouts) == 16
    assert logged(made, "plan/silent_questions")[0] >= 0.5
    made, rounds, steps = refilled(tiny_model, tmp_path, lambda number: True, refills=1)
    assert len(rounds) == 2
    assert all(norm.abs().max() == 0 for step in steps for norm in step.gradients.values())


def test_refills_with_other_response_lengths_are_padded(tiny_model, tmp_path):
    made, rounds, _ = refilled(
        tiny_model, tmp_path, lambda number: number < 4, refills=4, max_completion_length=1
    )
    assert len(rounds) > 1
    assert made.batch.plan.of_rollouts.padding_M.sum() == 0


def test_metrics_of_trl_exclude_refills(tiny_model, tmp_path):
    made, rounds, _ = refilled(tiny_model, tmp_path, lambda number: number < 4, refills=8)
    first = [1.0 if int(number) < 4 else place % 2 for place, number in enumerate(rounds[0])]
    assert logged(made, "reward") == [pytest.approx(np.mean(first))]


def test_batch_without_silent_questions_is_not_refilled(tiny_model, tmp_path):
    _, rounds, _ = refilled(tiny_model, tmp_path, lambda number: False, refills=5)
    assert len(rounds) == 1


def test_skip_silent_skips_silent_questions(tiny_model, tmp_path):
    reward = Numbered(lambda number: number < 4)
    made, _ = trained(
        tiny_model,
        mixed_rows(8),
        tmp_path,
        reward=reward,
        sampling={"name": "skip-silent", "explore": 0.0},
        max_steps=12,
    )
    asked = Counter(int(number) for batch in reward.rounds for number in batch[::4])
    assert {asked[number] for number in range(4)} == {1}
    assert sum(asked.values()) == 4 * len(reward.rounds)
    assert sum(logged(made, "questions/skipped")) > 0


def test_noisy_rollout_requires_the_original_prompt(tiny_model, tmp_path):
    variants = {"prompts": 2, "transforms": {}, "original": False}
    with pytest.raises(ConfigError, match=r"variants\.original is false"):
        trainer(tiny_model, mixed_rows(4), tmp_path, recipe="noisy-rollout", variants=variants)


def test_resuming_with_other_questions_raises(tiny_model, tmp_path):
    options = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4}
    trained(tiny_model, mixed_rows(4), tmp_path, **options)
    with pytest.raises(InputError, match="had 4 questions, now there are 6"):
        trainer(tiny_model, mixed_rows(6), tmp_path, **options).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-4")
        )


def test_noisy_rollout_trains_under_the_clean_prompt(tiny_model, tmp_path):
    noise = {"names": ["noise-50"], "probability": 1.0, "fade": {}}
    made, _ = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        recipe="noisy-rollout",
        variants={"prompts": 2, "transforms": noise},
        steps_per_generation=4,
    )
    assert set(made.batch.plan.rollouts.prompt_N.tolist()) > set(
        made.batch.plan.of_rollouts.prompt_M.tolist()
    )
    assert set(made.batch.plan.of_rollouts.prompt_M % 2) == {0}
    assert len(made.batch.plan.of_rollouts) == len(made.batch.plan.rollouts)


def test_unused_image_columns_raise(tiny_model, tmp_path):
    rows = mixed_rows(4).rename_column("images", "img")
    words = r"column 'img' holds pictures.*rename_column\('img', 'images'\).*remove_columns"
    with pytest.raises(InputError, match=words):
        trainer(tiny_model, rows, tmp_path)


def test_images_that_a_reward_or_the_model_reads_pass(digit_rows):
    def asks(completions, mask, drawn=None, **columns):
        return []

    rows = digit_rows.select(range(4)).cast_column("image", Image(decode=False))
    for name, rewards in {"mask": [asks], "drawn": [asks], "same": []}.items():
        columns.check_pictures("rows", rows.add_column(name, rows["image"][:]), rewards)
    for name in ("mask", "drawn"):
        other = rows.add_column(name, list(reversed(rows["image"][:])))
        with pytest.raises(InputError, match=rf"'{name}' holds pictures.*: remove_columns"):
            columns.check_pictures("rows", other, [])
    with pytest.raises(InputError, match="'clip' holds videos"):
        columns.check_pictures("rows", rows.add_column("clip", ["a.mp4"] * 4), [])


# ---- generation ------------------------------------------------------------------------------


def test_prompt_of_several_rollouts_is_read_once(ragged_model, tmp_path, monkeypatch):
    read = []
    prefill = GenerationMixin._prefill

    def spy(self, input_ids, *rest, **more):
        read.append(len(input_ids))
        return prefill(self, input_ids, *rest, **more)

    monkeypatch.setattr(GenerationMixin, "_prefill", spy)
    made, _ = trained(ragged_model, mixed_rows(4), tmp_path, eval_strategy="no")
    assert read == [4] and len(made.reward_funcs[0].responses) == 16


@pytest.mark.parametrize(
    "options", [{"repetition_penalty": 1.2}, {"cache_implementation": "static"}]
)
def test_options_of_other_decoding_methods_are_followed(options, tiny_model, tmp_path, monkeypatch):
    asked = []
    sample = GenerationMixin._sample

    def spy(self, input_ids, *rest, **more):
        asked.append((len(input_ids), more["generation_config"]))
        return sample(self, input_ids, *rest, **more)

    monkeypatch.setattr(GenerationMixin, "_sample", spy)
    trained(tiny_model, mixed_rows(4), tmp_path, **options)
    assert [rows for rows, _ in asked] == [16]
    assert all(
        getattr(config, *item[:1]) == item[1] for _, config in asked for item in options.items()
    )


def test_responses_are_seeded_by_batch_and_rollout(ragged_model, tmp_path):
    """The first questions get the same responses in a batch with more questions."""
    found = []
    for questions, name in ((2, "two"), (4, "four")):
        size = {"per_device_train_batch_size": 2 * questions, "shuffle_dataset": False}
        made, _ = trained(ragged_model, mixed_rows(4), tmp_path / name, **size, max_steps=1)
        found.append(made.reward_funcs[0].responses)
    few, many = found
    assert (len(few), len(many)) == (8, 16)
    assert few == many[:8]
    assert len({*map(tuple, many)}) > 8
