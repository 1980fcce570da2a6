"""Attention over responses that share a prompt: one layer, forward and backward pass.

There are G responses of R tokens to a prompt of P tokens. A pack (the prompt once, followed by all
responses) is computed with a dense mask, with a block mask, or as vantage trains it. The
alternative is G ordinary rows, each with a copy of the prompt. Heads are those of Qwen2.5-VL-3B;
keys and values are repeated, as in transformers for scaled-dot-product attention.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from gpu.chip import CUDA, DEVICE, matrix_rate, seconds_of
from gpu.results import Case, Numbers, Skipped
from vantage.training.trl.attention import Layout, PackMask, attend

# FLOP per pair of tokens, head and dimension: 2 products forward, 5 backward, 2 FLOP each.
FORWARD, BACKWARD = 4, 10


@dataclass(frozen=True)
class Shape:
    """Sizes: P prompt tokens, G responses of R tokens, H heads of dimension D."""

    P: int
    R: int
    G: int
    H: int = 16
    D: int = 128

    @property
    def packed_pairs(self) -> int:
        """Number of attended pairs of tokens in a pack."""
        own = self.R * (self.R + 1) // 2
        return self.P * (self.P + 1) // 2 + self.G * (self.R * self.P + own)

    @property
    def row_pairs(self) -> int:
        """Number of attended pairs of tokens in rows."""
        length = self.P + self.R
        return self.G * length * (length + 1) // 2

    @property
    def row_GT(self) -> torch.Tensor:
        """Indices in the pack of the tokens of each row."""
        prompt_P, response_R = torch.arange(self.P), torch.arange(self.R)
        rows = [torch.cat([prompt_P, self.P + g * self.R + response_R]) for g in range(self.G)]
        return torch.stack(rows).to(DEVICE)


SHAPES = (
    Shape(1000, 512, 8),
    Shape(300, 1024, 8),
    Shape(1000, 2048, 8),
)
TINY = (Shape(60, 30, 4, H=2, D=16),)


class Work:
    """Equal queries, keys and values as a pack and as rows; only responses have a loss."""

    def __init__(self, shape: Shape):
        self.shape = shape
        torch.manual_seed(0)
        dtype = torch.bfloat16 if CUDA else torch.float32
        size = (shape.P + shape.G * shape.R, shape.H, shape.D)
        q, k, v, upstream = (torch.randn(size, device=DEVICE, dtype=dtype) for _ in range(4))
        upstream[: shape.P] = 0
        self.pack_LHD = [x.clone().requires_grad_() for x in (q, k, v)]
        self.rows_GTHD = [x[shape.row_GT].clone().requires_grad_() for x in (q, k, v)]
        self.upstream = {3: upstream, 4: upstream[shape.row_GT]}

    def once(self, way: Callable[..., torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
        """Run a forward and a backward pass; return the output."""
        for tensor in inputs:
            tensor.grad = None
        out = way(self.shape, *inputs)
        out.backward(self.upstream[out.ndim])
        return out.detach()

    def told(self, way, inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Values that all methods must share: outputs of responses, gradients of prompt keys."""
        out, shape = self.once(way, inputs), self.shape
        if out.ndim == 3:
            return out[shape.P :].unflatten(0, (shape.G, shape.R)), inputs[1].grad[: shape.P]
        return out[:, shape.P :], inputs[1].grad[:, : shape.P].float().sum(0)


def cases(tiny: bool) -> Iterator[Case]:
    """Every method at every size."""
    yield "matrix product", lambda: {"TFLOP/s": matrix_rate(tiny) / 1e12}
    for shape in TINY if tiny else SHAPES:
        work = Work(shape)
        expected = work.told(dense(shape), work.pack_LHD)
        for name, build in WAYS.items():
            case = f"P {shape.P}, R {shape.R}, G {shape.G}: {name}"
            yield case, functools.partial(measure, work, build, expected, tiny)


def measure(work: Work, build: Callable, expected: tuple, tiny: bool) -> Numbers:
    """Time, share of the matrix rate, and distance from the dense mask."""
    shape, way = work.shape, build(work.shape)
    in_rows = build in IN_ROWS
    inputs = work.rows_GTHD if in_rows else work.pack_LHD
    apart = [
        (found.float() - other.float()).abs().mean().item()
        for found, other in zip(work.told(way, inputs), expected, strict=True)
    ]
    seconds = seconds_of(lambda: work.once(way, inputs), 2 if tiny else 10)
    pairs = shape.row_pairs if in_rows else shape.packed_pairs
    flop = (FORWARD + BACKWARD) * shape.H * shape.D * pairs
    return {
        "ms": 1e3 * seconds,
        "share of the matrix rate": flop / seconds / matrix_rate(tiny),
        "output apart": apart[0],
        "gradient apart": apart[1],
    }


def sees(shape: Shape) -> Callable[..., torch.Tensor]:
    """Mask function for flex_attention: whether a token of a pack attends to another one."""
    sizes = torch.tensor([shape.P, *[shape.R] * shape.G])
    segment_L = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(DEVICE)

    def seen(batch, head, query, key):
        mine = (segment_L[key] == 0) | (segment_L[query] == segment_L[key])
        return (query >= key) & mine

    return seen


def dense(shape: Shape) -> Callable:
    """A pack with a dense mask."""
    place_L = torch.arange(shape.P + shape.G * shape.R, device=DEVICE)
    mask = sees(shape)(None, None, place_L[:, None], place_L)[None, None]

    def way(shape, *pack):
        q, k, v = (x[None].transpose(1, 2) for x in pack)
        return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)[0]

    return way


def flex(shape: Shape) -> Callable:
    """A pack with a block mask, which skips fully masked blocks."""
    if not CUDA:
        raise Skipped("flex_attention has no backward on a CPU")
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    length = shape.P + shape.G * shape.R
    mask = create_block_mask(sees(shape), None, None, length, length, device=DEVICE)
    torch._dynamo.reset()  # otherwise the second size is compiled for dynamic sizes
    attend = torch.compile(flex_attention, dynamic=False)

    def way(shape, *pack):
        q, k, v = (x[None].transpose(1, 2) for x in pack)
        return attend(q, k, v, block_mask=mask).transpose(1, 2)[0]

    return way


def causal_rows(shape: Shape) -> Callable:
    """A batch of rows with causal attention."""

    def way(shape, *rows):
        q, k, v = (x.transpose(1, 2) for x in rows)
        return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    return way


def varlen_rows(shape: Shape) -> Callable:
    """Rows as variable-length sequences with causal attention."""
    attend, ends = varlen(), starts([shape.P + shape.R] * shape.G)

    def way(shape, *rows):
        flat, longest = [x.flatten(0, 1) for x in rows], shape.P + shape.R
        return attend(*flat, ends, ends, longest, longest).unflatten(0, rows[0].shape[:2])

    return way


def packs(shape: Shape) -> Callable:
    """A pack as it is trained, with the back end that vantage chooses."""
    mask = PackMask(Layout(((shape.P, (shape.R,) * shape.G),)))
    config = SimpleNamespace(_attn_implementation="sdpa")
    layer = SimpleNamespace(config=config, is_causal=True, num_key_value_groups=1)

    def way(shape, *pack):
        states = (x[None].transpose(1, 2) for x in pack)
        return attend(sdpa_attention_forward, layer, *states, mask)[0][0]

    return way


def varlen() -> Callable:
    """Causal variable-length attention; its options depend on the version of torch."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise Skipped(f"torch {torch.__version__} has no varlen_attn") from error
    if not CUDA:
        raise Skipped("varlen_attn needs a GPU")
    windowed = "window_size" in inspect.signature(varlen_attn).parameters
    causal = {"window_size": (-1, 0)} if windowed else {"is_causal": True}
    return functools.partial(varlen_attn, **causal)


def starts(lengths: list[int]) -> torch.Tensor:
    """Cumulative lengths: the start of each sequence, and the end of the last one."""
    ends = torch.tensor([0, *lengths], device=DEVICE).cumsum(0)
    return ends.to(torch.int32)


WAYS = {
    "dense mask": dense,
    "flex_attention": flex,
    "packs": packs,
    "rows, sdpa": causal_rows,
    "rows, varlen": varlen_rows,
}
IN_ROWS = (causal_rows, varlen_rows)
