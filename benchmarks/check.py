"""Measure the speed of `vantage check`, and the memory of the prompts of a rollout batch.

Each number is measured in a separate process. Run: python benchmarks/check.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SMALL_ROWS = 10_000
SIDE = 600  # pixels per side; noise of this size is a PNG of 1.08 MB
SIZES = ((64, 8), (256, 8), (64, 32), (256, 32))  # rows, rollouts per prompt


def peak() -> float:
    """Peak memory in MB of this process or of its largest forked process."""
    own, forked = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(own, forked) / 1024


def write_small(folder: Path, rows: int) -> None:
    """Write distinct images of 28 x 28 pixels, and the tiny model."""
    from planting import encoded, painted

    from vantage.demo import model

    pictures = [encoded(painted(number)) for number in range(rows)]
    save(folder / f"small-{rows}.parquet", "Add the digits that you see.", pictures)
    model.build(folder / "model", seed=0)


def write_large(folder: Path, rows: int) -> None:
    """Write images of noise, which no format compresses."""
    from PIL import Image
    from planting import encoded

    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(rows))
    pictures = [encoded(Image.fromarray(level_HWC)) for level_HWC in noise]
    save(folder / f"large-{rows}.parquet", [{"role": "user", "content": "What?"}], pictures)


def save(path: Path, prompt, pictures: list[dict]) -> None:
    from datasets import Dataset, Image

    columns = {
        "prompt": [prompt] * len(pictures),
        "answer": [str(number) for number in range(len(pictures))],
        "image": pictures,
        "other": [["What is that?", "What is this?"]] * len(pictures),
    }
    Dataset.from_dict(columns).cast_column("image", Image(decode=False)).to_parquet(path)


def check(folder: Path, rows: int) -> dict:
    from vantage import config
    from vantage.checking.run import check

    before = peak()
    data = str(folder / f"small-{rows}.parquet")
    settings = config.config_to_check(data, {"model.path": str(folder / "model")})
    start = time.perf_counter()
    report = check(settings)
    seconds = time.perf_counter() - start
    assert report.status == 0 and report.rows == rows
    return {"seconds": seconds, "before": before, "peak": peak()}


def prompts(folder: Path, rows: int, rollouts: int) -> dict:
    """Ask every row with two prompts, with rewrites and transforms."""
    from datasets import load_dataset

    from vantage.questions.prompts import Prompts
    from vantage.questions.reading import Reader
    from vantage.questions.sampling import Shuffle
    from vantage.questions.schema import render
    from vantage.questions.variants import Variants

    variants = {"prompts": 2, "rewrites": "other", "transforms": {"probability": 1.0}}
    data = load_dataset("parquet", data_files=str(folder / f"large-{rows}.parquet"), split="train")
    made = Prompts(Reader(data), Variants.model_validate(variants))
    before = peak()
    made.begin(0.0)
    places = made.ask(Shuffle(rows, 0).draw(rows))
    prompt_N = made.ids(places, rollouts)
    found = {"before": before, "peak": peak(), "rollouts": len(prompt_N)}
    for prompt in np.unique(prompt_N):
        render(made.prompt(int(prompt)))
    return {**found, "opened": private()}


def private() -> float:
    """Memory in MB of this process, without pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measured(name: str, folder: Path, *numbers: int):
    """Call a function of this module in a separate process and return its result."""
    there = Path(__file__).parents[1] / "tests" / "checking"
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(there), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, name, str(folder), *map(str, numbers)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"vantage check, images of 28 x 28 pixels, tiny model, {cores} cores")
        print(f"{'rows':>8} {'seconds':>8} {'rows/s':>8} {'MB before':>10} {'MB peak':>8}")
        for rows in (SMALL_ROWS // 4, SMALL_ROWS):
            measured("write_small", folder, rows)
            found = measured("check", folder, rows)
            speed = rows / found["seconds"]
            print(
                f"{rows:8,} {found['seconds']:8.1f} {speed:8,.0f}"
                f" {found['before']:10.0f} {found['peak']:8.0f}"
            )
        print("\nprompts of a rollout batch, all rows asked, 2 variants, images of 1.08 MB")
        print(
            f"{'rows':>6} {'rollouts':>9} {'MB of images':>15} {'MB before':>10} {'MB peak':>8}"
            f" {'MB after opening each':>22}"
        )
        for rows in sorted({rows for rows, _ in SIZES}):
            measured("write_large", folder, rows)
            measured("prompts", folder, rows, 1)  # fills the data set cache
        for rows, rollouts in SIZES:
            found = measured("prompts", folder, rows, rollouts)
            print(
                f"{rows:6} {found['rollouts']:9,} {rows * SIDE * SIDE * 3 / 1e6:15.0f}"
                f" {found['before']:10.0f} {found['peak']:8.0f} {found['opened']:22.0f}"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name, folder, *numbers = sys.argv[1:]
        print(json.dumps(globals()[name](Path(folder), *map(int, numbers))))
    else:
        main()
