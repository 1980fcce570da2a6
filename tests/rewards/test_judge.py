"""A judge behind a server as a reward: its requests and its verdicts."""

import asyncio
import json

import pytest
from loopback import Loopback

from vantage import config as configuration
from vantage.chat import server
from vantage.chat.server import Settings
from vantage.errors import ConfigError
from vantage.rewards.judge import LONGEST, Judge, shown, verdict


class Bench(Loopback):
    """Replies by a script for each reference answer and attempt."""

    def reply(self, body):
        asked = body["messages"][-1]["content"]
        reference = asked.partition("Reference answer:\n")[2].partition("\n\nResponse:\n")[0]
        script = self.scripts.get(reference, ["correct"])
        return reference, script[min(self.asked[reference], len(script) - 1)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(server, "_backoff", lambda state: 0.01)


def judge(bench, **settings):
    return Judge(Settings(bench.url, "m", **{"retries": 1, "timeout": 0.6, **settings}))


def prompt(question):
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def test_verdicts_become_rewards():
    says = {"b": ["incorrect"], "c": ["unclear"], "d": ["hm"], "e": ["500", "correct"]}
    says |= {"f": ["500"], "g": ["400"], "h": ["<think>incorrect?</think> Correct."], "i": ["slow"]}
    letters = list("abcdefghi")
    with Bench(says) as bench:
        earned = judge(bench)(["?"] * 9, answer=letters, prompts=[prompt("Why?")] * 9)
    assert earned == [1, 0, 0, None, 1, None, None, 1, None]
    assert bench.asked["e"] == bench.asked["f"] == 2
    assert bench.asked["g"] == 1


def test_the_judge_sees_question_reference_and_the_end_of_the_response():
    with Bench() as bench:
        judge(bench)(["<think>secret</think>It is 4."], answer=[4], prompts=[prompt("2 + 2?")])
        judge(bench)(["It is 4."], answer=["5"], prompts=["2 + 2?"])
    sent = [body["messages"][-1]["content"] for body in bench.bodies]
    assert all("Question:\n2 + 2?" in text and "It is 4." in text for text in sent)
    assert "secret" not in sent[0]
    assert [body["temperature"] for body in bench.bodies] == [0, 0]
    assert len(shown("x" * 1_000_000)) == LONGEST


def test_identical_questions_are_asked_once():
    with Bench() as bench:
        earned = judge(bench)(["4", "4", "5"], answer=["4"] * 3, prompts=["?"] * 3)
    assert earned == [1, 1, 1]
    assert bench.asked.total() == 2


def test_judge_works_inside_an_event_loop():
    async def train(reward):
        return reward(["4"], answer=["4"], prompts=["?"])

    with Bench() as bench:
        assert asyncio.run(train(judge(bench))) == [1]


def test_error_names_a_server_that_cannot_be_reached():
    with Bench({"4": ["401"]}) as bench, pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        judge(bench)(["4"], answer=["4"], prompts=["?"])


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("correct", "correct"),
        ("Incorrect.", "incorrect"),
        ("**Unclear**", "unclear"),
        ("It is not correct but incorrect", None),
        ("yes", None),
        ("", None),
    ],
)
def test_a_verdict_is_one_clear_word(reply, said):
    assert verdict(reply) == said


VALUES = {
    "model": {"path": "m"},
    "data": {"train": "rows.parquet"},
    "run": {"output": "runs", "epochs": 1},
    "rewards": {"judge": 0.9, "format": 0.1},
}


def test_the_judge_section_configures_the_judge():
    from vantage.training.inputs import reward_of

    section = {"base_url": "http://localhost:8000/v1", "model": "Qwen/Qwen3-8B", "retries": 2}
    config = configuration.parse({**VALUES, "judge": section})
    reward = reward_of("judge", config.judge)
    assert reward.__name__ == "judge"
    assert (reward.settings.model, reward.settings.retries) == ("Qwen/Qwen3-8B", 2)
    assert configuration.parse(json.loads(json.dumps(configuration.as_values(config)))) == config


@pytest.mark.parametrize(
    "change", [{}, {"rewards": {"accuracy": 1}, "judge": {"base_url": "http://x", "model": "m"}}]
)
def test_the_judge_reward_and_the_judge_section_require_each_other(change):
    with pytest.raises(ConfigError, match="belong together"):
        configuration.parse(VALUES | change)


@pytest.mark.parametrize(("word", "reward"), [("correct", 1), ("incorrect", 0)])
def test_a_run_trains_on_the_verdicts(tiny_model, digit_rows, tmp_path, word, reward):
    from vantage.training.trl import run

    digit_rows.to_parquet(tmp_path / "rows.parquet")
    with Bench({str(total): [word] for total in range(40)}) as bench:
        values = VALUES | {
            "model": {"path": tiny_model},
            "data": {"train": str(tmp_path / "rows.parquet")},
            "run": {"output": str(tmp_path / "out"), "batches": 1},
            "batch": {"questions": 4, "rollouts": 2, "updates": 1},
            "generation": {"max_tokens": 4},
            "judge": {"base_url": bench.url, "model": "m"},
            "trl": {"use_cpu": True, "bf16": False},
        }
        state = run.train(configuration.parse(values)).state
    earned = [line["rewards/judge/mean"] for line in state.log_history if "loss" in line]
    assert earned == [reward]
    assert 4 <= bench.asked.total() <= 8  # identical responses to a question are judged once
