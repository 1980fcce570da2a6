"""veRL's loss, divided by what an update really holds. Runs in the actor's workers."""

from __future__ import annotations

from typing import Any

from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss

# Rows of the plan in the update of a row; of padding too.
ROWS = "rows_of_update"


def planned_loss(config: Any, model_output: Any, data: Any, dp_group: Any = None) -> Any:
    """As veRL's `ppo_loss`: padding is in no mean, and an update of padding alone has no gradient.

    veRL divides means over rows by the rows of the widest update, padding included, and means
    over tokens by zero where there are none.
    """
    rows = int(data[ROWS].max())
    tokens = tu.get_non_tensor_data(data, "batch_num_tokens", default=None)
    tu.assign_non_tensor(data, global_batch_size=max(rows, 1), batch_num_tokens=max(tokens or 0, 1))
    return ppo_loss(config=config, model_output=model_output, data=data, dp_group=dp_group)
