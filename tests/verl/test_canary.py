"""Tests that the canary detects faults of a sampler from its log-probs."""

from __future__ import annotations

import by_hand
import numpy as np
import pytest
import torch

from vantage.errors import EngineError
from vantage.training.mismatch import mismatch
from vantage.training.verl.launch import engine_config
from vantage.training.verl.mismatch import canary_of

PICTURE = 4  # tokens
RESPONSE = torch.arange(100, 112)


class Sampler:
    """The tiny vision model with a prompt that has an image in the middle."""

    def __init__(self, path: str):
        self.model = by_hand.loaded(path)
        self.image = self.model.config.image_token_id
        self.pixels = torch.linspace(-1, 1, PICTURE * 3 * 14 * 14).reshape(PICTURE, -1)

    def log_probs(self, tokens: int = PICTURE, shift: int = 0, top_p: float = 1.0):
        """Log-probs of the response's tokens, shape (T,).

        Args:
            tokens: Number of image tokens; the vision tower fills the first `PICTURE` of them.
            shift: Added to the positions of the response.
            top_p: Mass of the kept tokens, for which the log-probs are renormalised.
        """
        ids = torch.cat([torch.arange(30, 40), torch.tensor([self.image] * tokens), RESPONSE])
        body = self.model.model
        embedded = body.get_input_embeddings()(ids)
        grid = torch.tensor([[1, 2, 2]])
        embedded[10 : 10 + PICTURE] = body.visual(self.pixels, grid_thw=grid).pooler_output
        positions = torch.arange(len(ids))
        positions[-len(RESPONSE) :] += shift
        hidden = body.language_model(
            inputs_embeds=embedded[None], position_ids=positions.expand(3, 1, -1)
        ).last_hidden_state[0, -len(RESPONSE) - 1 : -1]
        found = self.model.lm_head(hidden).float().log_softmax(-1)
        return (found.gather(1, RESPONSE[:, None])[:, 0] - np.log(top_p)).detach().numpy()

    def update(self):
        with torch.no_grad():
            for weight in self.model.parameters():
                weight += 1e-3 * torch.sin(torch.arange(weight.numel())).reshape(weight.shape)


@pytest.fixture(scope="module")
def sampler(tiny):
    return Sampler(str(tiny / "vision"))


def check(trainer_T, sampler_T, settings, **options):
    canary = canary_of(engine_config(settings("vision", **options)))
    canary.take(mismatch(trainer_T, sampler_T))


def test_equal_log_probs_pass(sampler, settings):
    check(sampler.log_probs(), sampler.log_probs(), settings)


@pytest.mark.parametrize(
    "fault",
    [
        {"tokens": 2 * PICTURE - 1},  # an image is expanded twice
        {"shift": 1},  # positions are off by one
        {"top_p": 0.9},  # log-probs are renormalised
    ],
)
def test_a_faulty_sampler_ends_the_run(fault, sampler, settings):
    with pytest.raises(EngineError, match=r"'qwen2_5_vl' do not work with verl 0\.9\.1"):
        check(sampler.log_probs(), sampler.log_probs(**fault), settings)


def test_old_weights_end_the_run(tiny, settings):
    sampler = Sampler(str(tiny / "vision"))
    before = sampler.log_probs()
    sampler.update()
    with pytest.raises(EngineError, match="log-probs of sampler and trainer differ"):
        check(sampler.log_probs(), before, settings)


def test_a_difference_that_top_p_explains_passes(sampler, settings):
    renormalised = sampler.log_probs(top_p=0.9)
    check(sampler.log_probs(), renormalised, settings, generation__top_p=0.9)
