"""Writes the record of a run on TRL."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, TrainerCallback

from vantage import config as configuration
from vantage.record import About, Keep, Recorder, Step
from vantage.record.bounds import kept
from vantage.training.clock import Clock
from vantage.training.recording import Writing, step_of
from vantage.training.session import Session
from vantage.training.trl.batch import RolloutBatch
from vantage.training.trl.config import VantageConfig

# Options that differ between runs of the same settings: seeds and paths.
APART = ("seed", "data_seed", "output_dir", "run_name", "logging_dir", "resume_from_checkpoint")


class TrlRecording(TrainerCallback):
    """Writes rollout batches and validations on the main process, in a background thread.

    A checkpoint is marked complete only after its rollout batches are in the record.

    Args:
        questions: Returns the number of rows that the run trains on.
        keep: Limits of the record.
        clock: Measures the stages of a rollout batch.
    """

    def __init__(self, questions: Callable[[], int], keep: configuration.Keep, clock: Clock):
        self._questions, self._keep, self._clock = questions, keep, clock
        self._writer, self._writing = ThreadPoolExecutor(1), Writing()
        self._waiting: list[Future] = []

    def on_train_begin(self, args, state, control, model=None, **rest):
        """Open the record for the remaining rollout batches."""
        if state.is_world_process_zero:
            described = about(args, model, args.batches_of(state.max_steps), self._questions())
            start = args.batches_of(state.global_step)
            keep = Keep(**self._keep.model_dump())
            self._writing.open(Recorder(args.output_dir, described, start=start, keep=keep))

    def step_of(
        self,
        batch: RolloutBatch,
        session: Session,
        rewards: Sequence[str],
        tokenizer: Any,
        mean_PN: np.ndarray,
        done: int,
    ) -> Step:
        """Build the record of a rollout batch.

        Args:
            batch: The rollout batch.
            session: Session at this batch.
            rewards: Names of the reward functions.
            tokenizer: Decodes the responses.
            mean_PN: Mean log-prob of each response by each process that computed it, else NaN,
                shape (P, N).
            done: Number of optimizer updates of the run so far.
        """
        return step_of(
            batch.scored,
            batch.plan,
            session,
            rewards=rewards,
            responses=Texts(tokenizer, batch.responses.tokens_NT),
            tokens_N=batch.length_N,
            log_prob_N=first_known(mean_PN),
            updates=len(batch.updates),
            done=done,
            seconds=self._clock.seconds,
        )

    def append(self, step: Step) -> None:
        """Write a rollout batch in the background."""
        for row in np.flatnonzero(kept(step.row_N, self._keep.rollouts)).tolist():
            step.responses[row]  # decode here, since tokenizers are not thread-safe
        self._submit(self._writing.append, step)

    def on_evaluate(self, args, state, control, metrics=None, **rest):
        """Write the results of a validation in the background."""
        results = {
            name.removeprefix("eval_"): value
            for name, value in (metrics or {}).items()
            if name.startswith("eval_") and isinstance(value, float | int)
        }
        done = args.batches_of(state.global_step)
        self._submit(self._writing.validated, done, results, results.get("runtime", np.nan))

    def flush(self) -> None:
        """Wait until pending writes are on disk, or have failed and will be retried."""
        waiting, self._waiting = self._waiting, []
        for written in waiting:
            written.result()

    def close(self) -> None:
        """Finish pending writes, and release the lock of the record."""
        self._writer.submit(self._writing.close).result()
        self.flush()

    def _submit(self, write: Callable[..., None], *given: Any) -> None:
        self.flush()  # at most one batch waits
        self._waiting.append(self._writer.submit(write, *given))


def about(args: VantageConfig, model: PreTrainedModel, batches: int, questions: int) -> About:
    """Describe a run for its record.

    Args:
        args: Options of the run.
        model: The bare model.
        batches: Number of rollout batches of the run.
        questions: Number of rows that it trains on.
    """
    options = {name: value for name, value in args.to_dict().items() if name not in APART}
    size = sum(parameter.numel() for parameter in model.parameters())
    theirs = {"questions": questions, "parameters": size, "model_type": model.config.model_type}
    return About(
        engine="trl",
        recipe=args.recipe or "grpo",
        seed=args.seed,
        updates=args.updates,
        batches=batches,
        settings=json.loads(json.dumps(options | theirs, default=str)),
    )


class Texts(Sequence):
    """Response texts, each decoded on first access.

    Args:
        tokenizer: Decodes the responses.
        tokens_NT: Response tokens, shape (N, T).
    """

    def __init__(self, tokenizer: Any, tokens_NT: torch.Tensor):
        self._tokenizer, self._tokens_NT = tokenizer, tokens_NT
        self._texts: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._tokens_NT)

    def __getitem__(self, row: Any) -> str:
        if row not in self._texts:
            ids = self._tokens_NT[row].tolist()
            self._texts[row] = self._tokenizer.decode(ids, skip_special_tokens=True)
        return self._texts[row]


def first_known(mean_PN: np.ndarray) -> np.ndarray:
    """Per rollout, the value of the first process that has one, else NaN: (P, N) -> (N,)."""
    known_PN = ~np.isnan(mean_PN)
    return np.take_along_axis(mean_PN, known_PN.argmax(axis=0)[None], axis=0)[0]
