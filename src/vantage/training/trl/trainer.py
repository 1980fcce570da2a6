"""What is overridden in TRL's `GRPOTrainer`.

Written against the TRL versions in `vantage.training.versions.SUPPORTED`:

- the data loader and `training_step`: TRL generates and scores as it always does; then one
  plan is made over the whole batch, and every update trains its rows of the plan, cut into
  forwards of as many tokens as `per_device_train_batch_size` of the longest rows have,
  `compute_loss` being a mean over the whole update;
- `_generate`, `_calculate_rewards`, `_tokenize_prompts`: the processor runs once a distinct
  prompt, and pictures stay on the process that needs them;
- `_generate_single_turn`: vLLM is asked so that it samples from what is trained, which the first
  batches prove (`vantage.training.trl.vllm`);
- `create_accelerator_and_postprocess`: what FSDP and DeepSpeed exchange
  (`vantage.training.trl.sharding`);
- `_get_per_token_logps_and_entropies`: log-probs that TRL wants before the rewards are
  known wait for the plan, and are computed once a distinct (prompt, rollout); responses to
  one prompt are packed behind one copy of it, where that is exact;
- `_logs`: TRL's table of completions shows the rollouts and the advantages of the plan;
- `evaluate`, `prediction_step`: a validation generates, at a temperature of its own, and scores;
  it has no loss (`vantage.training.trl.validation`);
- `train`, `_run_epoch`, `_maybe_log_save_evaluate`, `_save_checkpoint`,
  `_load_from_checkpoint`, `_load_best_model`: a checkpoint counts once it is whole, and going
  on from it gives the numbers of a run that never stopped.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import logging
import math
import shutil
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object, is_peft_model
from datasets import IterableDataset
from torch.utils.data import DataLoader
from transformers import AutoProcessor, ProcessorMixin, Trainer, set_seed
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages
from trl.trainer.utils import pad, strip_images_from_messages, use_adapter

from vantage import files
from vantage.errors import ConfigError, EngineError, InputError, first_line, some_names
from vantage.methods import Rollouts, Samples
from vantage.questions.acceptance import acceptance
from vantage.questions.prompts import Prompts, check_prompts, first_with_images, has_images
from vantage.questions.reading import Reader
from vantage.questions.sampling import Asked, sampling
from vantage.questions.schema import images_in, pictures, placeholders, render, taken
from vantage.questions.variants import Variants
from vantage.rewards.opening import judged, opened, opened_by
from vantage.training import checkpoints, columns
from vantage.training.dealing import FILLER, Update, deal, loss_weights, share_of
from vantage.training.identity import identity
from vantage.training.lengths import short_enough
from vantage.training.planning import make_plan, totals
from vantage.training.sampler import (
    FIRST_BATCHES,
    Mismatch,
    judge,
    mismatch,
    pooled,
    renormalisation,
    verdict,
)
from vantage.training.stopping import Silence, StoppedError
from vantage.training.towers import freeze_vision_tower
from vantage.training.trl import completions, precision, sharding, validation
from vantage.training.trl.batch import RolloutBatch, Scored, joined
from vantage.training.trl.config import (
    TOKEN_MEANS,
    VantageConfig,
    check_metric,
    check_steps,
    steps_of,
)
from vantage.training.trl.encoding import (
    Encoding,
    ImagesOnce,
    as_tensors,
    merge_fields,
    per_prompt,
    per_token,
    tiles,
)
from vantage.training.trl.features import ImageFeatures
from vantage.training.trl.forwards import Difference, Packing, check_head, without_autocast
from vantage.training.trl.loading import source
from vantage.training.trl.packing import batches, gathered
from vantage.training.trl.recording import Recording
from vantage.training.trl.samples import SampleTables
from vantage.training.trl.vllm import (
    PACKAGES,
    REMEDY,
    check_same_prompts,
    sampling_what_is_trained,
    written,
)

__all__ = ["VantageConfig", "VantageTrainer", "freeze_vision_tower"]

logger = logging.getLogger(__name__)

MEDIA_TOKENS = (
    "image_token_id",
    "video_token_id",
    "audio_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "boi_token_id",
    "eoi_token_id",
)
# Of what processors make, what TRL hands to a model that scores rows.
PASSED_ON = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
# What a line of the log has besides metrics.
OF_UPDATES = {"loss", "grad_norm", "learning_rate", "epoch", "step"}
STAGES = ("generate", "reward", "plan", "log_probs", "update")
# Under which prompts reach vLLM among the fields that TRL hands to generation.
WRITTEN = "written"
# Turn of the draws of a validation, beside those of the refills of a batch.
VALIDATION = 2**31


class VantageTrainer(GRPOTrainer):
    """TRL's `GRPOTrainer`, training what a recipe plans.

    Takes the arguments of `GRPOTrainer`; `args` is a `VantageConfig`. Rows of the data set
    have `prompt` and, for pictures, `image` or `images`; the reward functions get all other
    columns.

    Attributes:
        recipe: the recipe at work.
        prompts: what it asks.
        silence: the last batches in a row that trained nothing; `silent_batches` of them end
            the run with a checkpoint.
        rollouts, samples: the scored rollouts of the batch at work, and the plan made of
            them; None before the first one, or when nothing had a score.

    Logged each rollout batch, besides TRL's metrics: `plan/...` as `vantage.diagnose` defines
    them (a reward above 0.5 counts as right), `plan/unscored` (rollouts without a score, which
    are dropped), `plan/useful_rollouts_per_second` (over the whole batch),
    `questions/...` (asked, and what the sampling tells), with vLLM `sampler/...` as
    `vantage.training.sampler.Mismatch` defines it, and
    `seconds/generate`, `reward`, `plan`, `log_probs`, `update` and `rollout_batch`.

    Raises:
        ConfigError: arguments that contradict a plan (tools, environments, a stream to train on).
        InputError: a row that cannot become a prompt; names the row.
        EngineError: a version of TRL that this was not written for, or a processor that
            cannot read images although rows have some.
    """

    _tag_names = ("trl", "grpo", "vantage")
    eval_dataset: Any
    _last_loaded_step: int
    router_aux_loss_coef: float

    def __init__(
        self, model, reward_funcs=None, args=None, train_dataset=None, eval_dataset=None, **rest
    ):
        args = args or VantageConfig("runs/vantage")
        if not isinstance(args, VantageConfig):
            raise ConfigError(f"args is a {type(args).__name__}: expected a VantageConfig")
        for name in ("tools", "environment_factory"):
            if rest.get(name):
                raise ConfigError(f"{name}: tools and environments are not supported")
        self.recipe, variants = args.build_recipe(), args.build_variants()
        rewards = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        columns.check_columns("train_dataset", train_dataset, rewards, variants)
        for name, rows in columns.named(eval_dataset).items():
            columns.check_columns(name, rows, rewards, streamed=True)
        check_metric(args, eval_dataset)
        self.prompts = args.build_prompts(train_dataset)
        model = files.home(model) if isinstance(model, str) else model
        if isinstance(model, str) and rest.get("processing_class") is None:
            rest["processing_class"] = AutoProcessor.from_pretrained(
                model, truncation_side="left", padding_side="left", **source(args)
            )
        self.rollouts: Rollouts | None = None
        self.samples: Samples | None = None
        self.silence = Silence(args.silent_batches)
        self.diagnosis: dict[str, float] = {}
        self.batch: RolloutBatch | None = None
        self._asking_ahead = False
        self._examples: list[dict[str, Any]] = []
        self._encodings: dict[int, Encoding] = {}
        self._packing = Packing(args.packing)
        self._features = ImageFeatures()
        self._images = ImagesOnce()
        self._at_work: list[tuple[int, int]] | None = None
        self._all_see = False
        self.seconds: dict[str, float] = defaultdict(float)
        self._compared = 0
        self._save_due = False
        self._rows: dict[str, str] = {}
        self._looked_at: tuple[Any, Any] = (None, None)
        with sampling_what_is_trained():
            super().__init__(model, reward_funcs, args, train_dataset, eval_dataset, **rest)
        has_template = self.chat_template or getattr(self.processing_class, "chat_template", None)
        options = {"chat_template": self.chat_template, **self.chat_template_kwargs}
        self._opened = opened_by(self.processing_class, **options) if has_template else ""
        self._prepare_model()
        if self.aux_loss_enabled:
            self._packing.give_up(
                "the loss that balances experts is taken over whole rows (router_aux_loss_coef=0 "
                "leaves it out)"
            )
        finds_unused = bool(self.args.ddp_find_unused_parameters)
        self._all_see = self._is_vlm and sharding.all_must_see(
            self.accelerator, self.model, finds_unused
        )
        if self.is_fsdp_enabled:
            sharding.gather_head(self.model)
        self._check_questions()
        self.recording = Recording(self)
        for callback in (self.recording, SampleTables(self)):
            self.add_callback(callback)

    # ---- start-up -------------------------------------------------------------------

    def create_accelerator_and_postprocess(self) -> None:
        """As transformers; shared gradients are reduced after each forward, in float32."""
        super().create_accelerator_and_postprocess()
        sharding.exchange_in_float32(self.accelerator)
        sharding.reduce_each_forward(self.accelerator)

    def _prepare_model(self) -> None:
        values = [getattr(self.model.config, name, None) for name in MEDIA_TOKENS]
        self._media_ids = sorted({value for value in values if isinstance(value, int)})
        if self._media_ids and self.use_vllm:
            self.vllm_generation.ban(self._media_ids)
        elif self._media_ids:
            own = (self.args.generation_kwargs or {}).get("suppress_tokens") or []
            banned = sorted({*own, *self._media_ids})
            self.generation_config.suppress_tokens = banned
            self.generation_kwargs["suppress_tokens"] = banned
        if self.args.freeze_vision_tower:
            freeze_vision_tower(self.model)
        check_trainable(self.model)
        if not self.is_fsdp_enabled and not self.is_deepspeed_enabled:
            with self.accelerator.autocast():
                check_head(self.model, self._tokenizer, self.temperature)
        precision.prepare(self)

    def _check_questions(self) -> None:
        """Read every row once, so that none fails in the middle of a run."""
        sets = {"train_dataset": self.train_dataset, **columns.named(self.eval_dataset)}
        self.prompts = replace(self.prompts, reserved=placeholders(self.processing_class))
        takes = acceptance(self.processing_class, **self.chat_template_kwargs)
        if self.args.check_data or self.prompts.reserved:
            for name, rows in sets.items():
                check_prompts(self.prompts, name, rows, pixels=self.args.check_data, takes=takes)
        if self.args.check_data:
            for name, rows in sets.items():
                columns.check_pictures(name, rows, self.reward_funcs)
        reads_images = isinstance(self.processing_class, ProcessorMixin)
        if not reads_images and any(map(has_images, sets.values())):
            raise EngineError(
                f"rows have images, but the processor is a {type(self.processing_class).__name__}, "
                "which reads text alone; its image processor may need torchvision"
            )
        limits = [limit for limit in (self.args.max_prompt_length, self.args.room) if limit]
        self._fitting = self._short_enough(self.prompts, min(limits, default=None))
        if self.args.room:
            self._shorten_validation(self.args.room)
        self._looked_at = (self.train_dataset, self.eval_dataset)

    def _look_again(self) -> None:
        """Read data sets that were set after the start, as TRL's loaders would."""
        train, validation = self._looked_at
        if self.train_dataset is train and self.eval_dataset is validation:
            return
        variants, rewards = self.prompts.variants, self.reward_funcs
        columns.check_columns("train_dataset", self.train_dataset, rewards, variants)
        for name, rows in columns.named(self.eval_dataset).items():
            columns.check_columns(name, rows, rewards, streamed=True)
        check_metric(self.args, self.eval_dataset)
        self.prompts = self.args.build_prompts(self.train_dataset)
        self.__dict__.pop("_pictured_prompt", None)
        self._check_questions()

    def _short_enough(self, prompts: Prompts, limit: int | None) -> list[int]:
        """Rows whose longest prompt has at most `limit` tokens."""
        return short_enough(
            replace(prompts, length=self._tokens),
            lambda prompt: len(self._encode(render(prompt)).ids),
            limit,
            self.args.long_prompts,
        )

    def _shorten_validation(self, room: int) -> None:
        """Keep rows to validate on for which vLLM has room, or refuse the others."""

        def fits(row) -> bool:
            length = len(self._encode(self._asked(row)).ids)
            if length > room and self.args.long_prompts == "refuse":
                raise InputError(f"eval_dataset: a prompt of {length} tokens, vLLM has {room}")
            return length <= room

        def kept(rows):
            if isinstance(rows, IterableDataset):
                return rows.filter(fits)
            asked = replace(self.prompts, rows=Reader(rows), variants=Variants())
            return rows.select(self._short_enough(asked, room))

        if isinstance(self.eval_dataset, dict):
            self.eval_dataset = {name: kept(rows) for name, rows in self.eval_dataset.items()}
        elif self.eval_dataset is not None:
            self.eval_dataset = kept(self.eval_dataset)

    def _tokens(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])

    # ---- questions and prompts -------------------------------------------------------

    def _asked(self, source: dict[str, Any]) -> str | list[dict[str, Any]]:
        """The original question of a row, as the processor takes it."""
        return render(self.prompts.original(source))

    def get_train_dataloader(self) -> DataLoader:
        """Empty batches, one a training step: the questions come from a sampling."""
        steps = self.args.steps_per_generation * self.num_iterations
        empty: Any = [{}] * (self.batches_per_epoch * steps)
        workers = self.args.dataloader_num_workers
        return DataLoader(empty, batch_size=1, collate_fn=itemgetter(0), num_workers=workers)

    def num_examples(self, dataloader: DataLoader) -> int:
        """Number of questions; the loader itself holds none."""
        return len(self._fitting)

    @property
    def batches_per_epoch(self) -> int:
        """Rollout batches of an epoch; questions that fill none are left for the next."""
        return max(1, len(self._fitting) // self._questions)

    @property
    def _last_update(self) -> int:
        """Updates of the whole run."""
        updates = self.batches_per_epoch * self.args.updates_per_rollout_batch
        ends = self.args.max_steps
        return ends if ends > 0 else math.ceil(updates * self.args.num_train_epochs)

    @property
    def _questions(self) -> int:
        """Questions of a rollout batch."""
        group = self.num_generations * self.prompts.variants.count
        return self.args.generation_batch_size // group

    def _start_sampling(self, checkpoint: Path | None) -> None:
        """The first questions, or those that come after a checkpoint."""
        seed = self.args.seed if self.shuffle_dataset else None
        self.sampling = sampling(self.args.sampling, len(self._fitting), seed)
        if checkpoint:
            state = checkpoints.load_sampling(checkpoint, len(self._fitting), self._rows)
            self.sampling.load_state_dict(state)
        self.silence.count = checkpoints.load_silent(checkpoint) if checkpoint else 0

    # ---- what the model takes --------------------------------------------------------

    def _encode(self, prompt: str | list[dict[str, Any]]) -> Encoding:
        sees = isinstance(self.processing_class, ProcessorMixin)
        with as_tensors(self.processing_class):
            ids, images, fields = super()._tokenize_prompts([taken(prompt, sees)])
        known = per_prompt(fields, self.model.dtype)
        made = Encoding(prompt, list(ids[0]), (images or [None])[0] or [], known)
        if self.args.colocated and made.images:
            made.written = written(self.processing_class, self._text(prompt))
        return made

    def _text(self, prompt: str | list[dict[str, Any]]) -> str:
        """A conversation as the chat template writes it."""
        return self.processing_class.apply_chat_template(
            prompt,
            chat_template=self.chat_template,
            add_generation_prompt=True,
            tokenize=False,
            **self.chat_template_kwargs,
        )

    def _encoding(self, prompt: int) -> Encoding:
        """Encoding of the prompt of that id, made once a rollout batch."""
        if prompt not in self._encodings:
            question = self.prompts.prompt(prompt)
            with self._images.of(self.processing_class, pictures(question)):
                self._encodings[prompt] = self._encode(render(question))
        return self._encodings[prompt]

    def _tokenize_prompts(self, prompts: list):
        if self._asking_ahead:
            rows = [self._encoding(prompt) for prompt in self._local_prompts]
        else:
            rows = self._encoded_once()
        images = [row.images or None for row in rows]
        ids = [row.ids for row in rows]
        # vLLM reads the pictures by itself; pixels of every rollout would fill the host.
        fields = {WRITTEN: [row.written or row.ids for row in rows]}
        if not self.use_vllm:
            fields = merge_fields(rows)
        return ids, images if any(images) else None, fields

    def _encoded_once(self) -> list[Encoding]:
        """Encodings of the rows to validate on; samples of a question stand together."""
        several = self.num_generations_eval
        each = several if len(self._examples) % several == 0 else 1
        rows = [self._encode(example["prompt"]) for example in self._examples[::each]]
        return [row for row in rows for _ in range(each)]

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, **rest):
        """As TRL, without dropout, and without what some models ask of a forward that trains;
        a process whose prompts have no picture adds one where weights are shared.
        """
        if self.use_vllm:
            asked = multimodal_fields[WRITTEN]
            return self._sampled_by_vllm(prompt_ids, asked, images, num_generations)
        more, fields = self._generates_with_all(images), multimodal_fields
        if more is not None:
            prompt_ids, fields = sharding.with_prompt(prompt_ids, fields, more)
        mode = self.model.training
        self.model.eval()
        try:
            sampled, log_probs = super()._generate_single_turn(
                prompt_ids, images, fields, num_generations, **rest
            )
        finally:
            self.model.train(mode)
        return (sampled if more is None else sampled[:-1]), log_probs

    def _sampled_by_vllm(self, prompt_ids, asked, images, num_generations: int):
        """Responses and their log-probs; vLLM expands what it is asked to what is trained."""
        if self.state.global_step != self._last_loaded_step:
            self.vllm_generation.sync_weights()
            self._last_loaded_step = self.state.global_step
        seen, ids, log_probs, _ = self.vllm_generation.generate(asked, images, num_generations)
        check_same_prompts(seen, prompt_ids, self.model.config.model_type)
        return ids, [[best[0] for best in row] for row in log_probs]

    def _generates_with_all(self, images) -> Encoding | None:
        """A prompt that has to be generated with those that have `images`."""
        gathers = self.args.ds3_gather_for_generation and not self.is_fsdp_enabled
        apart = gathers or not sharding.shards_weights(self.accelerator)
        return None if images or apart or not self._all_see else self._pictured_prompt

    @functools.cached_property
    def _pictured_prompt(self) -> Encoding | None:
        """The first prompt of the data that has a picture, of those that are asked."""
        asked = self.train_dataset.select(self._fitting)
        sets = (asked, *columns.named(self.eval_dataset).values())
        found = filter(None, map(first_with_images, sets))
        source = next(found, None)
        return self._encode(self._asked(source)) if source else None

    # ---- rollouts --------------------------------------------------------------------

    def _roll_out(self) -> RolloutBatch:
        """Generate, score, plan, and compute the log-probs that the updates need.

        Raises:
            StoppedError: code of the user failed, or too many batches trained nothing; the
                sampling is as it was before.
        """
        before = copy.deepcopy(self.sampling.state_dict())
        try:
            return self._rolled_out()
        except StoppedError:
            self.sampling.load_state_dict(before)
            raise

    def _rolled_out(self) -> RolloutBatch:
        self.seconds.clear()
        self._began = time.perf_counter()
        every = self.args.updates_per_rollout_batch
        self._number = self.state.global_step // every
        self._encodings.clear()
        self.prompts.begin(done=self._number * every / max(self.state.max_steps, 1))
        self._features.clear()
        self._images.clear()
        self._packing.clear()
        self._logs = completions.empty()
        batch = self._plan(self._refilled(self._ask(self._questions, 0)))
        with self._timed("log_probs"):
            self._cut(batch)
            self._add_log_probs(batch)
            self._compare_sampler(batch)
        return batch

    def _ask(self, questions: int, turn: int) -> Scored:
        """Ask the next questions: rollouts of all processes, scored."""
        asked = self.sampling.draw(questions)
        places = self.prompts.ask([Asked(self._fitting[q], epoch) for q, epoch in asked])
        home_N = self.prompts.ids(places, self.num_generations)
        local = len(home_N) // self.accelerator.num_processes
        start = self.accelerator.process_index * local
        self._local_prompts = [int(prompt) for prompt in home_N[start : start + local]]
        self._examples = in_one_form(
            [
                {**self.prompts.source(prompt), "prompt": self._encoding(prompt).prompt}
                for prompt in self._local_prompts
            ]
        )
        self._seed_generation(turn)
        self._asking_ahead = True
        try:
            output = self._generate_and_score_completions(self._examples)
        finally:
            self._asking_ahead = False
        scored = self._scored(home_N, output)
        self._logs[completions.PLACE].extend(scored.place_N.tolist())
        self.sampling.record(asked, scored.rewards(places))
        return scored

    def _refilled(self, scored: Scored) -> Scored:
        """The batch with new questions in place of silent ones, as often as the recipe says."""
        batch = asked = len(np.unique(scored.place_N))
        metrics = {name: list(values) for name, values in self._metrics["train"].items()}
        for again in range(self.recipe.refills):
            missing = len(scored.silent())
            if not missing:
                break
            even = self.accelerator.num_processes  # every process takes whole prompts
            more = self._ask(-(-missing // even) * even, again + 1)
            asked += len(np.unique(more.place_N))
            scored = joined([scored, more], self._tokenizer.pad_token_id)
            scored = scored.take(scored.telling_first()[:batch])
        # TRL logs what the policy does on the questions as they come, not on those chosen.
        self._metrics["train"] = defaultdict(list, metrics)
        self._log_questions(asked)
        return scored

    def _seed_generation(self, turn: int) -> None:
        """Seed whatever a sampler may draw from; processes that sample as one share a seed."""
        group = self.args.vllm_tensor_parallel_size if self.args.colocated else 1
        number = self.state.global_step // self.args.updates_per_rollout_batch
        key = [self.args.seed, number, self.accelerator.process_index // group, turn]
        set_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def _generate_and_score_completions(self, inputs):
        """As TRL does, without images: it would make pixels of its own, and send the images of
        all prompts to all processes for its log. Who needs them takes them from `_examples`.
        """
        if not self._asking_ahead:
            inputs = in_one_form([{**row, "prompt": self._asked(row)} for row in inputs])
            self._examples = inputs
        bare = [{"prompt": strip_images_from_messages(row["prompt"])} for row in inputs]
        output = super()._generate_and_score_completions(bare)
        completions.without_advantages(self._logs, len(self._reward_NF))
        if self.log_completions and self.log_multimodal:
            shown = gather_object([images_in(row["prompt"]) or None for row in inputs])
            completions.with_pictures(self._logs, shown)
        return output

    def _generate(self, prompts: list):
        if self.is_fsdp_enabled:
            # Or generation would not know that a process must go on until all have ended.
            self.accelerator.unwrap_model(self.model)._is_fsdp_managed_module = True
        with self._timed("generate"):
            if self.rollout_func is not None:
                prompts = [example["prompt"] for example in self._examples]
            prompt_ids, ids, mask, texts, log_probs, extra, _, _ = super()._generate(prompts)
        pad_id = self._tokenizer.pad_token_id
        media = set(self._media_ids)
        # A sampled image token would ask for an image that is not there.
        self._spoiled = [not media.isdisjoint(row) for row in ids]
        ids = [[pad_id if token in media else token for token in row] for row in ids]
        return prompt_ids, ids, mask, texts, log_probs, extra, None, []

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self._timed("reward"):
            prompts = [example["prompt"] for example in self._examples]
            # What a rollout function found out stands in `inputs`, the other columns do not.
            rows = [{**row, **more} for row, more in zip(self._examples, inputs, strict=True)]
            whole = self._whole(prompts, completions)
            failed: BaseException | None = None
            try:
                rewards_NF = super()._calculate_rewards(rows, prompts, whole, completion_ids_list)
            except (Exception, SystemExit) as error:  # whatever the user's own code raises
                failed = self._as_of_rewards(error)
                lost_NF = torch.full((len(prompts), len(self.reward_funcs)), math.nan)
                rewards_NF = self.accelerator.gather(lost_NF.to(self.accelerator.device))
            self._stop_where_failed(failed)
        self._reward_NF = rewards_NF
        return rewards_NF

    def _as_of_rewards(self, error: BaseException) -> BaseException:
        """A reward that TRL cannot call, or that gave no rewards, as an error of the user.

        What a reward raises itself stays as it is.
        """
        at = traceback.extract_tb(error.__traceback__)[-1].filename
        if at != inspect.getsourcefile(GRPOTrainer):
            return error
        return InputError(
            f"the rewards ({some_names(self.reward_func_names)}) cannot be used: "
            f"{first_line(error).rstrip('.')}; a reward is called with prompts, "
            "completions and the columns of the data, and gives a number or None for each "
            "completion"
        )

    def _stop_where_failed(self, error: BaseException | None) -> None:
        """Stop all processes where code of the user failed on one of them."""
        told = f"{type(error).__name__}: {error}" if error else None
        failed = [words for words in gather_object([told]) if words]
        if failed:
            raise StoppedError(error or EngineError(f"another process failed: {failed[0]}"))

    def _whole(self, prompts: list, completions: list) -> list:
        """Completions with the tag that the chat template, or a plain prompt, opened."""
        if prompts and isinstance(prompts[0], str):
            return [judged(*pair) for pair in zip(completions, map(opened, prompts), strict=True)]
        return [judged(completion, self._opened) for completion in completions]

    def _rewards(self) -> np.ndarray:
        """Reward of each rollout of all processes, NaN without a score."""
        device = self.accelerator.device
        spoiled_N = self.accelerator.gather(torch.tensor(self._spoiled, device=device))
        part_NF = self._reward_NF.double().cpu().numpy()
        reward_N = totals(part_NF, self.reward_weights.tolist())
        return np.where(spoiled_N.cpu().numpy(), np.nan, reward_N)

    def _asked_as(self, home_N: np.ndarray, output: dict[str, Any]) -> np.ndarray:
        """The prompt of each rollout with the tokens that a rollout function gave for it.

        Raises:
            InputError: tokens that are not those of a prompt with pictures, or none.
        """
        if self.rollout_func is None:
            return home_N
        masked = zip(output["prompt_ids"], output["prompt_mask"].bool(), strict=True)
        rows = zip(self._local_prompts, (ids[mask].tolist() for ids, mask in masked), strict=True)
        # Each process encodes its own prompts alone, and of others those in other tokens.
        given = gather_object([None if ids == self._encoding(p).ids else ids for p, ids in rows])
        asked = [self._written_as(int(p), ids) for p, ids in zip(home_N, given, strict=True)]
        return np.array(asked)

    def _written_as(self, prompt: int, ids: list[int] | None) -> int:
        """The prompt in these tokens, under an id of its own; None for its own tokens."""
        if ids is None:
            return prompt
        known = self._encoding(prompt)
        if known.images or not ids:
            raise InputError(
                f"rollout_func gave {len(ids)} prompt_ids where the processor makes "
                f"{len(known.ids)} of the prompt: with pictures they must be the same, since "
                "pixels belong to their places, and none at all are no prompt"
            )
        asked = self.prompts.written_as(prompt, tuple(ids))
        self._encodings.setdefault(asked, Encoding(known.prompt, ids, [], {}))
        return asked

    def _scored(self, home_N: np.ndarray, output: dict[str, Any]) -> Scored:
        names = ("old_per_token_logps", "sampling_per_token_logps", "importance_sampling_ratio")
        sampled = {name: self._gathered(output[name], 0.0) for name in names if name in output}
        if not self._corrects_sampler:
            sampled.pop("old_per_token_logps", None)
        pad_id = self._tokenizer.pad_token_id
        completion_NT = self._gathered(output["completion_ids"], pad_id)
        seen_NT = self._gathered(output["completion_mask"], 0)
        # A rollout function tells with `env_mask` what the model did not write.
        own = output.get("tool_mask", torch.ones_like(output["completion_mask"]))
        own_NT = self._gathered(own, 1)
        # TRL can mask whole responses that were cut off; they were generated all the same.
        there_NT = seen_NT.bool() | (completion_NT != pad_id)
        return Scored(
            home_N // self.prompts.variants.count,
            home_N,
            self._rewards(),
            self._reward_NF.double().cpu().numpy(),
            self._asked_as(home_N, output),
            completion_NT,
            seen_NT,
            seen_NT * own_NT,
            sampled,
            int((there_NT & own_NT.bool()).sum()),
        )

    def _plan(self, scored: Scored) -> RolloutBatch:
        """One plan over the rollouts of all processes, the same on each of them."""
        with self._timed("plan"):
            done, failed = self.prompts.done, None
            try:
                plan = make_plan(self.recipe, scored, self.args.seed, self._number, done)
            except (Exception, SystemExit) as error:  # of a recipe of the user's own
                failed = error
            self._stop_where_failed(failed)
            self.silence.take(self._number, plan, says=self.accelerator.is_main_process)
            samples = plan.samples
            self.rollouts, self.samples = plan.rollouts, plan.of_rollouts
            self.diagnosis = plan.diagnosis
            length_M = scored.mask_NT.sum(dim=1).cpu().numpy()[samples.rollout_M]
            size_M = length_M if self.loss_type in TOKEN_MEANS else np.ones(len(samples))
            processes = self.accelerator.num_processes
            updates = deal(samples, length_M, self.args.updates, processes)
            advantage_M = samples.advantage_M * loss_weights(samples, size_M, updates)
        self._log_plan(plan.unscored)
        self._check_written(scored, samples)
        self._logs = completions.planned(self._logs, scored, samples)
        picture = self._pictured_rollout(scored.home_N) if self._all_see else None
        return RolloutBatch(scored, samples, updates, advantage_M, picture=picture)

    def _check_written(self, scored: Scored, samples: Samples) -> None:
        """A prompt under which others' responses are trained has one way of being written."""
        away_M = samples.prompt_M != scored.home_N[samples.rollout_M]
        for prompt in np.unique(samples.prompt_M[away_M]):
            ways = len(np.unique(scored.asked_N[scored.home_N == prompt]))
            if ways > 1:
                raise InputError(
                    f"rollout_func gave {ways} different prompt_ids for the rollouts of one "
                    f"prompt, but recipe {self.recipe.name!r} trains responses to the other "
                    "prompts of a question under it: give the same ones, or take a recipe that "
                    "does not share, such as 'grpo'"
                )

    def _pictured_rollout(self, home_N: np.ndarray) -> int | None:
        """The first rollout whose prompt has a picture."""
        shown = (n for n, prompt in enumerate(home_N) if self._any_pictured([int(prompt)]))
        return next(shown, None)

    def _any_pictured(self, prompts: Iterable[int]) -> bool:
        """Whether any of the prompts has a picture."""
        return any(pictures(self.prompts.prompt(prompt)) for prompt in prompts)

    def _gathered(self, local: torch.Tensor, padding: float) -> torch.Tensor:
        padded = self.accelerator.pad_across_processes(local, dim=1, pad_index=padding)
        return self.accelerator.gather(padded)

    # ---- log-probs ahead of the updates ----------------------------------------------

    @property
    def _corrects_sampler(self) -> bool:
        return self.use_vllm and self.vllm_importance_sampling_correction

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
    ):
        early = self._asking_ahead or not self.model.training
        if early and not (self._asking_ahead and self._corrects_sampler and model is self.model):
            waiting = torch.full((len(input_ids), logits_to_keep), torch.nan)
            return waiting.to(input_ids.device), None, None
        if early:
            return self._score_own(input_ids, attention_mask, logits_to_keep), None, None
        if self._at_work is not None and self._packing.works:
            completion_RT, mask_RT = (t[:, -logits_to_keep:] for t in (input_ids, attention_mask))
            return self._packed(model, completion_RT, mask_RT, bool(kwargs.get("compute_entropy")))
        prompts = [prompt for prompt, _ in self._at_work or ()]
        rows = [self._encoding(prompt) for prompt in prompts]
        knowing = self._knowing(model, rows, input_ids.shape[1], logits_to_keep)
        with self._images_once(model, prompts):
            return super()._get_per_token_logps_and_entropies(
                knowing, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )

    @contextlib.contextmanager
    def _working_on(self, keys: list[tuple[int, int]]) -> Iterator[None]:
        """What the rows of a forward are: (prompt, rollout) each."""
        self._at_work = keys
        try:
            yield
        finally:
            self._at_work = None

    def _images_once(self, model, prompts: list[int]) -> contextlib.AbstractContextManager:
        """In it, images whose features cannot change are encoded once a rollout batch."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # all must encode together there
            return contextlib.nullcontext()
        rows = [(pictures(self.prompts.prompt(p)), p) for p in prompts]
        images = [(found, self._encoding(p)) for found, p in rows if found]
        return self._features.reused(self.accelerator.unwrap_model(model), images)

    def _packed(self, model, completion_RT, mask_RT, entropy: bool):
        """Log-probs, and entropies where they are wanted, of the rows at work, by packs."""
        keys, lengths = self._at_work or [], mask_RT.sum(dim=1).tolist()
        tokens = dict(zip((rollout for _, rollout in keys), completion_RT.cpu(), strict=True))
        made = self._packing.packs(keys, lengths, self._encoding, self._budget)
        packed, inputs = self._packing.inputs(
            self.accelerator.unwrap_model(model), made, self._encoding, tokens.__getitem__
        )
        device = self.accelerator.device
        placed = {k: v.to(device) if torch.is_tensor(v) else v for k, v in inputs.items()}
        prompts = [pack.prompt for pack in made]
        pixels = self._pixels([self._encoding(prompt) for prompt in prompts])
        with self.accelerator.autocast(), self._images_once(model, prompts):
            outputs = model(**placed, **pixels, fused_lm_head=True)

        def by_row(value_BT: torch.Tensor) -> torch.Tensor:
            return gathered(value_BT, packed, keys, lengths, completion_RT.shape[1])

        return by_row(outputs.log_probs), by_row(outputs.entropy) if entropy else None, None

    # ---- how the work is cut ---------------------------------------------------------

    def _cut(self, batch: RolloutBatch) -> None:
        """The forwards of every update, of about as many tokens each."""
        process = self.accelerator.process_index
        rows_U = [update.row_PR[process] for update in batch.updates]
        prompts = {batch.key(row)[0] for rows in rows_U for row in rows}
        longest = max(len(self._encoding(prompt).ids) for prompt in prompts)
        most = self.args.per_device_train_batch_size
        self._budget = most * (longest + batch.scored.completion_NT.shape[1])
        if self._packing.works is None:
            self._try_packing(batch, [batch.key(row) for row in rows_U[0]], prompts)
        cut_U = []
        for rows in rows_U:
            keys = [batch.key(row) for row in rows]
            parts = [rows[part] for part in self._forwards(batch, keys, rows == FILLER)]
            cut_U.append([self._with_picture(batch, part, batch.key) for part in parts])
        batch.forwards_U = self._cut_even(cut_U)

    def _forwards(self, batch: RolloutBatch, keys, filler=None) -> list[np.ndarray]:
        """Rows by their number in `keys`, those of a pack together, in forwards."""
        if self.aux_loss_enabled:
            return _spread(len(keys), self.args.per_device_train_batch_size)
        lengths = batch.lengths([rollout for _, rollout in keys])
        if filler is not None:
            lengths = [0 if empty else n for empty, n in zip(filler, lengths, strict=True)]
        if not self._packing.works:
            response = batch.scored.completion_NT.shape[1]
            tokens = [len(self._encoding(prompt).ids) + response for prompt, _ in keys]
            return [np.array(sorted(part)) for part in batches(tokens, self._budget)]
        made = self._packing.packs(keys, lengths, self._encoding, self._budget)
        parts = batches([pack.tokens for pack in made], self._budget)
        forward_of = {
            (made[number].prompt, segment.rollout): place
            for place, part in enumerate(parts)
            for number in part
            for segment in made[number].segments
        }
        place_R = np.array([forward_of[key] for key in keys])
        return [np.flatnonzero(place_R == place) for place in range(len(parts))]

    def _with_picture(
        self, batch: RolloutBatch, part: np.ndarray, key: Callable[[int], tuple[int, int]]
    ) -> np.ndarray:
        """Rows of a forward, with filler that has a picture where every forward must have one."""
        if batch.picture is None or self._any_pictured(key(row)[0] for row in part):
            return part
        return np.append(part, FILLER)

    def _cut_even(self, cut_U: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """As many forwards on every process: empty ones where another has more."""
        mine_U = torch.tensor([len(parts) for parts in cut_U], device=self.accelerator.device)
        most_U = self.accelerator.gather(mine_U[None]).amax(dim=0).tolist()
        empty = np.array([FILLER])
        return [
            parts + [empty] * (most - len(parts)) for parts, most in zip(cut_U, most_U, strict=True)
        ]

    def _try_packing(self, batch: RolloutBatch, keys, prompts) -> None:
        """Pack one real group, and go on if its log-probs are those of rows; all together."""
        bare = self.accelerator.unwrap_model(self.model)
        self._packing.prepare(bare, [self._encoding(prompt) for prompt in prompts])
        refused = torch.tensor([self._packing.works is False], device=self.accelerator.device)
        if self.accelerator.gather(refused).any():
            self._packing.give_up("another process cannot pack")
            return
        busiest = Counter(prompt for prompt, _ in keys).most_common(1)[0][0]
        mine = sorted(dict.fromkeys(keys), key=lambda key: key[0] != busiest)[:4]
        apart = [mine[number % len(mine)] for number in range(4)]  # as many on every process
        with without_autocast(self.accelerator, bare) if self._exact else contextlib.nullcontext():
            row_RT = self._scored_with(False, batch, mine)
            alone_RT = torch.cat([self._scored_with(False, batch, [key]) for key in apart])
            packed_RT = self._scored_with(True, batch, mine)
        alone_RT = alone_RT[: len(mine)]
        self._features.clear()  # their precision is that of this comparison
        self._packing.works = None
        counted_RT = batch.scored.mask_NT[[rollout for _, rollout in mine]].bool()
        apart_T, noise_T = (
            (other - row_RT).abs().float()[counted_RT] for other in (packed_RT, alone_RT)
        )
        largest = apart_T.max() if len(apart_T) else apart_T.sum()
        means = [t.sum() / max(len(t), 1) for t in (apart_T, noise_T)]
        found = torch.stack([largest, *means])
        most = Difference(*self.accelerator.gather(found[None]).amax(dim=0).tolist())
        self._packing.judge(most, self.model.dtype if self._exact else self._computes_in)

    def _scored_with(self, works: bool, batch: RolloutBatch, keys) -> torch.Tensor:
        """Log-probs of a few rows, packed or one by one."""
        self._packing.works = works
        lacks = batch.picture is not None and not self._any_pictured(p for p, _ in keys)
        seen = [*keys, batch.key(FILLER)] if lacks else keys
        with torch.no_grad():
            return self._forward(self.model, self._inputs(batch, seen))[0][: len(keys)]

    @property
    def _exact(self) -> bool:
        """Whether forwards can compute in the 32 bits of the weights, without mixed precision."""
        cut = self.is_fsdp_enabled or self.is_deepspeed_enabled  # which cast weights themselves
        return not cut and all(p.dtype == torch.float32 for p in self.model.parameters())

    @property
    def _computes_in(self) -> torch.dtype:
        """Precision of the forwards."""
        mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}
        return mixed.get(self.accelerator.mixed_precision, self.model.dtype)

    def _score_own(self, input_ids, attention_mask, response: int) -> torch.Tensor:
        """Log-probs of the responses, `response` tokens, under the prompts that generated them."""
        most = self.args.per_device_train_batch_size
        scored = []
        for start in range(0, len(input_ids), most):
            part = slice(start, start + most)
            rows = [self._encoding(prompt) for prompt in self._local_prompts[part]]
            ids, mask, count = input_ids[part], attention_mask[part], len(rows)
            more = self._pictured_prompt if self._all_see else None
            if more and not any(row.images for row in rows):
                rows.append(more)
                pad_id = self._tokenizer.pad_token_id
                ids, mask = sharding.with_row(ids, mask, more.ids, response, pad_id)
            fields = self._model_fields(rows, ids.shape[1], response)
            model = self._knowing(self.model, rows, ids.shape[1], response)
            log_probs, _, _ = super()._get_per_token_logps_and_entropies(
                model, ids, mask, response, **fields
            )
            scored.append(log_probs[:count])
        return torch.cat(scored)

    def _add_log_probs(self, batch: RolloutBatch) -> None:
        """Old and reference log-probs, once a distinct (prompt, rollout) dealt to this process."""
        off_policy = self.args.updates * self.num_iterations > 1
        # The mask of what is off the policy compares a sampler's log-probs with these.
        masks = self.off_policy_mask_threshold is not None
        masks &= "sampling_per_token_logps" in batch.scored.sampled
        needs_old = off_policy or masks or self._corrects_sampler
        if not needs_old and self.beta == 0.0:
            return
        dealt = [batch.distinct_keys(p) for p in range(self.accelerator.num_processes)]
        mine = dealt[self.accelerator.process_index]
        batch.places = {key: place for place, key in enumerate(mine)}
        if needs_old:
            batch.old_RT = self._score_old(batch, dealt)
        if self.beta != 0.0:
            batch.reference_RT = self._score_reference(batch, mine)

    def _compare_sampler(self, batch: RolloutBatch) -> None:
        """Log how far the sampler's log-probs are from ours; a wrong sampler ends the run.

        Raises:
            EngineError: in the first batches of this process, they are too far apart.
        """
        if not self.use_vllm or "sampling_per_token_logps" not in batch.scored.sampled:
            return
        found = pooled(gather_object([self._mismatch(batch)]))
        for name, value in found.metrics().items():
            self._metrics["train"][name].append(value)
        reason = judge(found, float32=self._samples_in_float32, slack=self._slack)
        if not self._compared and math.isinf(self._slack):
            options = ", ".join(self.args.changes_of_log_probs)
            logger.warning(f"{options}: vLLM's log-probs cannot be compared with the trainer's")
        self._compared += bool(found.tokens)
        if reason and self._compared <= FIRST_BATCHES:
            family = self.model.config.model_type
            raise EngineError(verdict(reason, family=family, packages=PACKAGES, remedy=REMEDY))
        if reason:
            logger.warning(reason)

    def _mismatch(self, batch: RolloutBatch) -> Mismatch:
        """On own rows that are scored here anyway; in the first batches on a few otherwise."""
        scored = ~np.isnan(batch.scored.reward_N)
        places = batch.places or batch.distinct_keys(self.accelerator.process_index)
        own = [key for key in places if batch.is_own(key) and scored[key[1]]]
        if batch.old_RT is not None:
            old_RT = batch.old_RT[[batch.places[key] for key in own]]
        elif self._compared < FIRST_BATCHES:
            own = own[: self.args.per_device_train_batch_size]
            old_RT = self._score(self.model, batch, own)
        else:
            return mismatch(np.zeros(0), np.zeros(0))
        rollouts = [rollout for _, rollout in own]
        sampling_RT = batch.scored.sampled["sampling_per_token_logps"][rollouts]
        counted_RT = batch.scored.mask_NT[rollouts].bool()
        known_RT = counted_RT & ~sampling_RT.isnan()
        if known_RT.sum() > counted_RT.sum() / 2:  # vLLM leaves out one here and there
            counted_RT = known_RT
        old_T, sampling_T = (t[counted_RT].double().cpu().numpy() for t in (old_RT, sampling_RT))
        return mismatch(old_T, sampling_T)

    @property
    def _samples_in_float32(self) -> bool:
        """Whether sampler and trainer round to 24 bits; kernels of GPUs may round to 11 (TF32)."""
        on_cpu = self.accelerator.device.type == "cpu"
        return on_cpu and {self._computes_in, self.vllm_generation.dtype} == {torch.float32}

    @property
    def _slack(self) -> float:
        """Nats that sampler and trainer may be apart by the options of the generation."""
        changed = self.args.changes_of_log_probs
        if changed.keys() - {"top_p"}:
            return math.inf
        return renormalisation(changed.get("top_p", 1.0))

    def _score_old(self, batch: RolloutBatch, dealt: list[list]) -> torch.Tensor:
        """Log-probs of what this process trains; those that TRL needed early are there."""
        mine = dealt[self.accelerator.process_index]
        known_NT = batch.scored.sampled.get("old_per_token_logps")
        if known_NT is None:
            return self._score(self.model, batch, mine)
        old_RT = known_NT[[rollout for _, rollout in mine]]
        if any(not batch.is_own(key) for keys in dealt for key in keys):
            places = [place for place, key in enumerate(mine) if not batch.is_own(key)]
            old_RT[places] = self._score(self.model, batch, [mine[place] for place in places])
        return old_RT

    def _score(self, model, batch: RolloutBatch, keys: list[tuple[int, int]]) -> torch.Tensor:
        """Log-probs of the responses under the prompts, one row a key."""

        def key(row: int) -> tuple[int, int]:
            return batch.key(FILLER) if row == FILLER else keys[row]

        parts = [self._with_picture(batch, part, key) for part in self._forwards(batch, keys)]
        parts = self._cut_even([parts])[0]
        response = batch.scored.completion_NT.shape[1]
        scored_RT = batch.scored.completion_NT.new_zeros(len(keys), response).float()
        for part in parts:
            with torch.no_grad():
                log_probs, _, _ = self._forward(model, self._inputs(batch, [*map(key, part)]))
            real = part != FILLER
            scored_RT[part[real]] = log_probs[real].float()
        return scored_RT

    def _score_reference(self, batch: RolloutBatch, keys) -> torch.Tensor:
        if self.ref_model is not None:
            return self._score(self.ref_model, batch, keys)
        adapted = self.accelerator.unwrap_model(self.model)
        with use_adapter(adapted, adapter_name="ref" if "ref" in adapted.peft_config else None):
            return self._score(self.model, batch, keys)

    def _forward(self, model, inputs: dict[str, Any]):
        plain = (
            "prompt_ids",
            "prompt_mask",
            "completion_ids",
            "completion_mask",
            "tool_mask",
            "keys",
        )
        input_ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        fields = {name: value for name, value in inputs.items() if name not in plain}
        with self._working_on(inputs["keys"]):
            return self._get_per_token_logps_and_entropies(
                model, input_ids, mask, inputs["completion_ids"].shape[1], **fields
            )

    # ---- updates ---------------------------------------------------------------------

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """The forwards of one training step, each of `per_device_train_batch_size` rows."""
        steps = self.args.steps_per_generation
        place = self._step % (steps * self.num_iterations)
        if place == 0 or self.batch is None:
            model.train()
            self.batch = self._roll_out()
        batch = self.batch
        accumulation = self.args.gradient_accumulation_steps
        number, part = divmod(place % steps, accumulation)
        with self._timed("update"):
            loss = self._train_on(model, batch, batch.updates[number], part, accumulation)
        self._step += 1
        if place == steps * self.num_iterations - 1:
            self._log_time()
        return loss

    def _train_on(
        self, model, batch: RolloutBatch, update: Update, part: int, parts: int
    ) -> torch.Tensor:
        forwards = batch.forwards_U[batch.updates.index(update)]
        self.current_gradient_accumulation_steps = len(forwards)
        mine = forwards[share_of(len(forwards), part, parts)]
        metrics = {name: list(values) for name, values in self._metrics["train"].items()}
        loss = torch.zeros((), device=self.accelerator.device)
        for rows, last in _with_last(mine):
            with self._gradients_kept(model, synchronize=last and part == parts - 1):
                inputs = self._micro_batch(batch, update, rows, len(forwards))
                loss += Trainer.training_step(self, model, inputs)
        if not update.tokens:  # nothing but filler, of which TRL would log zeros
            self._metrics["train"] = defaultdict(list, metrics)
        return loss

    @contextlib.contextmanager
    def _gradients_kept(self, model, *, synchronize: bool) -> Iterator[None]:
        """Whole gradients stay on this process until the last forward of an update.

        Where each process keeps a part of them, they are reduced after every forward.
        """
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        state._set_sync_gradients(synchronize)
        reduces = synchronize or sharding.reduces_each_forward(self.accelerator)
        kept = contextlib.nullcontext() if reduces else self.accelerator.no_sync(model)
        with kept:
            yield
        state._set_sync_gradients(before)

    def _micro_batch(
        self, batch: RolloutBatch, update: Update, rows: np.ndarray, forwards: int
    ) -> dict[str, Any]:
        """TRL's inputs for rows of the plan; filler has no token that counts."""
        keys = [batch.key(row) for row in rows]
        inputs = self._inputs(batch, keys)
        filler_B = torch.from_numpy(rows == FILLER).to(self.accelerator.device)
        for mask in ("completion_mask", "tool_mask"):
            inputs[mask] = inputs[mask].masked_fill(filler_B[:, None], 0)
        advantage_B = [0.0 if row == FILLER else batch.advantage_M[row] for row in rows]
        inputs["advantages"] = torch.tensor(advantage_B, dtype=torch.float32).to(filler_B.device)
        inputs |= self._normalizers(update, inputs["tool_mask"], forwards)
        inputs["balances"] = not filler_B.all()
        return inputs | self._ahead(batch, keys)

    def _normalizers(self, update: Update, mask_BT, forwards: int) -> dict[str, Any]:
        """What makes TRL's means those of the whole mini-batch, however it is cut.

        TRL divides token means by `num_items_in_batch` of the rollout batch, and means over
        rows by the rows of a forward and the number of forwards.
        """
        processes = self.accelerator.num_processes
        items = update.tokens * self.args.steps_per_generation / forwards
        scale = 1 / min(items, 1.0) if items else 1.0  # TRL divides by one item at least
        if self.loss_type == "bnpo":
            scale = mask_BT.sum().item() * forwards * processes / max(update.tokens, 1)
        elif self.loss_type not in TOKEN_MEANS:
            scale = len(mask_BT) * forwards * processes / max(update.rows, 1)
        items_tensor = torch.tensor(float(items), device=mask_BT.device)
        return {"num_items_in_batch": items_tensor, "loss_scale": scale}

    def _ahead(self, batch: RolloutBatch, keys: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """Log-probs and corrections computed before the updates, for the rows of a forward."""
        ahead = {}
        places = [batch.places.get(key, 0) for key in keys]
        if batch.old_RT is not None:
            ahead["old_per_token_logps"] = batch.old_RT[places]
        if batch.reference_RT is not None:
            ahead["ref_per_token_logps"] = batch.reference_RT[places]
        if not batch.scored.sampled:
            return ahead
        # A ratio says from where a response was drawn: under the prompt that generated it,
        # whatever prompt it is trained under.
        rollouts = [rollout for _, rollout in keys]
        sampled = {name: tensor[rollouts] for name, tensor in batch.scored.sampled.items()}
        if "importance_sampling_ratio" in sampled:
            ahead["importance_sampling_ratio"] = sampled["importance_sampling_ratio"]
        if "sampling_per_token_logps" in sampled and batch.old_RT is not None:
            own_B1 = torch.tensor([batch.is_own(key) for key in keys], device=batch.device)[:, None]
            sampling, old = sampled["sampling_per_token_logps"], ahead["old_per_token_logps"]
            apart = sampling - sampled.get("old_per_token_logps", sampling)
            ahead["sampling_per_token_logps"] = torch.where(own_B1, sampling, old + apart)
        return ahead

    def _inputs(self, batch: RolloutBatch, keys: list[tuple[int, int]]) -> dict[str, Any]:
        """Tokens, masks and pixels of responses under prompts."""
        rows = [self._encoding(prompt) for prompt, _ in keys]
        device = self.accelerator.device
        ids = [torch.tensor(row.ids) for row in rows]
        rollouts = [rollout for _, rollout in keys]
        prompt_ids = self._left_padded(ids, self._tokenizer.pad_token_id)
        response = batch.scored.completion_NT.shape[1]
        fields = {}
        if not self._packing.works:
            fields = self._model_fields(rows, prompt_ids.shape[1] + response, response)
        return {
            "keys": keys,
            "prompt_ids": prompt_ids.to(device),
            "prompt_mask": self._left_padded([torch.ones_like(row) for row in ids], 0).to(device),
            "completion_ids": batch.scored.completion_NT[rollouts],
            "completion_mask": batch.scored.seen_NT[rollouts],
            "tool_mask": batch.scored.mask_NT[rollouts],
            **fields,
        }

    def _left_padded(self, rows: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad(rows, value, "left", pad_to_multiple_of=self.pad_to_multiple_of)

    def _model_fields(self, rows: list[Encoding], length: int, response: int) -> dict[str, Any]:
        """Pixels and token types of whole rows, `response` of `length` tokens being responses."""
        known = {**self._pixels(rows), **self._types(rows, length, response)}
        fields = {name: value for name, value in known.items() if name in PASSED_ON}
        if any(row.images for row in rows):
            fields["num_images"] = [len(row.images) for row in rows]
            fields["num_tiles"] = tiles(rows)
        return fields

    def _types(self, rows: list[Encoding], length: int, response: int) -> dict[str, Any]:
        """Token types of whole rows; those of padding and responses are 0."""
        fields = {}
        for name, types in merge_fields(rows).items():
            if per_token(name):
                wide = torch.zeros(len(rows), length, dtype=torch.long)
                for row, values in zip(wide, types, strict=True):
                    row[length - response - len(values) : length - response] = torch.tensor(values)
                fields[name] = wide.to(self.accelerator.device)
        return fields

    def _pixels(self, rows: list[Encoding]) -> dict[str, Any]:
        """What the processor made of the images of some rows."""
        device = self.accelerator.device
        return {
            name: value.to(device) if torch.is_tensor(value) else value
            for name, value in merge_fields(rows).items()
            if not per_token(name)
        }

    def _knowing(self, model, rows: list[Encoding], length: int, response: int):
        """The model, given what the processor makes of images and TRL would not pass on."""
        known = {**self._pixels(rows), **self._types(rows, length, response)}
        more = {name: value for name, value in known.items() if name not in PASSED_ON}
        return functools.partial(model, **more) if more else model

    def _prepare_inputs(self, generation_batch):
        """Forwards come ready-made from `training_step`; an evaluation generates."""
        if self.model.training:
            return generation_batch
        return self._generate_and_score_completions(generation_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss, as a mean over the whole mini-batch."""
        scale = inputs["loss_scale"] or 1.0  # 0 where no token counts: the loss is 0 anyway
        balance = 1 / scale if inputs["balances"] else 0.0
        with (
            self._working_on(inputs["keys"]),
            self._gathering_rows(),
            self._experts_balanced(balance),
        ):
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loss * scale

    @contextlib.contextmanager
    def _experts_balanced(self, times: float) -> Iterator[None]:
        """TRL adds the loss that balances experts to its own: a mean over forwards already."""
        coefficient = self.router_aux_loss_coef
        self.router_aux_loss_coef = coefficient * times
        try:
            yield
        finally:
            self.router_aux_loss_coef = coefficient

    @contextlib.contextmanager
    def _gathering_rows(self) -> Iterator[None]:
        """TRL gathers metrics of rows; the forwards of two processes have different numbers."""
        gather, padded = self.accelerator.gather, self.accelerator.pad_across_processes
        self.accelerator.gather = lambda values: gather(padded(values, pad_index=math.nan))
        try:
            yield
        finally:
            del self.accelerator.gather

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """As TRL, at `eval_temperature`; its draws do not depend on what was drawn before."""
        self._seed_generation(VALIDATION)
        with validation.sampling_at(self, self.args.eval_temperature):
            return super().evaluate(*args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Generates and scores; the rewards are the result, a policy loss would say nothing."""
        before = {name: len(values) for name, values in self._metrics["eval"].items()}
        self._prepare_inputs(inputs)
        validation.count_samples(self, before, self._reward_NF)
        return torch.zeros((), device=self.accelerator.device), None, None

    # ---- metrics ---------------------------------------------------------------------

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL, whose summary of a run has the metrics of updates that no line had; here the
        last checkpoint had them logged already.
        """
        if "train_loss" in logs and self.state.global_step % max(self.state.logging_steps, 1):
            lines = [line for line in self.state.log_history if "loss" in line]
            last = lines[-1] if lines else {}
            logs |= {name: value for name, value in last.items() if name not in OF_UPDATES}
        super().log(logs, start_time)

    def _log_plan(self, dropped: int) -> None:
        metrics = self._metrics["train"]
        for name, value in self.diagnosis.items():
            metrics[f"plan/{name}"].append(value)
        metrics["plan/unscored"].append(dropped)

    def _log_questions(self, asked: int) -> None:
        metrics = self._metrics["train"]
        for name, value in {"asked": asked, **self.sampling.metrics()}.items():
            metrics[f"questions/{name}"].append(value)

    def _log_time(self) -> None:
        whole = time.perf_counter() - self._began
        metrics = self._metrics["train"]
        for name in STAGES:
            metrics[f"seconds/{name}"].append(self.seconds[name])
        metrics["seconds/rollout_batch"].append(whole)
        self.seconds["rollout_batch"] = whole
        useful = self.diagnosis.get("useful_rollouts", 0)
        metrics["plan/useful_rollouts_per_second"].append(useful / whole)

    # ---- checkpoints -----------------------------------------------------------------

    def train(self, resume_from_checkpoint=None, **rest):
        """As TRL; `resume_from_checkpoint=True` takes the last whole checkpoint, if any.

        Raises:
            InputError: the checkpoint that was given is not whole, or the run stopped inside a
                rollout batch there and is to train further.
        """
        self._look_again()
        checkpoint = self._resumed_from(resume_from_checkpoint)
        self.batch, self._step, self._save_due = None, 0, False
        self._rows = identity(self.train_dataset)
        self._start_sampling(checkpoint)
        check_steps(self.args, self._last_update)
        self._say_when_checkpoints_wait()
        # Old checkpoints go once a newer one is whole, which transformers would not wait for.
        self._keep, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super().train(str(checkpoint) if checkpoint else None, **rest)
        except StoppedError as stopped:
            self._save_between_batches()
            raise stopped.error from None
        finally:
            self.args.save_total_limit = self._keep
            self.recording.close()

    def _resumed_from(self, given: str | bool | None) -> Path | None:
        """The checkpoint to resume from, as the main process finds it."""
        found: list[Any] = [None, None]
        if given and self.accelerator.is_main_process:
            try:
                found[0] = self._checked(given)
            except InputError as error:
                found[1] = str(error)
        broadcast_object_list(found)
        if found[1]:
            raise InputError(found[1])
        return found[0]

    def _checked(self, given: str | bool) -> Path | None:
        run = Path(self.args.output_dir)
        last = checkpoints.last_complete(run) if given is True else Path(files.home(str(given)))
        if last is None:
            checkpoints.check_none_lost(run)
            return None
        damage = checkpoints.damage_of(last) if given is not True else None
        if damage:
            raise InputError(
                f"resume_from_checkpoint={str(last)!r} is not a whole checkpoint: {damage}"
            )
        if not checkpoints.stops_inside(last) or checkpoints.updates_of(last) >= self._last_update:
            return last
        before = checkpoints.last_complete(run, between_batches=True)
        if given is True and before:
            logger.warning(f"{last.name} stopped inside a rollout batch: going on from {before}")
            return before
        remedy = f"resume from {before}" if before else "start the run anew"
        raise InputError(
            f"resume_from_checkpoint={str(last)!r}: the run stopped there inside a rollout batch, "
            f"whose rollouts are not kept, and is now to make {self._last_update} updates: {remedy}"
        )

    def _save_between_batches(self) -> None:
        """Save what was trained, unless there is a checkpoint of it."""
        step, strategy = self.state.global_step, self.args.save_strategy
        last = Path(self.args.output_dir) / f"checkpoint-{step}"
        inside = step % self.args.updates_per_rollout_batch
        if not step or inside or strategy == "no" or checkpoints.marked(last):
            return
        self._save_checkpoint(self.model_wrapped, None)

    def _say_when_checkpoints_wait(self) -> None:
        args, every = self.args, self.args.updates_per_rollout_batch
        steps = steps_of(args.save_steps, self._last_update)
        waits = args.save_strategy == "steps" and steps % every
        if waits and self.accelerator.is_main_process:
            logger.warning(
                f"save_steps={steps}: a checkpoint waits for the end of its rollout "
                f"batch of {every} updates"
            )

    def _run_epoch(self, *args, **kwargs) -> None:
        """As transformers, which would train one step more when it resumes a finished run."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _maybe_log_save_evaluate(self, *args, **kwargs) -> None:
        """Saves between rollout batches, or where the run stops. Logs before it saves: what is
        gathered for the next log is not in a checkpoint.
        """
        control = self.control
        inside = bool(self.state.global_step % self.args.updates_per_rollout_batch)
        waits = inside and not control.should_training_stop
        due = self._save_due or control.should_save
        control.should_save, self._save_due = due and not waits, due and waits
        control.should_log |= control.should_save or control.should_evaluate
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        """As `from_pretrained` does: weights of many vision-language models are saved under
        other names than those of their modules, which the trainer of transformers does not
        know; it would go on without loading any.
        Source: https://github.com/huggingface/transformers/issues/43701
        """
        if self._loads_otherwise:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        widest = max((p.dtype for p in self.model.parameters()), key=lambda dtype: dtype.itemsize)
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=widest)
        try:
            self.model.load_state_dict(saved.state_dict())
        except RuntimeError as error:
            raise InputError(
                f"resume_from_checkpoint={str(resume_from_checkpoint)!r}: its weights are not "
                f"those of the {type(self.model).__name__} that the run has now: give it the same "
                "model"
            ) from error

    def _load_best_model(self) -> None:
        if self._loads_otherwise:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    @property
    def _loads_otherwise(self) -> bool:
        return self.is_fsdp_enabled or self.is_deepspeed_enabled or is_peft_model(self.model)

    def _save_checkpoint(self, model, trial) -> None:
        """As transformers, and marks what is whole.

        Raises:
            EngineError: it cannot be written; the earlier ones stay.
        """
        run = Path(self._get_output_dir(trial=trial))
        checkpoint = run / f"checkpoint-{self.state.global_step}"
        with checkpoints.written(checkpoint):
            if self.args.should_save:
                shutil.rmtree(checkpoint, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._mark(checkpoint)

    def _mark(self, checkpoint: Path) -> None:
        inside = self.state.global_step % self.args.updates_per_rollout_batch
        state, questions = self.sampling.state_dict(), len(self._fitting)
        checkpoints.save_sampling(
            checkpoint,
            state,
            questions,
            self._rows,
            inside=bool(inside),
            silent=self.silence.count,
        )
        self.recording.flush()
        checkpoints.mark_complete(checkpoint)
        checkpoints.remove_old(checkpoint, self._keep, self.state.best_model_checkpoint)


def check_trainable(model: torch.nn.Module) -> None:
    """Refuse a model that no update would change.

    Raises:
        ConfigError: it has no trainable parameter, but for the copy that TRL makes of an adapter.
    """
    if any(p.requires_grad for name, p in model.named_parameters() if ".ref." not in name):
        return
    remedy = "set requires_grad of what is to be trained, or leave freeze_vision_tower out"
    if is_peft_model(model) or getattr(model, "_hf_peft_config_loaded", False):
        remedy = (
            "load the adapter with PeftModel.from_pretrained(..., is_trainable=True), or give the "
            "model that it adapts together with peft_config (model.lora)"
        )
    raise ConfigError(
        f"model: no parameter of {type(model).__name__} is trainable, so no update would change "
        f"it: {remedy}"
    )


def _spread(count: int, most: int) -> list[np.ndarray]:
    """Numbers of rows in forwards of at most `most`; neighbours, of one question, are apart."""
    parts = -(-count // most)
    return [np.arange(part, count, parts) for part in range(parts)]


def in_one_form(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as TRL has them: where a column has a picture for one, the prompts of all are parts."""
    column = "images" in examples[0] or "image" in examples[0]
    if not column or not any(images_in(row["prompt"]) for row in examples):
        return examples
    return [{**row, "prompt": prepare_multimodal_messages(row["prompt"])} for row in examples]


def _with_last(things: list) -> Iterator[tuple[Any, bool]]:
    for number, thing in enumerate(things, start=1):
        yield thing, number == len(things)
