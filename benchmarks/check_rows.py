"""Measure time and memory of `vantage check` on many rows of text; both should be linear.

Rows have about 60 tokens and a number as reference. For each size, the command runs in a separate
process. Memory includes the processes that it forks; shared pages count once.

Run: python benchmarks/check_rows.py [ROWS ...]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROWS = (100_000, 300_000, 1_000_000)
PART = 50_000  # rows per write
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ida", "Jon", "Kim", "Leo")
THINGS = ("apples", "books", "coins", "dates", "eggs", "figs", "grapes", "hats", "lamps", "nails")


def question(rng: random.Random) -> tuple[str, int]:
    """Return a question of about 60 tokens, and its answer."""
    one, other = rng.sample(NAMES, 2)
    thing, place = rng.choice(THINGS), rng.choice(["a shop", "the market", "a farm", "the fair"])
    a, b, c = (rng.randint(1, 9_999) for _ in range(3))
    text = (
        f"{one} has {a} {thing} in a box, and {other} brings {b} more {thing} from {place}. Then "
        f"they give away {c} of all the {thing} that they have together, and put the rest back "
        f"into the box. How many {thing} are in the box in the end, if none of them is lost?"
    )
    return text, a + b - c


def write_rows(path: Path, rows: int) -> None:
    """Write a Parquet file in parts."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = random.Random(0)
    schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
    with parquet.ParquetWriter(path, schema) as file:
        for start in range(0, rows, PART):
            made = [question(rng) for _ in range(min(PART, rows - start))]
            columns = {"question": [q for q, _ in made], "answer": [str(a) for _, a in made]}
            file.write_table(pa.table(columns, schema))


def write_model(folder: Path) -> None:
    """Write a language model without weights; its tokenizer is trained on such rows."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import Qwen2Config, Qwen2TokenizerFast

    rng = random.Random(1)
    learned = ByteLevelBPETokenizer()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    learned.train_from_iterator(
        (question(rng)[0] for _ in range(5_000)), 2_000, special_tokens=special
    )
    folder.mkdir()
    learned.save_model(str(folder))
    tokenizer = Qwen2TokenizerFast(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    Qwen2Config(vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2).save_pretrained(
        folder
    )


def memory_of(pid: int) -> float:
    """Memory in MB of a process and its children; shared pages count once."""
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        try:
            tasks = Path(f"/proc/{process}/task").iterdir()
            for task in tasks:
                waiting += map(int, (task / "children").read_text().split())
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # the process has ended
            continue
        # Pages of files do not count, because the system can reclaim them.
        total += sum(
            int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))
        )
    return total / 1024


class Watch(threading.Thread):
    """Peak memory of a process and its children, sampled ten times per second."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.most, self.over = pid, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.most = max(self.most, memory_of(self.pid))


def checked(folder: Path, rows: int) -> tuple[float, float, float]:
    """Run a check; return wall seconds, CPU seconds and peak MB."""
    command = [sys.executable, "-m", "vantage", "check", str(folder / f"{rows}.parquet")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--model", str(folder / "model")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "HF_HOME": str(folder / f"cache-{rows}"), "HF_HUB_OFFLINE": "1"},
    )
    watch = Watch(process.pid)
    watch.start()
    out, _ = process.communicate()
    seconds = time.perf_counter() - start
    watch.over.set()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0 and f"{rows:,} usable rows" in out, out
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used, watch.most


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or list(ROWS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        for rows in sizes:
            write_rows(folder / f"{rows}.parquet", rows)
            seconds, used, most = checked(folder, rows)
            print(
                f"{rows:,} rows: {seconds:.1f} s ({rows / seconds:,.0f} rows per second), "
                f"{used:.1f} s of all cores, {most:,.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
