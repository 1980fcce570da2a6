"""Compare attention within packs with a dense mask and with rows: one layer, forward and backward.

A pack is a prompt of P tokens and G responses of R tokens to it. The second table shows that the
time of a pack is linear in G at fixed P and R.

    python benchmarks/attention.py    # 3 minutes
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from vantage.training.trl.attention import Layout, PackMask, attend, seen_by

HEADS, KEY_HEADS, SIZE = 8, 4, 64
TURNS = 5
SHAPES = ((265, 128, 8), (970, 128, 8), (970, 512, 8), (13, 512, 8), (13, 8, 8))
GROUPS = (1, 2, 4, 8, 16, 32, 64)
LAYER = SimpleNamespace(
    config=SimpleNamespace(_attn_implementation="sdpa"),
    is_causal=True,
    num_key_value_groups=HEADS // KEY_HEADS,
)


def states(batch: int, tokens: int) -> list[torch.Tensor]:
    """Random queries, keys and values."""
    torch.manual_seed(0)
    heads = (HEADS, KEY_HEADS, KEY_HEADS)
    return [torch.randn(batch, count, tokens, SIZE, requires_grad=True) for count in heads]


def packs(P: int, R: int, G: int) -> Callable[[], torch.Tensor]:
    """A pack as it is trained."""
    layout = Layout(((P, (R,) * G),))
    inputs = states(1, layout.tokens)
    return lambda: attend(sdpa_attention_forward, LAYER, *inputs, PackMask(layout))[0]


def dense(P: int, R: int, G: int) -> Callable[[], torch.Tensor]:
    """A pack with a mask over the whole sequence."""
    layout = Layout(((P, (R,) * G),))
    place = torch.arange(layout.tokens)
    mask = seen_by(layout, None, None, "cpu")(0, 0, place[:, None], place)
    inputs = states(1, layout.tokens)
    return lambda: scaled_dot_product_attention(*inputs, attn_mask=mask, enable_gqa=True)


def rows(P: int, R: int, G: int) -> Callable[[], torch.Tensor]:
    """A row per response, each with the prompt."""
    inputs = states(G, P + R)
    return lambda: scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=True)


def seconds(way: Callable[[], torch.Tensor]) -> float:
    """Seconds of a forward and a backward pass."""
    began = time.perf_counter()
    way().sum().backward()
    return time.perf_counter() - began


def alternating(ways: list[Callable[[], torch.Tensor]]) -> list[list[float]]:
    """Seconds of each way in alternating turns, after one to warm up."""
    turns = [[seconds(way) for way in ways] for _ in range(1 + TURNS)]
    return [list(times) for times in zip(*turns[1:], strict=True)]


def ratio(slow: list[float], fast: list[float]) -> str:
    """Median, minimum and maximum of the ratios of the turns, as text."""
    each = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return f"{statistics.median(each):6.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def main() -> None:
    print("   P     R   G   packs, ms   dense mask / packs      rows / packs")
    for shape in SHAPES:
        ours, *others = alternating([make(*shape) for make in (packs, dense, rows)])
        told = "   ".join(ratio(times, ours) for times in others)
        P, R, G = shape
        print(f"{P:4} {R:5} {G:3} {1e3 * statistics.median(ours):11.1f}   {told}", flush=True)
    print("\n   P     R   G   tokens   packs, ms   ms per response")
    for G in GROUPS:
        [times] = alternating([packs(1000, 1547, G)])
        spent = 1e3 * statistics.median(times)
        tokens = 1000 + 1547 * G
        print(f"{1000:4} {1547:5} {G:3} {tokens:8,} {spent:11.0f} {spent / G:17.1f}", flush=True)


if __name__ == "__main__":
    main()
