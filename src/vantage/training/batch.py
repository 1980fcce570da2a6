"""What is known of a rollout batch once its plan is made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from vantage.methods.rollouts import Samples
from vantage.training.dealing import FILLER, Update


@dataclass
class RolloutBatch:
    """Scored rollouts of a batch, the plan made of them, and what its updates need.

    Tensors that end in N hold all rollouts of all processes and stay on the device.

    Attributes:
        completion_NT: response tokens; mask_NT: which of them count.
        samples: the plan; updates: how it is dealt; advantage_M: advantages times loss weights.
        home_N: prompt that generated each rollout.
        sampled: tensors that TRL made for the rollouts under their own prompts.
        places: row of `old_RT` and `reference_RT` for each (prompt, rollout) dealt here.
    """

    completion_NT: torch.Tensor
    mask_NT: torch.Tensor
    samples: Samples
    updates: list[Update]
    advantage_M: np.ndarray
    home_N: np.ndarray
    sampled: dict[str, torch.Tensor]
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    old_RT: torch.Tensor | None = None
    reference_RT: torch.Tensor | None = None

    def key(self, row: int) -> tuple[int, int]:
        """(prompt, rollout) of a row of the plan; any one for filler."""
        if row == FILLER:
            return int(self.home_N[0]), 0
        return int(self.samples.prompt_M[row]), int(self.samples.rollout_M[row])

    def is_own(self, key: tuple[int, int]) -> bool:
        """Whether the prompt generated the rollout."""
        prompt, rollout = key
        return prompt == self.home_N[rollout]

    def distinct_keys(self, process: int) -> list[tuple[int, int]]:
        """What a process trains, each (prompt, rollout) once; at least one."""
        rows = np.concatenate([update.row_PR[process] for update in self.updates])
        trained = rows[rows != FILLER]
        return list(dict.fromkeys(map(self.key, trained if len(trained) else rows[:1])))
