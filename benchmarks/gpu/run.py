"""Benchmark vantage on one 80 GB GPU in under 9 minutes, without a network.

    python benchmarks/gpu/run.py --out runs/gpu                # all parts
    python benchmarks/gpu/run.py --parts attention,speed       # some parts
    python benchmarks/gpu/run.py --tiny                        # smoke test with tiny sizes on a CPU

Each part runs in a separate process with its own time limit. Results are written to
`results.jsonl` and `results.txt` when a case ends. `about.json` has the date, chip and versions,
`log.txt` the output of the parts.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "src")]

import torch

from gpu.results import Result, append, measured, read

# Time limit of each part in seconds; multiplied by SLACK with --tiny, for busy CPUs.
PARTS = {
    "attention": 120,
    "moves": 30,
    "parity": 70,
    "speed": 190,
    "silent": 45,
    "log_probs": 40,
    "generation": 75,
    "memory": 90,
    "train": 75,
    "learns": 180,
}
TOTAL, SLACK = 525, 5
PACKAGES = ("torch", "transformers", "trl", "accelerate", "triton", "numpy")


def about(tiny: bool) -> dict[str, object]:
    """Date, chip and package versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    chip = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "chip": chip,
        "tiny": tiny,
        "python": platform.python_version(),
        **versions,
    }


def run_part(name: str, out: Path, *, tiny: bool, seconds: float) -> None:
    """Measure a part in a separate process; record a failure or timeout."""
    command = [sys.executable, __file__, "--part", name, "--out", str(out)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    began = time.perf_counter()
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, *["--tiny"] * tiny],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
            why = f"its process ended with {code}, see log.txt" if code else ""
        except subprocess.TimeoutExpired:
            why = f"stopped after {seconds:.3g} s"
        finally:
            stop(process)
    if why:
        took = time.perf_counter() - began
        append(out / "results.jsonl", Result(name, "", failed=why, seconds=took))


def stop(process: subprocess.Popen) -> None:
    """Kill a process and all of its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(parts: list[str], out: Path, *, tiny: bool) -> list[Result]:
    """Measure the parts in order, while time is left."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    file.unlink(missing_ok=True)
    (out / "log.txt").unlink(missing_ok=True)
    told = about(tiny)
    (out / "about.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    lines = ["  ".join(f"{name} {value}" for name, value in told.items()), ""]
    print(lines[0], flush=True)
    slack = SLACK if tiny else 1
    end = time.perf_counter() + slack * TOTAL
    for name in parts:
        before, left = len(read(file)), end - time.perf_counter()
        if left < 10:
            append(file, Result(name, "", skipped=f"no time left of {TOTAL} s"))
        else:
            run_part(name, out, tiny=tiny, seconds=min(slack * PARTS[name], left))
        new = [result.line() for result in read(file)[before:]]
        print(*new, sep="\n", flush=True)
        lines += new
        (out / "results.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; all by default")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, about a minute on a CPU")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # run in the separate process
    given = parser.parse_args()
    if given.part:
        module = importlib.import_module(f"gpu.parts.{given.part}")
        for result in measured(given.part, module.cases(given.tiny)):
            append(given.out / "results.jsonl", result)
        return
    parts = given.parts.split(",")
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    if not given.tiny and not torch.cuda.is_available():
        parser.error("no GPU here; --tiny tries the command without one")
    results = run(parts, given.out, tiny=given.tiny)
    sys.exit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
