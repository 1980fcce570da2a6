"""Runs of one family with vLLM in the process: FAMILY OUT. Writes what each of them saw.

The engine is started once; every run is a trainer of its own, which hands its weights over.
"""

import faulthandler
import json
import sys
import traceback
from pathlib import Path

import families
import numpy as np
import on_a_cpu
import torch
import training_cases
import trl.generation.vllm_generation as generation
from peft import LoraConfig
from training_cases import mixed_rows
from transformers import AutoConfig, ProcessorMixin

from vantage.errors import VantageError
from vantage.training.trl import VantageTrainer, trainable, vllm

families.HEAD = 32  # the smallest that vLLM's attention on a CPU takes

import stock  # noqa: E402, its sizes follow from that of a head

SECONDS = 500
SHARE = {
    "recipe": "share-grpo",
    "variants": {"prompts": 2, "rewrites": "new_questions"},
    "steps_per_generation": 4,
    "gradient_accumulation_steps": 1,
}
ADAPTERS = LoraConfig(r=4, lora_alpha=8, target_modules=r".*\.(q_proj|v_proj|in_proj)")
# What vLLM computes in where it cannot compute in 32 bits on a CPU.
ROUNDED = {"qwen3_5": "bfloat16", "qwen3_5_moe": "bfloat16"}
TOKENS = {"vllm_importance_sampling_mode": "token_truncate"}


class Engine:
    """`LLM` as TRL asks for it: one for all trainers of this process."""

    made = kind = None

    def __new__(cls, **options):
        if cls.made is None:
            options.pop("gpu_memory_utilization")
            options["limit_mm_per_prompt"] = {"video": 0}  # tiny models have no room for one
            kind = AutoConfig.from_pretrained(options["model"]).model_type
            dtype = ROUNDED.get(kind, "float32")
            cls.made = cls.kind(**options, dtype=dtype, enforce_eager=True)
        return cls.made


class Watched(VantageTrainer):
    """Notes how far sampler and trainer are apart on each own row."""

    def __init__(self, *args, **kwargs):
        self.rows, self.ratios = [], []
        super().__init__(*args, **kwargs)
        self.start = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._compare = self._rollout_batches._compare
        self._rollout_batches._compare = self._noting

    def _noting(self, canary, batch, model):
        self.rows.append([])
        if batch.old_RT is not None:
            sampling_NT = batch.responses.sampling_NT
            for (prompt, rollout), place in batch.row_of.items():
                if prompt == batch.scored.prompt_N[rollout]:
                    counted_T = batch.responses.mask_NT[rollout].bool()
                    apart_T = (batch.old_RT[place] - sampling_NT[rollout])[counted_T]
                    images = len(self._encoder(prompt).images)
                    self.rows[-1].append([images, apart_T.abs().max().item()])
        self._compare(canary, batch, model)

    def compute_loss(self, model, inputs, *args, **kwargs):
        ratio = inputs.get("importance_sampling_ratio")
        if ratio is not None:
            for (prompt, rollout), ratio_T in zip(inputs["keys"], ratio, strict=True):
                own = bool(prompt == self.batch.scored.prompt_N[rollout])
                self.ratios.append([rollout, own, ratio_T.double().mean().item()])
        return super().compute_loss(model, inputs, *args, **kwargs)


def made(model: str, out: Path, rows=None, rest=None, **options) -> Watched:
    """A trainer whose engine is the one of this process."""
    settings = {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 512,
        "max_completion_length": 16,
        "gradient_checkpointing": False,
        "learning_rate": 0.05,
        **TOKENS,
        **options,
    }
    args = training_cases.config(out / "run", **settings)
    args.max_steps = 2 * args.updates_per_rollout_batch
    return Watched(model, training_cases.Reward(), args, rows, **(rest or {}))


def seen(trainer: Watched) -> dict:
    """What a trained trainer saw."""
    log = trainer.state.log_history
    moved = {"tower": 0.0, "text": 0.0}
    for name, p in trainer.model.named_parameters():
        part = "tower" if ".vis" in name else "text"
        moved[part] = max(moved[part], float((p.detach() - trainer.start[name]).abs().max()))
    return {
        "rows": trainer.rows,
        "dtype": str(trainer.vllm_generation.dtype),
        "ratios": trainer.ratios,
        "moved": moved,
        "unscored": [line["plan/unscored"] for line in log if "plan/unscored" in line],
        **{
            name: [line[f"sampler/{name}"] for line in log if f"sampler/{name}" in line]
            for name in ("kl", "difference", "largest_ratio")
        },
    }


# ---- runs ----------------------------------------------------------------------------------


def grpo(model: str, out: Path, rows) -> dict:
    """Two batches, the second from weights that were trained, the tower's too."""
    trainer = made(model, out, rows)
    trainer.train()
    return seen(trainer)


def shared(model: str, out: Path, rows) -> dict:
    """Responses under prompts that did not generate them."""
    trainer = made(model, out, rows, **SHARE)
    trainer.train()
    return seen(trainer)


def cut_off(model: str, out: Path, rows) -> dict:
    """`top_p` as published, without a correction."""
    trainer = made(model, out, rows, top_p=0.9, vllm_importance_sampling_correction=False)
    trainer.train()
    return seen(trainer)


def adapted(model: str, out: Path, rows) -> dict:
    """Adapters, whose base stays as it was to the bit."""
    trainer = made(model, out, rows, rest={"peft_config": ADAPTERS}, learning_rate=0.5)
    named = trainer.model.named_parameters
    base = {name: p.detach().clone() for name, p in named() if not p.requires_grad}
    trainer.train()
    changed = [name for name, p in named() if name in base and not torch.equal(p, base[name])]
    return {**seen(trainer), "changed": changed, "base": len(base)}


# ---- the hand-over, broken on purpose ------------------------------------------------------


def refused(trainer: Watched) -> dict:
    """What a run that must not go on says."""
    try:
        trainer.train()
    except vllm.EngineError as error:
        return {"error": str(error), "batches": len(trainer.rows)}
    return {**seen(trainer), "error": None}


def expanded_twice(model: str, out: Path, rows) -> dict:
    """vLLM is given placeholders that are expanded already."""
    trainer = made(model, out, rows)
    encode = trainer._encoder.encode

    def expanded(prompt, shown=()):
        encoding = encode(prompt, shown)
        encoding.written = None
        return encoding

    trainer._encoder.encode = expanded
    return refused(trainer)


def expanded_twice_unseen(model: str, out: Path, rows) -> dict:
    """The same, told by the log-probs alone."""
    from vantage.training.trl import vllm as module

    check, module.check_same_prompts = module.check_same_prompts, lambda *_: None
    try:
        return expanded_twice(model, out, rows)
    finally:
        module.check_same_prompts = check


def stale_weights(model: str, out: Path, rows) -> dict:
    """An update that never reaches vLLM."""
    trainer = made(model, out, rows)
    sync, done = trainer.vllm_generation.sync_weights, []
    trainer.vllm_generation.sync_weights = lambda: done or (done.append(True), sync())
    return refused(trainer)


def stale_pictures(model: str, out: Path, rows) -> dict:
    """What the tower made before the update is used after it."""
    trainer = made(model, out, rows, learning_rate=0.3)
    engine = Engine.made.llm_engine
    engine.reset_encoder_cache = lambda: None
    try:
        return refused(trainer)
    finally:
        del engine.reset_encoder_cache


def renormalised(model: str, out: Path, rows) -> dict:
    """vLLM drops half of the vocabulary, and the trainer knows nothing of it."""
    trainer = made(model, out, rows)
    trainer.vllm_generation.top_p = 0.5
    return refused(trainer)


RUNS = (grpo, shared, cut_off, adapted)
BROKEN = (expanded_twice, expanded_twice_unseen, stale_weights, stale_pictures, renormalised)


# ---- models --------------------------------------------------------------------------------


def saved(family: str, out: Path) -> tuple[str, bool]:
    """Directory of a tiny model whose media tokens are improbable; whether it sees."""
    model, processor = stock.FAMILIES[family]()
    as_published(model, processor)
    quieten(model, trainable.media_ids(model.config))
    model.save_pretrained(out / "model")
    processor.save_pretrained(out / "model")
    return str(out / "model"), isinstance(processor, ProcessorMixin)


def as_published(model, processor) -> None:
    """What checkpoints of some families say and do, and vLLM counts on."""
    model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings
    images = getattr(processor, "image_processor", None)
    if hasattr(images, "do_image_splitting") and hasattr(images, "max_image_size"):
        images.do_image_splitting, images.size = True, {"longest_edge": 56}


def quieten(model, token_ids: list[int]) -> None:
    """Make tokens improbable, as training makes them: an untrained model samples them.

    The first value of the hidden state is the same for every word, since no layer adds to it, and
    the head reads it with another sign for these tokens.
    """
    words, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        for matrix in (words, head):
            matrix[:, 0] = 2.0
        for name, weight in model.named_parameters():
            in_text = ".layers." in name and ".vis" not in name
            if in_text and weight.ndim == 2 and len(weight) == words.shape[1]:
                weight[0] = 0.0
        head[token_ids] = 0.0
        head[token_ids, 0] = -20.0


def larger(row: dict) -> dict:
    """Pictures of several tokens."""
    return {
        "images": [image.resize((2 * image.width, 2 * image.height)) for image in row["images"]]
    }


def reason(error: Exception) -> str:
    """Why a family does not run with this vLLM, for the table: ours in our words, cut before
    numbers that another machine would round otherwise.
    """
    text = " ".join(str(error).split())
    if isinstance(error, VantageError):
        return f"no: {text.partition(' by ')[0]}"
    return f"-: {type(error).__name__}, {text[:120]}".strip(", ")


def main(family: str, out: Path, broken: bool) -> None:
    on_a_cpu.keep_weights_unpacked()
    Engine.kind, generation.LLM = generation.LLM, Engine
    torch.set_num_threads(1)
    np.random.seed(0)
    model, sees = saved(family, out)
    rows = mixed_rows(8, live=tuple(range(8)))
    rows = rows.map(larger) if sees else rows.remove_columns("images")
    for run in (*RUNS, *(BROKEN if broken else ())):
        try:
            found = run(model, out, rows)
        except Exception as error:  # an engine that failed may never answer again
            (out / "failed.txt").write_text(f"{run.__name__}: {traceback.format_exc()}")
            if run is RUNS[0]:
                (out / "reason.txt").write_text(reason(error))
            break
        (out / f"{run.__name__}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    main(sys.argv[1], Path(sys.argv[2]), "--broken" in sys.argv)
