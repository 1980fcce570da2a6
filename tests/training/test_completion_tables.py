"""Tables of rollouts in TensorBoard, wandb and trackio."""

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


def test_table_shows_best_and_worst_rollouts():
    step = steps.made(0, questions=6, reward_N=np.arange(48) % 8 * 1.0)
    rows = sample(step)
    assert len(rows) == 8 and len({row["question"] for row in rows}) == 4
    assert [row["reward"] for row in rows] == [7, 0] * 4
    assert rows[0]["picture"].size == (10, 20)  # turned clockwise, as the model saw it
    assert rows[1]["picture"].size == (20, 10)
    assert rows[0]["prompt"].endswith("asked 1?") and rows[0]["response"].startswith("I say ")


def test_silent_question_has_one_row_and_unscored_question_none():
    reward_N = np.where(np.arange(32) < 8, np.nan, 1.0)
    rows = sample(steps.made(0, reward_N=reward_N))
    assert sorted(row["question"] for row in rows) == [101, 102, 103]


def test_markdown_table_escapes_markup():
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


def test_tensorboard_gets_a_table_and_images(trained, tmp_path, monkeypatch):
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
    """The common interface of wandb and trackio."""

    def __init__(self):
        super().__init__(run=object(), logged=[])

    def Table(self, dataframe):
        return dataframe

    def Image(self, value):
        return ("image", value.size)

    def log(self, values):
        self.logged.append(values)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_get_a_table_with_images(name, monkeypatch):
    tool = Tool()
    monkeypatch.setitem(sys.modules, name, tool)
    show(steps.made(0), ["none", name], [])
    ((logged),) = tool.logged
    table = logged["rollouts"]
    assert list(table.columns)[:2] == ["batch", "question"] and len(table) >= 2
    assert table["picture"].iloc[0][0] == "image" and logged["train/global_step"] == 4


def test_failing_tool_does_not_end_the_run(monkeypatch, caplog):
    tool = Tool()
    tool.log = lambda values: 1 / 0
    monkeypatch.setitem(sys.modules, "trackio", tool)
    show(steps.made(0), ["trackio"], [])
    assert "rollouts could not be shown: ZeroDivisionError" in caplog.text


def test_progress_bar_shows_useful_rollouts_silent_share_and_time(trained, capsys):
    trained("none")
    last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("grpo: 100%") and "4/4 [" in last
    for label in ("reward=", "silent=", "useful/s="):
        assert label in last
