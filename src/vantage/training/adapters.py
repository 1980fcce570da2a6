"""Low-rank adapters of a run."""

from __future__ import annotations

from peft import LoraConfig

from vantage.config import Lora


def lora_of(lora: Lora | None) -> LoraConfig | None:
    """Convert the configuration of adapters to peft's; None if the run has none."""
    if lora is None:
        return None
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
