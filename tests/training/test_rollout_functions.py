"""Results of rollout functions train as in TRL, or raise an error."""

import pytest
from datasets import Dataset
from talking import RED, Told, image, part, said, trained_by, user, written
from training_cases import Recorder, difference

from vantage.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS = Dataset.from_list([{"prompt": [user("Add 3 + 4.")]}, {"prompt": [user("Why?"), said("So")]}])
RESPONSES = [[20, 21, 22, 2], [23, 24, 25], [26, 27, 28, 2], [29, 30, 31, 32]]
MASKS = [[1, 0, 0, 1], [1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]]
LENGTHS = ("completions/mean_length", "completions/clipped_ratio", "num_tokens")
LIKE_TRL = {"trl": {"scale_rewards": "none"}, "vantage": {"recipe": "dr-grpo"}}


def returning(way, **fields):
    """A rollout function: `way` makes the tokens of a prompt from those of the template and the
    number of the rollout.
    """

    def rollout(prompts, made):
        own = [written(made.processing_class, prompt) for prompt in prompts]
        ids = [way(prompt_ids, number) for number, prompt_ids in enumerate(own)]
        responses = [RESPONSES[number % 4] for number in range(len(prompts))]
        return {"prompt_ids": ids, "completion_ids": responses, "logprobs": None, **fields}

    return rollout


def as_they_are(ids, number):
    return ids


def each_in_its_own(ids, number):
    return [*ids[:-1], 40 + number, *ids[-1:]] if number else ids


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.mark.parametrize(
    ("way", "fields", "options"),
    [
        (as_they_are, {"env_mask": MASKS}, {"loss_type": "dr_grpo"}),
        (as_they_are, {"env_mask": MASKS}, {"loss_type": "dapo", "beta": 0.1}),
        (as_they_are, {"env_mask": MASKS}, {"loss_type": "bnpo", "packing": "off"}),
        (as_they_are, {"env_mask": MASKS}, {"mask_truncated_completions": True}),
        (each_in_its_own, {}, {"loss_type": "dapo"}),
        (
            each_in_its_own,
            {"env_mask": MASKS},
            {"num_iterations": 2, "packing": "off", "learning_rate": 1e-4},
        ),
        (
            as_they_are,
            {"logprobs": [[-0.5 * number for number in range(len(ids))] for ids in RESPONSES]},
            {"off_policy_mask_threshold": 0.5},
        ),
    ],
)
def test_rollout_function_results_train_as_in_trl(tiny_model, tmp_path, way, fields, options):
    steps = []
    for kind in ("trl", "vantage"):
        given = {"loss_type": "dr_grpo", **options}
        if kind == "trl":
            given.pop("packing", None)
        given["max_steps"] = given.get("num_iterations", 1)
        recorder = Recorder()
        rest = {"rollout_func": returning(way, **fields), "callbacks": [recorder]}
        given = {**LIKE_TRL[kind], "epsilon": 0.2, "epsilon_high": 0.2, **given}
        made = trained_by(kind, tiny_model, ROWS, tmp_path, [Told().reward], rest, **given)
        shown = {key: made.state.log_history[0][key] for key in LENGTHS}
        steps.append((recorder.steps, shown))
    (theirs, lengths), (ours, shown) = steps
    assert len(ours) == len(theirs) == given["max_steps"]
    for one, other in zip(ours, theirs, strict=True):
        assert any(gradient.any() for gradient in other.gradients.values())
        assert difference(one.gradients, other.gradients) < 1e-5
        assert one.loss == pytest.approx(other.loss, rel=1e-5, abs=1e-7)
    assert shown == lengths


def shared(tiny_model, tmp_path, way, rows=None, **options):
    """A run that trains every response under both wordings of its question."""
    rows = rows or [
        {"prompt": [user("Why?")], "new_questions": ["How come?"]},
        {"prompt": [user("Add 3 + 4.")], "new_questions": ["Add."]},
    ]
    options = {"variants": {"prompts": 2, "rewrites": "new_questions"}, **options}
    return trained_by(
        "vantage",
        tiny_model,
        Dataset.from_list(rows),
        tmp_path,
        [Told().reward],
        {"rollout_func": returning(way)},
        per_device_train_batch_size=8,
        recipe="share-grpo",
        **options,
    )


def test_responses_are_shared_under_the_encodings_of_rollout_functions(tiny_model, tmp_path):
    made = shared(tiny_model, tmp_path, lambda ids, number: [*ids, 40])
    keys = set(made.batch.keys[:-1])
    asked = {prompt: made._encoder(prompt).ids for prompt, _ in keys}
    read = made.processing_class
    for number, text in enumerate(["Why?", "How come?", "Add 3 + 4.", "Add."]):
        assert [*written(read, [user(text)]), 40] in asked.values(), number
    assert len(asked) == 4 and len(keys) == 2 * 2 * 4
    assert made.batch.is_own((made.batch.scored.asked_N[0], 0))


def test_sharing_prompts_with_several_encodings_raises(tiny_model, tmp_path):
    with pytest.raises(InputError, match="2 different prompt_ids"):
        shared(tiny_model, tmp_path, lambda ids, number: [*ids, 40 + number])


def test_other_tokens_for_an_image_prompt_raise(tiny_model, tmp_path):
    rows = Dataset.from_list([{"prompt": [user([image(), part("Why?")])], "image": RED}])
    for way in (as_they_are, lambda ids, number: [*ids, 40]):
        rest = {"rollout_func": returning(way)}
        run = (tiny_model, rows, tmp_path, [Told().reward], rest)
        if way is as_they_are:
            assert trained_by("vantage", *run).batch.plan.of_rollouts is not None
        else:
            with pytest.raises(InputError, match="a prompt with images they must be the same"):
                trained_by("vantage", *run)


def test_empty_prompt_ids_raise(tiny_model, tmp_path):
    rest = {"rollout_func": returning(lambda ids, number: ids if number else [])}
    with pytest.raises(InputError, match="they must not be empty"):
        trained_by("vantage", tiny_model, ROWS, tmp_path, [Told().reward], rest)


def test_extra_fields_of_rollout_functions_reach_rewards(tiny_model, tmp_path):
    tags, told = ["a", "b", "c", "d"], Told()
    fields = {"tag": tags, "answer": tags, "turns": 3, "images": [[], [], [], []]}
    rows = ROWS.add_column("answer", ["7", "8"]).add_column("level", [1, 2])
    rest = {"rollout_func": returning(as_they_are, **fields)}
    trained_by("vantage", tiny_model, rows, tmp_path, [told.reward], rest)
    _, _, columns = told.rewarded[0]
    assert columns == {
        "tag": tags,
        "answer": tags,
        "turns": [3] * 4,
        "images": [[]] * 4,
        "level": [1, 1, 2, 2],
    }
