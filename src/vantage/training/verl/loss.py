"""veRL's loss, normalized without padding. Runs in the actor's workers."""

from __future__ import annotations

from typing import Any

from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss

# Field of every row, including padding: number of rows of the plan in its update.
ROWS = "rows_of_update"


def planned_loss(config: Any, model_output: Any, data: Any, dp_group: Any = None) -> Any:
    """Compute veRL's `ppo_loss` with means that exclude padding.

    An update that has only padding has no gradient. Without the change, veRL divides means over
    rows by the size of the largest update, including padding, and means over tokens by zero if
    there are none.
    """
    rows = int(data[ROWS].max())
    tokens = tu.get_non_tensor_data(data, "batch_num_tokens", default=None)
    tu.assign_non_tensor(data, global_batch_size=max(rows, 1), batch_num_tokens=max(tokens or 0, 1))
    return ppo_loss(config=config, model_output=model_output, data=data, dp_group=dp_group)
