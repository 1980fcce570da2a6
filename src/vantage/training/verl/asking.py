"""Loads and checks questions, makes veRL's rows from them, and reads the rollouts back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transfer_queue import KVBatchMeta

from vantage.config import Config
from vantage.errors import EngineError
from vantage.methods.recipe import parse_recipe
from vantage.questions.prompts import Prompts
from vantage.questions.sampling import sampling
from vantage.questions.schema import pictures, render
from vantage.training import columns
from vantage.training.identity import identity
from vantage.training.inputs import part_names, reward_of
from vantage.training.planning import totals
from vantage.training.resolved import prompts_of
from vantage.training.session import Session
from vantage.training.stopping import Silence
from vantage.training.verl import store
from vantage.training.verl.agent import check_pictures
from vantage.training.verl.arrangement import Generated, slot_and_session, uid_of
from vantage.training.verl.dataset import ASKED, loaded, row_of, short_enough, tokenizer_of
from vantage.training.verl.translation import template_options


def session_of(config: Config, tokenizer: Any, processor: Any) -> Session:
    """Load and check the rows of a run, and build its session.

    Args:
        config: Configuration of the run.
        tokenizer: Tokenizer of the model.
        processor: Processor of the model; None if veRL found none.

    Raises:
        InputError: Rows lack a required column, or have prompts that are too long.
        EngineError: veRL cannot prepare the images of the rows for this model.
    """
    train, validation = loaded(config, processor)
    rewards = [reward_of(name, config.judge) for name in config.rewards]
    for name, data, varied in (
        ("data.train", train, config.variants),
        ("data.validation", validation, None),
    ):
        if data is not None:
            columns.check_columns(name, data, rewards, varied, columns.FROM_ANY, withheld=ASKED)
    prompts = prompts_of(config, train)
    rows = short_enough(prompts, config, tokenizer, processor)
    _check_family(config, prompts, rows, processor)
    return Session(
        parse_recipe(config.recipe),
        prompts,
        sampling(config.data.sampling, len(rows), config.run.seed),
        rows,
        Silence(config.run.max_silent_batches),
        seed=config.run.seed,
        questions=config.batch.questions,
        identity=identity(train),
    )


def _check_family(config: Config, prompts: Prompts, rows: Sequence[int], processor: Any) -> None:
    """Check that veRL can prepare images for the model, with the first prompt that has one."""
    asked = (prompts.original(prompts.rows[row]) for row in rows)
    seen = next((question for question in asked if pictures(question)), None)
    if seen is None:
        return
    if processor is None:
        raise EngineError(
            f"rows have images, but veRL found no processor in {config.model.path!r}, "
            "so it would train on text only: use a model with an image processor, and install "
            "torchvision if the processor needs it"
        )
    ids = tokenizer_of(processor, template_options(config))(render(seen))
    check_pictures(processor, ids, [picture.open() for picture in pictures(seen)])


def rows_asked(
    session: Session, questions: range, *, plain: bool, tag: str
) -> list[dict[str, Any]]:
    """Make veRL's rows of some questions, one per prompt, even if two prompts are equal.

    Args:
        session: Session that drew the questions.
        questions: Their ids in the batch.
        plain: Whether the model is text-only.
        tag: The tag that the chat template adds after a prompt; see `opened_by`.
    """
    prompts, count = session.prompts, session.prompts.variants.prompts
    slots = slots_of(session, questions)
    return [
        {
            **row_of(
                prompts.prompt(prompt),
                prompts.source(prompt),
                prompts.asked(prompt // count).question,
                plain=plain,
                tag=tag,
            ),
            "uid": uid_of(session.number, slot),
        }
        for slot, prompt in zip(slots, prompts.ids(questions, 1).tolist(), strict=True)
    ]


def slots_of(session: Session, questions: range) -> range:
    """Slots of the prompts of a range of questions."""
    count = session.prompts.variants.prompts
    return range(questions.start * count, questions.stop * count)


def outcomes_of(session: Session, batch: KVBatchMeta, weights: Mapping[str, float]) -> Generated:
    """Read scored rollouts from veRL's store, sorted independently of their order of arrival.

    Args:
        session: Session that drew their questions.
        batch: Keys and tags of their rows.
        weights: Name of a reward function -> weight.
    """
    order = sorted(range(len(batch)), key=lambda row: slot_and_session(batch.keys[row]))
    keys = [batch.keys[row] for row in order]
    slot_N = np.array([slot_and_session(key)[0] for key in keys])
    part_NF = store.rewards(keys, part_names(weights))
    prompts = session.prompts
    return Generated(
        question_N=slot_N // prompts.variants.prompts,
        prompt_N=prompts.ids(range(session.asked), 1)[slot_N],
        reward_N=totals(part_NF, list(weights.values())),
        part_NF=part_NF,
        keys=keys,
        tags=[batch.tags[row] for row in order],
    )
