"""The policy scores keys without a trainer."""

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForImageTextToText
from trl.trainer.utils import add_fused_lm_head

from vantage.training.trl.encoding import Encoding
from vantage.training.trl.policy import Limits, Policy
from vantage.training.trl.responses import Responses

PROMPTS = {0: [5, 6, 7], 1: [8, 9, 10, 11, 12]}
ANSWERS = [[21, 22, 23], [24]]
KEYS = [(0, 0), (1, 0), (1, 1), (0, 1)]


@pytest.fixture
def model(tiny_model):
    AcceleratorState._reset_state(reset_partial_state=True)  # of other runs in this process
    return AutoModelForImageTextToText.from_pretrained(tiny_model).eval()


def by_hand(model, prompt, answer):
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return [logits[len(prompt) + n - 1, token].item() for n, token in enumerate(answer)]


@pytest.mark.parametrize("packing", ["off", "on"])
def test_policy_works_without_a_trainer(packing, model):
    expected = [by_hand(model, PROMPTS[prompt], ANSWERS[rollout]) for prompt, rollout in KEYS]
    add_fused_lm_head(model, temperature=1.0)
    policy = Policy(lambda prompt: Encoding("", PROMPTS[prompt], [], {}), packing=packing)
    tokens_NT, seen_NT = (
        torch.tensor([[21, 22, 23], [24, 0, 0]]),
        torch.tensor([[1, 1, 1], [1, 0, 0]]),
    )
    responses = Responses(tokens_NT, seen_NT, seen_NT, pad_id=0)
    limits = Limits(policy.budget(PROMPTS, responses), padding=KEYS[0])
    policy.decide_packing(model, responses, KEYS, limits)
    scored_RT = policy.log_probs(model, responses, KEYS, limits)
    assert policy.packing.works is (packing == "on")
    for row_T, wanted in zip(scored_RT.tolist(), expected, strict=True):
        assert row_T[: len(wanted)] == pytest.approx(wanted, abs=1e-5)
        assert not any(row_T[len(wanted) :])


def test_forward_has_gradients_and_optional_entropies(model):
    add_fused_lm_head(model, temperature=1.0, outputs=("log_probs", "entropy"))
    policy = Policy(lambda prompt: Encoding("", PROMPTS[prompt], [], {}), packing="off")
    tokens_RT = torch.tensor([[21, 22]])
    scores = policy.forward(model, tokens_RT, torch.ones_like(tokens_RT), [(0, 0)], 100)
    assert scores.entropies_RT is None and scores.balance is None
    scores.log_probs_RT.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    seen = torch.ones_like(tokens_RT)
    scores = policy.forward(model, tokens_RT, seen, [(0, 0)], 100, entropy=True)
    assert scores.entropies_RT.shape == (1, 2) and (scores.entropies_RT > 0).all()
