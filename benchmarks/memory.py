"""Print the memory estimate of `vantage check` for the shipped recipes, and sufficient GPUs.

Run: python benchmarks/memory.py

Model sizes are those of the published Qwen2.5-VL; rows have the maximum length of the recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from transformers import Qwen2_5_VLConfig

from vantage import config as configuration
from vantage.checking import memory
from vantage.checking.memory import GIB, Memory, Sampler
from vantage.config import Config
from vantage.training.adapters import lora_of
from vantage.training.resolved import Cut, Forward
from vantage.training.trl import precision
from vantage.training.trl.resolving import TILE
from vantage.training.trl.run import arguments

RECIPES = Path(__file__).parents[1] / "recipes"
# Processes (with FSDP if several) and GiB per GPU that the recipe files name.
HARDWARE = {
    "geometry3k-qwen2.5-vl-3b-24gb-lora": (1, 24),
    "geometry3k-qwen2.5-vl-3b-shuffle-r1": (1, 80),
    "mmrl30k-qwen2.5-vl-3b-shuffle-r1": (1, 80),
    "share-vl-qwen2.5-vl-3b-share-grpo": (2, 80),
    "geometry3k-qwen2.5-vl-7b-shuffle-r1": (4, 80),
    "mmrl30k-qwen2.5-vl-7b-shuffle-r1": (4, 80),
    "share-vl-qwen2.5-vl-7b-share-grpo": (4, 80),
}
CUTS = {
    "one": Cut(),
    "2, FSDP": Cut(2, "fsdp"),
    "4, FSDP": Cut(4, "fsdp"),
    "8, FSDP": Cut(8, "fsdp"),
    "8, ZeRO 2": Cut(8, "zero", 2),
}
SUMS = {"optimizer.weights": "bfloat16"}


class Needs(NamedTuple):
    """Memory of a training process, and of vLLM on the same GPU."""

    memory: Memory
    sampler: Sampler


def published(size: str) -> Qwen2_5_VLConfig:
    """Return the configuration of Qwen2.5-VL-3B or 7B."""
    hidden, inner, layers, heads, pairs, words = {
        "3b": (2048, 11_008, 36, 16, 2, 151_936),
        "7b": (3584, 18_944, 28, 28, 4, 152_064),
    }[size]
    text = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": pairs,
        "vocab_size": words,
        "tie_word_embeddings": size == "3b",
    }
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config={**vision, "out_hidden_size": hidden},
        tie_word_embeddings=size == "3b",
        architectures=["Qwen2_5_VLForConditionalGeneration"],
    )


def loaded(name: str, options: dict[str, str] | None = None) -> Config:
    """Load a recipe for planning on a machine without a GPU."""
    given = {"trl.use_cpu": "true", **(options or {})}
    return configuration.load(RECIPES / f"{name}.yaml", given)


def needs(config: Config, cut: Cut) -> Needs:
    """Estimate the memory of one process of a recipe."""
    args, size = arguments(config), "7b" if "7B" in config.model.path else "3b"
    sizes = memory.sizes(
        published(size),
        precision.chosen(config),
        lora=lora_of(config.model.lora),
        freeze_vision=config.model.freeze_vision_tower,
    )
    longest = (config.data.max_prompt_tokens or 0) + config.generation.max_tokens
    forward = Forward(
        config.batch.micro_batch,
        config.generation.max_tokens,
        config.data.max_prompt_tokens or 0,
        tile=TILE,
        reference=bool(args.beta),
        checkpointing=args.gradient_checkpointing,
        compensated=args.compensated_sums,
    )
    made = memory.estimate(sizes, forward, prompt=0, forward_bytes=2, cut=cut)
    sampler = Sampler(
        args.vllm_gpu_memory_utilization,
        bool(args.vllm_enable_sleep_mode),
        memory.sampler_needs(sizes, length=longest, value_bytes=2),
    )
    return Needs(made, sampler)


def main() -> None:
    """Print one line per recipe and kind of sharding."""
    print(f"{'recipe':40}{'GPUs':12}{'training':>10}{'smallest GPU':>14}{'asleep':>8}")
    for name in HARDWARE:
        for cut, how in CUTS.items():
            _line(name, cut, needs(loaded(name), how))
        if not loaded(name).model.lora:
            _line(name, "one, sums", needs(loaded(name, SUMS), Cut()))


def _line(name: str, cut: str, found: Needs) -> None:
    enough = [smallest(found, asleep) for asleep in (found.sampler.sleeps, True)]
    print(f"{name:40}{cut:12}{found.memory.total / GIB:>10.1f}{enough[0]:>14}{enough[1]:>8}")


def smallest(found: Needs, asleep: bool) -> str:
    """Size in GiB of the smallest sufficient GPU, with or without vLLM's sleep mode."""
    sampler = found.sampler.__class__(found.sampler.share, asleep, found.sampler.needs)
    fits = [gpu for gpu in memory.GPUS if found.memory.fits(sampler, gpu * GIB)]
    return str(fits[0]) if fits else "none"


if __name__ == "__main__":
    main()
