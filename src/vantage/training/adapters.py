"""The adapters that a run trains."""

from __future__ import annotations

from peft import LoraConfig

from vantage.config import Config


def lora_of(config: Config) -> LoraConfig | None:
    """The adapters that a configuration trains, if it does."""
    lora = config.model.lora
    if lora is None:
        return None
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
