"""Attention within packs.

Packs stand one after another in one sequence. A token of a prefix attends to earlier tokens of the
prefix; a token of a segment attends to the prefix of its pack and to earlier tokens of the segment.
With G segments of R tokens after a prefix of P tokens, that is P² / 2 + G R (P + R / 2) pairs of
tokens, linear in G.

This module extends the attention functions of transformers, so that they compute packs while
`packed` is active, and everything else as before. The mask functions then return a `PackMask`,
which models hand on to each layer, also when gradient checkpointing computes a layer again. Flex
attention and eager attention get a mask of the whole sequence instead.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from inspect import signature
from itertools import accumulate
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # an older PyTorch
    varlen_attn = None  # type: ignore[assignment]
# Its first versions have no windows.
HAS_VARLEN = varlen_attn is not None and "window_size" in signature(varlen_attn).parameters

# Attention functions of transformers that compute packs.
FLASH = ("flash_attention_2", "flash_attention_3", "flash_attention_4")
KINDS = ("sdpa", *FLASH)
MASKED = ("flex_attention", "eager")  # those that take a mask of the whole sequence
HALF = (torch.float16, torch.bfloat16)
# Least compute capability and largest size of a head in variable-length attention.
AMPERE, WIDEST = (8, 0), 256


@dataclass(frozen=True)
class Layout:
    """Lengths of the packs in a sequence, in tokens and in their order.

    Attributes:
        packs: Length of the prefix, and lengths of its segments, of each pack.
    """

    packs: tuple[tuple[int, tuple[int, ...]], ...]

    @functools.cached_property  # each layer asks for it
    def lengths(self) -> list[int]:
        """Lengths of all prefixes and segments in their order."""
        return [length for prefix, segments in self.packs for length in (prefix, *segments)]

    @functools.cached_property
    def longest_prefix(self) -> int:
        """Length of the longest prefix."""
        return max(prefix for prefix, _ in self.packs)

    @property
    def tokens(self) -> int:
        """Length of the sequence."""
        return sum(self.lengths)

    @property
    def pairs(self) -> int:
        """Number of pairs of tokens in causal attention."""
        return sum(
            prefix * (prefix + 1) // 2
            + sum(length * prefix + length * (length + 1) // 2 for length in segments)
            for prefix, segments in self.packs
        )


@dataclass(frozen=True)
class PackMask:
    """What the tokens of packs attend to, in place of an attention mask.

    Attributes:
        layout: The packs.
        window: Size of the sliding window of a layer, in tokens; None without one.
        prefixes: Attention mask of each prefix, shape (1, 1, P, P), for models whose image tokens
            attend to later ones; None for causal attention.
    """

    layout: Layout
    window: int | None = None
    prefixes: tuple[torch.Tensor, ...] | None = None
    _known: dict[torch.device, torch.Tensor] = field(default_factory=dict, compare=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the mask that this stands for; models ask for it."""
        return 1, 1, self.layout.tokens, self.layout.tokens

    @property
    def ndim(self) -> int:
        """Number of its dimensions."""
        return len(self.shape)

    def __getitem__(self, slices: tuple[slice, ...]) -> PackMask:
        """The mask itself, for models that slice their masks to all queries and keys.

        Raises:
            NotImplementedError: A part of the mask.
        """
        taken = tuple(
            len(range(*some.indices(size))) for some, size in zip(slices, self.shape, strict=True)
        )
        if taken != self.shape:
            raise NotImplementedError("a part of the mask of packs")
        return self

    def causal(self, before: int, length: int, device: torch.device) -> torch.Tensor:
        """Mask of causal attention from the last `length` of `before + length` tokens.

        Returns:
            Shape (1, 1, length, before + length); a view of one mask for all prefixes and segments.
        """
        most = self.layout.longest_prefix
        if device not in self._known:
            segments = [length for _, pack in self.layout.packs for length in pack]
            longest = max(self.layout.lengths if self.window else segments)
            mask = torch.ones(longest, most + longest, dtype=torch.bool, device=device).tril(most)
            self._known[device] = mask.triu(most + 1 - self.window) if self.window else mask
        return self._known[device][None, None, :length, most - before : most + length]


_PACKED: ContextVar[tuple[Layout, PreTrainedConfig] | None] = ContextVar("packed", default=None)


@contextlib.contextmanager
def packed(layout: Layout, config: PreTrainedConfig) -> Iterator[None]:
    """Within the context, a forward computes the packs of a sequence.

    Args:
        layout: The packs.
        config: Configuration of the language model, whose attention this changes.
    """
    token = _PACKED.set((layout, config))
    try:
        yield
    finally:
        _PACKED.reset(token)


def current() -> Layout | None:
    """The layout of the packs that a forward computes now, if any."""
    active = _PACKED.get()
    return active[0] if active else None


def attend(
    plain: Callable[..., Any],
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: PackMask,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention within packs.

    Args:
        plain: Attention function of transformers for ordinary sequences.
        module: The attention layer.
        query: Shape (1, H, T, D); key, value: shape (1, K, T, D), where K divides H.
        mask: The packs.
        options: Options of the layer, such as `scaling`.

    Returns:
        Shape (1, T, H, D), and None for the attention weights.
    """
    if module.config._attn_implementation in FLASH:
        return _by_flash_attention(plain, module, query, key, value, mask, **options)
    if mask.prefixes is None and _takes_varlen(query, value):
        return _by_varlen(query, key, value, mask, options.get("scaling")), None
    return _by_segments(plain, module, query, key, value, mask, **options)


def _by_segments(plain, module, query, key, value, mask: PackMask, **options):
    """Call the attention function once for each prefix and each segment."""
    lengths = mask.layout.lengths
    # One split, since autograd pads the gradient of each slice to the whole sequence.
    queries, keys, values = (iter(states.split(lengths, dim=2)) for states in (query, key, value))
    found = []

    def add(queries, keys, values, seen):
        found.append(plain(module, queries, keys, values, seen, **options)[0])

    for number, (prefix, segments) in enumerate(mask.layout.packs):
        first, key_P, value_P = next(queries), next(keys), next(values)
        if prefix and mask.prefixes is not None:
            add(first, key_P, value_P, mask.prefixes[number])
        elif prefix:
            is_wide = mask.window is not None and prefix > mask.window
            seen = mask.causal(0, prefix, query.device) if is_wide else None
            add(first, key_P, value_P, seen)
        for length in segments:
            add(
                next(queries),
                torch.cat([key_P, next(keys)], dim=2),
                torch.cat([value_P, next(values)], dim=2),
                mask.causal(prefix, length, query.device),
            )
    return torch.cat(found, dim=1), None


def _takes_varlen(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether PyTorch's variable-length attention computes these queries and values."""
    fits = query.is_cuda and query.dtype in HALF and query.shape[-1] == value.shape[-1] <= WIDEST
    return HAS_VARLEN and fits and torch.cuda.get_device_capability(query.device) >= AMPERE


def _by_varlen(query, key, value, mask: PackMask, scale: float | None) -> torch.Tensor:
    """Call PyTorch's variable-length attention, which aligns queries and keys at the end."""
    at, sizes = _gathered(mask.layout, query.device)
    queries, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
    window = -1 if mask.window is None else mask.window - 1
    found: Any = varlen_attn(
        queries,
        keys[at],
        values[at],
        sizes["cu_seq_lens_q"],
        sizes["cu_seq_lens_k"],
        sizes["max_length_q"],
        sizes["max_length_k"],
        scale=scale,
        window_size=(window, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found[None]


def _by_flash_attention(plain, module, query, key, value, mask: PackMask, **options):
    """Call FlashAttention for sequences of several lengths, which transformers supports."""
    at, sizes = _gathered(mask.layout, query.device)
    return plain(module, query, key[:, :, at], value[:, :, at], None, **{**options, **sizes})


@functools.lru_cache(maxsize=2)  # all layers ask for the same
def _gathered(layout: Layout, device: torch.device) -> tuple[torch.Tensor, dict[str, Any]]:
    """Keys of each prefix and segment, and the sizes by their names in transformers.

    The keys of a segment are those of its prefix and its own, so that its last query attends to
    the last key.

    Returns:
        Positions of the keys in the sequence, and keyword arguments for variable lengths.
    """
    found, counts, start = [], [], 0
    for prefix, segments in layout.packs:
        shared, end = torch.arange(start, start + prefix), start + prefix
        found.append(shared)
        for length in segments:
            found += [shared, torch.arange(end, end + length)]
            end += length
        counts += [prefix, *(prefix + length for length in segments)]
        start = end

    def ends(lengths: list[int]) -> torch.Tensor:
        return torch.tensor([*accumulate(lengths, initial=0)], dtype=torch.int32, device=device)

    return torch.cat(found).to(device), {
        "cu_seq_lens_q": ends(layout.lengths),
        "cu_seq_lens_k": ends(counts),
        "max_length_q": max(layout.lengths),
        "max_length_k": max(counts),
    }


def _with_packs(plain: Callable[..., Any]) -> Callable[..., Any]:
    """An attention function that also computes packs."""

    @functools.wraps(plain)
    def attention(module, query, key, value, attention_mask, **options):
        if isinstance(attention_mask, PackMask):
            return attend(plain, module, query, key, value, attention_mask, **options)
        return plain(module, query, key, value, attention_mask, **options)

    return attention


def _mask_with_packs(plain: Callable[..., Any], made: Callable[..., Any]) -> Callable[..., Any]:
    """A mask function that calls `made` for the language model while `packed` is active."""

    @functools.wraps(plain)
    def mask(*args, **options):
        active = _PACKED.get()
        if active is None or not isinstance(options.get("config"), type(active[1])):
            return plain(*args, **options)
        if isinstance(options.get("attention_mask"), PackMask):  # made by an outer model
            return options["attention_mask"]
        return made(plain, active[0], **options)

    return mask


def _pack_mask(plain, layout: Layout, **options: Any) -> PackMask:
    causal = options.get("allow_is_causal_skip", True)
    prefixes = None if causal else tuple(_masks_of_prefixes(plain, layout, options))
    return PackMask(layout, options.get("local_size"), prefixes)


def _whole_mask(plain, layout: Layout, **options: Any) -> Any:
    """A mask of the whole sequence, in the form that the attention function takes."""
    causal, own = options.get("allow_is_causal_skip", True), options["mask_function"]
    sees = seen_by(layout, options.get("local_size"), None if causal else own, options["device"])
    return plain(**{**options, "mask_function": sees, "attention_mask": None})


def seen_by(
    layout: Layout,
    window: int | None,
    own: Callable[..., torch.Tensor] | None,
    device: torch.device | str,
) -> Callable[..., torch.Tensor]:
    """The function (batch, head, query, key) -> whether the query attends to the key.

    Args:
        layout: The packs.
        window: Size of the sliding window, in tokens; None without one.
        own: The model's own function, for the prefixes; None for causal attention.
        device: Device of the indices.
    """
    parts = []  # (pack, whether it is the prefix, first position, length)
    for pack, (prefix, segments) in enumerate(layout.packs):
        parts.append((pack, True, 0, prefix))
        parts += [(pack, False, prefix, length) for length in segments]
    packs, shared, starts, lengths = zip(*parts, strict=True)
    part_T, pack_T, shared_T = (
        torch.repeat_interleave(torch.tensor(values), torch.tensor(lengths)).to(device)
        for values in (range(len(parts)), packs, shared)
    )
    spans = zip(starts, lengths, strict=True)
    position_T = torch.cat([torch.arange(start, start + n) for start, n in spans]).to(device)

    def sees(batch, head, query, key):
        mine = part_T[query] == part_T[key]
        apart = position_T[query] - position_T[key]
        found = (mine | (shared_T[key] & (pack_T[query] == pack_T[key]))) & (apart >= 0)
        if window is not None:
            found = found & (apart < window)
        if own is not None:
            found = torch.where(shared_T[query], mine & own(batch, head, query, key), found)
        return found

    return sees


def _masks_of_prefixes(plain, layout: Layout, options: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The model's own mask of each prefix."""
    start = 0
    for prefix, segments in layout.packs:
        place = {"q_offset": start, "kv_offset": start, "q_length": prefix, "kv_length": prefix}
        yield plain(**{**options, **place, "attention_mask": None})
        start += prefix + sum(segments)


def _register() -> None:
    masks = ALL_MASK_ATTENTION_FUNCTIONS
    for kind in KINDS:
        ALL_ATTENTION_FUNCTIONS.register(kind, _with_packs(ALL_ATTENTION_FUNCTIONS[kind]))
        masks.register(kind, _mask_with_packs(masks[kind], _pack_mask))
    for kind in MASKED:
        masks.register(kind, _mask_with_packs(masks[kind], _whole_mask))


_register()
