"""`vantage demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    recipes: Annotated[
        str, typer.Option(help="Recipes to compare, separated by commas.")
    ] = "grpo,shuffle-r1,share-grpo,share-shuffle",
    output: Annotated[Path, typer.Option(help="Directory for the runs.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the data and the runs.")] = 0,
) -> None:
    """Train a tiny vision-language model to add handwritten digits, under several recipes."""
    from vantage.demo import run

    run.demo([name.strip() for name in recipes.split(",")], output, seed=seed)
