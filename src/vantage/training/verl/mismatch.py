"""The sampler of a run on veRL, compared with the trainer, and what its options allow."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from transformers import AutoConfig

from vantage.errors import ConfigError
from vantage.training.mismatch import Canary, renormalisation

FLOAT32 = ("float32", "fp32", "float")
# The distribution's name where it is not that of `rollout.name`.
PACKAGES = {"trtllm": "tensorrt_llm"}
ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
CORRECTION = "algorithm.rollout_correction"
REMEDY = (
    "Install the versions that veRL pins (pip install 'verl[vllm]==0.9.1'), or take "
    f"another sampler (verl.{ROLLOUT}.name: sglang), or another model; options under "
    f"verl.{ROLLOUT} that change what is sampled (logprobs_mode, quantization) have to "
    "go. If it stays, report it with this message"
)


def renormalises(rollout: DictConfig) -> bool:
    """Whether the sampler reports log-probs divided by the mass that top_p and top_k keep.

    SGLang reports those before the cut; vLLM those after it, with `logprobs_mode` as veRL sets
    it ("processed_logprobs"), and those before the temperature with "raw_logprobs".
    """
    if rollout.name == "sglang":
        return False
    return rollout.name != "vllm" or str(rollout.logprobs_mode).startswith("processed")


def slack(rollout: DictConfig) -> float:
    """Nats by which the sampler's log-probs may be higher, see `renormalisation`."""
    return renormalisation(rollout.top_p, rollout.top_k) if renormalises(rollout) else 0.0


def in_float32(config: DictConfig) -> bool:
    """Whether trainer and sampler round to 24 bits; kernels of GPUs may round to 11 (TF32)."""
    if OmegaConf.select(config, "trainer.device") != "cpu":
        return False
    trainer = OmegaConf.select(config, f"{ACTOR}.fsdp_config.mixed_precision.param_dtype")
    return trainer in FLOAT32 and OmegaConf.select(config, f"{ROLLOUT}.dtype") in FLOAT32


def check_correction(config: DictConfig) -> None:
    """Refuse a correction by sequence of a sampler that renormalises.

    The ratio of a response is the product of its tokens'. Each is too small by up to top_p, so
    400 tokens at 0.99 give 0.02 where sampler and trainer agree.

    Raises:
        ConfigError: names both options.
    """
    rollout = OmegaConf.select(config, ROLLOUT)
    correction = OmegaConf.select(config, CORRECTION) or {}
    by_sequence = _by_sequence(correction)
    if not by_sequence or not slack(rollout):
        return
    cut = f"top_p={rollout.top_p}" if rollout.top_p < 1 else f"top_k={rollout.top_k}"
    wanted = "generation.top_p: 1" if rollout.top_p < 1 else f"verl.{ROLLOUT}.top_k: -1"
    raise ConfigError(
        f"verl.{CORRECTION}.{by_sequence} corrects whole responses, and with {cut}, "
        f"{rollout.name} renormalises its log-probs, but the trainer does not, so "
        "the ratio of a response shrinks with every token. Set "
        f"{wanted}, or correct by token (rollout_is: token, rollout_rs: token_k1), or leave the "
        "correction off"
    )


def _by_sequence(correction: Any) -> str | None:
    """The option that weighs or rejects whole responses, with its value."""
    weights, rejection = correction.get("rollout_is"), correction.get("rollout_rs")
    if weights == "sequence":
        return f"rollout_is={weights!r}"
    if any(part.strip().startswith("seq_") for part in str(rejection or "").split(",")):
        return f"rollout_rs={rejection!r}"
    return None


def canary_of(config: DictConfig) -> Canary:
    """What ends a run whose sampler does not see what is trained.

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
