"""The loss of one update and its gradients, by plain transformers: one row at a time, no trainer.

The equations are those of the papers: `min(ratio A, clip(ratio) A)` for every token, and no less
than `cap A` where A is negative (dual clip); a sample of a question with V prompts weighs 1/V^2
where responses are shared; padding is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    ProcessorMixin,
)
from trl.data_utils import prepare_multimodal_messages

Weights = dict[str, torch.Tensor]


@dataclass
class Row:
    """A row of the plan: a response under a prompt.

    Attributes:
        own: whether this prompt generated the response.
        drawn_from: the prompt that did.
        correction: factor for what another engine sampled, of every token or of all.
    """

    prompt: list[dict]
    response: list[int]
    advantage: float
    weight: float
    own: bool = True
    drawn_from: list[dict] | None = None
    correction: torch.Tensor | float = 1.0

    @property
    def images(self) -> int:
        contents = [turn["content"] for turn in self.prompt if isinstance(turn["content"], list)]
        return sum(part["type"] == "image" for content in contents for part in content)


@dataclass
class Objective:
    """What is added up over the rows of an update.

    Attributes:
        mean: "token": over all tokens; "row": of each response first; "constant": over rows
            times `longest` tokens.
        whole_ratio: one ratio a response, the geometric mean of those of its tokens.
        cap: most that the ratio counts where the advantage is negative.
        kl: weight of the divergence from the reference, a mean over all tokens; each of them
            times its ratio where `ratio_on_kl`, as TRL does unless told otherwise.
    """

    mean: str = "token"
    whole_ratio: bool = False
    lower: float = 0.2
    upper: float = 0.2
    cap: float = math.inf
    kl: float = 0.0
    ratio_on_kl: bool = True
    longest: int = 6
    temperature: float = 1.0


class Hand:
    """A model in double precision that takes one row at a time, as its processor makes it."""

    def __init__(self, model, processor):
        self.model, self.processor = model.double(), processor

    @classmethod
    def load(cls, directory: str) -> Hand:
        processor = AutoProcessor.from_pretrained(directory)
        seeing = isinstance(processor, ProcessorMixin)
        kind = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
        model = kind.from_pretrained(directory)
        model.set_experts_implementation("eager")  # the others want single precision
        return cls(model, processor)

    def take(self, weights: Weights) -> None:
        """Go on with these weights."""
        parameters = dict(self.model.named_parameters())
        assert parameters.keys() == weights.keys()
        for name, value in weights.items():
            parameters[name].data.copy_(value)
            parameters[name].grad = None

    def gradients(self) -> Weights:
        """What the backward passes left, by parameter."""
        parameters = self.model.named_parameters()
        return {name: p.grad.clone() for name, p in parameters if p.grad is not None}

    def log_probs(self, row: Row, temperature: float) -> torch.Tensor:
        """Of the tokens of the response, under the prompt."""
        inputs = self.inputs(row.prompt)
        prompt, response = inputs.pop("input_ids"), torch.tensor([row.response])
        ids = torch.cat([prompt, response], dim=1)
        inputs["attention_mask"] = torch.ones_like(ids)
        for name in [name for name in inputs if name.endswith("token_type_ids")]:
            inputs[name] = torch.cat([inputs[name], torch.zeros_like(response)], dim=1)
        logits = self.model(input_ids=ids, **inputs).logits[0] / temperature
        before = logits[prompt.shape[1] - 1 : -1].log_softmax(-1)
        return before.gather(-1, response.T)[:, 0]

    def inputs(self, prompt: list[dict]) -> dict[str, torch.Tensor]:
        """What the processor makes of a prompt, whose parts a processor wants."""
        if isinstance(self.processor, ProcessorMixin):
            prompt = prepare_multimodal_messages(prompt)
        made = self.processor.apply_chat_template(
            [prompt],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        return {k: v.double() if v.is_floating_point() else v for k, v in made.items()}

    def constants(self, weights: Weights, rows: list[Row], temperature: float):
        """Log-probs of all rows with other weights, without gradients."""
        self.take(weights)
        with torch.no_grad():
            return [self.log_probs(row, temperature) for row in rows]


@dataclass
class Outcome:
    """Loss and gradients of an update, and the share of its tokens that the clip silenced."""

    loss: float
    gradients: Weights
    clipped: float


def update(
    hand: Hand, rows: list[Row], objective: Objective, *, now: Weights, then: Weights
) -> Outcome:
    """One update from weights `now`; those of the rollouts and of the reference were `then`."""
    olds = hand.constants(then, rows, objective.temperature)
    hand.take(now)
    tokens = sum(len(row.response) for row in rows)
    loss, clipped = 0.0, 0
    for row, old in zip(rows, olds, strict=True):
        new = hand.log_probs(row, objective.temperature)
        gain, silenced = surrogate(new - old, row.advantage, objective)
        part = -row.weight * share(gain * row.correction, rows, objective)
        if objective.kl:
            part = part + objective.kl * divergence(new, old, objective).sum() / tokens
        part.backward()
        loss += part.item()
        clipped += int(silenced.sum())
    return Outcome(loss, hand.gradients(), clipped / max(tokens, 1))


def surrogate(log_ratio: torch.Tensor, advantage: float, objective: Objective):
    """Gain of every token, and whether the clip left it without a gradient."""
    if objective.whole_ratio:
        log_ratio = log_ratio.mean().expand(len(log_ratio))
    plain = log_ratio.exp() * advantage
    held = log_ratio.exp().clamp(1 - objective.lower, 1 + objective.upper) * advantage
    least = torch.minimum(plain, held)
    if advantage >= 0:
        return least, held < plain
    most = torch.tensor(objective.cap * advantage, dtype=least.dtype)
    return torch.maximum(least, most), (held < plain) | (least < most)


def divergence(new: torch.Tensor, reference: torch.Tensor, objective: Objective):
    """Estimate of the divergence from the reference, which are the weights of the rollouts here."""
    behind = reference - new
    estimate = behind.exp() - behind - 1
    return estimate * (-behind).exp() if objective.ratio_on_kl else estimate


def share(gain: torch.Tensor, rows: list[Row], objective: Objective) -> torch.Tensor:
    """What the gains of a response add to the weighted mean over all rows."""
    if objective.mean == "token":
        return gain.sum() / sum(row.weight * len(row.response) for row in rows)
    of_row = gain.mean() if objective.mean == "row" else gain.sum() / objective.longest
    return of_row / sum(row.weight for row in rows)
