"""Sampling of several responses to a prompt after one forward over it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from vantage.decoding import Decoding, can_decode, pick
from vantage.errors import EngineError

VOCABULARY = 48
END = 1


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"eos_token_id": [END, 2, 3, 4, 5, 6], "pad_token_id": 0, "bos_token_id": None}
    made = Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, **sizes, **heads, **ids)).eval()
    for weights in made.parameters():
        weights.data *= 4  # otherwise the model ignores its inputs
    return made


def asked(prompts: list[list[int]]) -> dict[str, torch.Tensor]:
    """Prompts, padded on the left."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def responses(model, prompts: list[list[int]], decoding: Decoding | None = None, **options):
    """Tokens of each response, without padding."""
    inputs, wanted = (
        asked(prompts),
        {"max_new_tokens": 12, "do_sample": True, "suppress_tokens": [0], **options},
    )
    if decoding is None:
        found = model.generate(**inputs, **wanted)
    else:
        with decoding.applies(model):
            found = model.generate(**inputs, **wanted)
    rows = found[:, inputs["input_ids"].shape[1] :].tolist()
    return [[token for token in row if token != 0] for row in rows]


PROMPTS = [[20, 31, 12], [9, 40, 22, 17, 33, 28], [45]]
PROMPT_N = [0, 0, 2, 1, 0, 1, 2, 2]
SEED_N = [(7, number) for number in range(len(PROMPT_N))]


def test_greedy_responses_are_those_of_generate(model):
    each = [responses(model, [prompt], do_sample=False)[0] for prompt in PROMPTS]
    found = responses(model, PROMPTS, Decoding(PROMPT_N, SEED_N), do_sample=False)
    assert found == [each[row] for row in PROMPT_N]
    assert len({len(response) for response in each}) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7},
        {"top_p": 0.8, "top_k": 20},
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": [0, *range(10, 30)]},
        {"min_new_tokens": 4},
    ],
    ids=lambda options: " ".join(options),
)
def test_responses_do_not_depend_on_those_beside_them(options, model):
    together = responses(model, PROMPTS, Decoding(PROMPT_N, SEED_N), **options)
    for row, seed, response in zip(PROMPT_N, SEED_N, together, strict=True):
        assert responses(model, [PROMPTS[row]], Decoding([0], [seed]), **options) == [response]
    assert len({*map(tuple, together)}) > len(PROMPTS)
    assert len({*map(len, together)}) > 1


def test_prompts_are_read_once(model, monkeypatch):
    read = []
    original = type(model).forward

    def forward(self, input_ids=None, **rest):
        read.append(tuple(input_ids.shape))
        return original(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(model), "forward", forward)
    found = responses(model, PROMPTS, Decoding(PROMPT_N, SEED_N))
    assert read[0] == (len(PROMPTS), 6)
    # Finished responses leave the batch.
    going = [sum(len(response) > step for response in found) for step in range(1, 12)]
    assert read[1:] == [(rows, 1) for rows in going if rows]
    assert going[0] > going[len(read) - 2] > 0


def test_samples_follow_the_distribution_of_the_model(model):
    """The first tokens of many responses have the model's probabilities."""
    count = 4000
    decoding = Decoding([0] * count, [(3, number) for number in range(count)])
    found = responses(model, [PROMPTS[0]], decoding, max_new_tokens=1, temperature=2.0)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    logits[0] = -torch.inf
    expected = (logits / 2.0).softmax(dim=-1).double().numpy()
    seen = np.bincount([row[0] for row in found if row], minlength=VOCABULARY) / count
    assert (expected > 0.02).sum() > 5
    # Four standard deviations of each share.
    assert (np.abs(seen - expected) < 4 * np.sqrt(expected * (1 - expected) / count) + 1e-3).all()


# ---- one token ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uniform, expected", [(0.0, 1), (0.24, 1), (0.26, 3), (0.74, 3), (0.76, 4), (1 - 2**-53, 4)]
)
def test_pick_inverts_the_cumulative_distribution(uniform, expected):
    scores = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25]]).log()
    assert pick(scores, torch.tensor([uniform])).tolist() == [expected]


@given(
    arrays(
        np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-30, 30)
    ),
    st.floats(0, 1, exclude_max=True),
    st.data(),
)
def test_pick_never_returns_a_token_without_probability(scores, uniform, data):
    rows, tokens = scores.shape
    kept = data.draw(st.integers(0, tokens - 1))
    scores[:, [token for token in range(tokens) if token > kept]] = -np.inf
    found = pick(torch.tensor(scores), torch.full((rows,), uniform))
    assert (found <= kept).all()


def test_pick_keeps_improbable_tokens_of_a_large_vocabulary():
    size = 150_000
    scores = torch.zeros(1, size)
    uniform = (torch.arange(1000) + 0.5) / 1000
    found = pick(scores.expand(1000, size), uniform.double())
    assert found.tolist() == [int(value * size) for value in uniform.double()]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_an_error(value):
    with pytest.raises(EngineError, match="logits are NaN or infinite"):
        pick(torch.tensor([[0.0, 1.0], [0.0, value]]), torch.tensor([0.5, 0.5]))


# ---- what is supported -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, True),
        ({"do_sample": True, "top_p": 0.9}, True),
        ({"num_beams": 2}, False),
        ({"cache_implementation": "static"}, False),
        ({"use_cache": False}, False),
        ({"prompt_lookup_num_tokens": 2}, False),
        ({"return_dict_in_generate": True}, False),
        ({"repetition_penalty": 1.0, "guidance_scale": 1.0}, True),
        ({"repetition_penalty": 1.1}, False),
        ({"guidance_scale": 1.5}, False),
    ],
    ids=str,
)
def test_other_options_of_generation_are_left_to_generate(options, expected, model):
    assert can_decode(model, GenerationConfig(**options)) is expected
