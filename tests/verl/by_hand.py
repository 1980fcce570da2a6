"""Computes the updates of a plan with plain transformers and torch, one row at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from vantage.methods.ordering import update_of


def loaded(path: str):
    has_vision = hasattr(AutoConfig.from_pretrained(path), "vision_config")
    kind = AutoModelForImageTextToText if has_vision else AutoModelForCausalLM
    return kind.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa")


def log_probs(model, prompt: dict, response: torch.Tensor) -> torch.Tensor:
    """Log-probs of a response's tokens under a prompt, shape (T,)."""
    ids = torch.cat([prompt["prompts"], response])[None]
    media = prompt.get("multi_modal_inputs") or {}
    inputs = {name: media[name] for name in ("pixel_values", "image_grid_thw") if name in media}
    if inputs:
        inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    logits = model(input_ids=ids, **inputs).logits[0, len(prompt["prompts"]) - 1 : -1]
    return logits.float().log_softmax(-1).gather(1, response[:, None])[:, 0]


@dataclass
class Row:
    """A trained response.

    Attributes:
        prompt: Fields of the prompt that it is trained under.
        own: Fields of the prompt that generated it.
        response: Token ids, shape (T,).
        sampler: Log-probs by the sampler, shape (T,).
        advantage, weight: Advantage and weight of the sample.
    """

    prompt: dict
    own: dict
    response: torch.Tensor
    sampler: torch.Tensor
    advantage: float
    weight: float


def trained(batch: dict, updates: int) -> Iterator[list[Row]]:
    """Yield the rows of each update, without padding."""
    rows, prompt_N = batch["rows"], batch["generated"].prompt_N.tolist()
    samples = batch["samples"]
    update_M = update_of(samples, updates)
    for number in range(updates):
        yield [
            Row(
                rows[prompt_N.index(samples.prompt_M[m])],
                own := rows[samples.rollout_M[m]],
                own["responses"],
                own["rollout_log_probs"],
                float(samples.advantage_M[m]),
                float(samples.weight_M[m]),
            )
            for m in range(len(samples))
            if update_M[m] == number and not samples.padding_M[m]
        ]


def by_token(ratio: torch.Tensor) -> torch.Tensor:
    """Token-level weights: ratios of trainer and sampler, at most 2."""
    return ratio.clamp(max=2.0)


def by_sequence(ratio: torch.Tensor) -> torch.Tensor:
    """Sequence-level weights: product of the ratios, at most 2, for every token."""
    return ratio.prod().clamp(max=2.0).expand_as(ratio)


class Trainer:
    """AdamW on the clipped loss of a plan, a mean over the tokens of each update.

    Args:
        path: Directory of the model.
        updates: Number of updates per batch.
        clip: Lower and upper clip of the ratio.
        dual_clip: Dual clip; None for none.
        kl: KL coefficient.
        correction: Computes weights from the ratios of trainer and sampler under the prompt that
            generated a response.
        accepted: Bounds of these ratios; tokens outside are excluded from the loss.
    """

    def __init__(
        self,
        path,
        *,
        updates,
        clip=(0.2, 0.2),
        dual_clip=None,
        kl=0.0,
        correction=None,
        accepted=(0.0, math.inf),
    ):
        self.model, self.updates, self.clip, self.kl = loaded(path), updates, clip, kl
        self.dual_clip = math.inf if dual_clip is None else dual_clip
        self.correction, self.accepted = correction, accepted
        self.reference = loaded(path) if kl else None
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, weight_decay=0.01, eps=1e-3
        )

    def train(self, batch: dict) -> None:
        rows_U = list(trained(batch, self.updates))
        with torch.no_grad():
            old_U = [[self._before(row) for row in rows] for rows in rows_U]
        for rows, old in zip(rows_U, old_U, strict=True):
            self._update(rows, old)

    def _before(self, row: Row) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probs before the updates, and the correction and mask of each token."""
        before = log_probs(self.model, row.prompt, row.response)
        if self.correction is None:
            return before, torch.ones_like(before), torch.ones_like(before)
        ratio = (log_probs(self.model, row.own, row.response) - row.sampler).exp()
        mask = (ratio >= self.accepted[0]) & (ratio <= self.accepted[1])
        return before, self.correction(ratio), mask.float()

    def _update(self, rows, old) -> None:
        self.optimizer.zero_grad()
        tokens = sum(len(row.response) for row in rows)
        weighted = sum(len(row.response) * row.weight for row in rows)
        for row, (before, correction, mask) in zip(rows, old, strict=True):
            now = log_probs(self.model, row.prompt, row.response)
            ratio = (now - before).exp()
            clipped = ratio.clamp(1 - self.clip[0], 1 + self.clip[1])
            scaled = row.advantage * row.weight * tokens / weighted
            least = torch.minimum(ratio * scaled, clipped * scaled)
            if scaled < 0:
                least = least.clamp(min=self.dual_clip * scaled)
            loss = -(least * correction * mask).sum()
            if self.reference is not None:
                with torch.no_grad():
                    reference = log_probs(self.reference, row.prompt, row.response)
                difference = reference - now
                loss = loss + self.kl * ((difference.exp() - difference - 1) * mask).sum()
            (loss / tokens).backward()
        if not rows:
            for parameter in self.model.parameters():
                parameter.grad = torch.zeros_like(parameter)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def differences(self, weights: dict) -> float:
        """Largest difference from other weights."""
        own = dict(self.model.named_parameters())
        known = {name: value for name, value in weights.items() if name in own}
        assert len(known) >= len(own) - 1, sorted(set(own) - set(known))[:3]
        return max(float((own[name].detach() - value).abs().max()) for name, value in known.items())
