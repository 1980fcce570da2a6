"""Makes rollout batches: generates and scores responses, plans, and computes old log-probs."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import set_seed
from trl.trainer.utils import use_adapter

from vantage.training.clock import Clock
from vantage.training.dealing import PADDING, Update, deal, loss_weights
from vantage.training.mismatch import Canary, pooled
from vantage.training.planning import Plan, totals
from vantage.training.session import Session
from vantage.training.stopping import StoppedError
from vantage.training.trl import correction
from vantage.training.trl.batch import SAMPLED, RolloutBatch, Scored, trained_keys
from vantage.training.trl.config import TOKEN_MEANS, VantageConfig
from vantage.training.trl.encoder import Encoder
from vantage.training.trl.policy import Key, Limits, Policy
from vantage.training.trl.responses import Responses
from vantage.training.trl.rewards import stop_where_failed
from vantage.training.trl.turn import Turn, in_one_form
from vantage.training.trl.vllm import Sampler, canary_of

logger = logging.getLogger(__name__)

# Turn number that seeds validation, distinct from those of a batch's refills.
VALIDATION = 2**31


def seed_generation(args: VantageConfig, number: int, process: int, turn: int) -> None:
    """Seed all random generators before generation; a tensor-parallel group shares a seed.

    Args:
        args: Options of the run.
        number: Number of the rollout batch.
        process: Rank of this process.
        turn: Number of the generation within the rollout batch.
    """
    group = args.vllm_tensor_parallel_size if args.colocated else 1
    key = [args.seed, number, process // group, turn]
    set_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


class RolloutBatches:
    """Makes the rollout batches of a run; `clock` measures their stages.

    Attributes:
        policy: Computes log-probs.
        canary: Compares vLLM with the policy; None without vLLM.

    Args:
        args: Options of the run.
        model: The trained model.
        encoder: Encodes the prompts of a batch.
        accelerator: Runs the forwards.
        sampler: vLLM, if it generates.
        generate: Runs one call of TRL's generation and scoring, and returns TRL's tensors.
        log: Logs metrics.
        pad_id: Id of the padding token.
        balances: Whether to compute the load-balancing loss of experts.
        rewards: Returns the current weights of the reward functions by name.
        rewrites: Whether a rollout function may encode prompts in its own way.
    """

    def __init__(
        self,
        args: VantageConfig,
        model: Any,
        encoder: Encoder,
        accelerator: Accelerator,
        sampler: Sampler | None,
        generate: Callable[[Turn], dict[str, Any]],
        log: Callable[[dict[str, float]], None],
        *,
        pad_id: int,
        balances: bool,
        rewards: Callable[[], Mapping[str, float]],
        rewrites: bool,
    ):
        self.args, self.encoder, self.accelerator = args, encoder, accelerator
        self.generate, self.log, self.rewards, self.rewrites = generate, log, rewards, rewrites
        self.clock = Clock()
        self.policy = Policy(
            encoder,
            accelerator,
            rows=args.per_device_train_batch_size,
            packing=args.packing,
            pad_id=pad_id,
            multiple=args.pad_to_multiple_of,
            balances=balances,
        )
        self.canary = canary_of(args, model, self.policy, sampler) if sampler else None

    @property
    def corrects_sampler(self) -> bool:
        """Whether TRL applies importance sampling correction between vLLM and the policy."""
        return self.args.use_vllm and self.args.vllm_importance_sampling_correction

    @property
    def _skips_silent(self) -> bool:
        """Whether rows without an advantage have no gradient, so that forwards can skip them."""
        return self.args.beta == 0.0 and not self.policy.balances

    def scored(
        self, session: Session, without_metrics: contextlib.AbstractContextManager
    ) -> Scored:
        """Generate and score the rollouts of the next batch, and refill silent questions.

        Args:
            session: Session that has started the batch.
            without_metrics: Context in which TRL's metrics are discarded.
        """
        # A refill asks a multiple of the number of processes, so that each gets whole prompts.
        turns, even = itertools.count(1), self.accelerator.num_processes
        self.clock.restart()
        self.encoder.clear()
        self.policy.clear()
        first = self._ask(session, session.questions, 0)
        # Refilled questions are a biased sample, so they must not enter TRL's metrics.
        with without_metrics:
            return session.refill(
                first, lambda missing: self._ask(session, -(-missing // even) * even, next(turns))
            )

    def planned(
        self, session: Session, scored: Scored, model: Any, reference: Any | None
    ) -> RolloutBatch:
        """Plan the rollouts of all processes, and compute the log-probs that the updates need.

        All processes compute the same plan.

        Args:
            session: Makes the plan.
            scored: The scored rollouts.
            model: The trained model.
            reference: Reference model of the KL term; None for `model` without its adapter.

        Raises:
            StoppedError: The recipe failed, or too many consecutive batches had no gradient.
            EngineError: vLLM's log-probs do not match those of the model.
        """
        args, responses = self.args, scored.responses
        with self.clock.timed("plan"):
            plan = self._plan(session, scored)
            samples, length_M = plan.samples, responses.counted()[plan.samples.rollout_M]
            updates = deal(
                samples,
                length_M,
                args.updates,
                self.accelerator.num_processes,
                skips_silent=self._skips_silent,
            )
            size_M = length_M if args.loss_type in TOKEN_MEANS else np.ones(len(samples))
            advantage_M = samples.advantage_M * loss_weights(samples, size_M, updates)
        self.log(session.metrics(plan))
        keys = scored.keys(samples, session.recipe.name)
        with self.clock.timed("log_probs"):
            limits = self._limits(scored, keys, updates)
            keys.append(limits.padding)
            batch = RolloutBatch(scored, plan, args, updates, advantage_M, keys, limits)
            batch = replace(batch, forwards_U=self._forwards(batch, model))
            batch = self._with_log_probs(batch, model, reference)
            if self.canary is not None and responses.sampling_NT is not None:
                self._compare(self.canary, batch, model)
        return batch

    def _plan(self, session: Session, scored: Scored) -> Plan:
        failed = None
        try:
            plan = session.plan(scored)
        except StoppedError as error:
            failed = error.error
        stop_where_failed(failed)  # on all processes, before any of them counts the batch
        session.count(plan, warns=self.accelerator.is_main_process)
        return plan

    # ---- rollouts --------------------------------------------------------------------

    def _ask(self, session: Session, questions: int, number: int) -> Scored:
        """Draw questions, and return the scored rollouts of all processes."""
        prompts, process = session.prompts, self.accelerator.process_index
        prompt_N = prompts.ids(session.draw(questions), self.args.num_generations)
        each = len(prompt_N) // self.accelerator.num_processes
        rows = range(process * each, (process + 1) * each)
        mine = prompt_N[rows].tolist()
        encodings = [self.encoder(prompt) for prompt in mine]
        sources = zip(map(prompts.source, mine), encodings, strict=True)
        examples = [{**source, "prompt": encoding.prompt} for source, encoding in sources]
        question_N = prompt_N // prompts.variants.prompts
        seeds = [(self.args.seed, session.number, number, row) for row in rows]
        rewards = list(self.rewards())
        turn = Turn(in_one_form(examples), encodings, seeds, rewards, number, question_N)
        seed_generation(self.args, session.number, process, number)
        output = self.generate(turn)
        scored = Scored(
            question_N,
            prompt_N,
            self._rewards(turn),
            turn.part_NF.double().cpu().numpy(),
            self._asked_as(prompt_N, mine, output),
            self._responses(output),
        )
        session.record(scored, tokens=self._generated_tokens(output))
        return scored

    def _rewards(self, turn: Turn) -> np.ndarray:
        """Rewards of the rollouts of all processes, NaN if unscored, shape (N,)."""
        spoiled = torch.tensor(turn.spoiled, device=self.accelerator.device)
        spoiled_N = self.accelerator.gather(spoiled).cpu().numpy()
        reward_N = totals(turn.part_NF.double().cpu().numpy(), list(self.rewards().values()))
        return np.where(spoiled_N, np.nan, reward_N)

    def _asked_as(
        self, prompt_N: np.ndarray, mine: list[int], output: dict[str, Any]
    ) -> np.ndarray:
        """Prompt id of each rollout, distinct for other encodings by a rollout function."""
        if not self.rewrites:
            return prompt_N
        masked = zip(output["prompt_ids"], output["prompt_mask"].bool(), strict=True)
        rows = zip(mine, (ids[mask].tolist() for ids, mask in masked), strict=True)
        # Exchange only the tokens that differ, so that no process encodes the prompts of others.
        given = gather_object([None if ids == self.encoder(p).ids else ids for p, ids in rows])
        pairs = zip(prompt_N.tolist(), given, strict=True)
        return np.array([self.encoder.in_tokens(prompt, ids) for prompt, ids in pairs])

    def _responses(self, output: dict[str, Any]) -> Responses:
        """Gather the responses of all processes."""
        seen = output["completion_mask"]
        # A rollout function marks tokens that the model did not generate with `env_mask`, which
        # TRL passes on as `tool_mask`.
        own_NT = self._gathered(output.get("tool_mask", torch.ones_like(seen)), 1)
        seen_NT = self._gathered(seen, 0)
        sampling = output.get(SAMPLED)
        return Responses(
            self._gathered(output["completion_ids"], self.policy.pad_id),
            seen_NT,
            seen_NT * own_NT,
            self.policy.pad_id,
            None if sampling is None else self._gathered(sampling, 0.0),
        )

    def _generated_tokens(self, output: dict[str, Any]) -> int:
        """Number of tokens that the model generated, over all processes."""
        ids, seen = output["completion_ids"], output["completion_mask"].bool()
        own = output.get("tool_mask", torch.ones_like(ids)).bool()
        # TRL can mask truncated responses entirely, but their tokens were still generated.
        there = (seen | (ids != self.policy.pad_id)) & own
        return int(self.accelerator.gather(there.sum()[None]).sum())

    def _gathered(self, local: torch.Tensor, padding: float) -> torch.Tensor:
        padded = self.accelerator.pad_across_processes(local, dim=1, pad_index=padding)
        return self.accelerator.gather(padded)

    # ---- forwards and log-probs ------------------------------------------------------

    def _limits(self, scored: Scored, keys: list[Key], updates: list[Update]) -> Limits:
        """Limits of the forwards, whose padding has an image if any forward needs one."""
        prompts = enumerate(scored.prompt_N.tolist())
        shown = (rollout for rollout, prompt in prompts if self.encoder.shows([prompt]))
        pictured = next(shown, None) if self.encoder.pictured else None
        padding = (int(scored.asked_N[pictured or 0]), pictured or 0)
        mine = trained_keys([*keys, padding], updates, self.accelerator.process_index)
        budget = self.policy.budget({prompt for prompt, _ in mine}, scored.responses)
        return Limits(budget, padding, pictured is not None)

    def _forwards(self, batch: RolloutBatch, model: Any) -> list[list[np.ndarray]]:
        """Rows of this process in each forward of each update, once packing is decided."""
        process, responses = self.accelerator.process_index, batch.responses
        keys = trained_keys(batch.keys, batch.updates, process)
        self.policy.decide_packing(model, responses, keys, batch.limits)
        cut_U = []
        for update in batch.updates:
            rows = update.row_PR[process]
            mine = [batch.keys[row] for row in rows]
            parts = self.policy.cut(responses, mine, batch.limits, rows == PADDING)
            cut_U.append([np.append(rows, PADDING)[part] for part in parts])
        return self.policy.cut_even(cut_U)

    def _with_log_probs(self, batch: RolloutBatch, model: Any, reference) -> RolloutBatch:
        """Compute old and reference log-probs once per distinct key of this process."""
        args, samples = self.args, batch.responses.sampling_NT is not None
        corrects = samples and self.corrects_sampler
        # TRL's off-policy mask compares the sampler's log-probs with the old ones.
        masks = samples and args.off_policy_mask_threshold is not None
        needs_old = corrects or masks or args.updates_per_rollout_batch > 1
        if not needs_old and args.beta == 0.0:
            return batch
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        dealt = [batch.distinct_keys(number) for number in range(processes)]
        owned = correction.owners(batch.own_keys, dealt) if corrects else [[] for _ in dealt]
        mine = list(dict.fromkeys([*dealt[process], *owned[process]]))
        batch = replace(
            batch,
            row_of={key: row for row, key in enumerate(mine)},
            old_RT=self._score(batch, mine, model) if needs_old else None,
            reference_RT=self._score_reference(batch, dealt[process], model, reference)
            if args.beta != 0.0
            else None,
        )
        return self._corrected(batch, owned) if corrects else batch

    def _corrected(self, batch: RolloutBatch, owned: list[list[Key]]) -> RolloutBatch:
        """Compute the ratios that correct for the sampler.

        Args:
            batch: The batch with the old log-probs of this process.
            owned: Keys of the rollouts that each process has scored for all.
        """
        responses, mine = batch.responses, owned[self.accelerator.process_index]
        assert batch.old_RT is not None and responses.sampling_NT is not None
        own_NT = torch.zeros_like(responses.tokens_NT, dtype=batch.old_RT.dtype)
        own_NT[[rollout for _, rollout in mine]] = batch.old_RT[[batch.row_of[key] for key in mine]]
        own_NT = self.accelerator.reduce(own_NT, "sum")
        trained = [rollout for keys in owned for _, rollout in keys]
        compared = (own_NT[trained], responses.sampling_NT[trained], responses.mask_NT[trained])
        ratio_R = correction.ratios(*compared, self.args)
        self.log(correction.metrics(*compared, ratio_R))
        ratio_N = ratio_R.new_ones(len(responses), ratio_R.shape[1])
        ratio_N[trained] = ratio_R
        return replace(batch, own_NT=own_NT, ratio_NT=ratio_N)

    def _score(self, batch: RolloutBatch, keys: Sequence[Key], model: Any) -> torch.Tensor:
        return self.policy.log_probs(model, batch.responses, keys, batch.limits)

    def _score_reference(
        self, batch: RolloutBatch, keys: Sequence[Key], model: Any, reference: Any | None
    ) -> torch.Tensor:
        if reference is not None:
            return self._score(batch, keys, reference)
        adapted = self.accelerator.unwrap_model(model)
        with use_adapter(adapted, adapter_name="ref" if "ref" in adapted.peft_config else None):
            return self._score(batch, keys, model)

    def _compare(self, canary: Canary, batch: RolloutBatch, model: Any) -> None:
        """Log the mismatch between vLLM and the policy; a large one ends the run."""
        process, rows = self.accelerator.process_index, self.policy.rows
        score = partial(self._score, batch, model=model) if canary.is_due else None
        found = pooled(gather_object([batch.mismatch(process, score, rows)]))
        self.log(found.metrics())
        if not canary.compared and math.isinf(canary.slack):
            options = ", ".join(self.args.changes_of_log_probs)
            logger.warning(f"{options}: vLLM's log-probs cannot be compared with the trainer's")
        canary.take(found)
