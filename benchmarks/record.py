"""Measure the cost of the record of a run: share of a rollout batch, and bytes on disk.

Run: python benchmarks/record.py

The first part trains the demo's tiny model, which has very short batches, and measures how long
the training waits for the record. The second part records synthetic batches with the sizes of a
real model. It measures all of the recording work, which runs concurrently with the next rollouts,
and prints the batch duration of which this is 1 %.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import PrinterCallback, TrainerCallback

from vantage.demo import digits, model
from vantage.methods import recipe
from vantage.methods.ordering import update_of
from vantage.methods.rollouts import Rollouts
from vantage.questions.pictures import Picture
from vantage.questions.schema import Question
from vantage.record import About, Recorder, Step
from vantage.training.trl import VantageConfig, VantageTrainer

BATCHES = 12
# Questions per batch, rollouts per question, tokens per response, pixels per side of an image.
SIZES = ((64, 8, 500, 512), (128, 8, 2_000, 512), (512, 16, 2_000, 1_024))
WORDS = ["the", "angle", "is", "twice", "as", "large", "so", "we", "add", "7", "3.5", "=", "12"]


class Clock(TrainerCallback):
    """Record the end times of rollout batches."""

    def __init__(self):
        self.ends = []

    def on_step_end(self, args, state, control, **rest):
        if state.global_step % args.updates_per_rollout_batch == 0:
            self.ends.append(time.perf_counter())


def length(completion_ids, **_):
    """A reward that varies for an untrained model, so that there is something to train."""
    return [float(len(set(ids))) for ids in completion_ids]


def trained(folder: Path) -> None:
    """Measure the share of the batches of a real run that recording takes."""
    torch.set_num_threads(1)
    rows = digits.questions("reinforcement", n=200).map(
        lambda row: {"prompt": [{"role": "user", "content": row["question"]}]}
    )
    args = VantageConfig(
        str(folder / "run"),
        recipe={"name": "shuffle-r1"},
        max_steps=4 * BATCHES,
        per_device_train_batch_size=64,
        generation_batch_size=256,
        num_generations=16,
        max_completion_length=12,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        logging_strategy="no",
    )
    trainer = VantageTrainer(str(model.build(folder / "model", seed=0)), length, args, rows)
    trainer.remove_callback(PrinterCallback)
    clock, took = Clock(), []
    trainer.add_callback(clock)
    before = trainer._record

    def timed(batch):
        began = time.perf_counter()
        before(batch)
        took.append(time.perf_counter() - began)

    trainer._record = timed
    trainer.train()
    whole = np.diff(clock.ends)
    spent = np.array(took)[1:]
    size = sum(place.stat().st_size for place in (folder / "run/record").rglob("*.*"))
    print(
        f"demo, 256 rollouts: batch {np.median(whole):.3f} s, waits {1e3 * np.median(spent):.1f} "
        f"ms, {np.median(spent) / np.median(whole):.2%}; {size / BATCHES / 1e3:.0f} kB per batch"
    )


def made_up(number: int, questions: int, group: int, tokens: int, side: int) -> Step:
    rng = np.random.default_rng(number)
    question_N = np.repeat(np.arange(questions), group)
    reward_N = rng.integers(0, 2, len(question_N)) * 0.9
    samples = recipe("shuffle-r1").plan(Rollouts(question_N, question_N, reward_N), rng)
    level_HWC = rng.normal(size=(side // 8, side // 8, 3)) * 40 + 128
    image = Image.fromarray(level_HWC.clip(0, 255).astype(np.uint8)).resize((side, side))
    pictures = [Picture(_jpeg(image, number * questions + place)) for place in range(questions)]
    return Step(
        number=number,
        row_N=number * questions + question_N,
        question_N=question_N,
        epoch_N=question_N * 0,
        prompt_N=question_N,
        variant_N=question_N * 0,
        parts={"accuracy": reward_N, "format": reward_N * 0 + 1},
        reward_N=reward_N,
        responses=[" ".join(rng.choice(WORDS, tokens)) for _ in question_N],
        tokens_N=question_N * 0 + tokens,
        log_prob_N=reward_N - 1,
        samples=samples,
        update_M=update_of(samples, 4),
        prompts={place: Question("<image>What?", (pictures[place],)) for place in range(questions)},
        seconds={"rollout_batch": 60.0},
        metrics={"silent_rollouts": 0.3},
        updates=4,
        generated_tokens=len(question_N) * tokens,
    )


def _jpeg(image: Image.Image, number: int) -> bytes:
    import io

    stream = io.BytesIO()
    image.rotate(number % 360).save(stream, "jpeg", quality=90)
    return stream.getvalue()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        trained(Path(folder))
    for questions, group, tokens, side in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            about, seconds = About("trl", "shuffle-r1", seed=0, updates=4), []
            with Recorder(folder, about) as recorder:
                for number in range(5):
                    step = made_up(number, questions, group, tokens, side)
                    began = time.perf_counter()
                    recorder.append(step)
                    seconds.append(time.perf_counter() - began)
            size = sum(place.stat().st_size for place in Path(folder).rglob("*.*"))
            middle = statistics.median(seconds)
            print(
                f"{questions * group:,} rollouts of {tokens:,} words, new images of {side} x "
                f"{side}: record {middle:.3f} s, 1 % of a batch of {100 * middle:.0f} s; "
                f"{size / 5e6:.1f} MB per batch"
            )


if __name__ == "__main__":
    main()
