"""A sampler that does not see what is trained, each in one way, is found by its log-probs."""

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
    """The tiny vision model, handed a prompt with a picture in the middle."""

    def __init__(self, path: str):
        self.model = by_hand.loaded(path)
        self.image = self.model.config.image_token_id
        self.pixels = torch.linspace(-1, 1, PICTURE * 3 * 14 * 14).reshape(PICTURE, -1)

    def log_probs(self, tokens: int = PICTURE, shift: int = 0, top_p: float = 1.0):
        """Of the response's tokens.

        Args:
            tokens: of the picture; those beyond the tower's output stay plain.
            shift: of the response's positions.
            top_p: mass that the log-probs are divided by.
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


def test_the_same_tokens_and_weights_are_taken(sampler, settings):
    check(sampler.log_probs(), sampler.log_probs(), settings)


@pytest.mark.parametrize(
    "fault",
    [
        {"tokens": 2 * PICTURE - 1},  # a picture that is expanded twice
        {"shift": 1},  # positions off by one
        {"top_p": 0.9},  # divided by the mass that is kept
    ],
)
def test_every_fault_of_the_hand_over_ends_the_run(fault, sampler, settings):
    with pytest.raises(EngineError, match=r"'qwen2_5_vl' do not work with verl 0\.9\.1"):
        check(sampler.log_probs(), sampler.log_probs(**fault), settings)


def test_old_weights_end_the_run(tiny, settings):
    sampler = Sampler(str(tiny / "vision"))
    before = sampler.log_probs()
    sampler.update()
    with pytest.raises(EngineError, match="log-probs of sampler and trainer differ"):
        check(sampler.log_probs(), before, settings)


def test_what_top_p_explains_is_taken(sampler, settings):
    renormalised = sampler.log_probs(top_p=0.9)
    check(sampler.log_probs(), renormalised, settings, generation__top_p=0.9)
