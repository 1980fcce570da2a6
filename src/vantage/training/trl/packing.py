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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

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
    def tokens(self) -> int:
        """Length of the sequence."""
        return self.prefix + sum(max(segment.length, 1) for segment in self.segments)


@dataclass(frozen=True)
class Cost:
    """Compute of a sequence of L tokens: L (1 + L / even) plus the cost of its images.

    Attributes:
        even: Length at which attention over a dense mask costs as much as all else.
        pixel: Cost of encoding a pixel value, in tokens of the language model.
        most: Maximum length of a sequence with several responses, which bounds its mask's memory.
    """

    even: float
    pixel: float = 0.0
    most: int = 8192

    def of(self, tokens: int) -> float:
        """Cost of a sequence, in units of a token without attention."""
        return tokens * (1 + tokens / self.even)

    def responses(self, prefix: int, length: float, images: float) -> int:
        """The number of responses per pack with the lowest cost per response.

        Args:
            prefix: Number of tokens of the prompt.
            length: Mean number of tokens of its responses.
            images: Cost of encoding its images, in tokens of the language model.
        """
        best, least = 1, float("inf")
        for count in range(1, max(1, int((self.most - prefix) / max(length, 1))) + 1):
            each = (self.of(int(prefix + count * length)) + images) / count
            if each > least:
                break
            best, least = count, each
        return best


def packs(
    keys: Sequence[tuple[int, int]],
    lengths: Sequence[int],
    prefixes: dict[int, int],
    images: dict[int, float],
    cost: Cost,
    budget: int,
) -> list[Pack]:
    """Group (prompt, rollout) rows into packs; repeated rows share a segment.

    Args:
        keys: (prompt, rollout) of each row.
        lengths: Number of response tokens of each row.
        prefixes: Prompt -> number of its tokens without the last one.
        images: Prompt -> cost of encoding its images.
        cost: Cost model of sequences.
        budget: Maximum number of tokens of a pack with several responses.
    """
    longest: dict[int, dict[int, int]] = {}
    for (prompt, rollout), length in zip(keys, lengths, strict=True):
        known = longest.setdefault(prompt, {})
        known[rollout] = max(length, known.get(rollout, 0))
    made = []
    for prompt, distinct in longest.items():
        ordered = sorted((Segment(*item) for item in distinct.items()), key=lambda s: -s.length)
        mean = sum(segment.length for segment in ordered) / len(ordered)
        room = int((budget - prefixes[prompt]) / max(mean, 1.0))
        size = cost.responses(prefixes[prompt], max(mean, 1.0), images[prompt])
        count = -(-len(ordered) // max(1, min(size, room)))
        # Deal the sorted responses round-robin, so that packs have similar lengths.
        made += [Pack(prompt, prefixes[prompt], tuple(ordered[n::count])) for n in range(count)]
    return made


def batches(tokens: Sequence[int], budget: int) -> list[list[int]]:
    """Batch sequences so that each batch has at most `budget` tokens, including padding.

    A sequence longer than the budget forms a batch by itself.

    Args:
        tokens: Length of each sequence.
        budget: Maximum number of tokens per batch.

    Returns:
        Indices of the sequences of each batch.
    """
    found: list[list[int]] = []
    for number in sorted(range(len(tokens)), key=lambda number: -tokens[number]):
        if found and (len(found[-1]) + 1) * tokens[found[-1][0]] <= budget:
            found[-1].append(number)
        else:
            found.append([number])
    return found


@dataclass
class Packed:
    """Packs as a batch of sequences, padded on the right.

    Attributes:
        input_ids_BT: Tokens; labels_BT: the token that each predicts, or `IGNORED`.
        position_ids: Positions, shape (B, T), or (S, B, T) for models with several per token.
        sees: Boolean attention mask, shape (B, 1, T, T); if all packs have one response, padding
            mask of shape (B, T).
        start: (prompt, rollout) -> (sequence, index of its first prediction).
        types: Name -> per-token field of the model, shape (B, T).
    """

    input_ids_BT: torch.Tensor
    labels_BT: torch.Tensor
    position_ids: torch.Tensor
    sees: torch.Tensor
    start: dict[tuple[int, int], tuple[int, int]]
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
    rows = [_sequence(pack, encoding(pack.prompt), response) for pack in batch]
    width = max(pack.tokens for pack in batch)
    start = {
        (pack.prompt, segment.rollout): (number, begin)
        for number, (pack, row) in enumerate(zip(batch, rows, strict=True))
        for segment, begin in zip(pack.segments, row.starts, strict=True)
    }
    fields = dict.fromkeys(name for pack in batch for name in encoding(pack.prompt).fields)
    names = filter(per_token, fields)
    return Packed(
        pad_sequence([row.ids for row in rows], batch_first=True),
        pad_sequence([row.labels for row in rows], batch_first=True, padding_value=IGNORED),
        _positions([_placed(positions(pack.prompt), pack) for pack in batch]),
        _who_sees(batch, width),
        start,
        {name: pad_sequence([_types(p, encoding, name) for p in batch], True) for name in names},
    )


def gathered(value_BT: torch.Tensor, packed: Packed, keys, length_R, width: int) -> torch.Tensor:
    """Gather per-token values of packs into one row per key, zero-padded to `width`.

    Repeated keys read the same segment, and autograd sums their gradients.
    """
    places = torch.tensor([packed.start[key] for key in keys], device=value_BT.device)
    offset_T = torch.arange(width, device=value_BT.device)
    length_R1 = torch.as_tensor(length_R, device=value_BT.device)[:, None]
    column_RT = (places[:, 1:] + offset_T).clamp(max=value_BT.shape[1] - 1)
    value_RT = value_BT[places[:, :1], column_RT]
    return value_RT.masked_fill(offset_T >= length_R1, 0.0)


class _Sequence(NamedTuple):
    ids: torch.Tensor
    labels: torch.Tensor
    starts: list[int]


def _sequence(pack: Pack, encoding: Encoding, response: Callable) -> _Sequence:
    ids, labels, starts = [*encoding.ids[:-1]], [IGNORED] * pack.prefix, []
    for rollout, length in pack.segments:
        starts.append(len(ids))
        tokens = response(rollout)[:length].tolist()
        ids += [encoding.ids[-1], *tokens[:-1]]
        labels += tokens or [IGNORED]
    return _Sequence(torch.tensor(ids), torch.tensor(labels), starts)


def _placed(position_SP: torch.Tensor, pack: Pack) -> torch.Tensor:
    """Positions of a pack: each segment continues where the prompt ends."""
    last = position_SP[..., -1:]
    after = position_SP.amax(dim=tuple(range(position_SP.ndim)))
    parts = [position_SP[..., :-1]]
    for _, length in pack.segments:
        response = after + torch.arange(1, max(length, 1))
        parts += [last, response.expand(*position_SP.shape[:-1], -1)]
    return torch.cat(parts, dim=-1)


def _who_sees(batch: Sequence[Pack], width: int) -> torch.Tensor:
    if any(len(pack.segments) > 1 for pack in batch):
        return torch.stack([_sees(pack, width) for pack in batch])[:, None]
    # With one response each, packs are ordinary causal sequences, and fast kernels apply.
    return torch.stack([torch.arange(width) < pack.tokens for pack in batch])


def _sees(pack: Pack, width: int) -> torch.Tensor:
    """Attention mask of a pack. Padding attends to itself, since a softmax over nothing is NaN."""
    sizes = [pack.prefix, *(max(segment.length, 1) for segment in pack.segments)]
    sizes.append(width - sum(sizes))
    segment_T = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    earlier_TT = torch.ones(width, width, dtype=torch.bool).tril()
    mine_TT = (segment_T == 0) | (segment_T[:, None] == segment_T)
    padding_T = segment_T == len(sizes) - 1
    return earlier_TT & torch.where(padding_T[:, None], torch.eye(width, dtype=torch.bool), mine_TT)


def _types(pack: Pack, encoding: Callable[[int], Encoding], name: str) -> torch.Tensor:
    types = encoding(pack.prompt).fields.get(name, [0] * (pack.prefix + 1))
    rest = [0] * (pack.tokens - pack.prefix)
    return torch.tensor([*types[:-1], *rest], dtype=torch.long)


def _positions(rows: list[torch.Tensor]) -> torch.Tensor:
    """Stack positions to (B, T), or to (S, B, T) for models with several positions per token."""
    stacked = pad_sequence([row.movedim(-1, 0) for row in rows], batch_first=True)
    return stacked if stacked.ndim == 2 else stacked.movedim(-1, 0)
