"""Trainers on the tiny model, rows of every kind, and captured updates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from datasets import Dataset, Features, Image, List, Value
from transformers import TrainerCallback

from vantage.demo import digits
from vantage.training.trl import VantageConfig, VantageTrainer

torch.set_num_threads(1)

OPTIONS = {
    "num_generations": 4,
    "per_device_train_batch_size": 8,
    "steps_per_generation": 2,
    "max_completion_length": 6,
    "optim": "sgd",
    "learning_rate": 0.03,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
    "shuffle_dataset": False,
    "router_aux_loss_coef": 0.0,
}


def config(tmp_path, **options) -> VantageConfig:
    """Options of a run of one batch of 16 rollouts and 2 updates, unless told otherwise."""
    args = VantageConfig(str(tmp_path), **{**OPTIONS, **options})
    if "max_steps" not in options and "num_train_epochs" not in options:
        args.max_steps = args.updates_per_rollout_batch
    return args


def trainer(model, rows, tmp_path, *, reward=None, kind=VantageTrainer, rest=None, **options):
    """A trainer of rows; `options` are of its configuration, `rest` of the trainer itself."""
    args = config(tmp_path, **options)
    return kind(model, reward or Reward(), args, rows, **(rest or {}))


def mixed_rows(questions: int, live: tuple[int, ...] = (0, 3, 6)) -> Dataset:
    """Questions with 1, 0, 2, 0, 1... images; every fourth can be put in one wording alone.

    All but those in `live` get the same reward for any response.
    """
    pictures = [digits.picture(np.array(pair)) for pair in ([0, 1], [2, 3], [4, 5])]
    pictures[1] = pictures[1].resize((56, 28))
    texts = ["What is the sum of the digits in the image?", "Add 3 + 4."]
    rows = [
        {
            "prompt": [{"role": "user", "content": texts[number % 2]}],
            "images": [[pictures[0]], [], pictures[1:3], []][number % 4],
            "answer": str(number),
            "silent": number not in live,
            "new_questions": ["Find the total.", "Add the digits."] if number % 4 < 3 else [],
        }
        for number in range(questions)
    ]
    features = Features(
        {
            "prompt": List({"role": Value("string"), "content": Value("string")}),
            "images": List(Image()),
            "answer": Value("string"),
            "silent": Value("bool"),
            "new_questions": List(Value("string")),
        }
    )
    return Dataset.from_list(rows, features=features)


@dataclass
class Reward:
    """A reward that depends on the response alone, and a record of what it was asked.

    Attributes:
        unscored: one of so many responses gets no score; 0 scores them all.
        prompts, responses, rewards: what the rollouts of the last batch were.
    """

    unscored: int = 0
    prompts: list = field(default_factory=list)
    responses: list[list[int]] = field(default_factory=list)
    rewards: list[float | None] = field(default_factory=list)
    __name__ = "reward"

    def __call__(self, prompts, completion_ids, **columns) -> list[float | None]:
        silent = columns.get("silent", [False] * len(completion_ids))
        self.prompts, self.responses = prompts, completion_ids
        self.rewards = [
            1.0 if quiet else self.of(ids)
            for ids, quiet in zip(completion_ids, silent, strict=True)
        ]
        return self.rewards

    def of(self, ids: list[int]) -> float | None:
        """A few levels, so that some rewards are equal."""
        number = int.from_bytes(hashlib.sha256(bytes(str(ids), "ascii")).digest()[:4], "big")
        if self.unscored and number // 7 % self.unscored == 0:
            return None
        return float(number % 4)


@dataclass
class Step:
    """State before an optimizer update, and its inputs."""

    weights: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    loss: float = float("nan")


class Recorder(TrainerCallback):
    """Weights, gradients and loss of every update."""

    def __init__(self):
        self.steps: list[Step] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **rest):
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        gradients = {
            name: p.grad.detach().clone()
            for name, p in model.named_parameters()
            if p.grad is not None
        }
        self.steps.append(Step(weights, gradients))

    def on_log(self, args, state, control, logs=None, **rest):
        if "loss" in logs:
            self.steps[-1].loss = logs["loss"]


class OtherEngine(VantageTrainer):
    """Samples as ever, and then says what it takes the log-probs for, as vLLM does.

    What it says is made up, and so is not compared with ours.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.args.use_vllm = True

    def _tokenize_prompts(self, prompts):
        self.use_vllm = False
        return super()._tokenize_prompts(prompts)

    def _generate_single_turn(self, *args, **kwargs):
        responses, _ = super()._generate_single_turn(*args, **kwargs)
        self.use_vllm = True
        return responses, [self.believed(ids).tolist() for ids in responses]

    @staticmethod
    def believed(ids: list[int]) -> torch.Tensor:
        return -5.0 - 0.2 * (torch.tensor(ids) % 5).double()


def trained(model, rows, tmp_path, **options) -> tuple[VantageTrainer, list[Step]]:
    """A trainer after its run, and the updates it made."""
    recorder = Recorder()
    options["rest"] = {**options.get("rest", {}), "callbacks": [recorder]}
    made = trainer(model, rows, tmp_path, **options)
    made.train()
    return made, recorder.steps


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """|one - other| / |other| of all gradients together; one that is missing is zero."""
    apart = size = 0.0
    for name in one.keys() | other.keys():
        a, b = (side[name].double() if name in side else 0.0 for side in (one, other))
        apart += float(torch.as_tensor(a - b).square().sum())
        size += float(torch.as_tensor(b).square().sum())
    return (apart / size) ** 0.5 if size else apart**0.5
