"""Runs to report on, and a browser to look at the report."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "record"))

import steps

from vantage.record import Record, Recorder
from vantage.report import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def record_of(run: Path, about=steps.ABOUT, batches: int = 12, **options) -> Record:
    """Record a synthetic run with a validation after every third batch."""
    with Recorder(run, about) as recorder:
        for number in range(batches):
            recorder.append(steps.made(number, about=about, **options))
            if number % 3 == 2:
                recorder.validated(number + 1, {"rewards/accuracy/mean": number / 12}, 1.0)
    return Record(run)


@pytest.fixture(scope="session")
def made_up_run(tmp_path_factory):
    """Directory of a run of 12 batches of share-shuffle."""
    return record_of(tmp_path_factory.mktemp("made-up")).run


@pytest.fixture(scope="session")
def real_run(tmp_path_factory, tiny_model, digit_rows):
    """Directory of a training on images, with share-shuffle and rotated images."""
    from vantage.training.trl import VantageConfig, VantageTrainer

    run = tmp_path_factory.mktemp("real")
    args = VantageConfig(
        str(run),
        recipe={"name": "share-shuffle", "rounds": 4},
        variants={"prompts": 2, "transforms": {"names": ["clockwise"], "probability": 1.0}},
        max_steps=12,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        generation_batch_size=32,
        num_generations=4,
        max_completion_length=6,
        eval_strategy="steps",
        eval_steps=4,
        save_strategy="no",
        disable_tqdm=True,
        report_to="none",
        use_cpu=True,
        bf16=False,
    )
    trainer = VantageTrainer(
        tiny_model, _oddness, args, digit_rows.select(range(8)), digit_rows.select(range(36, 40))
    )
    trainer.train()
    return run


def _oddness(completion_ids, **_):
    return [float(ids[0] % 2) for ids in completion_ids]


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, or the one that Playwright installed."""
    from playwright.sync_api import Error, sync_playwright

    there = next(filter(None, map(shutil.which, BROWSERS)), None)
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=there, args=rights)
        except Error as error:
            pytest.fail(f"no browser: `make browser` installs one, as `make test` does. {error}")
        yield browser
        browser.close()


class Seen:
    """A page in a browser tab, with all errors and requests that it causes."""

    def __init__(self, browser, file: Path, **options):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        self.tab = self.context.new_page()
        self.wrong: list[str] = []
        self.tab.on("console", lambda message: self.wrong.append(message.text))
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.tab.on("request", self._asked)
        self.tab.goto(file.as_uri())
        self.tab.wait_for_selector("html[data-ready]", timeout=30_000)

    def _asked(self, request) -> None:
        if not request.url.startswith("data:") and request.resource_type != "document":
            self.wrong.append(f"asked for {request.url}")


@pytest.fixture
def look(chromium, tmp_path):
    """Open the page of runs; the test fails at the end if the page had errors."""
    opened = []

    def open_page(*runs: Path, **options):
        file = tmp_path / f"report {len(opened)}.html"
        page.write([Record(run) for run in runs], file)
        opened.append(Seen(chromium, file, **options))
        return opened[-1].tab

    yield open_page
    for seen in opened:
        seen.context.close()
        assert seen.wrong == []
