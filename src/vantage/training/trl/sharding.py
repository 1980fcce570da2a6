"""Support of FSDP and DeepSpeed: float32 communication, and images in all forwards or in none.

Processes that shard weights or gradients communicate module by module, in the order in which the
modules run. A forward without an image skips the vision tower. So the collectives of a process
without an image would not match those of the others, and the run would hang.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, is_peft_model
from torch.distributed.fsdp import FSDPModule
from transformers import TrainingArguments

from vantage.scoped import scoped


def exchange_in_float32(accelerator: Accelerator) -> None:
    """Reduce gradients and return outputs in float32 under 16-bit mixed precision.

    accelerate would use 16 bits for both. bfloat16 log-probs near -5 have a spacing of 0.03.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is not None and plugin.mixed_precision_policy is not None:
        # FSDP 2 casts the output of every sharded layer. None keeps the output as it is, and the
        # log-probs are computed in float32. FSDP 1 casts buffers, including rotary frequencies.
        kept = "output_dtype" if plugin.fsdp_version == 2 else "buffer_dtype"
        exact: Any = {"reduce_dtype": torch.float32, kept: None}
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, **exact)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        options = accelerator.state.deepspeed_plugin.deepspeed_config
        options.setdefault("communication_data_type", "fp32")
        if zero_stage(accelerator) >= 2:  # at lower stages it would change the optimizer
            options.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")


def reduce_each_forward(accelerator: Accelerator) -> None:
    """Reduce sharded gradients after every forward, so that each process keeps only its shard.

    transformers keeps full gradients until the last forward of an update, which takes 4 bytes per
    weight on every GPU.
    """
    if accelerator.distributed_type == DistributedType.FSDP or zero_stage(accelerator) >= 2:
        accelerator.gradient_state.plugin_kwargs["sync_each_batch"] = True


@contextlib.contextmanager
def gradients_kept(accelerator: Accelerator, model: Any, *, synchronize: bool) -> Iterator[None]:
    """Accumulate gradients locally until the last forward of an update.

    Sharded gradients are reduced after every forward instead.

    Args:
        accelerator: Accelerator of the run.
        model: The model as prepared by the accelerator.
        synchronize: Whether this is the last forward.
    """
    state = accelerator.gradient_state
    before = state.sync_gradients
    state._set_sync_gradients(synchronize)
    reduces = synchronize or state.plugin_kwargs.get("sync_each_batch", False)
    with contextlib.nullcontext() if reduces else accelerator.no_sync(model):
        yield
    state._set_sync_gradients(before)


def gathers_rows(accelerator: Accelerator) -> contextlib.AbstractContextManager:
    """Within the context, gather pads with NaN, since processes have different numbers of rows."""
    gather, padded = accelerator.gather, accelerator.pad_across_processes
    return scoped(accelerator, gather=lambda rows: gather(padded(rows, pad_index=math.nan)))


def gather_head(model: Any) -> None:
    """Make FSDP 2 gather the output embedding before the backbone runs.

    TRL's fused head reads its weight without calling the module, which bypasses FSDP's hooks. If
    the embeddings are not tied, each process would update its shard with only its local gradient.
    """
    bare = _without_adapters(model)

    def gather(*_) -> None:
        head = bare.get_output_embeddings()
        if isinstance(head, FSDPModule):
            head.unshard()

    bare.base_model.register_forward_pre_hook(gather)


def zero_stage(accelerator: Accelerator) -> int:
    """ZeRO stage of DeepSpeed; 0 without DeepSpeed."""
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    return plugin.zero_stage if plugin else 0


def shards_weights(accelerator: Accelerator) -> bool:
    """Whether a forward gathers weights from other processes."""
    return accelerator.distributed_type == DistributedType.FSDP or zero_stage(accelerator) == 3


def all_must_see(accelerator: Accelerator, model: Any, args: TrainingArguments) -> bool:
    """Whether every forward needs an image if that of another process has one.

    Args:
        accelerator: Accelerator of the run.
        model: The trained model.
        args: Options of the run.
    """
    if accelerator.num_processes == 1:
        return False
    if shards_weights(accelerator):
        return True
    copies = accelerator.distributed_type != DistributedType.DEEPSPEED
    return trains_vision(model) and not (copies and args.ddp_find_unused_parameters)


def trains_vision(model: Any) -> bool:
    """Whether any trained weight is unused by text-only prompts."""
    bare = _without_adapters(model)
    met = (bare.get_decoder(), bare.get_input_embeddings(), bare.get_output_embeddings())
    text = {id(p) for module in met if module is not None for p in module.parameters()}
    return any(p.requires_grad and id(p) not in text for p in bare.parameters())


def _without_adapters(model: Any) -> Any:
    return model.get_base_model() if is_peft_model(model) else model
