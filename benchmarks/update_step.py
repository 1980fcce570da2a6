"""Compare a training step of stock TRL with packed updates, alternating in one process.

Both train the same tiny Qwen2.5-VL (512 hidden units, 2 + 2 layers, random weights) on the same
rows with the same loss and optimizer. Responses are synthetic, so that every step has the same
work. `limit` is the ratio of multiply-adds, vision and attention included.

    python benchmarks/update_step.py    # all parts, 20 minutes; --part runs one
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures
from qwen import processor_of, qwen
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from vantage.training.trl import VantageConfig, VantageTrainer
from vantage.training.trl.attention import Layout

BLOCKS = 5  # turns of each side
STEPS = 2  # timed steps per turn


@dataclass(frozen=True)
class Work:
    """The work of a step.

    Attributes:
        name: Name of the case.
        side: Pixels per side of the square image; a token is a patch of 14 x 14 pixels.
        response: Tokens per response, R.
        group: Responses per prompt, G.
        vocabulary: Rows of the language model's head.
    """

    name: str
    side: int
    response: int
    group: int = 8
    vocabulary: int = 300


CASES = (
    Work("P = 266, R = 128, head of 300", 224, 128),
    Work("P = 266, R = 128, head of 8,192", 224, 128, vocabulary=8192),
    Work("P = 1,000, R = 128", 442, 128),
    Work("P = 1,000, R = 512", 442, 512),
    Work("R >> P", 28, 512),
    Work("digits (P = 14, R = 8)", 28, 8),
)


LONG_PROMPTS = (CASES[0], CASES[2], CASES[3])
# Full logits would take 0.6 MB per token in float32.
LARGE_HEADS = tuple(
    Work(f"R = {response:,}, head of 152,064", 28, response, vocabulary=152_064)
    for response in (128, 512, 1024)
)
OF_PART = {"silent": LONG_PROMPTS, "update": CASES, "memory": (*CASES, *LARGE_HEADS)}


def rows(work: Work, questions: int) -> Dataset:
    """Make questions, each with an image of noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (questions, work.side, work.side, 3), dtype=np.uint8)
    columns = {
        "prompt": [[{"role": "user", "content": "Add the digits."}]] * questions,
        "images": [[Pictures.fromarray(pixels)] for pixels in noise],
        "new_questions": [["Find the total."]] * questions,
        "number": range(questions),
    }
    features = {
        "prompt": List({"role": Value("string"), "content": Value("string")}),
        "images": List(Image()),
        "new_questions": List(Value("string")),
        "number": Value("int64"),
    }
    return Dataset.from_dict(columns, Features(features))


def reward(completion_ids, **columns) -> list[float]:
    """Reward 1 for about half of the responses."""
    return [float(sum(ids) % 2) for ids in completion_ids]


def half_silent(completion_ids, number, **columns) -> list[float]:
    """The same, but all responses to every second question get the reward 1."""
    rewards = zip(reward(completion_ids), number, strict=True)
    return [value if question % 2 else 1.0 for value, question in rewards]


def multiply_adds(model, work: Work, prompt: int, *, packed: bool) -> float:
    """Multiply-adds of a forward pass over a group; those of an update are three times as many."""
    text, vision = model.config.get_text_config(), model.config.vision_config
    inner, tower = model.model.language_model.layers, model.model.visual
    weights, seeing = (sum(p.numel() for p in part.parameters()) for part in (inner, tower))
    copies, patches = 1 if packed else work.group, (work.side // 14) ** 2
    response, group = work.response, work.group
    layout = Layout(((prompt - 1, (response,) * group),))
    row = Layout(((prompt + response, ()),))
    tokens = layout.tokens if packed else group * row.tokens
    pairs = layout.pairs if packed else group * row.pairs
    return (
        weights * tokens
        + 2 * text.num_hidden_layers * text.hidden_size * pairs
        + seeing * copies * patches
        + 2 * vision.depth * vision.hidden_size * copies * patches**2
        + text.vocab_size * text.hidden_size * group * response
    )


def inventing(kind: type, response: int, vocabulary: int) -> type:
    """Subclass a trainer to use synthetic responses instead of sampled ones."""

    class Inventing(kind):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            rng = np.random.default_rng(0)
            made = rng.integers(20, min(vocabulary, 250), (len(prompt_ids), response))
            return made.tolist(), None

    return Inventing


class Clock(TrainerCallback):
    """Record the seconds of every step."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_step_begin(self, *args, **kwargs):
        synchronize()
        self._began = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        synchronize()
        self.seconds.append(time.perf_counter() - self._began)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def side_of(
    name: str,
    work: Work,
    *,
    model=None,
    processor=None,
    sampled: bool = False,
    rewards=reward,
    **options,
):
    """Make a trainer: "TRL", "packed", or "rows", which is ours without packing.

    Unless `options` override it, the trainer trains on one rollout batch repeatedly. Responses are
    synthetic, or `sampled` with a fixed length.
    """
    common = {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "learning_rate": 1e-5,
        "max_completion_length": work.response,
        "num_generations": work.group,
        "per_device_train_batch_size": work.group,
        "gradient_accumulation_steps": 1,
        "num_iterations": 1 + STEPS,
        "max_steps": 1 + STEPS,
        "beta": 0.0,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 0,
        "shuffle_dataset": False,
    }
    if sampled:
        common["generation_kwargs"] = {"min_new_tokens": work.response}
    common |= {"steps_per_generation": 1, **options}
    model, processor = model or qwen(work.vocabulary), processor or processor_of(work.side)
    if name == "TRL":
        kind, args = GRPOTrainer, GRPOConfig(**common, loss_type="dapo", epsilon_high=0.2)
    else:
        packing = "off" if name == "rows" else "on"
        kind, args = VantageTrainer, VantageConfig(**common, packing=packing)
    if not sampled:
        kind = inventing(kind, work.response, work.vocabulary)
    clock = Clock()
    trainer = kind(
        model,
        rewards,
        args,
        rows(work, 4),
        processing_class=processor,
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, clock


def turn(trainer, clock: Clock) -> list[float]:
    """Seconds of the steps of one turn, without the first step, which generates."""
    clock.seconds.clear()
    trainer._step, trainer._buffered_inputs = 0, None
    trainer.train()
    return clock.seconds[1:]


def alternate(sides: dict[str, tuple], turns: int = BLOCKS) -> dict[str, list[float]]:
    """Run the sides in alternating turns; return the median seconds per step of each turn."""
    for trainer, clock in sides.values():  # warm up
        turn(trainer, clock)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, (trainer, clock) in sides.items():
            found[name].append(statistics.median(turn(trainer, clock)))
    return found


def ratios(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum of the ratios of consecutive turns."""
    each = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return statistics.median(each), each[0], each[-1]


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def update(work: Work) -> None:
    """Time only the update: forward, backward, optimizer."""
    sides = {name: side_of(name, work) for name in ("TRL", "packed")}
    seconds = alternate(sides)
    ours = sides["packed"][0]
    prompt, response = len(ours._encoder(0).ids), work.response
    rows, packs = (multiply_adds(ours.model, work, prompt, packed=way) for way in (False, True))
    limit = rows / packs
    median, least, most = ratios(seconds["TRL"], seconds["packed"])
    apart = max(abs(a - b) for a, b in zip(*(losses(t) for t, _ in sides.values()), strict=True))
    print(
        f"{work.name:32} {prompt:6} {response:5} {limit:6.2f} "
        f"{statistics.median(seconds['TRL']):8.3f} {statistics.median(seconds['packed']):8.3f} "
        f"{median:6.2f} ({least:.2f} to {most:.2f})  {apart:.0e}",
        flush=True,
    )


def with_and_without_silent(work: Work, turns: int = BLOCKS, **options) -> dict[str, list[float]]:
    """Seconds of updates of four groups: all of them train, or two are silent."""
    options = {"per_device_train_batch_size": 4 * work.group, **options}
    sides = {
        name: side_of("packed", work, rewards=function, **options)
        for name, function in (("all", reward), ("half", half_silent))
    }
    return alternate(sides, turns)


def silent(work: Work) -> None:
    """Time updates of four groups, two of them silent, against the same without silent groups."""
    seconds = with_and_without_silent(work)
    median, least, most = ratios(seconds["all"], seconds["half"])
    print(
        f"{work.name:32} {statistics.median(seconds['all']):8.3f} "
        f"{statistics.median(seconds['half']):8.3f} {median:6.2f} ({least:.2f} to {most:.2f})",
        flush=True,
    )


def resident() -> float:
    """Current memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak(name: str, work: Work) -> None:
    """Print the peak memory of a turn in MB above its start, sampled every 2 ms."""
    trainer, clock = side_of(name, work)
    before, seen, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    turn(trainer, clock)
    done.set()
    watcher.join()
    print(json.dumps(max(seen) - before))


def memory(work: Work) -> None:
    """Compare the peak memory of both sides, each in a separate process."""
    found = {}
    for name in ("TRL", "packed"):
        spec = json.dumps([name, asdict(work)])
        command = [sys.executable, __file__, "--peak", spec]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{work.name:32} {found['TRL']:10.0f} {found['packed']:10.0f}", flush=True)


def whole() -> None:
    """Time whole rollout batches: sampling, scoring, old log-probs, four updates.

    The last line has the seconds of the stages of packed updates.
    """
    work = CASES[0]
    options = {"steps_per_generation": 4, "num_iterations": 1, "max_steps": 8}
    sides = {name: side_of(name, work, sampled=True, **options) for name in ("TRL", "packed")}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(4):
        for name, (trainer, clock) in sides.items():
            clock.seconds.clear()
            trainer._step, trainer._buffered_inputs = 0, None
            trainer.train()
            if number:
                found[name].append(sum(clock.seconds) / 2)
    median, least, most = ratios(found["TRL"], found["packed"])
    seconds = [statistics.median(found[name]) for name in ("TRL", "packed")]
    print(
        f"{'4 questions x 8, R = 128, U = 4':32} {seconds[0]:9.2f} {seconds[1]:9.2f} "
        f"{median:6.2f} ({least:.2f} to {most:.2f})",
        flush=True,
    )
    logged = sides["packed"][0].state.log_history
    stages = ("generate", "reward", "plan", "log_probs", "update")
    of_stage = {
        name: [line[f"seconds/{name}"] for line in logged if f"seconds/{name}" in line]
        for name in stages
    }
    print(
        "  ours: "
        + ", ".join(f"{name} {statistics.median(s):.2f} s" for name, s in of_stage.items())
    )


def recipes() -> None:
    """Time packed against row-by-row updates of rollout batches of 32 or 24, by recipe."""
    share = {"prompts": 2, "rewrites": "new_questions"}
    settings = {
        "grpo, 4 questions x 8": {"recipe": "grpo"},
        "shuffle-r1, 2 x 16": {"recipe": "shuffle-r1", "num_generations": 16},
        "share-grpo, 2 x 2 x 6": {
            "recipe": "share-grpo",
            "variants": share,
            "num_generations": 6,
            "per_device_train_batch_size": 6,
        },
    }
    for name, options in settings.items():
        options = {"steps_per_generation": 4, "num_iterations": 1, "max_steps": 4, **options}
        sides = {side: side_of(side, CASES[0], **options) for side in ("rows", "packed")}
        found: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(4):
            for side, (trainer, clock) in sides.items():
                clock.seconds.clear()
                trainer.train()
                if number:
                    found[side].append(sum(clock.seconds))
        median, least, most = ratios(found["rows"], found["packed"])
        print(f"{name:32} {median:6.2f} ({least:.2f} to {most:.2f})", flush=True)


PARTS = {
    "silent": "four groups, two silent        all, s   half, s  ratio",
    "update": "update alone                         P     R  limit   TRL, s   ours, s  ratio"
    "              losses apart",
    "memory": "peak memory, MB above the start         TRL       ours",
    "whole": "whole rollout batch                 TRL, s   ours, s  ratio",
    "recipes": "packed against rows, by recipe        ratio",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="run only this part")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        name, work = json.loads(options.peak)
        peak(name, Work(**work))
        return
    for part in [options.part] if options.part else PARTS:
        print(PARTS[part], flush=True)
        if part in OF_PART:
            for work in OF_PART[part]:
                {"silent": silent, "update": update, "memory": memory}[part](work)
        else:
            {"whole": whole, "recipes": recipes}[part]()
        print()


if __name__ == "__main__":
    main()
