"""Logs a few rollouts with their images as a table to TensorBoard, wandb or trackio."""

from __future__ import annotations

import html
import importlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image

from vantage.errors import InputError
from vantage.questions.pixels import fit
from vantage.questions.schema import pictures
from vantage.record.bounds import digest, shortened
from vantage.record.step import Step
from vantage.record.tables import advantages, times_trained

logger = logging.getLogger(__name__)

EVERY = 10  # rollout batches between two tables
QUESTIONS = 4
CHARACTERS = 4_000
PIXELS = 256 * 256
NAME = "rollouts"

Row = dict[str, Any]


def show(step: Step, tools: Iterable[str], callbacks: Iterable[Any]) -> None:
    """Log rollouts of every tenth batch: the best and the worst of `QUESTIONS` questions.

    TRL's own `log_completions` logs all rollouts at every update, and does not support
    TensorBoard. Both can be used together.

    Args:
        step: The rollout batch.
        tools: Values of `report_to`.
        callbacks: Callbacks of the trainer, which include that of TensorBoard.
    """
    senders = [TOOLS[name] for name in tools if name in TOOLS]
    if step.number % EVERY or not senders:
        return
    rows = sample(step)
    for send in senders:
        try:
            send(callbacks, rows, step.updates)
        except Exception as error:  # a failing tool must not end a run
            logger.warning(f"rollouts could not be shown: {type(error).__name__}: {error}")


def sample(step: Step) -> list[Row]:
    """Rows of the best and the worst rollout of a few questions, which are fixed by a digest."""
    advantage_N, trained_N = advantages(step), times_trained(step)
    first = {place: row for row, place in reversed(list(enumerate(step.question_N.tolist())))}
    chosen = sorted(first, key=lambda place: digest(int(step.row_N[first[place]])))
    return [
        {
            "batch": step.number + 1,
            "question": int(step.row_N[row]),
            "prompt": shortened(step.prompts[int(step.prompt_N[row])].text, CHARACTERS),
            "response": shortened(step.responses[row], CHARACTERS),
            "reward": float(step.reward_N[row]),
            "advantage": float(advantage_N[row]),
            "trained": int(trained_N[row]),
            "picture": _picture(step, row),
        }
        for place in chosen[:QUESTIONS]
        for row in _ends(step, place)
    ]


def _ends(step: Step, place: int) -> list[int]:
    """Rows with the highest and the lowest reward; one if all are equal, none if unscored."""
    rows = np.flatnonzero((step.question_N == place) & ~np.isnan(step.reward_N))
    if not len(rows):
        return []
    reward_R = step.reward_N[rows]
    return list(dict.fromkeys([int(rows[reward_R.argmax()]), int(rows[reward_R.argmin()])]))


def _picture(step: Step, row: int) -> Image.Image | None:
    shown = pictures(step.prompts[int(step.prompt_N[row])])
    try:
        return fit(shown[0].open(), None, PIXELS) if shown else None
    except InputError:
        return None


def _to_tensorboard(callbacks: Iterable[Any], rows: list[Row], step: int) -> None:
    for callback in callbacks:
        writer = getattr(callback, "tb_writer", None)
        if writer is not None:
            writer.add_text(NAME, markdown(rows), step)
            for number, row in enumerate(rows):
                if row["picture"] is not None:
                    pixels_HWC = np.asarray(row["picture"])
                    writer.add_image(f"{NAME}/{number}", pixels_HWC, step, dataformats="HWC")


def _to_table(tool: str) -> Callable[[Iterable[Any], list[Row], int], None]:
    """Build the function that logs to wandb or trackio, whose tables have the same interface."""

    def send(callbacks: Iterable[Any], rows: list[Row], step: int) -> None:
        import pandas as pd  # comes with datasets

        module = importlib.import_module(tool)
        if tool == "wandb" and module.run is None:
            return
        shown = [
            {**row, "picture": None if row["picture"] is None else module.Image(row["picture"])}
            for row in rows
        ]
        module.log({NAME: module.Table(dataframe=pd.DataFrame(shown)), "train/global_step": step})

    return send


TOOLS = {
    "tensorboard": _to_tensorboard,
    "wandb": _to_table("wandb"),
    "trackio": _to_table("trackio"),
}


def markdown(rows: list[Row]) -> str:
    """Format the rows as a markdown table in which all markup is escaped."""
    names = [name for name in rows[0] if name != "picture"] if rows else []
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    escaped = html.escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text))
    for sign in "\\`*_{}[]()#+!|~$:":
        escaped = escaped.replace(sign, f"&#{ord(sign)};")
    return "<br>".join(escaped.split("\n"))
