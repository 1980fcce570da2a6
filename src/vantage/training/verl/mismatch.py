"""Options that affect the log-prob mismatch of sampler and trainer in a run on veRL."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from transformers import AutoConfig

from vantage.errors import ConfigError
from vantage.training.mismatch import Canary, renormalisation

FLOAT32 = ("float32", "fp32", "float")
# `rollout.name` -> its package, if the names differ.
PACKAGES = {"trtllm": "tensorrt_llm"}
ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
CORRECTION = "algorithm.rollout_correction"
REMEDY = (
    "Install the versions that veRL pins (pip install 'verl[vllm]==0.9.1'); remove options under "
    f"verl.{ROLLOUT} that change what is sampled (logprobs_mode, quantization); or use another "
    f"sampler (verl.{ROLLOUT}.name: sglang) or another model. If the error persists, report it "
    "with this message"
)


def renormalises(rollout: DictConfig) -> bool:
    """Whether the sampler renormalises its log-probs after truncation by top_p and top_k.

    SGLang reports log-probs before truncation. vLLM's `logprobs_mode` decides: with veRL's default,
    "processed_logprobs", they are computed after truncation; with "raw_logprobs", before
    temperature and truncation.
    """
    if rollout.name == "sglang":
        return False
    return rollout.name != "vllm" or str(rollout.logprobs_mode).startswith("processed")


def slack(rollout: DictConfig) -> float:
    """Maximum excess of the sampler's log-probs, in nats; see `renormalisation`."""
    return renormalisation(rollout.top_p, rollout.top_k) if renormalises(rollout) else 0.0


def in_float32(config: DictConfig) -> bool:
    """Whether trainer and sampler compute in float32 with 24 bits; GPUs may use 11 bits (TF32)."""
    if OmegaConf.select(config, "trainer.device") != "cpu":
        return False
    trainer = OmegaConf.select(config, f"{ACTOR}.fsdp_config.mixed_precision.param_dtype")
    return trainer in FLOAT32 and OmegaConf.select(config, f"{ROLLOUT}.dtype") in FLOAT32


def check_correction(config: DictConfig) -> None:
    """Check that a sequence-level correction is not used with a sampler that renormalises.

    The ratio of a response is the product of the ratios of its tokens, each of which is too small
    by a factor of up to top_p. If sampler and trainer agree, 400 tokens at top_p = 0.99 give a
    ratio of 0.99^400 = 0.02 instead of 1.

    Raises:
        ConfigError: They are combined; names both options.
    """
    rollout = OmegaConf.select(config, ROLLOUT)
    correction = OmegaConf.select(config, CORRECTION) or {}
    option = _sequence_level(correction)
    if not option or not slack(rollout):
        return
    truncation = f"top_p={rollout.top_p}" if rollout.top_p < 1 else f"top_k={rollout.top_k}"
    remedy = "generation.top_p: 1" if rollout.top_p < 1 else f"verl.{ROLLOUT}.top_k: -1"
    raise ConfigError(
        f"verl.{CORRECTION}.{option} corrects whole responses, but with {truncation}, "
        f"{rollout.name} renormalises its log-probs and the trainer does not, so "
        "the ratio of a response shrinks with every token. Set "
        f"{remedy}, or correct per token (rollout_is: token, rollout_rs: token_k1), or disable the "
        "correction"
    )


def _sequence_level(correction: Any) -> str | None:
    """Return the option that weights or rejects whole responses, with its value; None if unset."""
    weights, rejection = correction.get("rollout_is"), correction.get("rollout_rs")
    if weights == "sequence":
        return f"rollout_is={weights!r}"
    if any(part.strip().startswith("seq_") for part in str(rejection or "").split(",")):
        return f"rollout_rs={rejection!r}"
    return None


def canary_of(config: DictConfig) -> Canary:
    """Build the canary, which ends a run if sampler and trainer disagree.

    Args:
        config: veRL's configuration.
    """
    model, rollout = config.actor_rollout_ref.model, OmegaConf.select(config, ROLLOUT)

    def family() -> str:
        trusted = model.get("trust_remote_code", False)
        return AutoConfig.from_pretrained(model.path, trust_remote_code=trusted).model_type

    return Canary(
        float32=in_float32(config),
        slack=slack(rollout),
        family=family,
        packages=("verl", PACKAGES.get(rollout.name, rollout.name), "transformers", "torch"),
        remedy=REMEDY,
    )
