"""Shared-prefix packing: a sequence contains a prompt once, and many responses to it.

A pack is the prompt without its last token, followed by a segment per response. A segment is a copy
of that last token, at its original position, and the response without its last token. It attends
to the prompt and to itself, and its positions continue those of the prompt. So a hidden state
predicts every response token, and the model's ordinary forward applies:

    tokens     p0 p1 | p2 a0 a1 | p2 b0
    positions   0  1 |  2  3  4 |  2  3
    predicts         | a0 a1 a2 | b0 b1

Log-probs and gradients equal those of one row per response. Prefix Grouper
(https://arxiv.org/abs/2506.05433) is a published method of this kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from vantage.training.trl.attention import Layout
from vantage.training.trl.encoding import Encoding, per_token

IGNORED = -100  # a label that is not scored


class Segment(NamedTuple):
    """A response in a pack: its rollout, and its number of tokens without padding."""

    rollout: int
    length: int


@dataclass(frozen=True)
class Pack:
    """Responses that share one copy of a prompt.

    Attributes:
        prompt: Id of the prompt.
        prefix: Number of its tokens without the last one.
        segments: The responses, at least one.
    """

    prompt: int
    prefix: int
    segments: tuple[Segment, ...]

    @property
    def lengths(self) -> list[int]:
        """Length of each segment; an empty response takes one token."""
        return [max(segment.length, 1) for segment in self.segments]

    @property
    def tokens(self) -> int:
        """Length of the pack."""
        return self.prefix + sum(self.lengths)


def packs(
    keys: Sequence[tuple[int, int]],
    lengths: Sequence[int],
    prefixes: Mapping[int, int],
    budget: int,
) -> list[Pack]:
    """Group (prompt, rollout) rows into packs; repeated rows share a segment.

    Args:
        keys: (prompt, rollout) of each row.
        lengths: Number of response tokens of each row.
        prefixes: Prompt -> number of its tokens without the last one.
        budget: Maximum number of tokens of a pack with several responses.
    """
    longest: dict[int, dict[int, int]] = {}
    for (prompt, rollout), length in zip(keys, lengths, strict=True):
        known = longest.setdefault(prompt, {})
        known[rollout] = max(length, known.get(rollout, 0))
    made = []
    for prompt, distinct in longest.items():
        ordered = sorted((Segment(*item) for item in distinct.items()), key=lambda s: -s.length)
        for count in range(1, len(ordered) + 1):
            longest_pack = Pack(prompt, prefixes[prompt], tuple(ordered[::count]))
            if longest_pack.tokens <= budget:
                break
        # Deal the sorted responses round-robin, so that packs have similar lengths.
        made += [Pack(prompt, prefixes[prompt], tuple(ordered[n::count])) for n in range(count)]
    return made


def batches(tokens: Sequence[int], budget: int, *, padded: bool = True) -> list[list[int]]:
    """Batch rows or packs so that each batch has at most `budget` tokens.

    One that is longer than the budget forms a batch by itself.

    Args:
        tokens: Number of tokens of each.
        budget: Maximum number of tokens per batch.
        padded: Whether all of a batch are padded to the longest, as rows are.

    Returns:
        Indices of each batch.
    """
    found: list[list[int]] = []
    total = 0
    for number in sorted(range(len(tokens)), key=lambda number: -tokens[number]):
        each = tokens[found[-1][0]] if found and padded else tokens[number]
        if found and total + each <= budget:
            found[-1].append(number)
            total += each
        else:
            found.append([number])
            total = tokens[number]
    return found


@dataclass
class Packed:
    """Packs as one sequence, without padding.

    Attributes:
        input_ids_1T: Tokens; labels_1T: the token that each predicts, or `IGNORED`.
        position_ids: Positions, shape (1, T), or (S, 1, T) for models with several per token.
        layout: Lengths of the prefixes and segments.
        start: (prompt, rollout) -> index of its first prediction.
        types: Name -> per-token field of the model, shape (1, T).
    """

    input_ids_1T: torch.Tensor
    labels_1T: torch.Tensor
    position_ids: torch.Tensor
    layout: Layout
    start: dict[tuple[int, int], int]
    types: dict[str, torch.Tensor]


def lay_out(
    batch: Sequence[Pack],
    encoding: Callable[[int], Encoding],
    positions: Callable[[int], torch.Tensor],
    response: Callable[[int], torch.Tensor],
) -> Packed:
    """Lay packs out as tensors.

    Args:
        batch: The packs.
        encoding: Prompt -> its encoding.
        positions: Prompt -> positions of its tokens, shape (P,) or (S, P).
        response: Rollout -> tokens of its response.
    """
    ids, labels, start = [], [], {}
    for pack in batch:
        *prefix, last = encoding(pack.prompt).ids
        ids += prefix
        labels += [IGNORED] * pack.prefix
        for rollout, length in pack.segments:
            start[pack.prompt, rollout] = len(ids)
            tokens = response(rollout)[:length].tolist()
            ids += [last, *tokens[:-1]]
            labels += tokens or [IGNORED]
    fields = dict.fromkeys(name for pack in batch for name in encoding(pack.prompt).fields)
    types = {
        name: [value for pack in batch for value in _types(pack, encoding(pack.prompt), name)]
        for name in filter(per_token, fields)
    }
    placed = torch.cat([_placed(positions(pack.prompt), pack) for pack in batch], dim=-1)
    return Packed(
        torch.tensor([ids]),
        torch.tensor([labels]),
        placed[..., None, :],
        Layout(tuple((pack.prefix, tuple(pack.lengths)) for pack in batch)),
        start,
        {name: torch.tensor([values]) for name, values in types.items()},
    )


def gathered(value_1T: torch.Tensor, packed: Packed, keys, length_R, width: int) -> torch.Tensor:
    """Gather per-token values of packs into one row per key, zero-padded to `width`.

    Repeated keys read the same segment, and autograd sums their gradients.
    """
    start_R1 = torch.tensor([packed.start[key] for key in keys], device=value_1T.device)[:, None]
    offset_T = torch.arange(width, device=value_1T.device)
    length_R1 = torch.as_tensor(length_R, device=value_1T.device)[:, None]
    column_RT = (start_R1 + offset_T).clamp(max=value_1T.shape[1] - 1)
    return value_1T[0, column_RT].masked_fill(offset_T >= length_R1, 0.0)


def _placed(position_SP: torch.Tensor, pack: Pack) -> torch.Tensor:
    """Positions of a pack: each segment continues where the prompt ends."""
    last = position_SP[..., -1:]
    after = position_SP.amax(dim=tuple(range(position_SP.ndim)))
    parts = [position_SP[..., :-1]]
    for length in pack.lengths:
        response = after + torch.arange(1, length)
        parts += [last, response.expand(*position_SP.shape[:-1], -1)]
    return torch.cat(parts, dim=-1)


def _types(pack: Pack, encoding: Encoding, name: str) -> list[int]:
    """Token types of a pack; 0 for the segments."""
    types = encoding.fields.get(name, [0] * (pack.prefix + 1))
    return [*types[:-1], *[0] * sum(pack.lengths)]
