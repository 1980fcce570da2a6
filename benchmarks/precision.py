"""Compare weight precisions: share of weights that change, distance from float32 training.

Run: python benchmarks/precision.py

A tiny Qwen2.5-VL with weights of standard deviation 0.02 is trained with the settings of the
shipped recipe. Every precision starts from the same weights and trains on the rollouts of the
first one. The distance is that between the final weights of a precision and of its reference,
relative to how far the reference moved: 0 for equal trajectories, 1 if nothing moves. Compensated
sums hold a weight as the sum of two numbers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from datasets import Dataset
from qwen import Qwen2_5_VLForConditionalGeneration, processor_of, tiny_config
from transformers import GenerationConfig, PrinterCallback

from vantage import config as configuration
from vantage.demo import digits
from vantage.training.precision import Verdict
from vantage.training.trl import VantageTrainer, run

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "geometry3k-qwen2.5-vl-3b-shuffle-r1.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "precision.txt"
SIDE = 56  # pixels per side of an image
# Overrides of recipe options that are too large for a test, or need a GPU.
SMALLER = {
    "model.freeze_vision_tower": "false",
    "model.min_pixels": "null",
    "model.max_pixels": "null",
    "data.validation": "null",
    "validation.before_training": "false",
    "rewards": "{accuracy: 1.0}",
    "batch.questions": "8",
    "batch.rollouts": "4",
    "generation.max_tokens": "8",
    "run.epochs": "null",
    "trl.use_vllm": "false",
    "trl.use_cpu": "true",
}
LORA = {"model.lora": "{r: 8, alpha: 16}"}
BFLOAT16 = {"optimizer.weights": "bfloat16"}


@dataclass(frozen=True)
class Arm:
    """A precision: its options, bytes per trained weight, and its reference arm."""

    name: str
    options: dict[str, str]
    bytes: int
    reference: str


FLOAT32, ADAPTERS = "float32, forwards too", "adapters, all float32"
ARMS = (
    Arm(FLOAT32, {"model.dtype": "float32"}, 16, FLOAT32),
    Arm("float32, forwards bfloat16 (recipe)", {}, 18, FLOAT32),
    Arm("bfloat16, compensated sums", BFLOAT16, 10, FLOAT32),
    Arm("bfloat16, AdamW (refused)", {"trl.model_init_kwargs": "{dtype: bfloat16}"}, 8, FLOAT32),
    Arm(ADAPTERS, {**LORA, "model.dtype": "float32"}, 16, ADAPTERS),
    Arm("adapters float32, model bfloat16", LORA, 18, ADAPTERS),
)


@dataclass
class Tape:
    """Rollouts of the first training, replayed in the others."""

    recorded: list = field(default_factory=list)
    records: bool = True
    played: int = 0


class OnTape(VantageTrainer):
    """A trainer that records or replays rollouts."""

    tape: Tape

    def _generate(self, prompts):
        tape = self.tape
        if tape.records:
            tape.recorded.append((super()._generate(prompts), list(self._turn.spoiled)))
        made, self._turn.spoiled = tape.recorded[tape.played]
        tape.played += 1
        return made


@dataclass
class Outcome:
    """Weights of a training by name: initial, final, and whether they had a gradient."""

    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]
    reached: dict[str, torch.Tensor]

    def moved(self, *, norms: bool, seen: bool = False) -> float:
        """Share of weights with a gradient that have changed.

        Args:
            norms: Whether to count weights of norms, or those of matrices.
            seen: Whether to round weights to bfloat16, as forward passes see them.
        """
        changed = total = 0
        for name, before in self.before.items():
            if ("norm" in name) != norms or (before.ndim < 2) != norms:
                continue
            after = self.after[name]
            if seen:
                before, after = before.bfloat16(), after.bfloat16()
            changed += ((before != after) & self.reached[name]).sum().item()
            total += self.reached[name].sum().item()
        return changed / total if total else float("nan")

    def distance(self, other: Outcome) -> float:
        """Distance to the final weights of another outcome, relative to how far that one moved."""
        apart = sum(((self.after[n] - w) ** 2).sum() for n, w in other.after.items())
        gone = sum(((other.before[n] - w) ** 2).sum() for n, w in other.after.items())
        return (apart / gone).sqrt().item()


def reward(completion_ids, **columns) -> list[float]:
    """Share of even tokens, dense enough for an untrained model to learn."""
    return [sum(token % 2 == 0 for token in ids) / max(len(ids), 1) for ids in completion_ids]


def saved(directory: str) -> str:
    """Save a model with weights like published ones: bfloat16, matrices with an SD of 0.02."""
    processor = processor_of(SIDE)
    model = Qwen2_5_VLForConditionalGeneration(tiny_config())
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.02)
    model.generation_config = GenerationConfig(
        eos_token_id=processor.tokenizer.eos_token_id, pad_token_id=processor.tokenizer.pad_token_id
    )
    model.bfloat16().save_pretrained(directory)
    return directory


def rows(number: int) -> Dataset:
    """Questions about an image of two digits."""
    made = digits.questions("reinforcement", n=number)
    return made.map(lambda row: {"prompt": [{"role": "user", "content": row["question"]}]})


def settings(arm: Arm, model: str, output: str, updates: int) -> configuration.Config:
    """The recipe in a precision, with smaller sizes where they do not affect precision."""
    given = {"model.path": model, "run.output": output, "run.batches": str(-(-updates // 4))}
    return configuration.load(RECIPE, {**SMALLER, **given, **arm.options})


def train(
    arm: Arm, model: str, tape: Tape, data: Dataset, updates: int, start: Outcome | None
) -> Outcome:
    """Train in a precision from the initial weights of `start`.

    The check for steps lost to rounding is disabled, because one of the arms fails it.
    """
    with tempfile.TemporaryDirectory() as output:
        config = settings(arm, model, output, updates)
        with mock.patch("vantage.training.trl.precision.judge", return_value=Verdict()):
            args = run.arguments(config)
            args.save_strategy, args.logging_strategy = "no", "no"
            torch.manual_seed(0)
            trainer = OnTape(
                model,
                reward,
                args,
                data,
                processing_class=processor_of(SIDE),
                peft_config=run.lora_of(config.model.lora),
            )
        trainer.tape, tape.played = tape, 0
        trainer.remove_callback(PrinterCallback)
        trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
        if start:  # adapters are initialised in the model's precision
            for name, parameter in trained.items():
                parameter.data.copy_(start.before[name])
        before = {name: p.detach().double() for name, p in trained.items()}
        trainer.train()
        tape.records = False
        state = trainer.optimizer.optimizer.state
        return Outcome(before, held(trained, state), reached(trained, state))


def held(trained, state) -> dict[str, torch.Tensor]:
    """Weights including the remainders that compensated sums keep for the next step."""
    made = {}
    for name, parameter in trained.items():
        rest = state.get(parameter, {}).get("kahan_comp")
        made[name] = parameter.detach().double() + (0 if rest is None else rest.double())
    return made


def reached(trained, state) -> dict[str, torch.Tensor]:
    """Masks of the weights that ever had a nonzero gradient."""
    made = {}
    for name, parameter in trained.items():
        squares = state.get(parameter, {}).get("exp_avg_sq", torch.zeros_like(parameter))
        made[name] = squares > 0
    return made


def compared(updates: int) -> dict[str, Outcome]:
    """Train in every precision on the same rollouts."""
    tape, data = Tape(), rows(64)
    with tempfile.TemporaryDirectory() as directory:
        model = saved(directory)
        made: dict[str, Outcome] = {}
        for arm in ARMS:
            start = made.get(arm.reference)
            made[arm.name] = train(arm, model, tape, data, updates, start)
        return made


def table(outcomes: dict[str, Outcome]) -> str:
    """Format one line per precision."""
    heads = ("bytes", "matrices", "norms", "seen", "distance")
    lines = [f"{'weights kept in':38}" + "".join(f"{head:>10}" for head in heads)]
    for arm in ARMS:
        found = outcomes[arm.name]
        values = (
            f"{arm.bytes}",
            _percent(found.moved(norms=False)),
            _percent(found.moved(norms=True)),
            _percent(found.moved(norms=False, seen=True)),
            f"{found.distance(outcomes[arm.reference]):.3f}",
        )
        lines.append(f"{arm.name:38}" + "".join(f"{value:>10}" for value in values))
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "-" if share != share else f"{share:.2%}"


def main() -> None:
    """Print the table, and write it to the results file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    outcomes = compared(options.updates)
    rate = configuration.load(RECIPE).optimizer.learning_rate
    text = (
        f"{date.today()}, CPU, torch {torch.__version__}, {options.updates} updates at learning "
        f"rate {rate:g}\nbytes: per trained weight, with its gradient, optimizer states and "
        "autocast copy\nmatrices, norms: share of weights with a gradient that have changed; seen: "
        "matrices\nafter rounding to bfloat16, as forward passes and vLLM use them; distance: "
        "from float32 training\n\n" + table(outcomes)
    )
    print(text)
    options.results.write_text(text + "\n")


if __name__ == "__main__":
    main()
