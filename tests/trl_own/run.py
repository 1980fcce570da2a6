"""Runs TRL's own GRPO tests with our trainer in the place of TRL's: `run.py CHECKOUT DIRECTORY`.

CHECKOUT is a copy of TRL's repository, whose tests/test_grpo_trainer.py is run against the TRL
that is installed; DIRECTORY takes the stand-ins for TRL's hub and what came of each test. Of the
tests that pass with TRL none may fail: each passes, or is refused for an option that
docs/from-trl.md lists under "What is refused".
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "from-trl.md"
AT_LEAST = 101  # tests that pass
TRAINERS = ("trl", "vantage")

Outcomes = dict[str, tuple[str, str]]


def environment(**settings: str) -> dict[str, str]:
    """That of this process, without a network, and with the modules beside this file."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    alone = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **alone, **settings}


def start(trainer: str, checkout: Path, directory: Path) -> subprocess.Popen:
    """The tests of the checkout with one of the trainers, in a process of its own."""
    found = directory / f"{trainer}.jsonl"
    found.unlink(missing_ok=True)
    settings = environment(
        TRAINER=trainer,
        OUTCOMES=str(found),
        HUB=str(directory / "hub"),
        HF_DATASETS_CACHE=str(directory / f"cache-{trainer}"),
        TOKENIZERS_PARALLELISM="false",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "swapping", "-p", "no:cacheprovider"]
    command += ["-c", str(checkout / "pyproject.toml"), "--rootdir", str(checkout)]
    command += ["--basetemp", str(directory / f"temporary-{trainer}")]
    log = (directory / f"{trainer}.log").open("w")
    return subprocess.Popen(
        [*command, str(checkout / "tests" / "test_grpo_trainer.py")],
        env=settings,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def read(found: Path) -> Outcomes:
    """What came of each test; where a test ends twice, the later."""
    lines = found.read_text().splitlines() if found.exists() else []
    return {name: (outcome, said) for name, outcome, said in map(json.loads, lines)}


def listed(docs: str) -> set[str]:
    """Options in the first column of the table of what is refused."""
    section = docs.partition("## What is refused")[2].partition("\n## ")[0]
    cells = re.findall(r"^\|([^|]*)\|", section, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


def unlisted(ours: Outcomes, known: set[str]) -> list[str]:
    """Refused tests whose message begins with no option that is listed."""
    refused = {name: said for name, (outcome, said) in ours.items() if outcome == "refused"}
    return [name for name, said in refused.items() if re.match(r"\w*", said)[0] not in known]


def report(theirs: Outcomes, ours: Outcomes) -> bool:
    """Print what came of the tests that pass with TRL; whether all is well."""
    baseline = [name for name, (outcome, _) in theirs.items() if outcome == "passed"]
    ours = {name: ours.get(name, ("failed", "it did not run")) for name in baseline}
    count = Counter(outcome for outcome, _ in ours.values())
    for name, (outcome, said) in ours.items():
        if outcome != "passed":
            print(f"{outcome}: {name}\n    {' '.join(said.split())[:240]}")
    hidden = unlisted(ours, listed(DOCS.read_text()))
    for name in hidden:
        print(f"refused, and not listed in docs/from-trl.md: {name}")
    failing = len(baseline) - count["passed"] - count["refused"]
    print(
        f"{len(baseline)} tests pass with TRL. With vantage {count['passed']} pass, "
        f"{count['refused']} are refused by design, {failing} fail."
    )
    return count["passed"] >= AT_LEAST and not failing and not hidden


def main(checkout: Path, directory: Path) -> int:
    """Both runs side by side, and the report; 0 if all is well."""
    directory.mkdir(parents=True, exist_ok=True)
    hub = "import hub, pathlib, sys; hub.write(pathlib.Path(sys.argv[1]))"
    made = [sys.executable, "-c", hub, str(directory / "hub")]
    subprocess.run(made, env=environment(), check=True)
    for process in [start(trainer, checkout, directory) for trainer in TRAINERS]:
        process.wait()
    theirs, ours = (read(directory / f"{trainer}.jsonl") for trainer in TRAINERS)
    return 0 if report(theirs, ours) else 1


if __name__ == "__main__":
    sys.exit(main(*(Path(argument).resolve() for argument in sys.argv[1:])))
