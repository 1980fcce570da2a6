"""From rewards and ids to what is trained on. NumPy and the standard library only."""

from vantage.methods.composition import update_of
from vantage.methods.diagnostics import diagnose
from vantage.methods.recipe import RECIPES, Loss, Recipe, compose, recipe, register
from vantage.methods.rollouts import Rollouts, Samples

__all__ = [
    "RECIPES",
    "Loss",
    "Recipe",
    "Rollouts",
    "Samples",
    "compose",
    "diagnose",
    "recipe",
    "register",
    "update_of",
]
