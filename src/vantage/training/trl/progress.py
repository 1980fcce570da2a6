"""Progress bar of a run."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm
from transformers import TrainerCallback

from vantage.terminal import line

SHOWN = {
    "reward": "reward",
    "plan/silent_rollouts": "silent",
    "plan/useful_rollouts_per_second": "useful/s",
    "eval_reward": "validation",
}


class ProgressLine(TrainerCallback):
    """Bar over optimizer updates with reward, silent share and useful rollouts per second."""

    def __init__(self, name: str):
        self.name, self.latest = name, dict[str, str]()

    def on_train_begin(self, args, state, control, **rest):
        """Start the bar at the update that the run starts or resumes from."""
        hidden = not state.is_world_process_zero
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=line(self.name),
            unit="update",
            disable=hidden,
            dynamic_ncols=True,
            smoothing=0,  # updates come in bursts, so the overall mean predicts the end best
            mininterval=0.1 if sys.stderr.isatty() else 10,  # in a log file, each is a new line
        )

    def on_step_end(self, args, state, control, **rest):
        """Advance the bar."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **rest):
        """Show the latest metrics."""
        for name, label in SHOWN.items():
            if isinstance((logs or {}).get(name), float):
                self.latest[label] = f"{logs[name]:.2f}"
        self.bar.set_postfix(self.latest, refresh=False)

    def on_train_end(self, args, state, control, **rest):
        """Close the bar, and keep its last line."""
        self.bar.close()
