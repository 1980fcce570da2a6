"""What is known of a rollout batch: its scored rollouts, then the plan made of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from vantage.methods.rollouts import Samples
from vantage.training.dealing import FILLER, Update
from vantage.training.planning import Outcomes


@dataclass(frozen=True)
class Scored(Outcomes):
    """Rollouts of all processes with their rewards. Tensors stay on the device.

    Attributes:
        asked_N: prompt that generated each, with the tokens that it was asked in.
        completion_NT: response tokens; seen_NT: which of them are no padding; mask_NT: which of
            those count in the loss, all but what the model did not write.
        sampled: tensors that TRL made for the rollouts under their own prompts.
        generated: tokens that were generated for them, and for those they replaced.
    """

    asked_N: np.ndarray
    completion_NT: torch.Tensor
    seen_NT: torch.Tensor
    mask_NT: torch.Tensor
    sampled: dict[str, torch.Tensor]
    generated: int

    def take(self, places: Sequence[int]) -> Scored:
        """The rollouts of some places, in their order."""
        row_N = np.flatnonzero(np.isin(self.place_N, places))
        rows = torch.from_numpy(row_N).to(self.mask_NT.device)
        return Scored(
            self.place_N[row_N],
            self.home_N[row_N],
            self.reward_N[row_N],
            self.part_NF[row_N],
            self.asked_N[row_N],
            self.completion_NT[rows],
            self.seen_NT[rows],
            self.mask_NT[rows],
            {name: tensor[rows] for name, tensor in self.sampled.items()},
            self.generated,
        )


def joined(parts: Sequence[Scored], pad_id: int) -> Scored:
    """Rollouts of several generations in one table, short responses padded on the right."""

    def together(tensors: list[torch.Tensor], value: float) -> torch.Tensor:
        most = max(tensor.shape[1] for tensor in tensors)
        pad = torch.nn.functional.pad
        return torch.cat([pad(t, (0, most - t.shape[1]), value=value) for t in tensors])

    return Scored(
        np.concatenate([part.place_N for part in parts]),
        np.concatenate([part.home_N for part in parts]),
        np.concatenate([part.reward_N for part in parts]),
        np.concatenate([part.part_NF for part in parts]),
        np.concatenate([part.asked_N for part in parts]),
        together([part.completion_NT for part in parts], pad_id),
        together([part.seen_NT for part in parts], 0),
        together([part.mask_NT for part in parts], 0),
        {name: together([part.sampled[name] for part in parts], 0.0) for name in parts[0].sampled},
        sum(part.generated for part in parts),
    )


@dataclass
class RolloutBatch:
    """Scored rollouts of a batch, the plan made of them, and what its updates need.

    Attributes:
        scored: rollouts of all processes, on the device.
        samples: the plan; updates: how it is dealt; advantage_M: advantages times loss weights.
        forwards_U: rows of this process in each forward of each update; as many forwards on
            every process.
        places: row of `old_RT` and `reference_RT` for each (prompt, rollout) dealt here.
        picture: a rollout whose prompt has a picture, where every forward must have one.
    """

    scored: Scored
    samples: Samples
    updates: list[Update]
    advantage_M: np.ndarray
    forwards_U: list[list[np.ndarray]] = field(default_factory=list)
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    old_RT: torch.Tensor | None = None
    reference_RT: torch.Tensor | None = None
    picture: int | None = None

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.scored.mask_NT.device

    def key(self, row: int) -> tuple[int, int]:
        """(prompt, rollout) of a row of the plan; any one for filler."""
        if row == FILLER:
            rollout = self.picture or 0
            return int(self.scored.asked_N[rollout]), rollout
        prompt, rollout = int(self.samples.prompt_M[row]), int(self.samples.rollout_M[row])
        if prompt == self.scored.home_N[rollout]:
            return int(self.scored.asked_N[rollout]), rollout
        return self._asked_as[prompt], rollout

    @functools.cached_property
    def _asked_as(self) -> dict[int, int]:
        """How a prompt was asked; the trainer sees to it that those of others have one way."""
        scored = self.scored
        return dict(zip(scored.home_N.tolist(), scored.asked_N.tolist(), strict=True))

    def lengths(self, rollouts: Sequence[int]) -> list[int]:
        """Response tokens that are no padding, of some rollouts."""
        return self.scored.seen_NT[list(rollouts)].sum(dim=1).tolist()

    @functools.cached_property
    def length_N(self) -> np.ndarray:
        """Response tokens that count, of each rollout."""
        return self.scored.mask_NT.sum(dim=1).cpu().numpy()

    def is_own(self, key: tuple[int, int]) -> bool:
        """Whether the prompt generated the rollout."""
        prompt, rollout = key
        return prompt == self.scored.asked_N[rollout]

    def distinct_keys(self, process: int) -> list[tuple[int, int]]:
        """What a process trains, each (prompt, rollout) once; at least one."""
        rows = np.concatenate([update.row_PR[process] for update in self.updates])
        trained = rows[rows != FILLER]
        return list(dict.fromkeys(map(self.key, trained if len(trained) else rows[:1])))

    def own_log_probs(self) -> torch.Tensor:
        """Mean log-prob of each rollout under the prompt that generated it, before the updates.

        NaN where another process computed it, or none.
        """
        mean_N = self.scored.mask_NT.new_full((len(self.length_N),), torch.nan, dtype=torch.float32)
        own = [key for key in self.places if self.is_own(key)]
        if self.old_RT is not None and own:
            rows, rollouts = [self.places[key] for key in own], [rollout for _, rollout in own]
            mask_RT = self.scored.mask_NT[rollouts]
            total_R = (self.old_RT[rows] * mask_RT).sum(dim=1)
            mean_N[rollouts] = (total_R / mask_RT.sum(dim=1)).float()
        return mean_N
