"""Validation: its sampling, its means, and its independence from training."""

import copy
from statistics import mean

import pytest
import torch
from accelerate.data_loader import IterableDatasetShard
from datasets import IterableDataset
from families import FAMILIES
from test_sampler import COLOCATED, quiet, texts  # noqa: F401, a fixture
from test_trainer import logged, weights
from training_cases import Reward, config, difference, mixed_rows, trainer

from vantage.errors import ConfigError
from vantage.record import Record
from vantage.training.trl import validation

BATCH = {"per_device_train_batch_size": 4, "num_generations": 2, "shuffle_dataset": True}
VALIDATED = {
    **BATCH,
    "per_device_eval_batch_size": 6,
    "num_generations_eval": 3,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "eval_on_start": True,
    "max_steps": 4,
}


class Listening(Reward):
    """Records the prompts of validations, and how the trainer sampled in each call."""

    def __init__(self):
        super().__init__()
        self.made, self.held_out, self.trained, self.sampling = None, [], [], []

    def __call__(self, prompts, completion_ids, answer, **columns):
        rewards = super().__call__(prompts, completion_ids, **columns)
        options = copy.copy(self.made.generation_config)
        self.sampling.append((self.made.model.training, options.do_sample, options.temperature))
        batch = list(zip(answer, map(tuple, completion_ids), rewards, strict=True))
        (self.trained if self.made.model.training else self.held_out).append(batch)
        return rewards


def validated(model, tmp_path, rows=5, **options):
    reward = Listening()
    rest = {"eval_dataset": mixed_rows(rows)}
    made = trainer(
        model, mixed_rows(4), tmp_path, reward=reward, rest=rest, **{**VALIDATED, **options}
    )
    reward.made = made
    made.train()
    return made, reward


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    made, reward = validated(tiny_model, folder, eval_temperature=0.25)
    return made, reward, folder


def test_validation_samples_each_question_the_configured_number_of_times(run):
    made, reward, _ = run
    told = [entry["step"] for entry in made.state.log_history if "eval_reward" in entry]
    assert told == [0, 2, 4]
    assert [len(batch) for batch in reward.held_out] == [6, 6, 3] * 3
    for first in (0, 3, 6):
        asked = [row[0] for batch in reward.held_out[first : first + 3] for row in batch]
        assert sorted(asked) == sorted([*"01234"] * 3)


def test_validation_reward_is_the_mean_over_all_samples(run):
    made, reward, folder = run
    means = []
    for first in (0, 3, 6):
        rows = [row for batch in reward.held_out[first : first + 3] for row in batch]
        means.append(mean(row[2] for row in rows))
    batches = [mean(row[2] for row in batch) for batch in reward.held_out[:3]]
    assert means[0] != pytest.approx(mean(batches), abs=1e-3)  # the last batch is smaller
    assert logged(made, "eval_reward") == pytest.approx(means)
    assert logged(made, "eval_rewards/reward/mean") == pytest.approx(means)
    found = Record(folder).validations().to_pylist()
    assert [row["batch"] for row in found if row["metric"] == "reward"] == [0, 1, 2]
    assert [row["value"] for row in found if row["metric"] == "reward"] == pytest.approx(means)


def test_validation_has_its_own_temperature(run):
    made, reward, _ = run
    assert {asked for asked in reward.sampling if not asked[0]} == {(False, True, 0.25)}
    assert {asked for asked in reward.sampling if asked[0]} == {(True, True, 1.0)}
    assert made.generation_kwargs["temperature"] == made.generation_config.temperature == 1.0


def test_validation_does_not_change_training(run, tiny_model, tmp_path):
    made, reward, _ = run
    alone = Listening()
    options = {**BATCH, "max_steps": 4}
    other = trainer(tiny_model, mixed_rows(4), tmp_path, reward=alone, **options)
    alone.made = other
    other.train()
    assert reward.trained == alone.trained
    assert difference(weights(made), weights(other)) == 0


def test_temperature_0_decodes_greedily(tiny_model, tmp_path):
    made, reward = validated(
        tiny_model, tmp_path, eval_temperature=0.0, num_generations_eval=1, max_steps=2
    )
    assert {asked[1] for asked in reward.sampling if not asked[0]} == {False}
    _, trained = reward.held_out
    made.args.seed += 1  # another order
    made.evaluate()
    assert sorted(reward.held_out[-1]) == sorted(trained)


def test_lower_temperature_sharpens_samples(tiny_model, tmp_path):
    def different(temperature):
        options = {"num_generations_eval": 6, "eval_temperature": temperature, "max_steps": 2}
        _, reward = validated(tiny_model, tmp_path, **options)
        return len({row[:2] for batch in reward.held_out[:5] for row in batch})

    assert different(0.01) == 5 < different(None)


def test_padding_of_the_last_batch_does_not_count():
    """As on two processes: 15 samples in batches of 12, the second filled up to 12. How many rows
    a stream has is not known.
    """
    rows = IterableDataset.from_generator(lambda: iter([{"answer": 1}]))
    stream = IterableDatasetShard(rows, batch_size=6, num_processes=2)
    counts = []
    for data, last in ((range(5), False), (range(5), True), (stream, True)):
        logged = {"reward": [9.0, 7.0], "rewards/length/mean": [7.0], "old": [1.0]}
        part_NF = torch.arange(12.0)[:, None]
        samples = validation.samples_of(12, data, batch=12, samples=3, is_last=last)
        value_N = validation.by_sample(part_NF[:samples], {"length": 0.5})
        validation.log_by_sample(logged, {"reward": 1, "old": 1}, value_N)
        counts.append(logged)
    assert counts[0]["reward"] == counts[2]["reward"] == [9.0, *(0.5 * n for n in range(12))]
    assert counts[1]["reward"] == [9.0, 0.0, 0.5, 1.0]
    assert counts[1]["rewards/length/mean"] == [0.0, 1.0, 2.0]
    assert counts[1]["old"] == [1.0]


def test_vllm_samples_at_the_validation_temperature(texts, monkeypatch, tmp_path):  # noqa: F811
    quiet(monkeypatch)
    model, processor = FAMILIES["qwen2.5-vl"]()
    made = trainer(
        model,
        mixed_rows(4),
        tmp_path,
        rest={"processing_class": processor, "eval_dataset": mixed_rows(3)},
        **{**VALIDATED, **COLOCATED, "max_steps": 2},
        eval_temperature=0.5,
        generation_kwargs={"temperature": 0.9},
    )
    engine = made.vllm_generation.llm
    asked, generate = [], engine.generate

    def noting(prompts, sampling_params, use_tqdm):
        asked.append((made.model.training, sampling_params.temperature, len(prompts)))
        return generate(prompts, sampling_params, use_tqdm)

    engine.generate = noting
    made.train()
    assert asked == [
        (False, 0.5, 6),
        (False, 0.5, 3),
        (True, 0.9, 8),
        (False, 0.5, 6),
        (False, 0.5, 3),
    ]


REFUSED = [
    ({"eval_temperature": -0.5}, "eval_temperature=-0.5: set 0 or more"),
    ({"eval_temperature": 0.0}, "eval_temperature=0 with num_generations_eval=3"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=str)
def test_invalid_validation_options_raise(options, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        config(tmp_path, **{**VALIDATED, **options})
