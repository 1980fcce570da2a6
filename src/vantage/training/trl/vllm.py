"""vLLM as TRL drives it, so that it samples from exactly what is trained.

Three things are done otherwise than in TRL's `VLLMGeneration`:

- prompts: vLLM expands the placeholder of a picture by itself, so it is given the prompt as the
  chat template writes it, and what it makes of it is compared with what is trained;
- weights: they are handed over as a checkpoint has them, whatever transformers calls its modules;
  after an update vLLM forgets what the vision tower made of pictures, not only the prefixes of
  prompts;
- adapters: they are merged layer by layer into copies, so that the frozen base keeps every bit.
  `merge_adapter` and `unmerge_adapter` in place round it in 16 bits, twice in each rollout batch.
"""

from __future__ import annotations

import contextlib
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
from vantage.training.sampler import verdict

# Named when sampler and trainer disagree.
PACKAGES = ("vllm", "trl", "transformers", "torch")
REMEDY = (
    "Leave trl.use_vllm off, or install versions that agree: docs/models.md names those that were "
    "tried."
)
# What vLLM adds to the logit of a token that must not be sampled: its lowest.
NEVER = -100.0


class Sampler(VLLMGeneration):
    """TRL's `VLLMGeneration` that samples from what is trained."""

    generation_kwargs: dict[str, Any]

    def _init_vllm(self) -> None:
        if (
            isinstance(self.model, PeftModel)
            and self._dist.is_fsdp
            and self._dist.fsdp_version == 1
        ):
            raise EngineError("adapters with vLLM under FSDP 1 are not supported: take FSDP 2")
        super()._init_vllm()

    def ban(self, token_ids: Sequence[int]) -> None:
        """Never sample these tokens, whatever the user's own biases are."""
        if not token_ids:
            return
        own = self.generation_kwargs.get("logit_bias") or {}
        banned = dict.fromkeys(token_ids, NEVER)
        self.generation_kwargs = {**self.generation_kwargs, "logit_bias": {**own, **banned}}

    @property
    def dtype(self) -> torch.dtype | None:
        """In what vLLM computes; None for a server, which does not say."""
        return self.llm.llm_engine.model_config.dtype if self.mode == "colocate" else None

    def sample(
        self,
        asked: list[list[int]],
        trained: list[list[int]],
        images: list | None,
        rollouts: int,
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Responses and the log-probs of their tokens.

        Args:
            asked: tokens of each prompt as the chat template writes it.
            trained: those that the update conditions on.
            images: of each prompt.
            rollouts: of each prompt.

        Raises:
            EngineError: vLLM reads other prompts than those that are trained.
        """
        seen, ids, log_probs, _ = self.generate(asked, images, rollouts)
        check_same_prompts(seen, trained, self.model.config.model_type)
        return ids, [[best[0] for best in row] for row in log_probs]

    def sync_weights(self) -> None:
        """Hand the weights over, and forget all that was computed with the old ones."""
        super().sync_weights()
        if self.mode == "colocate":
            self.llm.llm_engine.reset_encoder_cache()
        elif self.accelerator.is_main_process:
            client = self.vllm_client  # its own way of asking expects JSON, this answers nothing
            client.session.post(f"{client.base_url}/reset_encoder_cache").raise_for_status()

    def _iter_named_params(self) -> Iterator[tuple[str, torch.Tensor]]:
        adapted = isinstance(self.model, PeftModel)
        bare = self.model.get_base_model() if adapted else self.model
        for name, value in self._merged() if adapted else super()._iter_named_params():
            yield from as_saved(bare, name, value)

    def _merged(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights with the adapters merged, under the names of the modules."""
        with self._dist.gather_params(list(self.model.parameters())):
            for name, value in merged_parameters(self.model):
                yield self._fix_param_name_to_vllm(name), value


def as_saved(
    model: PreTrainedModel, name: str, value: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """A weight as a checkpoint of the model has it, which is what vLLM can load.

    The modules of transformers have other names in many families, and hold all experts in one
    tensor where a checkpoint has one for each. A weight that is only a part of one in a checkpoint
    keeps its name.
    """
    if _is_part(model, name):
        yield name, value
    else:
        yield from revert_weight_conversion(model, {name: value}).items()


def _is_part(model: PreTrainedModel, name: str) -> bool:
    """Whether a tensor of a checkpoint is cut into several weights, of which this is one."""
    conversions = getattr(model, "_weight_conversions", None)
    if conversions is None:
        conversions = get_model_conversion_mapping(model, add_legacy=False)
    cutting = [
        conversion.reverse_transform()
        for conversion in conversions
        if isinstance(conversion, WeightConverter) and len(conversion.target_patterns) > 1
    ]
    return bool(cutting) and apply_converters(name, cutting)[1] is not None


@contextlib.contextmanager
def sampling_what_is_trained() -> Iterator[None]:
    """Within it, a `GRPOTrainer` that is made with `use_vllm` gets a `Sampler`."""
    before, grpo_trainer.VLLMGeneration = grpo_trainer.VLLMGeneration, Sampler
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = before


def merged_parameters(model: PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights of the base model with the active adapters merged, under its own names.

    One layer at a time is merged, copied and put back, so that the model is unchanged to the bit
    and no second copy of it is held.
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
    """A copy of a parameter of the layer that is adapted, with the adapters merged."""
    base = layer.get_base_layer()
    own = dict(base.named_parameters(recurse=False))
    before = {name: p.detach().clone() for name, p in own.items()}
    (merging,) = (name for name, p in own.items() if p is parameter)
    layer.merge()
    merged = base.get_parameter(merging).detach().clone()
    layer.unmerge()
    for name, kept in before.items():  # quantized layers get other parameters by merging
        own[name].data.copy_(kept)
        setattr(base, name, own[name])
    return merged


def written(processor: ProcessorMixin, text: str) -> list[int]:
    """Tokens of a prompt as its chat template writes it: one placeholder for each picture.

    Args:
        processor: of the model; its tokenizer is asked as the processor asks it.
        text: the prompt, the template applied.
    """
    tokenizer = processor.tokenizer
    begins = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
    return tokenizer(text, add_special_tokens=not begins)["input_ids"]


def check_same_prompts(
    seen: Sequence[Sequence[int]], trained: Sequence[Sequence[int]], family: str
) -> None:
    """Refuse to go on where vLLM reads another prompt than the one that is trained.

    Args:
        seen: tokens of each prompt, as vLLM reports them.
        trained: those that the update conditions on.
        family: `model_type` of the model.

    Raises:
        EngineError: they differ; names the model, the versions and the first difference.
    """
    for vllm, ours in zip(seen, trained, strict=True):
        if list(vllm) != list(ours):
            pairs = enumerate(zip_longest(vllm, ours))
            place = next(number for number, (theirs, mine) in pairs if theirs != mine)
            reason = (
                f"vLLM reads a prompt of {len(vllm)} tokens where {len(ours)} are trained; from "
                f"token {place} it has {list(vllm[place : place + 5])} and not "
                f"{list(ours[place : place + 5])}"
            )
            raise EngineError(verdict(reason, family=family, packages=PACKAGES, remedy=REMEDY))
