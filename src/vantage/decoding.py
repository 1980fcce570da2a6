"""Samples several responses to a prompt after a single forward pass over the prompt.

`Decoding` is a decoding method for `generate` of transformers (its argument `custom_generate`).
`generate` receives each prompt once. After the forward pass over the prompts (prefill), the KV
cache is copied for each response. Finished responses are removed from the batch. Each response has
its own random generator, so it does not depend on the other responses of the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import (
    Cache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    StoppingCriteriaList,
)
from transformers.generation import GenerationMode
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

from vantage.errors import EngineError
from vantage.scoped import scoped

# Options that change logits with a state per prompt, and their values without effect.
STATEFUL = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "guidance_scale": (None, 1),
    "watermarking_config": (None,),
}


class Decoding(NamedTuple):
    """Samples N responses to B prompts, or decodes greedily.

    Attributes:
        prompt_N: Index of the prompt of each response.
        seed_N: Seed of the random numbers of each response, for `numpy.random.default_rng`.
        is_synced: Whether all processes run the same number of forward passes, which sharded
            weights require.
    """

    prompt_N: Sequence[int]
    seed_N: Sequence[Sequence[int]]
    is_synced: bool = False

    def applies(self, model: Any) -> contextlib.AbstractContextManager:
        """Return a context in which the model's `generate` samples the responses.

        In the context, `generate` takes the B prompts and returns the N responses with their
        prompts, shape (N, P + T).
        """
        return scoped(model, generate=partial(model.generate, custom_generate=self.decode))

    def decode(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **inputs: Any,
    ) -> torch.Tensor:
        """Decode responses, with the signature that `generate` expects.

        Args:
            model: The model.
            input_ids: Tokens of the prompts, padded on the left, shape (B, P).
            logits_processor: Changes the logits, for example by the temperature.
            stopping_criteria: Determines which responses are finished.
            generation_config: Options of the generation.
            inputs: Other inputs of the model, such as the cache.

        Returns:
            Tokens of prompts and responses, padded on the right, shape (N, P + T).
        """
        row_N = torch.tensor(self.prompt_N, device=input_ids.device)
        start, padding = input_ids.shape[1], generation_config._pad_token_tensor
        output = model._prefill(input_ids, generation_config, inputs)
        inputs = model._update_model_kwargs_for_generation(output, inputs)
        for name in MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL:
            inputs.pop(name, None)
        logits, ids = output.logits[row_N, -1], input_ids[row_N]
        inputs = _rows(inputs, len(input_ids), row_N)
        del output  # its logits may cover all tokens
        uniform_NT = self._uniform(stopping_criteria.max_length - start, ids.device)
        response_R = torch.arange(len(row_N), device=ids.device)  # those still being generated
        done: list[tuple[torch.Tensor, torch.Tensor]] = []
        finished = False
        with model._optimize_model_for_decode():
            while True:
                if not finished:
                    scores = logits_processor(ids, logits.float())
                    tokens = scores.argmax(dim=-1)
                    if generation_config.do_sample:
                        tokens = pick(scores, uniform_NT[response_R, ids.shape[1] - start])
                    ids = torch.cat([ids, tokens[:, None]], dim=1)
                    ended_R = stopping_criteria(ids, None)
                    ended = int(ended_R.sum())  # one transfer from the GPU, not three
                    finished = ended == len(ids)
                    if ended:
                        done.append((response_R[ended_R], ids[ended_R]))
                    if ended and not finished:
                        inputs = _rows(inputs, len(ids), (~ended_R).nonzero()[:, 0])
                        ids, response_R = ids[~ended_R], response_R[~ended_R]
                if not model._has_unfinished_sequences(finished, self.is_synced, ids.device):
                    break
                step = model.prepare_inputs_for_generation(ids, next_sequence_length=1, **inputs)
                output = model(**step, return_dict=True)
                logits = output.logits[:, -1]
                inputs = model._update_model_kwargs_for_generation(output, inputs)
        sequences = ids.new_full((len(row_N), ids.shape[1]), 0 if padding is None else int(padding))
        for responses, rows in done:
            sequences[responses, : rows.shape[1]] = rows
        return sequences

    def _uniform(self, tokens: int, device: torch.device) -> torch.Tensor:
        """Random numbers in [0, 1) for each token of each response, shape (N, T)."""
        drawn = [np.random.default_rng(seed).random(tokens) for seed in self.seed_N]
        return torch.from_numpy(np.stack(drawn)).to(_precise(device)).to(device)


def can_decode(model: Any, config: GenerationConfig | None = None) -> bool:
    """Whether `Decoding` supports a model and a generation configuration, by default the model's.

    Other models and options need the unmodified `generate`. Examples are beam search, static
    caches, repetition penalties and adapters that learn prompts.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    adapter = getattr(model, "active_peft_config", None)
    if getattr(type(inner), "generate", None) is not GenerationMixin.generate:
        return False
    config = config or inner.generation_config
    return (
        type(inner)._supports_default_dynamic_cache()
        and not inner.is_remote_code()
        and not inner.config.is_encoder_decoder
        and not getattr(adapter, "is_prompt_learning", False)
        and config.get_generation_mode() in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH)
        and config.cache_implementation in (None, "dynamic")
        and config.use_cache is not False
        and not config.return_dict_in_generate
        and all(getattr(config, name, None) in neutral for name, neutral in STATEFUL.items())
    )


def pick(scores: torch.Tensor, uniform_R: torch.Tensor) -> torch.Tensor:
    """Sample one token per row by inversion of the cumulative distribution.

    Args:
        scores: Logits, -inf for tokens that are never sampled, shape (R, V).
        uniform_R: Random numbers in [0, 1), shape (R,).

    Returns:
        Tokens, shape (R,).

    Raises:
        EngineError: The scores of a row are NaN or infinite.
    """
    # In float32, the sum over a large vocabulary would lose improbable tokens.
    precise = _precise(scores.device)
    below_RV = scores.softmax(dim=-1).cumsum(dim=-1, dtype=precise)
    total_R = below_RV[:, -1]
    if not total_R.isfinite().all():
        raise EngineError(
            "generation: the model's logits are NaN or infinite, so no token can be sampled: lower "
            "the learning rate, or compute in a wider dtype (float16 overflows)"
        )
    below_total_R = torch.nextafter(total_R, torch.zeros_like(total_R))
    target_R = torch.minimum(uniform_R.to(precise) * total_R, below_total_R)
    return torch.searchsorted(below_RV, target_R[:, None], right=True)[:, 0]


def _precise(device: torch.device) -> torch.dtype:
    """The most precise dtype of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def _rows(inputs: dict[str, Any], count: int, row_R: torch.Tensor) -> dict[str, Any]:
    """Select the rows of the inputs for `count` sequences, and of the cache in place.

    Rows may repeat. If the positions have a single row, this row applies to all sequences.
    """
    taken = {}
    for name, value in inputs.items():
        if isinstance(value, Cache):
            value.reorder_cache(row_R)
        elif torch.is_tensor(value) and value.ndim:
            rows = 1 if name == "position_ids" and value.ndim == 3 else 0
            if value.shape[rows] == count:
                value = value.index_select(rows, row_R)
        taken[name] = value
    return taken
