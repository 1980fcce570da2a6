"""Measure the report of a run of 100,000 rollouts: its size, and the time to write and open it.

Run: python benchmarks/report.py

The run is synthetic: 391 rollout batches of 32 questions with 8 rollouts each, responses of about
1,200 characters, images of 400 x 300. Each of 4,000 questions is asked about three times.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vantage.methods import recipe
from vantage.methods.ordering import update_of
from vantage.methods.rollouts import Rollouts
from vantage.questions.pictures import Picture
from vantage.questions.schema import Question
from vantage.record import About, Record, Recorder, Step
from vantage.report import page

BATCHES, QUESTIONS, GROUP, DATA = 391, 32, 8, 4_000
WORDS = ["the", "angle", "is", "twice", "as", "large", "so", "we", "add", "7", "3.5", "=", "12"]
OPENED = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def picture(question: int) -> Picture:
    rng = np.random.default_rng(question)
    level_HWC = rng.normal(size=(15, 20, 3)) * 50 + 128
    image = Image.fromarray(level_HWC.clip(0, 255).astype(np.uint8)).resize((400, 300))
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=85)
    return Picture(stream.getvalue())


def step(number: int) -> Step:
    rng = np.random.default_rng([9, number])
    asked_Q = rng.choice(DATA, QUESTIONS, replace=False)
    question_N = np.repeat(np.arange(QUESTIONS), GROUP)
    skill = 1 / (1 + np.exp(-(asked_Q / DATA * 4 - 3 + 3 * number / BATCHES)))
    accuracy_N = (rng.random(len(question_N)) < skill[question_N]).astype(float)
    reward_N = 0.9 * accuracy_N + 0.1
    plan = recipe("shuffle-r1").plan(
        Rollouts(question_N, question_N, reward_N), np.random.default_rng([0, number])
    )
    return Step(
        number=number,
        row_N=asked_Q[question_N],
        question_N=question_N,
        epoch_N=question_N * 0,
        prompt_N=question_N,
        variant_N=question_N * 0,
        parts={"accuracy": accuracy_N, "format": accuracy_N * 0 + 1},
        reward_N=reward_N,
        responses=[" ".join(rng.choice(WORDS, 300)) for _ in question_N],
        tokens_N=question_N * 0 + 300,
        log_prob_N=accuracy_N - 1.2,
        samples=plan,
        update_M=update_of(plan, 4),
        prompts={
            place: Question(f"<image>Question {q}: how large is it?", (picture(int(q)),))
            for place, q in enumerate(asked_Q)
        },
        seconds={"generate": 30.0, "reward": 1.0, "update": 20.0, "rollout_batch": 55.0},
        metrics={"silent_rollouts": 0.3, "useful_rollouts": 180.0},
        updates=4 * (number + 1),
        generated_tokens=300 * len(question_N),
    )


def seconds_to_open(file: Path) -> list[float]:
    """Seconds from opening the page until its figures and its table are drawn."""
    from playwright.sync_api import sync_playwright

    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    there = next(filter(None, map(shutil.which, BROWSERS)), None)
    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=there, args=rights)
        for _ in range(OPENED):
            tab = browser.new_page()
            began = time.perf_counter()
            tab.goto(file.as_uri())
            tab.wait_for_selector("html[data-ready]")
            tab.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
            took.append(time.perf_counter() - began)
            tab.close()
        browser.close()
    return took


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with Recorder(run, About("trl", "shuffle-r1", seed=0, updates=4)) as recorder:
            for number in range(BATCHES):
                recorder.append(step(number))
                if number % 10 == 9:
                    recorder.validated(number + 1, {"accuracy": 0.3 + 0.4 * number / BATCHES}, 9.0)
        size = sum(place.stat().st_size for place in run.rglob("*.*"))
        began = time.perf_counter()
        file = Path(folder) / "report.html"
        page.write([Record(run)], file)
        made = time.perf_counter() - began
        took = seconds_to_open(file)
        print(f"rollouts         {BATCHES * QUESTIONS * GROUP:,} in {BATCHES} batches")
        print(f"record           {size / 1e6:.1f} MB")
        print(f"page             {file.stat().st_size / 1e6:.1f} MB")
        print(f"time to make     {made:.1f} s")
        print(
            f"time to open     {statistics.median(took):.2f} s "
            f"({min(took):.2f} to {max(took):.2f}, {OPENED} times)"
        )


if __name__ == "__main__":
    main()
