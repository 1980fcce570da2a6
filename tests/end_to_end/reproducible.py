"""A small training run whose rollouts are the same on any number of processes, and what it did.

Every process samples from the model as it always would, and then puts responses in the place
of the samples that depend on the rollout's place in the batch alone: on its question, its
prompt and its number in the group.
"""

import contextlib
import json
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor

from vantage.training.trl import VantageConfig, VantageTrainer

OPTIONS = {
    "num_generations": 4,
    "generation_batch_size": 32,
    "max_completion_length": 8,
    "optim": "sgd",
    "learning_rate": 0.05,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "seed": 3,
}


class Reproducible(VantageTrainer):
    """Also records its plans, and what this process generated, trained and computed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.record = {"plans": [], "generated": [], "trained": [], "home": [], "forwards": []}
        self.record |= {"held": 0, "rounded": [], "seen": []}
        policy, encoder = self.policy, self._encoder
        policy.whole_rows = self._watch(policy.whole_rows, lambda given: given[0])
        policy.packs = self._watch(policy.packs, lambda given: [encoder(p) for p, _ in given[2]])

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        if self.is_deepspeed_enabled:  # even the small weights of this model are cut
            options = self.accelerator.state.deepspeed_plugin.deepspeed_config
            options["zero_optimization"]["stage3_param_persistence_threshold"] = 0

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        sampled, _ = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        assert len(sampled) == len(prompt_ids)
        first = self.accelerator.process_index * len(prompt_ids)
        rows = range(first, first + len(prompt_ids))
        if self.model.training:
            self.record["generated"].append(list(rows))
        return [self._response(row) for row in rows], None

    def _response(self, row: int) -> list[int]:
        rng = np.random.default_rng([self.args.seed, self.session.number, row])
        digits = self._tokenizer.convert_tokens_to_ids(list("0123456789"))
        ends = [self._tokenizer.eos_token_id] if rng.random() < 0.7 else []
        return [*rng.choice(digits, size=rng.integers(1, 7)).tolist(), *ends]

    def _roll_out(self):
        batch = super()._roll_out()
        mine = np.concatenate([u.row_PR[self.accelerator.process_index] for u in batch.updates])
        columns = {name: column.tolist() for name, column in vars(batch.samples).items()}
        self.record["plans"].append(columns)
        self.record["home"].append(batch.scored.prompt_N.tolist())
        self.record["trained"].append(mine.tolist())
        return batch

    def _watch(self, score, encodings_of):
        """A way of scoring of the policy that notes each forward."""

        def scored(model, *given, **options):
            encodings = encodings_of(given)
            if self._turn is None:
                kind = "update" if torch.is_grad_enabled() else "log-probs"
                self.record["forwards"].append((self.state.global_step, kind, len(encodings)))
            if self.policy.packing.works is not None:
                self.record["seen"].append([bool(row.images) for row in encodings])
            made = score(model, *given, **options)
            if torch.is_grad_enabled():
                self.record["rounded"].append(_rounded(made.log_probs_RT))
            return made

        return scored

    def compute_loss(self, *args, **kwargs):
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        held = sum(_here(grad).numel() for grad in grads)
        self.record["held"] = max(self.record["held"], held)
        return super().compute_loss(*args, **kwargs)


def train(out: Path, model: str, rows: Dataset, options: dict) -> None:
    """Train, and write what each process did, and the weights, to `out`."""
    sent = _watch_what_is_sent()
    options = OPTIONS | options
    adapters = LoraConfig(**lora) if (lora := options.pop("lora", None)) else None
    args = VantageConfig(str(out / "run"), **options)
    trainer = Reproducible(
        model,
        last_digit,
        args,
        rows.select(range(36)),
        rows.select(range(36, 40)),
        peft_config=adapters,
    )
    before = {name: _whole(p).clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    shards = {name: _here(p).numel() for name, p in trainer.model.named_parameters()}
    with _summoned(trainer.model_wrapped):
        after = {name: _whole(p).clone() for name, p in trainer.model.named_parameters()}
    after = {name.replace("_fsdp_wrapped_module.", ""): p for name, p in after.items()}
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    record = trainer.record | {"log": trainer.state.log_history, "moved": moved, "sent": sent}
    record["kept"] = sum(shards.values())
    record["weights"] = sum(p.numel() for p in after.values())
    pairs = zip(trainer.model.parameters(), after.values(), strict=True)
    record["trainable"] = sum(whole.numel() for p, whole in pairs if p.requires_grad)
    rank = int(os.environ.get("RANK", 0))
    (out / f"record-{rank}.json").write_text(json.dumps(record))
    torch.save(after, out / f"weights-{rank}.pt")


def _rounded(log_prob_BT: torch.Tensor) -> float:
    """Share of the log-probs that bfloat16 can hold; those of padding are left out."""
    log_probs = log_prob_BT[log_prob_BT != 0]
    return float((log_probs.bfloat16() == log_probs).float().mean())


def _whole(weights: torch.Tensor) -> torch.Tensor:
    """All of them, in the precision in which they are trained."""
    if isinstance(weights, DTensor):
        return weights.full_tensor().detach()
    if hasattr(weights, "_hp_mapping") or hasattr(weights, "_z3_optimizer"):
        from deepspeed.utils import safe_get_full_fp32_param

        return safe_get_full_fp32_param(weights).detach()
    if hasattr(weights, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([weights]):
            return weights.detach().clone()
    return weights.detach()


def _summoned(model) -> contextlib.AbstractContextManager:
    """In it, FSDP 1 shows whole weights; the others are asked for each by itself."""
    if isinstance(model, FullyShardedDataParallel):
        return FullyShardedDataParallel.summon_full_params(model)
    return contextlib.nullcontext()


def _here(weights: torch.Tensor) -> torch.Tensor:
    """The shard of this process."""
    if isinstance(weights, DTensor):
        return weights.to_local()
    return weights if weights.numel() else getattr(weights, "ds_tensor", weights)


def last_digit(completions, completion_ids, **_):
    digits = [text[0]["content"][-1] for text in completions]
    return [
        None if len(ids) == 7 else float(digit == "0")
        for digit, ids in zip(digits, completion_ids, strict=True)
    ]


def _watch_what_is_sent() -> Counter:
    """Count what goes to other processes: objects with pictures in them, tensors by dimensions."""
    sent: Counter = Counter()
    gather_objects = torch.distributed.all_gather_object
    gather_tensors = torch.distributed.all_gather

    def objects(into, thing, *args, **kwargs):
        sent["pictures" if b"PIL" in pickle.dumps(thing) else "objects"] += 1
        return gather_objects(into, thing, *args, **kwargs)

    def tensors(into, thing, *args, **kwargs):
        sent[f"{thing.ndim} dimensions"] += 1
        return gather_tensors(into, thing, *args, **kwargs)

    torch.distributed.all_gather_object = objects
    torch.distributed.all_gather = tensors
    return sent
