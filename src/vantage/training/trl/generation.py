"""Generation by transformers: what a turn asks the model, and how its responses are decoded."""

from __future__ import annotations

import contextlib
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers import GenerationConfig

from vantage.decoding import Decoding, can_decode
from vantage.training.trl import sharding
from vantage.training.trl.config import VantageConfig
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.turn import Turn


def inputs_of(
    turn: Turn,
    model: Any,
    accelerator: Accelerator,
    args: VantageConfig,
    config: GenerationConfig,
    pictured: Encoding | None,
) -> tuple[list[Encoding], contextlib.AbstractContextManager]:
    """Prompts of a turn for `generate`, and the context in which it returns all responses.

    `generate` gets each prompt once if `Decoding` supports the model and the options, and otherwise
    a prompt per response.

    Args:
        turn: The turn.
        model: The model as prepared by the accelerator.
        accelerator: Accelerator of the run.
        args: Options of the run.
        config: Options of the generation.
        pictured: A prompt with an image, which follows the others if weights are sharded and none
            of them has an image; None if this is never needed.
    """
    bare, sharded = accelerator.unwrap_model(model), sharding.shards_weights(accelerator)
    prompts, seeds = list(turn.encodings), list(turn.seeds)
    is_fsdp = accelerator.distributed_type == DistributedType.FSDP
    gathers = args.ds3_gather_for_generation and not is_fsdp
    if pictured and sharded and not gathers and not any(row.images for row in prompts):
        prompts.append(pictured)
        seeds.append((0,))
    if args.use_transformers_continuous_batching or not can_decode(bare, config):
        return prompts, contextlib.nullcontext()
    distinct = {id(prompt): prompt for prompt in prompts}
    row_of = {key: row for row, key in enumerate(distinct)}
    rows, is_synced = [row_of[id(prompt)] for prompt in prompts], sharded and not gathers
    decoding = Decoding(rows, seeds, is_synced)
    return list(distinct.values()), decoding.applies(bare)
