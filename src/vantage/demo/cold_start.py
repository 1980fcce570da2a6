"""The demo's cold start: supervised fine-tuning of the tiny model, stopped early.

It stops while the model's samples still differ. Reinforcement learning needs differences between
the rollouts of a question, and fine-tuning to convergence leaves none.
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
    """Settings of the cold start."""

    k: int = 2  # digits per image
    n: int = 1024  # annotated questions from the cold-start split
    altered: float = 0.3  # share of questions with a rotated or noisy image and a note about it
    steps: int = 250
    batch: int = 64  # questions per step
    learning_rate: float = 1e-3


DEFAULTS = Settings()


def cold_start(cache: str | Path, *, seed: int = 0, settings: Settings = DEFAULTS) -> Path:
    """Return the directory of the cold-started model and its processor; train it if not cached.

    The name of the directory is a hash of the seed, the settings, the demo's source and the
    versions of torch and transformers. The directory is written atomically, so an interrupted
    build is never used.
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
    """Return the annotated questions, some with transformed images, and their solutions."""
    rng = np.random.default_rng(seed)
    expansion = Variants(prompts=2, transforms=Transforms(probability=settings.altered))
    rows = digits.questions("cold_start", n=settings.n, k=settings.k, seed=seed)
    asked = [Question(IMAGE + row["question"], (Picture(row["image"]),)) for row in rows]
    altered = [expansion.expand(question, rng)[1] for question in asked]
    return list(zip(altered, rows["solution"], strict=True))


def encode(
    reader: transformers.ProcessorMixin, rows: list[tuple[Question, str]]
) -> dict[str, torch.Tensor]:
    """Encode R rows as inputs of the model, padded on the left.

    Returns:
        Tensors with R rows. `labels`, of shape (R, T), is -100 outside the solution.
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
    """Build the model in the directory and fine-tune it."""
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
    """Hash everything that affects the cold-started model, as 16 hex digits."""
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
    """Rename a finished directory to its target, unless another process was faster."""
    try:
        building.replace(target)
    except OSError:
        if not target.is_dir():
            raise
