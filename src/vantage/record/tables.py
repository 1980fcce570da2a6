"""Parquet tables of a step, and their schemas."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from vantage.methods.advantages import group_advantage
from vantage.questions.pictures import Picture
from vantage.questions.schema import Question, Turn, pictures, written
from vantage.questions.transforms import Applied
from vantage.record.bounds import shortened
from vantage.record.step import Step

NUMBERS = pa.map_(pa.string(), pa.float64())
PICTURE = pa.struct([("picture", pa.string()), ("changes", pa.list_(pa.string()))])
MESSAGE = pa.struct([("role", pa.string()), ("text", pa.string())])

BATCH = pa.schema(
    [
        ("batch", pa.int32()),
        ("updates", pa.int64()),  # of the run, completed after this batch
        ("ended", pa.float64()),  # seconds since 1970
        ("generated_tokens", pa.int64()),
        ("done", pa.float64()),  # share of the training, at the start of the batch
        ("seconds", NUMBERS),  # by stage
        ("metrics", NUMBERS),
    ]
)
SAMPLES = pa.schema(
    [
        ("batch", pa.int32()),
        ("sample", pa.int32()),  # in order of training
        ("rollout", pa.int32()),
        ("prompt", pa.int32()),  # the prompt in training
        ("advantage", pa.float64()),
        ("pair", pa.int64()),  # -1 when unpaired
        ("padding", pa.bool_()),
        ("weight", pa.float64()),
        ("update", pa.int32()),
    ]
)
PROMPTS = pa.schema(
    [
        ("batch", pa.int32()),
        ("prompt", pa.int32()),
        ("row", pa.int64()),  # of the data set
        ("variant", pa.int32()),
        ("text", pa.string()),  # null if not kept
        ("earlier", pa.list_(MESSAGE)),
        ("later", pa.list_(MESSAGE)),
        ("pictures", pa.list_(PICTURE)),
    ]
)
VALIDATIONS = pa.schema(
    [
        ("batch", pa.int32()),  # completed rollout batches
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


def rollouts_schema(parts: Sequence[str]) -> pa.Schema:
    """Return the schema of rollouts with the given reward functions."""
    return pa.schema(
        [
            ("batch", pa.int32()),
            ("rollout", pa.int32()),
            ("row", pa.int64()),  # of the data set
            ("question", pa.int32()),  # of the rollout batch
            ("epoch", pa.int32()),
            ("prompt", pa.int32()),
            ("variant", pa.int32()),
            ("reward", pa.float64()),  # NaN without a score
            ("parts", pa.struct([(name, pa.float64()) for name in parts])),
            ("advantage", pa.float64()),  # in the group of the question, NaN without a score
            ("trained", pa.int32()),  # times trained, under any prompt, without padding
            ("tokens", pa.int32()),
            ("log_prob", pa.float32()),  # mean of the sampled tokens, NaN if unknown
            ("response", pa.string()),  # null if not kept
        ]
    )


def batch_table(step: Step) -> pa.Table:
    """Build the table of the batch, which has one row."""
    row = {
        "batch": step.number,
        "updates": step.updates,
        "ended": time.time(),
        "generated_tokens": step.generated_tokens,
        "done": step.done,
        "seconds": [(name, float(value)) for name, value in step.seconds.items()],
        "metrics": [(name, float(value)) for name, value in step.metrics.items()],
    }
    return pa.Table.from_pylist([row], schema=BATCH)


def rollouts_table(step: Step, kept_N: np.ndarray, characters: int) -> pa.Table:
    """Build the table of rollouts, with the responses where `kept_N` is true."""
    responses = [
        shortened(step.responses[row], characters) if kept else None
        for row, kept in enumerate(kept_N)
    ]
    schema = rollouts_schema(list(step.parts))
    parts = [pa.array(np.asarray(part_N, dtype=float)) for part_N in step.parts.values()]
    columns = {
        "batch": np.full(len(step), step.number),
        "rollout": np.arange(len(step)),
        "row": step.row_N,
        "question": step.question_N,
        "epoch": step.epoch_N,
        "prompt": step.prompt_N,
        "variant": step.variant_N,
        "reward": step.reward_N,
        "parts": pa.StructArray.from_arrays(parts, fields=list(schema.field("parts").type)),
        "advantage": advantages(step),
        "trained": times_trained(step),
        "tokens": step.tokens_N,
        "log_prob": step.log_prob_N,
        "response": responses,
    }
    return pa.Table.from_pydict(columns, schema=schema)


def samples_table(step: Step) -> pa.Table:
    """Build the table of the plan's samples."""
    samples = step.samples
    columns = {
        "batch": np.full(len(samples), step.number),
        "sample": np.arange(len(samples)),
        "rollout": samples.rollout_M,
        "prompt": samples.prompt_M,
        "advantage": samples.advantage_M,
        "pair": samples.pair_M,
        "padding": samples.padding_M,
        "weight": samples.weight_M,
        "update": step.update_M,
    }
    return pa.Table.from_pydict(columns, schema=SAMPLES)


def prompts_table(
    step: Step, kept_N: np.ndarray, characters: int, stored: Mapping[int, Sequence[str | None]]
) -> pa.Table:
    """Build the table of prompts.

    Args:
        step: The step.
        kept_N: Whether the texts of each rollout are kept.
        characters: Maximum length of a text.
        stored: Names of the stored images of each kept prompt.
    """
    prompts, first = np.unique(step.prompt_N, return_index=True)
    rows = [
        {
            "batch": step.number,
            "prompt": prompt,
            "row": int(step.row_N[row]),
            "variant": int(step.variant_N[row]),
            **(_words(step.prompts[prompt], characters, stored[prompt]) if kept_N[row] else {}),
        }
        for prompt, row in zip(prompts.tolist(), first.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=PROMPTS)


def times_trained(step: Step) -> np.ndarray:
    """Count how often each rollout is trained, without padding."""
    trained = step.samples.rollout_M[~step.samples.padding_M]
    return np.bincount(trained, minlength=len(step))


def advantages(step: Step) -> np.ndarray:
    """Return each rollout's advantage in the group of its question; NaN without a score."""
    advantage_N = np.full(len(step), np.nan)
    rows = step.scored
    if len(rows):
        advantage_N[rows] = group_advantage(step.reward_N[rows], step.question_N[rows])
    return advantage_N


def _words(question: Question, characters: int, stored: Sequence[str | None]) -> dict:
    shown = [
        {"picture": name, "changes": _changes(picture)}
        for name, picture in zip(stored, pictures(question), strict=True)
    ]

    def told(turns: Iterable[Turn]) -> list[dict]:
        return [{"role": t["role"], "text": shortened(written(t), characters)} for t in turns]

    return {
        "text": shortened(question.text, characters),
        "earlier": told(question.earlier or ()),
        "later": told(question.later),
        "pictures": shown,
    }


def _changes(picture: Picture) -> list[str]:
    """Describe the transforms of an image; resizing into the pixel bounds is not one of them."""
    steps = [step for step in picture.steps if isinstance(step, Applied)]
    return [f"{s.name} (sigma {s.sigma:.3g})" if s.sigma else s.name for s in steps]
