"""Run the learning study: recipes on two tasks, at equal generated rollouts.

    python benchmarks/learning.py tune      # tune the learning rate of every arm, on validation
    python benchmarks/learning.py choose    # train candidates for improvement, on validation
    python benchmarks/learning.py test      # train every arm at its rate, on the test split
    python benchmarks/learning.py ablate    # train variations, on the test split
    python benchmarks/learning.py gradients    # compare gradients of a batch with the true one
    python benchmarks/learning.py collect   # store the results in benchmarks/results/
    python benchmarks/learning.py report    # write tables and figure of the pages from them

Completed trainings are not repeated, so a stage can be interrupted and rerun.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import itertools
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pandas as pd
from study import gradients, page, running, tasks
from study.arms import ABLATIONS, ARMS, CANDIDATES, EVERY, base_of
from study.running import Job

from vantage.errors import nearest

FOLDER = Path("runs/learning")
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "learning.parquet"
COMPARED = RESULTS.with_name("gradients.parquet")
PAGES = (ROOT / "docs" / "learning.md", ROOT / "README.md")
FIGURE = ROOT / "docs" / "learning.png"
RATES = (3e-5, 6e-5, 1.2e-4)
TUNED_ON, CHOSEN_ON, SEEDS = 100, (100, 101), range(5)


def tune(task: str, arm: str, seed: int, folder: Path) -> None:
    """Train an arm at every rate; extend the range while the best rate is at an edge."""
    score: dict[float, float] = {}
    wanted = list(RATES)
    while wanted:
        for rate in wanted:
            job = Job("tuning", task, arm, seed, rate)
            running.train(job, EVERY[arm], folder)
            score[rate] = running.late_accuracy(folder, job)
        best, low, high = max(score, key=score.__getitem__), min(score), max(score)
        wanted = {low: [low / 2], high: [high * 2]}.get(best, [])


def rate_of(task: str, arm: str, folder: Path) -> float:
    """The best tuned learning rate of an arm."""
    jobs = running.found(folder, stage="tuning", task=task, arm=arm)
    if not jobs:
        raise SystemExit(f"{arm!r} has no learning rate on {task!r} in {folder}: run `tune` first")
    return max(jobs, key=lambda job: running.late_accuracy(folder, job)).learning_rate


def test(task: str, arm: str, seed: int, folder: Path) -> None:
    """Train an arm at its tuned rate, and evaluate it on the test split."""
    rate = rate_of(task, base_of(arm), folder)
    running.train(Job("test", task, arm, seed, rate), EVERY[arm], folder)


def choose(task: str, arm: str, seed: int, folder: Path) -> None:
    """As `test`, but on the validation split, since the test split must not decide what to keep."""
    rate = rate_of(task, base_of(arm), folder)
    running.train(Job("choice", task, arm, seed, rate), EVERY[arm], folder)


def collect(folder: Path) -> None:
    """Store all trainings in one file, and all gradients in another."""
    for kind, target in (("results", RESULTS), ("gradients", COMPARED)):
        files = sorted((folder / kind).glob("*.parquet"))
        print(f"{len(files)} files of {kind}")
        if files:
            table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
            _without_paths(table, folder).to_parquet(target, compression="zstd", index=False)


def _without_paths(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Replace the folder in the stored settings with the default one."""
    if "settings" in table:
        for place in (folder.resolve(), folder):
            table["settings"] = table["settings"].str.replace(f"{place}/", f"{FOLDER}/")
    return table


def report() -> None:
    """Write the tables of the pages and the figure from the stored results."""
    results = pd.read_parquet(RESULTS)
    tables = page.blocks(results, pd.read_parquet(COMPARED), list(tasks.TASKS))
    for file in PAGES:
        file.write_text(page.fill(file.read_text(encoding="utf-8"), tables), encoding="utf-8")
    page.draw(page.runs_of(results, "test"), list(tasks.TASKS), list(ARMS), FIGURE)
    print(f"tables in {', '.join(map(str, PAGES))}; figure in {FIGURE}")


def in_pool(function: Callable, calls: Iterable[tuple], workers: int) -> None:
    """Run the calls in a pool of `workers` processes."""
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_quiet) as pool:
        waiting = [(call, pool.submit(function, *call)) for call in calls]
        try:
            for number, (call, future) in enumerate(waiting, start=1):
                future.result()
                print(f"{number}: {function.__name__} {' '.join(map(str, call[:-1]))}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _quiet() -> None:
    import datasets
    import transformers

    warnings.filterwarnings("ignore")
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=(*STAGES, "gradients", "collect", "report"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="; ".join(EVERY))
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--tasks", nargs="+", choices=tasks.TASKS, default=list(tasks.TASKS))
    given = parser.parse_args()
    if given.stage == "collect":
        return collect(given.folder)
    if given.stage == "report":
        return report()
    if given.stage == "gradients":
        in_pool(
            tasks.prepare, [(t, gradients.SEED, given.folder) for t in given.tasks], given.workers
        )
        return in_pool(gradients.compare, [(t, given.folder) for t in given.tasks], given.workers)
    function, arms, seeds = STAGES[given.stage]
    for arm in given.arms or ():
        if arm not in arms:
            parser.error(f"{given.stage} has no arm {arm!r}: {nearest(arm, arms)}")
    seeds = given.seeds or seeds
    made = itertools.product(given.tasks, seeds, [given.folder])
    in_pool(tasks.prepare, made, given.workers)
    calls = itertools.product(seeds, given.arms or arms, given.tasks)
    in_pool(function, [(t, a, s, given.folder) for s, a, t in calls], given.workers)


STAGES = {
    "tune": (tune, list(ARMS), [TUNED_ON]),
    "test": (test, list(ARMS), SEEDS),
    "choose": (choose, ["grpo", "share-grpo", "share-shuffle", *CANDIDATES], CHOSEN_ON),
    "ablate": (test, list(ABLATIONS), SEEDS),
}

if __name__ == "__main__":
    main()
