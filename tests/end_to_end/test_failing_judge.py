"""With a judge that fails for a third of the rollouts, advantages ignore these rollouts."""

import hashlib

import numpy as np
import pytest
import yaml
from loopback import Loopback

from vantage.demo import digits
from vantage.methods import recipe
from vantage.record import Record
from vantage.training.planning import Outcomes, make_plan

SEED = 5


class Judge(Loopback):
    """Its verdict is by a digest of question, reference and response; a third have none."""

    def reply(self, body):
        asked = body["messages"][-1]["content"]
        number = int.from_bytes(hashlib.sha256(asked.encode()).digest()[:4], "big")
        said = ["400", "hm"][number // 3 % 2] if number % 3 == 0 else None
        return asked, said or ["correct", "incorrect"][number // 6 % 2]


@pytest.fixture
def record(vantage, tiny_model, tmp_path, request):
    digits.questions("reinforcement", n=12).to_parquet(tmp_path / "rows.parquet")
    with Judge() as server:
        settings = {
            "model": {"path": tiny_model, "dtype": "float32"},
            "data": {
                "train": str(tmp_path / "rows.parquet"),
                "template": "{question}",
                "columns": {"question": "question", "answer": "answer", "image": "image"},
            },
            "run": {"output": str(tmp_path / "run"), "batches": 2, "seed": SEED},
            "recipe": request.param,
            "rewards": {"judge": 0.9, "format": 0.1},
            "judge": {"base_url": server.url, "model": "m", "retries": 0},
            "batch": {"questions": 4, "rollouts": 8, "updates": 2, "micro_batch": 16},
            "generation": {"max_tokens": 6},
            "trl": {"use_cpu": True, "gradient_checkpointing": False, "bf16": False},
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
        status, _, err = vantage("train", tmp_path / "run.yaml")
        assert status == 0, err
    return Record(tmp_path / "run")


def by_hand(reward_N, question_N) -> np.ndarray:
    """Advantages of GRPO of the rollouts that have a verdict, NaN for the others."""
    advantage_N = np.full(len(reward_N), np.nan)
    for place in np.unique(question_N):
        rows = [n for n in range(len(reward_N)) if question_N[n] == place and reward_N[n] >= 0]
        group = reward_N[rows]
        spread = group.std(ddof=1) if len(group) > 1 else 0.0
        advantage_N[rows] = (group - group.mean()) / (spread + 1e-6)
    return advantage_N


@pytest.mark.parametrize("record", ["grpo", "shuffle-r1"], indirect=True)
def test_advantages_ignore_rollouts_without_a_verdict(record):
    made = recipe(record.about.recipe)
    for number in record.steps:
        rollouts, samples = (record.step(number, name) for name in ("rollouts", "samples"))
        part = {name: np.array([p[name] for p in rollouts["parts"].to_pylist()], dtype=float)
                for name in ("judge", "format")}  # fmt: skip
        missing_N = np.isnan(part["judge"])
        assert 0.15 < missing_N.mean() < 0.55
        assert not np.isnan(part["format"]).any()
        reward_N = 0.9 * part["judge"] + 0.1 * part["format"]
        np.testing.assert_allclose(rollouts["reward"].to_numpy(), reward_N, atol=1e-12)

        question_N, prompt_N = (rollouts[name].to_numpy() for name in ("question", "prompt"))
        np.testing.assert_allclose(
            rollouts["advantage"].to_numpy(), by_hand(reward_N, question_N), atol=1e-5
        )
        kept = np.flatnonzero(~missing_N)
        parts_NF = np.stack([part["judge"], part["format"]], axis=1)[kept]
        less = Outcomes(question_N[kept], prompt_N[kept], reward_N[kept], parts_NF)
        done = record.done(number)
        without = make_plan(made, less, SEED, number, done).samples
        trained_M, advantage_M = samples["rollout"].to_numpy(), samples["advantage"].to_numpy()
        assert not missing_N[trained_M].any()
        np.testing.assert_array_equal(trained_M, kept[without.rollout_M])
        np.testing.assert_allclose(advantage_M, without.advantage_M, rtol=0, atol=1e-12)
        if record.about.recipe == "grpo":
            assert sorted(trained_M) == kept.tolist()
            hand_M = by_hand(reward_N, question_N)[trained_M]
            np.testing.assert_allclose(advantage_M, hand_M, atol=1e-5)
            assert np.abs(advantage_M).max() > 0.5
