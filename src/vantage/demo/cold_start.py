"""The demo's cold start: supervised fine-tuning of the tiny model, stopped early.

It is stopped while the model's samples still differ: reinforcement learns from differences
between the rollouts of a question, and a finished cold start leaves none.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.demo import digits, model
from vantage.questions import schema, transforms, variants
from vantage.questions.pictures import Picture
from vantage.questions.schema import IMAGE, Question, render
from vantage.questions.variants import Transforms, Variants
from vantage.rewriting import wordings


@dataclass(frozen=True)
class Settings:
    """What decides a cold start, besides the seed."""

    k: int = 2  # digits an image
    n: int = 1024  # annotated questions, all on the digit images of the cold-start split
    altered: float = 0.3  # share of them whose image is turned or noisy, with the matching note
    steps: int = 250
    batch: int = 64  # questions a step
    learning_rate: float = 1e-3


DEFAULTS = Settings()


def cold_start(cache: str | Path, *, seed: int = 0, settings: Settings = DEFAULTS) -> Path:
    """Directory of the cold-started model and its processor, built into the cache if missing.

    Its name is a hash of the seed, the settings, the source of the demo and the versions of
    torch and transformers. It appears when it is complete, so a build that was killed is never
    picked up.
    """
    target = Path(cache) / f"cold-start-{_key(seed, settings)}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{target.name}.building-", dir=target.parent))
    try:
        _train(building, seed, settings)
        _publish(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def examples(settings: Settings, *, seed: int) -> list[tuple[Question, str]]:
    """The annotated questions as the model meets them, some altered, and their solutions."""
    rng = np.random.default_rng(seed)
    expansion = Variants(prompts=2, transforms=Transforms(probability=settings.altered))
    rows = digits.questions("cold_start", n=settings.n, k=settings.k, seed=seed)
    asked = [Question(IMAGE + row["question"], (Picture(row["image"]),)) for row in rows]
    altered = [expansion.expand(question, rng)[1] for question in asked]
    return list(zip(altered, rows["solution"], strict=True))


def encode(
    reader: transformers.ProcessorMixin, rows: list[tuple[Question, str]]
) -> dict[str, torch.Tensor]:
    """The model's inputs for all R rows, padded on the left.

    Returns:
        Tensors of R rows; labels_RT is -100 outside the solution.
    """
    ends = [solution + reader.tokenizer.eos_token for _, solution in rows]
    texts = [
        reader.apply_chat_template(render(question), add_generation_prompt=True, tokenize=False)
        + end
        for (question, _), end in zip(rows, ends, strict=True)
    ]
    images = [[image.open() for image in question.images] for question, _ in rows]
    inputs = dict(reader(images=images, text=texts, padding=True, return_tensors="pt"))
    ids_RT = inputs["input_ids"]
    lengths_R = torch.tensor([len(ids) for ids in reader.tokenizer(ends)["input_ids"]])
    trained_RT = torch.arange(ids_RT.shape[1]) >= ids_RT.shape[1] - lengths_R[:, None]
    return {**inputs, "labels": ids_RT.where(trained_RT, -100)}


def _train(directory: Path, seed: int, settings: Settings) -> None:
    """Build the model in the directory and fine-tune it there."""
    model.build(directory, seed=seed, k=settings.k)
    reader = AutoProcessor.from_pretrained(directory)
    policy = AutoModelForImageTextToText.from_pretrained(directory)
    inputs = encode(reader, examples(settings, seed=seed))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(settings.steps):
        rows_B = torch.randint(settings.n, (settings.batch,), generator=generator)
        loss = policy(**{name: tensor[rows_B] for name, tensor in inputs.items()}).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    policy.save_pretrained(directory)


def _key(seed: int, settings: Settings) -> str:
    """16 hex digits that change with anything that can change the cold-started model."""
    digest = hashlib.sha256()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    digest.update(
        json.dumps({"seed": seed, **asdict(settings), **versions}, sort_keys=True).encode()
    )
    for module in (digits, model, schema, transforms, variants, wordings):
        digest.update(inspect.getsource(module).encode())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:16]


def _publish(building: Path, target: Path) -> None:
    """Give a finished directory its name; what another process made meanwhile stays."""
    try:
        building.replace(target)
    except OSError:
        if not target.is_dir():
            raise
