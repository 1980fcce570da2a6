"""Responses of a rollout batch as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class Responses:
    """N responses of at most T tokens, padded on the right, on one device.

    Attributes:
        tokens_NT: Token ids, shape (N, T).
        seen_NT: Padding mask, 0 for padding, shape (N, T).
        mask_NT: Loss mask, 0 for padding and for tokens that the model did not generate, shape
            (N, T).
        pad_id: Id of the padding token.
        sampling_NT: Log-probs of the tokens by the engine that sampled them, NaN where it has none,
            shape (N, T); None if it reports none.
    """

    tokens_NT: torch.Tensor
    seen_NT: torch.Tensor
    mask_NT: torch.Tensor
    pad_id: int
    sampling_NT: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens_NT)

    @property
    def width(self) -> int:
        """Padded length T."""
        return self.tokens_NT.shape[1]

    def counted(self) -> np.ndarray:
        """Number of tokens that count, of each response, shape (N,)."""
        return self.mask_NT.sum(dim=1).cpu().numpy()

    def lengths(self, rollouts: Sequence[int]) -> list[int]:
        """Number of tokens without padding, of some responses."""
        return self.seen_NT[list(rollouts)].sum(dim=1).tolist()

    def __getitem__(self, rows: np.ndarray) -> Responses:
        """Select responses by row."""
        index = torch.from_numpy(rows).to(self.tokens_NT.device)
        return replace(
            self,
            tokens_NT=self.tokens_NT[index],
            seen_NT=self.seen_NT[index],
            mask_NT=self.mask_NT[index],
            sampling_NT=None if self.sampling_NT is None else self.sampling_NT[index],
        )

    def __add__(self, other: Responses) -> Responses:
        """Append other responses, padding the shorter ones."""
        return replace(
            self,
            tokens_NT=_stacked(self.tokens_NT, other.tokens_NT, self.pad_id),
            seen_NT=_stacked(self.seen_NT, other.seen_NT, 0),
            mask_NT=_stacked(self.mask_NT, other.mask_NT, 0),
            sampling_NT=None
            if self.sampling_NT is None or other.sampling_NT is None
            else _stacked(self.sampling_NT, other.sampling_NT, 0.0),
        )


def _stacked(first: torch.Tensor, second: torch.Tensor, padding: float) -> torch.Tensor:
    width = max(first.shape[1], second.shape[1])
    wide = [
        torch.nn.functional.pad(part, (0, width - part.shape[1]), value=padding)
        for part in (first, second)
    ]
    return torch.cat(wide)
