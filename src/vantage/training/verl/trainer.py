"""Overrides hooks of veRL's synchronous V1 trainer; each calls another module in a few lines.

Written against the veRL versions in `vantage.training.versions.SUPPORTED`:

- `_init_tokenizer`, `_init_dataloader`, `_next_train_batch`: the questions come from a session,
  whose state is saved in veRL's checkpoint (`asking.py`);
- `sample` of the replay buffer: rollouts are sorted, so that their order of arrival has no
  effect; their rewards are passed to the question sampling, and silent questions are replaced;
- `step`: if a batch cannot be trained on, the run saves the state before it and ends;
- `_balance_batch`, called between the rewards and the log-probs: one plan is made for the
  whole batch; rows without a sample are removed, and shared responses are added (`batch.py`);
- `_compute_old_log_prob`: the sampler is compared with the trainer;
- `_compute_advantage`: advantages are set, rows that are trained more than once are copied, and
  all rows are put in the order of the updates;
- `_update_actor`: the number of rows per update is that of the plan;
- `_validate`, `_compute_metrics`, `_save_checkpoint`: the record, the metrics of the plan, and
  the marks of complete checkpoints are written (`recording.py`, `resuming.py`).
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.debug import marked_timer

from vantage.errors import EngineError
from vantage.rewards.opening import opened_by
from vantage.scoped import scoped
from vantage.training import checkpoints
from vantage.training.clock import useful_per_second
from vantage.training.recording import step_of
from vantage.training.shape import shape_of
from vantage.training.stopping import StoppedError
from vantage.training.verl import resuming, rows, store
from vantage.training.verl.arrangement import Generated, Tag, uid_of
from vantage.training.verl.asking import outcomes_of, rows_asked, session_of, slots_of
from vantage.training.verl.batch import (
    RolloutBatch,
    compared,
    laid_out,
    write_correction,
    write_rows,
    write_updates,
)
from vantage.training.verl.correction import corrects_before
from vantage.training.verl.dataset import config_of
from vantage.training.verl.loss import planned_loss
from vantage.training.verl.mismatch import canary_of
from vantage.training.verl.recording import VerlRecording, means_of_scored, seconds_of
from vantage.training.verl.translation import template_options

# Key of `extra_info` under which a batch of veRL carries its outcomes from `sample` to the plan.
GENERATED = "vantage"


@register_trainer("vantage")
class VerlTrainer(PPOTrainerSync):
    """veRL's synchronous trainer, which trains on the plans of a recipe.

    Attributes:
        settings: Configuration of the run.
        session: Draws the questions, and makes the plans.
        batch: The current rollout batch; None before the first one.
        recording: Writes the record.
    """

    steps_per_epoch: int
    train_dataloader: Any

    def __init__(self, config: DictConfig):
        with open_dict(config):  # veRL uses an asynchronous replay buffer for any other name
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        super()._init_tokenizer()
        self.settings = config_of(config.data)
        self.shape = shape_of(self.settings)
        self.session = session_of(self.settings, self.tokenizer, self.processor)
        self.batch: RolloutBatch | None = None
        self.recording = VerlRecording(self.settings)
        options = template_options(self.settings)
        self._tag = opened_by(self.processor or self.tokenizer, **options)
        self._sample_once, self.replay_buffer.sample = self.replay_buffer.sample, self._sample
        self._movers, self._canary = rows.Movers(), canary_of(config)

    # ---- start-up --------------------------------------------------------------------

    def _init_tokenizer(self) -> None:
        """Do nothing: `__init__` loads the tokenizer, since the session needs it."""

    def _init_dataloader(self) -> None:
        batches = self.shape.batches(len(self.session.rows))
        with open_dict(self.config):
            trainer = self.config.trainer
            trainer.total_training_steps = trainer.total_training_steps or math.ceil(
                batches * (self.settings.run.epochs or 1)
            )
        super()._init_dataloader()
        self.steps_per_epoch, self.train_dataloader = batches, self.session

    def on_init_end(self) -> None:
        """Set the loss in all workers, and open the record."""
        actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        self.actor_rollout_wg.set_loss_fn(functools.partial(planned_loss, config=actor))
        questions = len(self.session.prompts.rows)
        self.recording.start(self.global_steps, self.total_training_steps, questions)
        super().on_init_end()

    def close(self) -> None:
        """Release the lock of the record."""
        self.recording.close()

    # ---- rollouts --------------------------------------------------------------------

    def prepare_step(self) -> dict:
        """Begin the next batch; veRL then draws its questions and requests the rollouts."""
        number = self.global_steps - 1
        self.session.begin(number, done=number / max(self.total_training_steps, 1))
        return super().prepare_step()

    def _next_train_batch(self, num_prompts: int | None = None) -> TensorDict:
        """Draw the next questions, and return their prompts as rows of veRL."""
        slots = num_prompts or self.config.data.train_batch_size
        asked = self.session.draw(slots // self.shape.prompts)
        made = rows_asked(self.session, asked, plain=self.processor is None, tag=self._tag)
        batch = tu.get_tensordict(collate_fn(made))
        tu.assign_non_tensor_data(batch, "global_steps", self.global_steps)
        return batch

    def _sample(self, global_steps: int, partition_id: str, batch_size: int) -> Any:
        """Sample from the replay buffer; in training, also read outcomes and refill the batch."""
        if partition_id != store.PARTITION:
            return self._sample_once(global_steps, partition_id, batch_size)
        try:
            batch, metrics = self._sample_once(global_steps, partition_id, batch_size)
        except RuntimeError as error:
            self.checkpoint_manager.sleep_replicas()  # saving a checkpoint needs their memory
            raise StoppedError(
                EngineError(
                    f"rollout batch {self.session.number} has no rollouts: prompts, generation or "
                    "rewards failed for every question; see the logs of veRL's agent and reward "
                    f"workers. veRL's error: {error}"
                )
            ) from error
        generated = self.session.refill(
            self._outcomes(batch), self._ask_again, forget=lambda rest: store.clear(rest.keys)
        )
        sampled = self._meta(dict(zip(generated.keys, generated.tags, strict=True)))
        sampled.extra_info[GENERATED] = generated
        return sampled, metrics

    def _outcomes(self, batch: KVBatchMeta) -> Generated:
        """Read the outcomes of the questions drawn last, and record their rewards."""
        outcomes = outcomes_of(self.session, batch, self.settings.rewards)
        self.session.record(outcomes, tokens=int(outcomes.lengths().sum()))
        return outcomes

    def _ask_again(self, questions: int) -> Generated | None:
        """Generate rollouts of new questions; None if all of them failed."""
        first, slots = self.session.asked, questions * self.shape.prompts
        self._add_prompts_to_generate(slots)
        try:
            batch, _ = self._sample_once(self.global_steps, store.PARTITION, slots)
        except RuntimeError:  # raised by veRL if there are no rollouts
            lost = slots_of(self.session, range(first, self.session.asked))
            store.clear([uid_of(self.session.number, slot) for slot in lost])
            return None
        return self._outcomes(batch)

    # ---- the plan --------------------------------------------------------------------

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, **rest: Any) -> KVBatchMeta:
        """Make the plan, write its distinct rows, and balance them for computing log-probs."""
        generated = batch.extra_info.pop(GENERATED)
        with marked_timer("plan", self.timing_raw):
            plan = self.session.plan(generated)
            self.session.count(plan)
            layout = laid_out(
                generated,
                plan,
                self.config.actor_rollout_ref.actor,
                self.actor_rollout_wg,
                updates=self.shape.updates,
            )
        with marked_timer("rows", self.timing_raw):
            self.batch = write_rows(
                generated,
                plan,
                layout,
                self.session.number,
                own=corrects_before(self._correction),
                texts=self.recording.texts(generated, self.session.prompts, self.tokenizer),
                padding=rows.filled(batch, layout.padding, self.tokenizer.eos_token_id),
                movers=self._movers,
            )
        return super()._balance_batch(self._meta(self.batch.rows), metrics, **rest)

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """Return what the number of rows must be divisible by to compute log-probs.

        The number of rows of the updates follows from the plan instead.
        """
        parts = self.config.actor_rollout_ref
        sizes = [
            section.log_prob_micro_batch_size_per_gpu
            for section in (parts.rollout, parts.ref)
            if not section.log_prob_use_dynamic_bsz
        ]
        return dp_size * math.lcm(*(size or 1 for size in sizes))

    # ---- log-probs, advantages and updates -------------------------------------------

    @property
    def _at_work(self) -> RolloutBatch:
        """The current rollout batch, in hooks that run after its plan is made."""
        assert self.batch is not None
        return self.batch

    @property
    def _correction(self) -> Any:
        """veRL's options that correct the mismatch of sampler and trainer."""
        return self.config.algorithm.get("rollout_correction", None) or {}

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute log-probs as veRL does, and compare sampler and trainer.

        The comparison covers only responses under the prompts that generated them. In bypass mode,
        log-probs are computed just for the comparison in the first batches.
        """
        bypasses = self._correction.get("bypass_mode")
        if not bypasses or self._canary.is_due:
            recomputed = scoped(self._correction, bypass_mode=False)
            with recomputed if bypasses else contextlib.nullcontext():
                batch = super()._compute_old_log_prob(batch, metrics)
            found, of_verl = compared(self._at_work.stored)
            metrics.update({**of_verl, **found.metrics()})
            self._canary.take(found)
        if bypasses:
            batch = super()._compute_old_log_prob(batch, metrics)
        self.batch = replace(self._at_work, log_prob_N=self._at_work.own_log_probs())
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Write the plan's advantages, and return the rows in the order of the updates."""
        at_work = self._at_work
        if corrects_before(self._correction):
            metrics.update(write_correction(at_work, self._correction))
        trained = {*at_work.stored.tag_of, *at_work.padding}
        store.clear([key for key in batch.keys if key not in trained])
        made = at_work.ordered(self.session.number)
        write_updates(made, self._movers)
        return self._meta(dict(zip(made.keys, made.tags, strict=True)))

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Run the updates of veRL, with the number of rows per update of this plan."""
        parts, size = self.config.actor_rollout_ref, self._at_work.layout.rows_of_update
        with scoped(parts.actor, ppo_mini_batch_size=size), scoped(parts.rollout, n=1):
            return super()._update_actor(batch, metrics)

    def _meta(self, tag_of: dict[str, Tag]) -> KVBatchMeta:
        extra = {"temperature": self.config.actor_rollout_ref.rollout.temperature}
        tags, partition = list(tag_of.values()), store.PARTITION
        return KVBatchMeta(keys=list(tag_of), tags=tags, partition_id=partition, extra_info=extra)

    # ---- record, metrics and checkpoints ---------------------------------------------

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """Train on one rollout batch, and write it to the record before its checkpoint is saved.

        Raises:
            EngineError: The batch has no rollouts, or too many consecutive batches had no gradient.
                A checkpoint of the training so far is saved before this error or an error of the
                recipe is raised.
        """
        try:
            with self.session.restored_if_stopped(), marked_timer("batch", timing_raw):
                batch = super().step(metrics, timing_raw)
        except StoppedError as stopped:
            with scoped(self, global_steps=self.global_steps - 1):
                self._save_last()
            raise stopped.error from None
        self._record(self._at_work)
        return batch

    def _record(self, batch: RolloutBatch) -> None:
        generated, updates = batch.generated, self.shape.updates
        self.recording.append(
            step_of(
                generated,
                batch.plan,
                self.session,
                rewards=self.settings.rewards,
                responses=batch.responses,
                tokens_N=generated.lengths(),
                log_prob_N=batch.log_prob_N,
                updates=updates,
                done=self.global_steps * updates,
                seconds=seconds_of(self.timing_raw),
            )
        )

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *rest: Any, **named: Any) -> None:
        """Add veRL's metrics of the trained rows, if any, and ours of rollouts and plan."""
        if any(not tag.get("is_padding", False) for tag in batch.tags):
            super()._compute_metrics(batch, metrics, *rest, **named)
        plan = self._at_work.plan
        metrics |= self.session.metrics(plan) | self._at_work.metrics(self.settings.rewards)
        metrics |= useful_per_second(plan, seconds_of(self.timing_raw))

    def _validate(self) -> dict[str, float]:
        began = time.perf_counter()
        metrics = super()._validate()
        seconds = time.perf_counter() - began
        self.recording.validated(max(self.global_steps, 0), metrics, seconds)
        return metrics

    def _val_metrics_update(self, sources, uids, found, turns, **rest) -> dict[str, float]:
        """Compute veRL's metrics of a validation, but exclude unscored responses from the means."""
        metrics = super()._val_metrics_update(sources, uids, found, turns, **rest)
        return metrics | means_of_scored(metrics, found, self.settings.rewards)

    @property
    def _checkpoint(self) -> Path:
        """Directory of the current step's checkpoint."""
        run = Path(self.config.trainer.default_local_dir)
        return resuming.checkpoint_at(run, self.global_steps)

    def _save_checkpoint(self) -> None:
        """Save a checkpoint as veRL does, and mark it complete."""
        super()._save_checkpoint()
        resuming.mark_saved(self._checkpoint, self.settings.run.keep_checkpoints)

    def _save_last(self) -> None:
        """Save a checkpoint of the current step, unless there is one."""
        if self.global_steps and not checkpoints.marked(self._checkpoint):
            self._save_checkpoint()
