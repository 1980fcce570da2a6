"""What is overridden in veRL's synchronous V1 trainer.

Written against the veRL versions in `vantage.training.versions.SUPPORTED`:

- `_init_dataloader`, `_next_train_batch`: questions come from a sampling, prompts from
  `Prompts`; the state of the sampling stands in veRL's checkpoint;
- the `sample` of the replay buffer: its rollouts in an order that does not depend on who was
  first, recorded, silent questions refilled;
- `step`: a batch that cannot be trained ends the run with a checkpoint of those before;
- `_balance_batch`, which veRL calls between the rewards and the log-probs: one plan over the
  whole batch; rows that no sample trains go, responses under other prompts come;
- `_compute_old_log_prob`: the sampler compared with the trainer;
- `_compute_advantage`: the plan's advantages, repeats, and the order of the updates;
- `_update_actor`: as many rows an update as the plan has;
- `_compute_metrics`: the metrics of the plan.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf, open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.protocol import DataProto
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.debug import marked_timer
from verl.utils.debug.metrics import calculate_debug_metrics
from verl.workers.utils.padding import response_to_nested

from vantage.errors import EngineError
from vantage.methods.recipe import parse_recipe
from vantage.questions.sampling import Asked, sampling
from vantage.questions.schema import pictures, render
from vantage.rewards.opening import opened_by
from vantage.training import checkpoints, columns
from vantage.training.identity import identity
from vantage.training.inputs import part_names, reward_of
from vantage.training.planning import make_plan, totals
from vantage.training.resolved import prompts_of
from vantage.training.sampler import FIRST_BATCHES, mismatch
from vantage.training.shape import shape_of
from vantage.training.stopping import Silence, StoppedError
from vantage.training.verl import rows
from vantage.training.verl.agent import check_pictures
from vantage.training.verl.arrangement import (
    Generated,
    distinct,
    lay_out,
    ordered,
    slot_and_session,
    uid_of,
)
from vantage.training.verl.correction import COMPARED, correction
from vantage.training.verl.dataset import (
    ASKED,
    config_of,
    loaded,
    row_of,
    short_enough,
    tokenizer_of,
)
from vantage.training.verl.loss import ROWS, planned_loss
from vantage.training.verl.recording import Recording, means_of_scored, step_of
from vantage.training.verl.rows import PARTITION, Movers
from vantage.training.verl.sampler import CORRECTION, check_mismatch
from vantage.training.verl.translation import template_options


@register_trainer("vantage")
class VantageTrainer(PPOTrainerSync):
    """veRL's synchronous trainer, training what a recipe plans.

    Attributes:
        settings: our configuration.
        silence: the last batches in a row that trained nothing.
        generated, plan: the scored rollouts of the batch at work, and the plan made of them.
    """

    def __init__(self, config: DictConfig):
        self.settings = config_of(config.data)
        self.recipe = parse_recipe(self.settings.recipe)
        self.shape = shape_of(self.settings)
        self.silence = Silence(self.settings.run.silent_batches)
        with open_dict(config):  # an asynchronous replay buffer serves every other name
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        self._sample_once, self.replay_buffer.sample = self.replay_buffer.sample, self._sample
        self._movers = Movers()
        self._metrics: dict[str, float] = {}
        self._compared = 0

    # ---- questions and prompts -------------------------------------------------------

    def _init_dataloader(self) -> None:
        settings = self.settings
        train, validation = loaded(settings, self.processor)
        rewards = [reward_of(name, settings.judge) for name in settings.rewards]
        for name, rows_, varied in (
            ("data.train", train, settings.variants),
            ("data.validation", validation, None),
        ):
            if rows_ is not None:
                columns.check_columns(
                    name, rows_, rewards, varied, columns.FROM_ANY, withheld=ASKED
                )
        self.prompts = prompts_of(settings, train)
        options = self.config.data.get("apply_chat_template_kwargs") or {}
        self._tag = opened_by(self.processor or self.tokenizer, **options)
        self._fitting = short_enough(self.prompts, settings, self.tokenizer, self.processor)
        self._check_family()
        batches = self.shape.batches(len(self._fitting))
        with open_dict(self.config):
            trainer = self.config.trainer
            trainer.total_training_steps = trainer.total_training_steps or math.ceil(
                batches * (settings.run.epochs or 1)
            )
        super()._init_dataloader()
        self.steps_per_epoch = batches
        self.sampling = sampling(settings.data.sampling, len(self._fitting), settings.run.seed)
        rows_ = identity(train)
        self.train_dataloader = _Place(self.sampling, self.silence, len(self._fitting), rows_)

    def _check_family(self) -> None:
        """Refuse a model whose pictures veRL would lose, by the first prompt that has one."""
        rows_ = self.prompts.rows
        asked = (self.prompts.original(rows_[row]) for row in self._fitting)
        seen = next((one for one in asked if pictures(one)), None)
        if seen is None:
            return
        if self.processor is None:
            raise EngineError(
                f"rows have images, but veRL found no processor in {self.settings.model.path!r}, "
                "and would train on text alone: its image processor is missing, or needs "
                "torchvision"
            )
        ids = tokenizer_of(self.processor, template_options(self.settings))(render(seen))
        check_pictures(self.processor, ids, [picture.open() for picture in pictures(seen)])

    @property
    def _number(self) -> int:
        """Of the rollout batch, from 0."""
        return self.global_steps - 1

    def prepare_step(self) -> dict:
        """Ask the questions of the next batch."""
        self.prompts.begin(done=self._number / max(self.total_training_steps, 1))
        self._home_slot: list[int] = []
        self.generated_tokens = 0
        return super().prepare_step()

    def _next_train_batch(self, num_prompts: int | None = None) -> TensorDict:
        """Prompts of the next questions, each a slot of its own even where two are the same."""
        count = self.settings.variants.count
        slots = num_prompts or self.config.data.train_batch_size
        drawn = self.sampling.draw(slots // count)
        places = self.prompts.ask([Asked(self._fitting[q], epoch) for q, epoch in drawn])
        self._drawn = dict(zip(places, drawn, strict=True))
        first = len(self._home_slot)
        self._home_slot += self.prompts.ids(places, 1).tolist()
        batch = collate_fn([self._row(slot) for slot in range(first, len(self._home_slot))])
        batch = tu.get_tensordict(batch)
        tu.assign_non_tensor_data(batch, "global_steps", self.global_steps)
        return batch

    def _row(self, slot: int) -> dict[str, Any]:
        prompt = self._home_slot[slot]
        made = row_of(
            self.prompts.prompt(prompt),
            self.prompts.source(prompt),
            self.prompts.asked(prompt // self.settings.variants.count).question,
            plain=self.processor is None,
            tag=self._tag,
        )
        return {**made, "uid": uid_of(self._number, slot)}

    # ---- rollouts --------------------------------------------------------------------

    def _sample(self, global_steps: int, partition_id: str, batch_size: int) -> Any:
        """As the replay buffer; for training, outcomes are read and silent questions refilled."""
        if partition_id != PARTITION:
            return self._sample_once(global_steps, partition_id, batch_size)
        try:
            batch, metrics = self._sample_once(global_steps, partition_id, batch_size)
        except RuntimeError as error:
            self.checkpoint_manager.sleep_replicas()  # a checkpoint needs their memory
            raise StoppedError(
                EngineError(
                    f"no rollout of batch {self._number} came back: a prompt, the generation or a "
                    "reward fails each time; veRL's agent and reward workers log why. veRL says: "
                    f"{error}"
                )
            ) from error
        self.generated = self._refilled(self._read(batch))
        return self._meta(self.generated.keys, self.generated.tags), metrics

    def _read(self, batch: KVBatchMeta) -> Generated:
        """Outcomes of the rollouts of a generation, told to the sampling."""
        count, settings = self.settings.variants.count, self.settings
        order = sorted(range(len(batch)), key=lambda row: slot_and_session(batch.keys[row]))
        keys = [batch.keys[row] for row in order]
        slot_N = np.array([slot_and_session(key)[0] for key in keys])
        data = tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=["extra_fields"])
        found = [fields["reward_extra_info"] for fields in list(data["extra_fields"])]
        names = part_names(settings.rewards)
        part_NF = np.array([[parts[name] for name in names] for parts in found])
        read = Generated(
            place_N=slot_N // count,
            home_N=np.array(self._home_slot)[slot_N],
            reward_N=totals(part_NF, list(settings.rewards.values())),
            keys=keys,
            tags=[batch.tags[row] for row in order],
            part_NF=part_NF,
        )
        self.generated_tokens += int(read.lengths().sum())
        self.sampling.record(list(self._drawn.values()), read.rewards(list(self._drawn)))
        return read

    def _refilled(self, generated: Generated) -> Generated:
        """New questions in place of silent ones, as often as the recipe says."""
        settings = self.settings
        for _ in range(self.recipe.refills):
            telling = len(np.unique(generated.place_N)) - len(generated.silent())
            slots = (settings.batch.questions - telling) * settings.variants.count
            if slots <= 0:
                break
            more = self._asked_again(slots)
            if more is not None:
                generated = self._chosen(generated.joined(more))
        return generated

    def _asked_again(self, slots: int) -> Generated | None:
        """Outcomes of new questions, None where nothing of them came back."""
        first = len(self._home_slot)
        self._add_prompts_to_generate(slots)
        try:
            batch, _ = self._sample_once(self.global_steps, PARTITION, slots)
        except RuntimeError:  # of veRL, when there is no rollout to take
            last = len(self._home_slot)
            _clear([uid_of(self._number, slot) for slot in range(first, last)])
            return None
        return self._read(batch)

    def _chosen(self, generated: Generated) -> Generated:
        """As many questions as a batch has, those that tell something first."""
        places = generated.telling_first()[: self.settings.batch.questions]
        kept_N = np.isin(generated.place_N, places)
        _clear([generated.keys[row] for row in np.flatnonzero(~kept_N)])
        return generated.take(np.flatnonzero(kept_N))

    # ---- the plan --------------------------------------------------------------------

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, **rest: Any) -> KVBatchMeta:
        """The rows that the plan trains, each once, in a balanced order for the log-probs."""
        actor = self.config.actor_rollout_ref.actor
        with marked_timer("plan", self.timing_raw):
            seed, done = self.settings.run.seed, self.prompts.done
            try:
                self.plan = make_plan(self.recipe, self.generated, seed, self._number, done)
            except (Exception, SystemExit) as error:  # of a recipe of the user's own
                raise StoppedError(error) from error
            self.silence.take(self._number, self.plan)
            self._layout = lay_out(
                self.plan.samples,
                self.generated.lengths()[self.plan.samples.rollout_M],
                self.generated.lengths("seq_len")[self.plan.samples.rollout_M],
                updates=self.shape.updates,
                processes=self._processes,
                multiple=1 if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu,
                by_tokens=actor.loss_agg_mode == "token-mean",
            )
        with marked_timer("rows", self.timing_raw):
            self._texts = self._read_texts()
            stored = self._store(batch)
        self._note_metrics()
        balanced = super()._balance_batch(stored, metrics, **rest)
        self._spare = list(set(balanced.keys) - set(stored.keys))
        return balanced

    def _read_texts(self) -> dict[int, str]:
        """Responses that the record keeps, before rows go."""
        asked = [self.prompts.asked(place).question for place in self.generated.place_N.tolist()]
        row_K = self._recording.rows(np.array(asked)).tolist()
        data = _get([self.generated.keys[row] for row in row_K], ["responses"]) if row_K else {}
        ids = [data[number]["responses"] for number in range(len(row_K))]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return dict(zip(row_K, texts, strict=True))

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """The rows of the updates are ours to count; those of the log-probs must divide."""
        parts = self.config.actor_rollout_ref
        sizes = [
            section.log_prob_micro_batch_size_per_gpu
            for section in (parts.rollout, parts.ref)
            if not section.log_prob_use_dynamic_bsz
        ]
        return dp_size * math.lcm(*(size or 1 for size in sizes))

    @functools.cached_property
    def _processes(self) -> int:
        """Groups of workers that see different rows."""
        group = self.actor_rollout_wg
        if "actor" not in group._dispatch_info:
            group._dispatch_info["actor"] = group._query_dispatch_info("actor")
        return max(group._dispatch_info["actor"]) + 1

    def _store(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Each (prompt, rollout) of the plan once, what else is scored, and filler."""
        stored = self._stored = distinct(
            self.generated, self.plan.samples, self._number, own=self._corrects
        )
        self._movers.write(stored.made, [stored.tag_of[row.key] for row in stored.made])
        filler = rows.filled(batch, self._layout.filler, self.tokenizer.eos_token_id)
        self._filler = list(zip(filler.keys, filler.tags, strict=True))
        kept = stored.tag_of | stored.scored
        _clear([key for key in self.generated.keys if key not in kept])
        return self._meta([*kept, *filler.keys], [*kept.values(), *filler.tags])

    # ---- log-probs, advantages and updates -------------------------------------------

    @property
    def _correction(self) -> Any:
        """veRL's options against the difference of sampler and trainer."""
        return self.config.algorithm.get("rollout_correction", None) or {}

    @property
    def _corrects(self) -> bool:
        """Whether before the update; in bypass mode veRL's loss does."""
        wanted = self._correction.get("rollout_is") or self._correction.get("rollout_rs")
        return bool(wanted) and not self._correction.get("bypass_mode")

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """As veRL, which compares sampler and trainer; ours does so over own rows alone."""
        bypasses = self._correction.get("bypass_mode")
        if not bypasses or self._compared < FIRST_BATCHES:
            with _set(self.config, {f"{CORRECTION}.bypass_mode": False} if bypasses else {}):
                batch = super()._compute_old_log_prob(batch, metrics)
            self._compare(metrics)
        if bypasses:
            batch = super()._compute_old_log_prob(batch, metrics)
        self._log_prob_of = self._own_means()
        return batch

    def _compare(self, metrics: dict) -> None:
        """Sampler against trainer on the tokens of own rows; a run with a fault ends here."""
        own = list(self._stored.own_of.values())
        if not own:
            return
        data = _get(own, [*COMPARED, "responses"]).to_padded_tensor()
        if self._stored.made:
            metrics.update(calculate_debug_metrics(DataProto(batch=data)))
        counted = data["response_mask"].bool()
        trainer, sampler = (
            data[name][counted].float().numpy() for name in ("old_log_probs", "rollout_log_probs")
        )
        found = mismatch(trainer, sampler)
        metrics.update(found.metrics())
        if self._compared < FIRST_BATCHES:
            check_mismatch(found, self.config)
        self._compared += 1

    def _own_means(self) -> dict[str, float]:
        """Mean log-prob of each response under the prompt that generated it, by its key."""
        own = list(self._stored.own_of.values())
        data = _get(own, ["response_mask", "old_log_probs"]) if own else {}
        return dict(zip(own, _means(data), strict=True))

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """The rows in the order of the updates, repeats copied, with the plan's advantages."""
        if self._corrects and self._stored.tag_of:
            self._correct(metrics)
        _clear([*self._spare, *self._stored.scored])
        made = ordered(self._layout, self.plan.samples, self._stored, self._filler, self._number)
        tag_of = dict(zip(made.keys, made.tags, strict=True))
        self._movers.write(made.made, [tag_of[row.key] for row in made.made])
        mask = _get(made.keys, ["response_mask"])["response_mask"]
        advantage_B1 = torch.from_numpy(made.advantage_B).float()[:, None]
        advantage_BT = advantage_B1 * mask.to_padded_tensor(padding=0)
        advantages = response_to_nested(advantage_BT, mask)
        rows_B1 = torch.from_numpy(made.rows_B)[:, None]
        _put(made.keys, {"advantages": advantages, "returns": advantages, ROWS: rows_B1})
        return self._meta(made.keys, made.tags)

    def _correct(self, metrics: dict) -> None:
        """Weights and masks of the rollouts, in every row that has their response."""
        stored = self._stored
        own = _get(list(stored.own_of.values()), list(COMPARED)).to_padded_tensor()
        place = {rollout: number for number, rollout in enumerate(stored.own_of)}
        made, found = correction(own, [place[r] for r in stored.rollouts()], self._correction)
        metrics.update(found)
        keys = list(stored.key_of.values())
        mask = _get(keys, ["response_mask"])["response_mask"]
        _put(keys, {name: response_to_nested(value, mask) for name, value in made.items()})
        filler = [key for key, _ in self._filler]
        if filler and "rollout_is_weights" in made:
            mask = _get(filler, ["response_mask"])["response_mask"]
            nothing = torch.zeros_like(mask.to_padded_tensor(padding=0), dtype=torch.float32)
            _put(filler, {"rollout_is_weights": response_to_nested(nothing, mask)})

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """As veRL, with the number of rows that the updates of this plan have."""
        sizes = {"actor.ppo_mini_batch_size": self._layout.rows_of_update, "rollout.n": 1}
        with _set(self.config.actor_rollout_ref, sizes):
            return super()._update_actor(batch, metrics)

    def on_init_end(self) -> None:
        """The loss of the plan, in all workers."""
        actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        self.actor_rollout_wg.set_loss_fn(functools.partial(planned_loss, config=actor))
        self._recording = Recording(self)
        super().on_init_end()

    # ---- record ----------------------------------------------------------------------

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """As veRL; the batch is in the record before its checkpoint is saved.

        Raises:
            EngineError: no rollout came back, or too many batches trained nothing; like an error
                of the recipe it leaves a checkpoint of what was trained.
        """
        before = copy.deepcopy(self.train_dataloader.state_dict())
        try:
            with marked_timer("batch", timing_raw):
                batch = super().step(metrics, timing_raw)
        except StoppedError as stopped:
            self._save_before(before)
            raise stopped.error from None
        known = [self._log_prob_of.get(key, math.nan) for key in self.generated.keys]
        self._recording.append(step_of(self, self._texts, np.array(known)))
        return batch

    def _save_checkpoint(self) -> None:
        """As veRL, which forgets in a resumed run what an earlier process saved."""
        super()._save_checkpoint()
        run = Path(self.config.trainer.default_local_dir)
        checkpoints.mark_complete(run / f"global_step_{self.global_steps}")
        keep = self.settings.run.keep
        saved = sorted(run.glob("global_step_*"), key=lambda path: int(path.name.split("_")[-1]))
        for old in saved[: -keep or None] if keep else []:
            shutil.rmtree(old, ignore_errors=True)

    def _save_before(self, place: dict[str, Any]) -> None:
        """Save what was trained before the step at work, unless there is a checkpoint of it."""
        self.global_steps -= 1
        saved = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        if self.global_steps and not checkpoints.marked(saved):
            self.train_dataloader.load_state_dict(place)
            self._save_checkpoint()

    def close(self) -> None:
        """Let others write the record."""
        if hasattr(self, "_recording"):
            self._recording.close()

    def _validate(self) -> dict[str, float]:
        began = time.perf_counter()
        metrics = super()._validate()
        done = max(self.global_steps, 0)
        self._recording.validated(done, metrics, time.perf_counter() - began)
        return metrics

    def _val_metrics_update(self, sources, uids, found, turns, **rest) -> dict[str, float]:
        """As veRL; a response without a reward is left out of the means."""
        metrics = super()._val_metrics_update(sources, uids, found, turns, **rest)
        return metrics | means_of_scored(metrics, found, self.settings.rewards)

    # ---- metrics ---------------------------------------------------------------------

    def _note_metrics(self) -> None:
        """What the batch and its plan were, before rows go."""
        generated, settings = self.generated, self.settings
        reward_N = generated.reward_N[~np.isnan(generated.reward_N)]
        diagnosis = self.plan.diagnosis
        self._useful = diagnosis.get("useful_rollouts", 0)
        self._metrics = {
            **{f"plan/{name}": value for name, value in diagnosis.items()},
            "plan/unscored": self.plan.unscored,
            "questions/asked": len(self._home_slot) // settings.variants.count,
            **{f"questions/{name}": value for name, value in self.sampling.metrics().items()},
            "completions/mean_length": float(generated.lengths().mean()),
            **{
                f"rewards/{name}/mean": float(np.nanmean(part_N))
                for name, part_N in zip(
                    part_names(settings.rewards), generated.part_NF.T, strict=True
                )
                if not np.isnan(part_N).all()
            },
        }
        if len(reward_N):
            self._metrics |= {"reward": float(reward_N.mean()), "reward_std": float(reward_N.std())}

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *rest: Any, **named: Any) -> None:
        """veRL's, of what was trained, if anything was, and ours, of what was generated and
        planned.
        """
        if any(not tag.get("is_padding", False) for tag in batch.tags):
            super()._compute_metrics(batch, metrics, *rest, **named)
        metrics.update(self._metrics)
        metrics["plan/useful_rollouts_per_second"] = self._useful / self.timing_raw["step"]

    def _meta(self, keys: list[str], tags: list[dict[str, Any]]) -> KVBatchMeta:
        temperature = self.config.actor_rollout_ref.rollout.temperature
        return KVBatchMeta(
            keys=keys, tags=tags, partition_id=PARTITION, extra_info={"temperature": temperature}
        )


class _Place:
    """The state of a sampling, and of what goes with it, where veRL looks for that of its data
    loader.
    """

    def __init__(self, state: Any, silence: Silence, questions: int, rows: Mapping[str, str]):
        self._sampling, self._silence = state, silence
        self._questions, self._rows = questions, dict(rows)

    def state_dict(self) -> dict[str, Any]:
        """What stands in the checkpoint."""
        state = self._sampling.state_dict()
        place = {"questions": self._questions, "rows": self._rows, "state": state}
        return place | {"silent": self._silence.count}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from it."""
        checkpoints.check_same_rows("--resume", saved, self._questions, self._rows)
        self._sampling.load_state_dict(saved["state"])
        self._silence.count = saved.get("silent", 0)


def _get(keys: list[str], fields: list[str]) -> Any:
    return tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=fields)


def _put(keys: list[str], fields: dict[str, Any]) -> None:
    held = TensorDict(fields, batch_size=len(keys))
    tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=held)


def _means(data: Any) -> list[float]:
    """Mean log-prob of each response."""
    if not len(data):
        return []
    sums = data["old_log_probs"].to_padded_tensor(0).sum(dim=1)
    counts = data["response_mask"].to_padded_tensor(0).sum(dim=1)
    return (sums / counts).tolist()


def _clear(keys: list[str]) -> None:
    if keys:
        tq.kv_clear(keys=keys, partition_id=PARTITION)


@contextlib.contextmanager
def _set(section: DictConfig, values: dict[str, Any]) -> Iterator[None]:
    """Some options for a while."""
    before = {name: OmegaConf.select(section, name) for name in values}
    try:
        for name, value in values.items():
            OmegaConf.update(section, name, value)
        yield
    finally:
        for name, value in before.items():
            OmegaConf.update(section, name, value)
