"""TRL's vLLM generation, changed so that it samples from exactly the trained model.

It differs from TRL's `VLLMGeneration` in three ways:

- Prompts: vLLM expands image placeholders itself. So it gets prompts as the chat template renders
  them, and the tokens that it reads are compared with those of the update.
- Weights: they are passed under the names of a checkpoint, which can differ from those of the
  modules in transformers. After an update, vLLM's cache of image features is cleared too, not only
  its prefix cache.
- Adapters: they are merged layer by layer into copies, so that the frozen base keeps every bit.
  In-place `merge_adapter` and `unmerge_adapter` would round 16-bit weights twice per rollout batch.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    apply_converters,
    revert_weight_conversion,
)
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from vantage.errors import EngineError
from vantage.scoped import scoped
from vantage.training.mismatch import Canary, renormalisation, verdict
from vantage.training.trl.config import VantageConfig
from vantage.training.trl.policy import Policy

logger = logging.getLogger(__name__)

# Packages whose versions the error names if sampler and trainer disagree.
PACKAGES = ("vllm", "trl", "transformers", "torch")
REMEDY = (
    "Turn trl.use_vllm off, or install compatible versions: docs/models.md lists those that were "
    "tested."
)
# Logit bias of suppressed tokens, the lowest that vLLM accepts.
NEVER = -100.0


class Sampler(VLLMGeneration):
    """TRL's `VLLMGeneration`, sampling from exactly the trained model."""

    generation_kwargs: dict[str, Any]

    def _init_vllm(self) -> None:
        if (
            isinstance(self.model, PeftModel)
            and self._dist.is_fsdp
            and self._dist.fsdp_version == 1
        ):
            raise EngineError("adapters with vLLM under FSDP 1 are not supported: use FSDP 2")
        super()._init_vllm()
        if self.mode == "colocate":
            cache = self.llm.llm_engine.vllm_config.cache_config
            if not cache.enable_prefix_caching:
                family = self.model.config.model_type
                logger.warning(
                    f"vLLM reads a prompt once per rollout: prefix caching is off for {family}"
                )

    def ban(self, token_ids: Sequence[int]) -> None:
        """Never sample these tokens, regardless of the user's logit biases."""
        if not token_ids:
            return
        own = self.generation_kwargs.get("logit_bias") or {}
        banned = dict.fromkeys(token_ids, NEVER)
        self.generation_kwargs = {**self.generation_kwargs, "logit_bias": {**own, **banned}}

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype that vLLM computes in; None for a server, where it is unknown."""
        return self.llm.llm_engine.model_config.dtype if self.mode == "colocate" else None

    def sample(
        self,
        asked: list[list[int]],
        trained: list[list[int]],
        images: list | None,
        rollouts: int,
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Sample responses with the log-probs of their tokens.

        Args:
            asked: Tokens of each prompt with unexpanded image placeholders.
            trained: Tokens of each prompt that the update conditions on.
            images: Images of each prompt.
            rollouts: Responses per prompt.

        Returns:
            Token ids and log-probs of each response.

        Raises:
            EngineError: vLLM expands a prompt to other tokens than those of the update.
        """
        seen, ids, log_probs, _ = self.generate(asked, images, rollouts)
        check_same_prompts(seen, trained, self.model.config.model_type)
        return ids, [[best[0] for best in row] for row in log_probs]

    def sync_weights(self) -> None:
        """Pass the weights to vLLM, and clear everything computed with the old ones."""
        super().sync_weights()
        if self.mode == "colocate":
            self.llm.llm_engine.reset_encoder_cache()
        elif self.accelerator.is_main_process:
            client = self.vllm_client  # its own request method expects a JSON reply
            client.session.post(f"{client.base_url}/reset_encoder_cache").raise_for_status()

    def _iter_named_params(self) -> Iterator[tuple[str, torch.Tensor]]:
        adapted = isinstance(self.model, PeftModel)
        bare = self.model.get_base_model() if adapted else self.model
        for name, value in self._merged() if adapted else super()._iter_named_params():
            yield from as_saved(bare, name, value)

    def _merged(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield weights with merged adapters, under the names of their modules."""
        with self._dist.gather_params(list(self.model.parameters())):
            for name, value in merged_parameters(self.model):
                yield self._fix_param_name_to_vllm(name), value


def canary_of(args: VantageConfig, model: Any, policy: Policy, sampler: Sampler) -> Canary:
    """Build the canary of a run with vLLM.

    Args:
        args: Options of the run.
        model: The trained model.
        policy: Policy of the trainer.
        sampler: vLLM.
    """
    changed = args.changes_of_log_probs
    bounded = not changed.keys() - {"top_p"}
    on_cpu = policy.accelerator.device.type == "cpu"  # GPU kernels may round inputs to TF32
    dtypes = {policy.computes_in(model), sampler.dtype}
    return Canary(
        float32=on_cpu and dtypes == {torch.float32},
        slack=renormalisation(changed.get("top_p", 1.0)) if bounded else math.inf,
        family=lambda: model.config.model_type,
        packages=PACKAGES,
        remedy=REMEDY,
    )


def as_saved(
    model: PreTrainedModel, name: str, value: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """Convert a weight to the form that it has in a checkpoint, which vLLM can load.

    In many families, modules of transformers have other names than the weights in checkpoints, and
    stack all experts in one tensor where a checkpoint has one each. A weight that is only a part
    of a checkpoint's tensor keeps its name.
    """
    if _is_part(model, name):
        yield name, value
    else:
        yield from revert_weight_conversion(model, {name: value}).items()


def _is_part(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight is only a part of a tensor in a checkpoint."""
    conversions = getattr(model, "_weight_conversions", None)
    if conversions is None:
        conversions = get_model_conversion_mapping(model, add_legacy=False)
    cutting = [
        conversion.reverse_transform()
        for conversion in conversions
        if isinstance(conversion, WeightConverter) and len(conversion.target_patterns) > 1
    ]
    return bool(cutting) and apply_converters(name, cutting)[1] is not None


def sampling_what_is_trained() -> contextlib.AbstractContextManager:
    """Make a `GRPOTrainer` that is created within the context use `Sampler` for vLLM."""
    return scoped(grpo_trainer, VLLMGeneration=Sampler)


def merged_parameters(model: PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the base model's weights with the active adapters merged, under its own names.

    Merges, copies and restores one layer at a time. So the model stays bitwise unchanged, and no
    second copy of it is needed.
    """
    layer_of = {
        parameter: layer
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for parameter in layer.get_base_layer().parameters(recurse=False)
    }
    for name, parameter in model.named_parameters():
        if model.prefix in name or "original_module" in name:
            continue
        layer = layer_of.get(parameter)
        value = parameter.detach() if layer is None else _merged(layer, parameter)
        value = value.full_tensor() if hasattr(value, "full_tensor") else value
        name = name.removeprefix("base_model.model.").replace(".base_layer", "")
        yield name.replace("modules_to_save.default.", ""), value


def _merged(layer: BaseTunerLayer, parameter: nn.Parameter) -> torch.Tensor:
    """Copy a parameter of an adapted layer, with the adapters merged."""
    base = layer.get_base_layer()
    own = dict(base.named_parameters(recurse=False))
    before = {name: p.detach().clone() for name, p in own.items()}
    (merging,) = (name for name, p in own.items() if p is parameter)
    layer.merge()
    merged = base.get_parameter(merging).detach().clone()
    layer.unmerge()
    for name, kept in before.items():  # merging replaces the parameters of quantized layers
        own[name].data.copy_(kept)
        setattr(base, name, own[name])
    return merged


def written(processor: ProcessorMixin, text: str) -> list[int]:
    """Tokenize a rendered prompt without expanding its image placeholders.

    Args:
        processor: Processor of the model, whose tokenizer is called as the processor does.
        text: The prompt with the chat template applied.
    """
    tokenizer = processor.tokenizer
    begins = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
    return tokenizer(text, add_special_tokens=not begins)["input_ids"]


def check_same_prompts(
    seen: Sequence[Sequence[int]], trained: Sequence[Sequence[int]], family: str
) -> None:
    """Check that vLLM reads the same prompt tokens as the update.

    Args:
        seen: Tokens of each prompt as reported by vLLM.
        trained: Tokens of each prompt that the update conditions on.
        family: `model_type` of the model.

    Raises:
        EngineError: They differ; names the model, the versions and the first difference.
    """
    for vllm, ours in zip(seen, trained, strict=True):
        if list(vllm) != list(ours):
            pairs = enumerate(zip_longest(vllm, ours))
            place = next(number for number, (theirs, mine) in pairs if theirs != mine)
            reason = (
                f"vLLM reads a prompt of {len(vllm)} tokens where {len(ours)} are trained; from "
                f"token {place} it has {list(vllm[place : place + 5])} instead of "
                f"{list(ours[place : place + 5])}"
            )
            raise EngineError(verdict(reason, family=family, packages=PACKAGES, remedy=REMEDY))
