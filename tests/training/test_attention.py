"""Attention within packs: every back end gives what a dense mask written out by hand gives."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from vantage.training.trl import attention
from vantage.training.trl.attention import FLASH, Layout, PackMask, attend, packed, seen_by

HEADS, KEY_HEADS, SIZE = 4, 2, 8
PACKS = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=3,
).map(tuple)
WINDOWS = st.none() | st.integers(1, 12)


def by_hand(layout, window=None, prefixes=None):
    """The mask, token by token, shape (T, T)."""
    tokens = []  # (pack, segment or None, position)
    for pack, (prefix, segments) in enumerate(layout.packs):
        tokens += [(pack, None, position) for position in range(prefix)]
        for number, length in enumerate(segments):
            tokens += [(pack, number, prefix + position) for position in range(length)]
    mask = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    for query, (pack, segment, position) in enumerate(tokens):
        for key, (other, theirs, before) in enumerate(tokens):
            if pack != other or theirs not in (None, segment):
                continue
            mask[query, key] = 0 <= position - before < (window or math.inf)
            if prefixes and segment is None and theirs is None:
                mask[query, key] = prefixes[pack][0, 0, position, before]
    return mask


def layer(kind="sdpa"):
    config = SimpleNamespace(_attn_implementation=kind)
    groups = HEADS // KEY_HEADS
    return SimpleNamespace(num_key_value_groups=groups, is_causal=True, config=config)


def states(tokens, seed=0):
    torch.manual_seed(seed)
    return [
        torch.randn(1, heads, tokens, SIZE, dtype=torch.float64, requires_grad=True)
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]


def dense(query, key, value, mask, scale=None):
    """Attention from its definition, shape (1, T, H, D)."""
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    scores = query @ key.transpose(2, 3) * (scale or 1 / math.sqrt(query.shape[-1]))
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return (weights @ value).transpose(1, 2)


def varlen(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa):
    """What PyTorch's kernel for GPUs documents: queries and keys are aligned at the end."""
    found, (left, right) = [], window_size
    assert right == 0 and cu_q[-1] == len(query) and cu_k[-1] == len(key)
    assert cu_q.diff().max() == max_q and cu_k.diff().max() == max_k
    for q, k in zip(pairwise(cu_q), pairwise(cu_k), strict=True):
        queries, keys = slice(*q), slice(*k)
        rows, columns = q[1] - q[0], k[1] - k[0]
        apart = torch.arange(rows)[:, None] + (columns - rows) - torch.arange(columns)
        mask = (apart >= 0) & (apart <= (math.inf if left < 0 else left))
        one = (part[None].transpose(1, 2) for part in (query[queries], key[keys], value[keys]))
        found.append(dense(*one, mask, scale)[0])
    return torch.cat(found)


def flash(module, query, key, value, attention_mask, *, sliding_window=None, scaling=None, **sizes):
    """FlashAttention as transformers calls it with the lengths of sequences."""
    ends = (sizes["cu_seq_lens_q"], sizes["cu_seq_lens_k"])
    most = (sizes["max_length_q"], sizes["max_length_k"])
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    parts = (part[0].transpose(0, 1) for part in (query, key, value))
    found = varlen(*parts, *ends, *most, scale=scaling, window_size=window, enable_gqa=True)
    return found[None], None


def computed(kind, layout, window, monkeypatch, prefixes=None):
    """Output and gradients of a back end."""
    inputs = states(layout.tokens)
    if kind == "varlen":
        monkeypatch.setattr(attention, "varlen_attn", varlen)
        monkeypatch.setattr(attention, "_takes_varlen", lambda query, value: True)
    plain, name = (flash, FLASH[0]) if kind == "flash" else (sdpa_attention_forward, "sdpa")
    mask = PackMask(layout, window, prefixes)
    more = {"sliding_window": window} if kind == "flash" else {}
    found, weights = attend(plain, layer(name), *inputs, mask, scaling=0.3, **more)
    assert weights is None
    return found, inputs


def assert_as_by_hand(found, inputs, mask):
    expected_inputs = [part.detach().clone().requires_grad_() for part in inputs]
    expected = dense(*expected_inputs, mask, scale=0.3)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, theirs in zip(inputs, expected_inputs, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["segments", "varlen", "flash"])
@settings(deadline=None, max_examples=40)
@given(packs=PACKS, window=WINDOWS)
def test_outputs_and_gradients_are_those_of_a_dense_mask(kind, packs, window):
    layout = Layout(packs)
    with pytest.MonkeyPatch.context() as monkeypatch:
        found, inputs = computed(kind, layout, window, monkeypatch)
        assert_as_by_hand(found, inputs, by_hand(layout, window))


@settings(deadline=None, max_examples=20)
@given(packs=PACKS, window=WINDOWS, seed=st.integers(0, 99))
def test_prefixes_keep_the_mask_of_the_model(packs, window, seed):
    layout = Layout(packs)
    generator = torch.Generator().manual_seed(seed)
    prefixes = tuple(
        torch.eye(length, dtype=torch.bool)
        | (torch.rand(1, 1, length, length, generator=generator) < 0.5)
        for length, _ in packs
    )
    for kind in ("segments", "varlen"):
        with pytest.MonkeyPatch.context() as monkeypatch:
            found, inputs = computed(kind, layout, window, monkeypatch, prefixes)
            assert_as_by_hand(found, inputs, by_hand(layout, window, prefixes))


@settings(deadline=None, max_examples=40)
@given(packs=PACKS, window=WINDOWS)
def test_function_of_flex_attention_is_the_same_mask(packs, window):
    layout = Layout(packs)
    index = torch.arange(layout.tokens)
    sees = seen_by(layout, window, None, "cpu")
    found = sees(0, 0, index[:, None], index[None])
    assert torch.equal(found, by_hand(layout, window))

    def own(batch, head, query, key):  # image tokens see each other
        return (query >= key) | (query // 3 == key // 3)

    starts = [0]
    for prefix, segments in packs:
        starts.append(starts[-1] + prefix + sum(segments))
    prefixes = [
        own(0, 0, start + torch.arange(n)[:, None], start + torch.arange(n))[None, None]
        for start, (n, _) in zip(starts, packs, strict=False)
    ]
    sees = seen_by(layout, window, own, "cpu")
    found = sees(0, 0, index[:, None], index[None])
    assert torch.equal(found, by_hand(layout, window, prefixes))


def config(kind="sdpa", window=None):
    made = PretrainedConfig(sliding_window=window)
    made._attn_implementation = kind
    return made


def test_mask_functions_return_packs_within_the_context_alone():
    layout, mine = Layout(((3, (2, 2)),)), config(window=2)
    inputs = torch.zeros(1, layout.tokens, 4)
    ones = torch.ones(1, layout.tokens, dtype=torch.long)
    more = {"inputs_embeds": inputs, "attention_mask": ones, "past_key_values": None}
    with packed(layout, mine):
        full = create_causal_mask(config=mine, **more)
        sliding = create_sliding_window_causal_mask(config=mine, **more)

        def image(batch, head, query, key):
            return (query < 2) & (key < 2)

        images = create_causal_mask(config=mine, or_mask_function=image, **more)
    assert full == PackMask(layout)
    assert sliding == PackMask(layout, window=2)
    [prefix] = images.prefixes
    assert prefix[0, 0].tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    assert create_causal_mask(config=mine, **more) is None


def test_other_models_keep_their_masks_within_the_context():
    class Vision(PretrainedConfig):
        pass

    class Text(PretrainedConfig):
        pass

    theirs = Vision()
    theirs._attn_implementation = "sdpa"
    inputs = torch.zeros(1, 7, 4)
    with packed(Layout(((3, (2, 2)),)), Text()):
        assert create_causal_mask(theirs, inputs, torch.ones(1, 7), None) is None


@pytest.mark.parametrize("count", [1, 64])
def test_pairs_of_tokens_are_linear_in_the_number_of_segments(count, monkeypatch):
    pairs = []

    def counted(module, query, key, *rest, **options):
        pairs.append(query.shape[2] * key.shape[2])
        return query.transpose(1, 2), None

    layout = Layout(((10, (5,) * count),))
    attend(counted, layer(), *states(layout.tokens), PackMask(layout))
    assert sum(pairs) == 10 * 10 + count * 5 * 15
    assert layout.pairs == 55 + count * (5 * 10 + 15) == by_hand(layout).sum()
