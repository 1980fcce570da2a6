"""Overrides hooks of TRL's `GRPOTrainer`; each calls another module in a few lines.

Supports the TRL versions in `vantage.training.versions.SUPPORTED`. TRL generates and scores as
usual (`turn.py`, `vllm.py`). Then one plan is made for the whole batch (`rollout_batches.py`),
every update trains on its rows of the plan, and the policy computes the log-probs (`policy.py`).
Validation generates and scores without a loss (`validation.py`). Only complete checkpoints are
used, and a run that resumes from one gives the same numbers as a run that never stopped
(`resuming.py`).
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.utils import strip_images_from_messages

from vantage.questions.schema import images_in
from vantage.scoped import evaluating, scoped
from vantage.training import checkpoints
from vantage.training.stopping import StoppedError
from vantage.training.trl import (
    completion_tables,
    completions,
    generation,
    precision,
    resuming,
    sharding,
    trainable,
    validation,
)
from vantage.training.trl.batch import RolloutBatch
from vantage.training.trl.config import VantageConfig, check_arguments
from vantage.training.trl.data_sets import DataSets, check_columns, read
from vantage.training.trl.encoder import Encoder
from vantage.training.trl.encoding import merge_fields
from vantage.training.trl.loading import with_processor
from vantage.training.trl.recording import TrlRecording
from vantage.training.trl.rewards import computed, tag_of
from vantage.training.trl.rollout_batches import (
    VALIDATION,
    RolloutBatches,
    seed_generation,
)
from vantage.training.trl.turn import TURN, Turn, blanked
from vantage.training.trl.vllm import sampling_what_is_trained


class VantageTrainer(GRPOTrainer):
    """TRL's `GRPOTrainer`, which trains on the plans of a recipe.

    Takes the arguments of `GRPOTrainer`, with a `VantageConfig` as `args`. Rows of the data set
    have a `prompt` and optionally `image` or `images`; reward functions get all other columns.

    Besides TRL's metrics, logs those of `Session.metrics`, `Clock.metrics` and, with vLLM,
    `Mismatch.metrics` for each rollout batch.

    Attributes:
        policy: Computes log-probs.
        session: Draws the questions and makes the plans.
        batch: The current rollout batch; None before the first one.

    Raises:
        ConfigError: Arguments do not fit a plan (tools, environments, a stream to train on).
        InputError: A row cannot become a prompt; names the row.
        EngineError: The version of TRL is not supported, or rows have images that the processor
            cannot read.
    """

    _tag_names = ("trl", "grpo", "vantage")
    eval_dataset: Any
    router_aux_loss_coef: float
    current_gradient_accumulation_steps: int
    _last_loaded_step: int
    _logs: dict[str, Any]
    _step: int

    def __init__(
        self, model, reward_funcs=None, args=None, train_dataset=None, eval_dataset=None, **rest
    ):
        args = args or VantageConfig("runs/vantage")
        check_arguments(args, rest)
        rewards = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        check_columns(args, train_dataset, eval_dataset, rewards)
        model, rest = with_processor(model, rest, args)
        self.batch: RolloutBatch | None = None
        self._turn: Turn | None = None
        self._forward: Callable[..., tuple] | None = None
        self._save_due, self._recorded, self._checkpoints_kept = False, 0, args.save_total_limit
        with sampling_what_is_trained():
            super().__init__(model, reward_funcs, args, train_dataset, eval_dataset, **rest)
        self._media_ids = trainable.media_ids(self.model.config)
        if self.use_vllm:
            self.vllm_generation.ban(self._media_ids)
        else:
            banned = trainable.banned(self._media_ids, self.args.generation_kwargs)
            self.generation_config.update(**banned)
            self.generation_kwargs |= banned
        trainable.prepare(self.model, self.accelerator, self.args, self._tokenizer)
        template = {"chat_template": self.chat_template, **self.chat_template_kwargs}
        self._opened_tag = tag_of(self.processing_class, template)
        main, own = self.accelerator.is_main_process, self.optimizer
        wanted = precision.optimizer_for(self.args, self.model, own, warns=main)
        self.optimizer_cls_and_kwargs: Any = wanted or self.optimizer_cls_and_kwargs
        self._encoder = Encoder(
            self.args.build_prompts(train_dataset),
            super()._tokenize_prompts,
            self.processing_class,
            self.model.dtype,
            template,
            writes=self.args.colocated,
        )
        self._data = self._read_data_sets()
        self.session = self._data.session(self.args, shuffles=self.shuffle_dataset)
        self._rollout_batches = RolloutBatches(
            self.args,
            self.model,
            self._encoder,
            self.accelerator,
            self.vllm_generation if self.use_vllm else None,
            self._generated,
            self._log_metrics,
            pad_id=self._tokenizer.pad_token_id,
            balances=self.aux_loss_enabled,
            rewards=self._weights_of_rewards,
            rewrites=self.rollout_func is not None,
        )
        self.policy, self.clock = self._rollout_batches.policy, self._rollout_batches.clock
        self.recording = TrlRecording(
            lambda: len(self.train_dataset), self.args.build_keep(), self.clock
        )
        self.add_callback(self.recording)

    def _weights_of_rewards(self) -> dict[str, float]:
        return dict(zip(self.reward_func_names, self.reward_weights.tolist(), strict=True))

    def create_accelerator_and_postprocess(self) -> None:
        """As transformers, but reduce sharded gradients after each forward, in float32."""
        super().create_accelerator_and_postprocess()
        sharding.exchange_in_float32(self.accelerator)
        sharding.reduce_each_forward(self.accelerator)

    def _read_data_sets(self) -> DataSets:
        """Read and check every row, so that none fails during the run."""
        train, validation, rewards = self.train_dataset, self.eval_dataset, self.reward_funcs
        sees = self._is_vlm and sharding.all_must_see(self.accelerator, self.model, self.args)
        found = read(self.args, train, validation, rewards, self._encoder, needs_picture=sees)
        self.eval_dataset = found.validation
        return found

    def get_train_dataloader(self) -> DataLoader:
        """Yield an empty batch per training step, since the session draws the questions."""
        steps = self.args.steps_per_generation * self.num_iterations
        empty: Any = [{}] * (self.session.batches_per_epoch * steps)
        workers = self.args.dataloader_num_workers
        return DataLoader(empty, batch_size=1, collate_fn=itemgetter(0), num_workers=workers)

    def num_examples(self, dataloader: DataLoader) -> int:
        """Number of questions, which the loader itself does not contain."""
        return len(self.session.rows)

    # ---- generation ------------------------------------------------------------------

    def _generated(self, turn: Turn) -> dict[str, Any]:
        """Generate and score with TRL, without images, which TRL would process and gather."""
        bare = [{"prompt": strip_images_from_messages(prompt)} for prompt in turn.prompts]
        # The policy computes log-probs of the reference and for the correction of the sampler.
        without = {"beta": 0.0, "vllm_importance_sampling_correction": False}
        with scoped(self, _turn=turn, **without):
            output = self._generate_and_score_completions(bare)
        completions.without_advantages(self._logs, len(turn.part_NF))
        self._logs.setdefault(completions.QUESTION, []).extend(turn.question_N.tolist())
        if self.log_completions and self.log_multimodal:
            shown = gather_object([images_in(prompt) or None for prompt in turn.prompts])
            completions.with_pictures(self._logs, shown)
        return output

    def _tokenize_prompts(self, prompts: list):
        if self._turn is None:
            return super()._tokenize_prompts(prompts)
        return self._turn.tokenized()

    def _generate(self, prompts: list):
        if self._turn is None:
            return super()._generate(prompts)
        if self.is_fsdp_enabled:
            # Otherwise a process would stop generating before the others have finished.
            self.accelerator.unwrap_model(self.model)._is_fsdp_managed_module = True
        with self.clock.timed("generate"):
            asked = prompts if self.rollout_func is None else self._turn.prompts
            prompt_ids, ids, mask, texts, log_probs, extra, _, _ = super()._generate(asked)
        padding = self._tokenizer.pad_token_id
        ids, self._turn.spoiled = blanked(ids, self._media_ids, padding)
        return prompt_ids, ids, mask, texts, log_probs, extra, None, []

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, **rest):
        """As TRL, but in evaluation mode, and with one forward over the prompt of many rollouts."""
        generate, turn = super()._generate_single_turn, multimodal_fields.get(TURN)
        if turn is None:  # called by the user's code
            with evaluating(self.model):
                return generate(prompt_ids, images, multimodal_fields, num_generations, **rest)
        if self.use_vllm:
            if self.state.global_step != self._last_loaded_step:
                self.vllm_generation.sync_weights()
                self._last_loaded_step = self.state.global_step
            asked = [row.written or row.ids for row in turn.encodings]
            return self.vllm_generation.sample(asked, prompt_ids, images, num_generations)
        options = (self.accelerator, self.args, self.generation_config, self._encoder.pictured)
        prompts, decoding = generation.inputs_of(turn, self.model, *options)
        ids, fields = [row.ids for row in prompts], merge_fields(prompts)
        with evaluating(self.model), decoding:
            sampled, log_probs = generate(ids, images, fields, num_generations, **rest)
        return sampled[: len(prompt_ids)], log_probs

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        score = partial(super()._calculate_rewards, completion_ids_list=completion_ids_list)
        if self._turn is None:
            return score(inputs, prompts, completions)
        with self.clock.timed("reward"):
            tag = self._opened_tag
            return computed(self._turn, inputs, completions, tag, score, self.accelerator)

    def _roll_out(self) -> RolloutBatch:
        """Make the next rollout batch; if the user's code fails, the run stops before it."""
        make, every = self._rollout_batches, self.args.updates_per_rollout_batch
        number = self.state.global_step // every
        self._logs = completions.empty()
        with self.session.restored_if_stopped():
            self.session.begin(number, done=number * every / max(self.state.max_steps, 1))
            scored = make.scored(self.session, self._without_metrics())
            batch = make.planned(self.session, scored, self.model, self.ref_model)
        self._logs = completions.planned(self._logs, scored, batch.samples)
        return batch

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
    ):
        width, turn = logits_to_keep, self._turn
        if self._forward is not None:
            return self._forward(model, input_ids[:, -width:], attention_mask[:, -width:])
        if turn is None:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, width, *args, **kwargs
            )
        # The policy computes the other log-probs once the plan is made.
        waiting = torch.full((len(input_ids), width), torch.nan)
        return waiting.to(input_ids.device), None, None

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """Run the forwards of one training step, after a new rollout batch if one is due."""
        steps = self.args.steps_per_generation
        place = self._step % (steps * self.num_iterations)
        if place == 0 or self.batch is None:
            model.train()
            self.batch = self._roll_out()
        accumulation = self.args.gradient_accumulation_steps
        number, part = divmod(place % steps, accumulation)
        with self.clock.timed("update"):
            loss = self._train_on(model, self.batch, number, part, accumulation)
        self._step += 1
        if place == steps * self.num_iterations - 1:
            self._log_metrics(self.clock.metrics(self.batch.plan))
        return loss

    def _train_on(
        self, model, batch: RolloutBatch, number: int, part: int, parts: int
    ) -> torch.Tensor:
        """Run part `part` of `parts` of the forwards of update `number`, with gradients."""
        self.current_gradient_accumulation_steps = len(batch.forwards_U[number])
        loss = torch.zeros((), device=self.accelerator.device)
        # An update of padding alone would enter TRL's metrics as zeros.
        empty = batch.updates[number].is_empty
        with self._without_metrics() if empty else contextlib.nullcontext():
            for rows, last in batch.forwards(number, part, parts):
                with sharding.gradients_kept(self.accelerator, model, synchronize=last):
                    inputs = batch.micro_batch(number, rows)
                    loss += Trainer.training_step(self, model, inputs)
        return loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss, as a mean over the whole mini-batch."""
        scale = inputs["loss_scale"] or 1.0  # 0 where no token counts: the loss is 0 anyway
        kept = {name: inputs[name] for name in ("keys", "budget")} | {"entropy": True}
        forward = partial(self.policy.forward, **kept, balance=self.aux_loss_enabled)
        # The load-balancing loss is already a mean over forwards, so undo the scale below. TRL
        # gathers metrics of rows, whose numbers differ between processes.
        balance = self.router_aux_loss_coef / scale if inputs["balances"] else 0.0
        changes = {"_forward": forward, "router_aux_loss_coef": balance}
        with scoped(self, **changes), sharding.gathers_rows(self.accelerator):
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loss * scale

    def _prepare_inputs(self, generation_batch):
        """Pass inputs of `training_step` through; generate in an evaluation."""
        if self.model.training:
            return generation_batch
        return self._generated(self._validation_turn(generation_batch))

    def _validation_turn(self, rows: list[dict[str, Any]]) -> Turn:
        names = self.reward_func_names
        return validation.turn_of(rows, self._encoder, self.num_generations_eval, names)

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """As TRL, but at `eval_temperature`, with draws that do not depend on earlier ones."""
        number = self.state.global_step // self.args.updates_per_rollout_batch
        seed_generation(self.args, number, self.accelerator.process_index, VALIDATION)
        owner: Any = self.vllm_generation if self.use_vllm else self
        with scoped(owner, **validation.sampling_options(owner, self.args.eval_temperature)):
            return super().evaluate(*args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Generate, score and log rewards; the loss is always 0."""
        before = {name: len(values) for name, values in self._metrics["eval"].items()}
        turn = self._validation_turn(inputs)
        self._generated(turn)
        samples = validation.samples_of(
            len(turn.part_NF),
            self.callback_handler.eval_dataloader.dataset,
            self.args.eval_batch_size * self.accelerator.num_processes,
            self.num_generations_eval,
            is_last=self.accelerator.gradient_state.end_of_dataloader,
        )
        value_N = validation.by_sample(turn.part_NF[:samples], self._weights_of_rewards())
        validation.log_by_sample(self._metrics["eval"], before, value_N)
        return torch.zeros((), device=self.accelerator.device), None, None

    @contextlib.contextmanager
    def _without_metrics(self) -> Iterator[None]:
        """Discard metrics that are logged within the context."""
        before = {name: list(values) for name, values in self._metrics["train"].items()}
        yield
        self._metrics["train"] = defaultdict(list, before)

    def _log_metrics(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._metrics["train"][name].append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL, but the summary at the end of a run repeats the last logged metrics."""
        super().log(resuming.with_last_metrics(logs, self.state), start_time)

    def _record(self, batch: RolloutBatch) -> None:
        """Record the batch, with log-probs gathered from all processes."""
        mean_PN = self.accelerator.gather(batch.own_log_probs()[None]).cpu().numpy()
        if self.accelerator.is_main_process:
            done, callbacks = self.state.global_step, self.callback_handler.callbacks
            rewards, read = self.reward_func_names, self._tokenizer
            step = self.recording.step_of(batch, self.session, rewards, read, mean_PN, done)
            self.recording.append(step)
            completion_tables.show(step, self.args.report_to, callbacks)

    # ---- checkpoints -----------------------------------------------------------------

    def train(self, resume_from_checkpoint=None, **rest):
        """As TRL, but `resume_from_checkpoint=True` takes the last complete checkpoint, if any.

        Raises:
            InputError: The given checkpoint is incomplete, or it was saved inside a rollout batch
                and the run is to continue.
        """
        if not self._data.are(self.train_dataset, self.eval_dataset):
            check_columns(self.args, self.train_dataset, self.eval_dataset, self.reward_funcs)
            self._data = self._read_data_sets()
        self.session = self._data.session(self.args, shuffles=self.shuffle_dataset)
        self.batch, self._step, self._save_due, self._recorded = None, 0, False, 0
        last, given = self.args.last_update(self.session.batches_per_epoch), resume_from_checkpoint
        checkpoint = resuming.resumed_from(given, self.args, last, self.accelerator)
        resuming.restore(self.session, checkpoint)
        resuming.check_saves(self.args, last, warns=self.accelerator.is_main_process)
        self._checkpoints_kept = self.args.save_total_limit
        with scoped(self.args, save_total_limit=None):  # removed once a newer one is complete
            try:
                return super().train(str(checkpoint) if checkpoint else None, **rest)
            except StoppedError as stopped:
                self._save_between_batches()
                raise stopped.error from None
            finally:
                self.recording.close()

    @property
    def _is_inside(self) -> bool:
        """Whether the rollout batch has updates left."""
        return bool(self.state.global_step % self.args.updates_per_rollout_batch)

    def _save_between_batches(self) -> None:
        """Save the progress, unless it is saved already."""
        last = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        saves = self.state.global_step and self.args.save_strategy != "no"
        if saves and not self._is_inside and not resuming.is_saved(last, self.accelerator):
            self._save_checkpoint(self.model_wrapped, None)

    def _run_epoch(self, *args, **kwargs) -> None:
        """As transformers, but without the extra step that it makes on resuming a finished run."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _maybe_log_save_evaluate(self, *args, **kwargs) -> None:
        """Save between rollout batches or at the end; log first, for the metrics in checkpoints."""
        control = self.control
        waits = self._is_inside and not control.should_training_stop
        if self.batch is not None and not waits and self.state.global_step > self._recorded:
            self._recorded = self.state.global_step  # transformers calls this after an epoch too
            self._record(self.batch)
        due = self._save_due or control.should_save
        control.should_save, self._save_due = due and not waits, due and waits
        control.should_log |= control.should_save or control.should_evaluate
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        if resuming.loads_weights(self.accelerator, self.model):
            resuming.load_weights(self.model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if resuming.loads_weights(self.accelerator, self.model):
            resuming.load_weights(self.model, self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    def _save_checkpoint(self, model, trial) -> None:
        """As transformers, but mark the checkpoint complete, and only then remove old ones."""
        folder, saves = self._get_output_dir(trial=trial), self.args.should_save
        checkpoint = Path(folder) / f"checkpoint-{self.state.global_step}"

        def finish() -> None:
            state = self.session.state_dict()
            checkpoints.save_sampling(checkpoint, state, inside=self._is_inside)
            self.recording.flush()

        with resuming.whole(checkpoint, self.accelerator, finish, saves=saves):
            super()._save_checkpoint(model, trial)
        if saves:
            kept, best = self._checkpoints_kept, self.state.best_model_checkpoint
            checkpoints.remove_old(checkpoint, kept, best)
