"""veRL's loss, normalized without padding. Runs in the actor's workers."""

from __future__ import annotations

from typing import Any

from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss

# Fields of every row, including padding: rows of the plan in its update, and response tokens of
# these rows. They include the rows that go through no forward.
ROWS = "rows_of_update"
TOKENS = "tokens_of_update"


def planned_loss(config: Any, model_output: Any, data: Any, dp_group: Any = None) -> Any:
    """Compute veRL's `ppo_loss` with means over all rows of the update, without padding.

    An update that has only padding has no gradient. Without the change, veRL divides means over
    rows by the size of the largest update, including padding, and means over tokens by the tokens
    of the rows in the batch, which may be none.
    """
    rows, tokens = (max(int(data[name].max()), 1) for name in (ROWS, TOKENS))
    tu.assign_non_tensor(data, global_batch_size=rows, batch_num_tokens=tokens)
    return ppo_loss(config=config, model_output=model_output, data=data, dp_group=dp_group)
