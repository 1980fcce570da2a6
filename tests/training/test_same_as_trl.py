"""With TRL's options `grpo` is TRL's own run: loss, gradient norm, reward and entropy.

Both trainers get the same responses, in the order of the data. `pytest -s` prints the figures of
docs/from-trl.md.
"""

import copy
import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from families import experts, qwen, qwen3
from peft import PromptTuningConfig, get_peft_model
from training_cases import OPTIONS, Reward, mixed_rows
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer

from vantage.methods import advantages
from vantage.training.trl import VantageConfig, VantageTrainer

UPDATES = 4
COMPARED = ("loss", "grad_norm", "reward", "entropy")
LONGEST = OPTIONS["max_completion_length"]
# What the two have as defaults of their own, and sizes: 8 rollouts of 2 questions an update.
MATCHED = {
    **OPTIONS,
    "max_steps": UPDATES,
    "max_grad_norm": 1.0,
    "learning_rate": 0.03,
    "steps_per_generation": 1,
    "loss_type": "dapo",
    "importance_sampling_level": "token",
    "epsilon": 0.2,
    "epsilon_high": 0.2,
    "beta": 0.0,
}


def prompt_tuned():
    """A model of which three tokens before every prompt are trained."""
    model, reader = qwen3()
    torch.manual_seed(0)
    adapter = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    return get_peft_model(model, adapter), reader


def ragged_rows(questions: int = 8) -> Dataset:
    """Questions of many lengths."""
    texts = [" ".join(["Add"] + ["3 + 4"] * (1 + number % 5)) for number in range(questions)]
    turns = [[{"role": "user", "content": text}] for text in texts]
    return Dataset.from_dict({"prompt": turns, "number": range(questions)})


def pictured_rows() -> Dataset:
    """Questions with one or two images; TRL takes no question without one beside them."""
    return mixed_rows(16, live=tuple(range(16))).select(range(0, 16, 2))


@dataclass
class Case:
    """A model and rows, what is not as in `MATCHED`, and what has to be equal."""

    model: Any = qwen3
    rows: Any = ragged_rows
    options: dict = field(default_factory=dict)
    compared: tuple[str, ...] = COMPARED


# Means over rows: for those over tokens TRL takes the mean number of tokens of the updates.
TWO_UPDATES = {"loss_type": "grpo", "steps_per_generation": 2, "per_device_train_batch_size": 4}
CASES = {
    "dapo": Case(),
    "dr_grpo": Case(options={"loss_type": "dr_grpo"}),
    "grpo": Case(options={"loss_type": "grpo"}),
    "bnpo": Case(options={"loss_type": "bnpo"}),
    "cispo": Case(options={"loss_type": "cispo", "epsilon_high": 1.1, "num_iterations": 2}),
    "sapo": Case(options={"loss_type": "sapo", "num_iterations": 2}),
    "luspo": Case(options={"loss_type": "luspo", "importance_sampling_level": "sequence"}),
    "vespo": Case(options={"loss_type": "vespo", "num_iterations": 2}),
    "ratio of sequences": Case(
        options={"loss_type": "grpo", "importance_sampling_level": "sequence", "num_iterations": 2}
    ),
    "two iterations": Case(options={"num_iterations": 2}),
    "two updates a generation": Case(options=TWO_UPDATES),
    # TRL logs the mean of the entropies of its forwards, and ours are cut in other places.
    "two forwards an update": Case(
        options={**TWO_UPDATES, "gradient_accumulation_steps": 2}, compared=COMPARED[:3]
    ),
    "beta": Case(options={"beta": 0.1, "num_iterations": 2}, compared=(*COMPARED, "kl")),
    "images": Case(qwen, pictured_rows),
    "images, two iterations": Case(qwen, pictured_rows, {"loss_type": "grpo", "num_iterations": 2}),
    "prompt tuning": Case(prompt_tuned),
    "experts": Case(
        partial(experts, 0.001),
        options={"router_aux_loss_coef": None},
        compared=(*COMPARED, "aux_loss"),
    ),
}


class Responses:
    """Responses of many lengths, the same for every trainer that asks the same."""

    def __init__(self):
        self.asked = 0

    def __call__(self, trainer, prompt_ids, *rest, **more):
        self.asked += 1
        return [self.to(ids, number) for number, ids in enumerate(prompt_ids)], None

    def to(self, prompt: list[int], number: int) -> list[int]:
        digest = hashlib.sha256(f"{prompt} {number} {self.asked}".encode()).digest()
        return [20 + byte % 200 for byte in digest[: 1 + digest[0] % LONGEST]]


def run(kind, configuration, case: Case, tmp_path):
    """A trainer after its run."""
    model, reader = case.model()
    model.save_pretrained(tmp_path / "model")
    model.config._name_or_path = str(tmp_path / "model")  # where TRL finds the reference
    args = configuration(str(tmp_path), **{**MATCHED, **case.options})
    trainer = kind(model, Reward(), args, case.rows(), processing_class=copy.deepcopy(reader))
    trainer.train()
    return trainer


def both(case: Case, tmp_path, monkeypatch) -> list:
    """TRL's trainer and ours after their runs, with the same responses."""
    monkeypatch.setattr(advantages, "EPSILON", 1e-4)  # that of TRL
    # TRL draws which rollouts make the first of several updates.
    monkeypatch.setattr(grpo_trainer, "shuffle_sequence_dict", lambda rows: rows)
    made = []
    for kind, configuration in ((GRPOTrainer, GRPOConfig), (VantageTrainer, VantageConfig)):
        answer = Responses()
        monkeypatch.setattr(
            kind,
            "_generate_single_turn",
            lambda self, *rest, answer=answer, **more: answer(self, *rest, **more),
        )
        made.append(run(kind, configuration, case, tmp_path))
    return made


def history(trainer, names) -> np.ndarray:
    """What was logged of each update; one without a generation of its own has no reward."""
    lines = [line for line in trainer.state.log_history if "loss" in line]
    return np.array([[line.get(name, np.nan) for name in names] for line in lines])


def skipping(trainer) -> list[bool]:
    """Updates whose entropy is a mean over the samples with an advantage alone."""
    silent, found = 0.0, []
    for [share] in history(trainer, ["plan/silent_samples"]):
        silent = silent if np.isnan(share) else share  # that of the rollout batch
        found.append(silent > 0 and trainer._rollout_batches._skips_silent)
    return found


@pytest.mark.parametrize("name", CASES)
def test_grpo_run_matches_trl(name, tmp_path, monkeypatch):
    case = CASES[name]
    trainers = both(case, tmp_path, monkeypatch)
    theirs, ours = (history(trainer, case.compared) for trainer in trainers)
    if "entropy" in case.compared:
        apart = skipping(trainers[1])
        for logged in (theirs, ours):
            logged[apart, case.compared.index("entropy")] = np.nan
    assert theirs.shape == (UPDATES, len(case.compared))
    assert theirs[:, 1].min() > 0 and np.isfinite(theirs).any(axis=0).all()
    # Gains and losses of about 1 cancel in the loss, which is as exact as they are in float32.
    apart = np.nanmax(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 0.1), axis=0)
    print(f"| {name} | " + " | ".join(f"{value:.0e}" for value in apart) + " |")
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True)


def test_run_summary_matches_trl(tmp_path, monkeypatch):
    """It has the metrics since the last line, though a checkpoint had ours logged before."""
    case = Case(options={"logging_steps": 3, "save_strategy": "steps", "save_steps": UPDATES})
    theirs, ours = (t.state.log_history[-1] for t in both(case, tmp_path, monkeypatch))
    assert theirs["reward"] == pytest.approx(ours["reward"])
    assert theirs.keys() - {"step_time"} <= ours.keys() and "rewards/reward/mean" in theirs


def test_data_loader_has_the_configured_workers(tmp_path):
    model, reader = qwen3()
    args = VantageConfig(str(tmp_path), **MATCHED, dataloader_num_workers=2)
    trainer = VantageTrainer(model, Reward(), args, ragged_rows(), processing_class=reader)
    assert trainer.get_train_dataloader().num_workers == 2
