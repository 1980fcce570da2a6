"""What a training on TRL writes down of each rollout batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback

from vantage.methods.composition import update_of
from vantage.record import About, Recorder, Step
from vantage.record.bounds import kept
from vantage.training.inputs import part_names
from vantage.training.recording import Writing, columns_of
from vantage.training.trl.batch import RolloutBatch

if TYPE_CHECKING:
    from vantage.training.trl import VantageTrainer

# Options in which runs of the same settings differ: seeds, and places in the file system.
APART = ("seed", "data_seed", "output_dir", "run_name", "logging_dir", "resume_from_checkpoint")


class Recording(TrainerCallback):
    """Appends a step to the record when the last update of a rollout batch is done.

    All processes take part, since each knows the log-probs of its own share; the main one
    writes, while the next rollouts are generated. A checkpoint counts once its rollout
    batches are in the record.
    """

    def __init__(self, trainer: VantageTrainer):
        self.trainer = trainer
        self._recorder: Recorder | None = None
        self._writer: Any = None
        self._writing = Writing()
        self._waiting: list[Future] = []

    def on_train_begin(self, args, state, control, **rest):
        """Open the record, for the rollout batches that are still to come."""
        if state.is_world_process_zero:
            self._recorder = Recorder(
                args.output_dir,
                about(self.trainer),
                start=args.batches_of(state.global_step),
                keep=args.build_keep(),
            )
            self._writer = ThreadPoolExecutor(1)

    def on_step_end(self, args, state, control, **rest):
        """Write a rollout batch down."""
        batch = self.trainer.batch
        inside = state.global_step % args.updates_per_rollout_batch
        if batch is None or (inside and not control.should_training_stop):
            return
        mean_PN = self.trainer.accelerator.gather(batch.own_log_probs()[None]).cpu().numpy()
        if self._recorder is not None:
            step, append = (
                step_of(self.trainer, batch, _first_known(mean_PN)),
                self._recorder.append,
            )
            for row in np.flatnonzero(kept(step.question_N, self._recorder.keep.rollouts)).tolist():
                step.responses[row]  # decoded here: a tokenizer does not work for two threads
            self._write(lambda: append(step), f"rollout batch {step.number}")

    def on_evaluate(self, args, state, control, metrics=None, **rest):
        """Write the results of a validation down."""
        results = {
            name.removeprefix("eval_"): value
            for name, value in (metrics or {}).items()
            if name.startswith("eval_") and isinstance(value, float | int)
        }
        done = args.batches_of(state.global_step)
        seconds = results.get("runtime", np.nan)
        if self._recorder is not None:
            validated = self._recorder.validated
            self._write(lambda: validated(done, results, seconds), "validation")

    def flush(self) -> None:
        """Wait until all is on the disk that was handed over, if that can be done."""
        waiting, self._waiting = self._waiting, []
        for written in waiting:
            written.result()

    def close(self) -> None:
        """Let others write the record."""
        if self._recorder is not None:
            self._writer.submit(self._writing.settle)
            self._writer.shutdown()
            self._recorder.close()
            self._recorder = None
            self.flush()

    def _write(self, write: Callable[[], None], what: str) -> None:
        self.flush()  # at most one batch waits
        self._waiting.append(self._writer.submit(self._writing.write, write, what))


def about(trainer: VantageTrainer) -> About:
    """What a run is, before its first rollout."""
    args, model = trainer.args, trainer.accelerator.unwrap_model(trainer.model)
    options = {name: value for name, value in args.to_dict().items() if name not in APART}
    size = sum(parameter.numel() for parameter in model.parameters())
    theirs = {"questions": len(trainer.train_dataset), "parameters": size}
    settings = options | theirs | {"model_type": model.config.model_type}
    return About(
        engine="trl",
        recipe=args.recipe,
        seed=args.seed,
        updates=args.updates,
        batches=args.batches_of(trainer.state.max_steps),
        settings=json.loads(json.dumps(settings, default=str)),
    )


def step_of(trainer: VantageTrainer, batch: RolloutBatch, log_prob_N: np.ndarray) -> Step:
    """The rollout batch whose last update was just done, or the last one of the run."""
    scored = batch.scored
    done = trainer.state.global_step
    return Step(
        number=trainer.args.batches_of(done) - 1,
        parts=_parts(trainer, scored.part_NF),
        responses=_Responses(trainer, batch),
        tokens_N=batch.length_N,
        log_prob_N=log_prob_N,
        samples=batch.samples,
        update_M=update_of(batch.samples, trainer.args.updates),
        seconds=dict(trainer.seconds),
        metrics=trainer.diagnosis,
        updates=done,
        generated_tokens=scored.generated,
        **columns_of(scored, trainer.prompts),
    )


class _Responses(Sequence):
    """Texts of the responses, decoded when they are looked at first."""

    def __init__(self, trainer: VantageTrainer, batch: RolloutBatch):
        processor = trainer.processing_class
        self._tokenizer: Any = getattr(processor, "tokenizer", processor)
        self._completion_NT = batch.scored.completion_NT
        self._texts: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._completion_NT)

    def __getitem__(self, row: Any) -> str:
        if row not in self._texts:
            ids = self._completion_NT[row].tolist()
            self._texts[row] = self._tokenizer.decode(ids, skip_special_tokens=True)
        return self._texts[row]


def _parts(trainer: VantageTrainer, part_NF: np.ndarray) -> dict[str, np.ndarray]:
    """Rewards by the name of their function."""
    return dict(zip(part_names(trainer.reward_func_names), part_NF.T, strict=True))


def _first_known(mean_PN: np.ndarray) -> np.ndarray:
    """For each rollout the value of the first process that has one."""
    known_PN = ~np.isnan(mean_PN)
    return np.take_along_axis(mean_PN, known_PN.argmax(axis=0)[None], axis=0)[0]
