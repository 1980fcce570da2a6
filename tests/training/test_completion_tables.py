"""Rollouts as tables where the metrics go."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "record"))

import steps

from vantage.training.trl import VantageConfig, VantageTrainer
from vantage.training.trl.completion_tables import markdown, sample, show
from vantage.training.trl.progress import ProgressLine


def test_the_best_and_the_worst_rollout_of_a_few_questions_are_shown():
    step = steps.made(0, questions=6, reward_N=np.arange(48) % 8 * 1.0)
    rows = sample(step)
    assert len(rows) == 8 and len({row["question"] for row in rows}) == 4
    assert [row["reward"] for row in rows] == [7, 0] * 4
    assert rows[0]["picture"].size == (10, 20)  # turned clockwise, as the model saw it
    assert rows[1]["picture"].size == (20, 10)
    assert rows[0]["prompt"].endswith("asked 1?") and rows[0]["response"].startswith("I say ")


def test_a_silent_question_is_one_row_and_one_without_a_score_none():
    reward_N = np.where(np.arange(32) < 8, np.nan, 1.0)
    rows = sample(steps.made(0, reward_N=reward_N))
    assert sorted(row["question"] for row in rows) == [101, 102, 103]


def test_texts_are_nothing_but_texts_in_markdown():
    (row, *_) = sample(steps.made(0))
    row |= {"response": "<script>1</script> | [a](javascript:1)\n# `b` **c** ![d](e) \x1b"}
    table = markdown([row])
    assert len(table.splitlines()) == 3
    (line,) = table.splitlines()[2:]
    assert line.count("|") == 8 and not set("`*[]()!#\x1b") & set(line.replace("&#", ""))
    assert "<" not in line.replace("<br>", "")


@pytest.fixture
def trained(tmp_path, tiny_model, digit_rows):
    """Trains, its metrics going to a tool."""

    def train(tool: str, **options):
        args = VantageConfig(
            str(tmp_path / "run"),
            max_steps=4,
            per_device_train_batch_size=8,
            generation_batch_size=16,
            num_generations=4,
            max_completion_length=4,
            steps_per_generation=None,
            save_strategy="no",
            logging_steps=1,
            report_to=tool,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            **options,
        )
        trainer = VantageTrainer(tiny_model, _length, args, digit_rows.select(range(8)))
        trainer.add_callback(ProgressLine("grpo"))
        trainer.train()
        return trainer

    return train


def _length(completion_ids, **_):
    return [float(ids[0] % 2) for ids in completion_ids]


def test_tensorboard_gets_a_table_and_pictures(trained, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trained("tensorboard")
    (folder,) = {place.parent for place in tmp_path.rglob("events.out.*")}
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    (table,) = events.Tensors("rollouts/text_summary")
    words = table.tensor_proto.string_val[0].decode()
    assert words.startswith("| batch | question | prompt | response | reward |")
    images = [name for name in events.Tags()["images"] if name.startswith("rollouts/")]
    assert images and "plan/useful_rollouts_per_second" in str(events.Tags()["scalars"])


class Tool(SimpleNamespace):
    """What wandb and trackio have in common."""

    def __init__(self):
        super().__init__(run=object(), logged=[])

    def Table(self, dataframe):
        return dataframe

    def Image(self, value):
        return ("image", value.size)

    def log(self, values):
        self.logged.append(values)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_get_a_table_with_pictures_in_it(name, monkeypatch):
    tool = Tool()
    monkeypatch.setitem(sys.modules, name, tool)
    show(steps.made(0), ["none", name], [])
    ((logged),) = tool.logged
    table = logged["rollouts"]
    assert list(table.columns)[:2] == ["batch", "question"] and len(table) >= 2
    assert table["picture"].iloc[0][0] == "image" and logged["train/global_step"] == 4


def test_a_tool_that_fails_ends_no_run(monkeypatch, caplog):
    tool = Tool()
    tool.log = lambda values: 1 / 0
    monkeypatch.setitem(sys.modules, "trackio", tool)
    show(steps.made(0), ["trackio"], [])
    assert "rollouts could not be shown: ZeroDivisionError" in caplog.text


def test_the_progress_line_tells_useful_rollouts_silent_share_and_time_to_go(trained, capsys):
    trained("none")
    last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("grpo: 100%") and "4/4 [" in last
    for label in ("reward=", "silent=", "useful/s="):
        assert label in last
