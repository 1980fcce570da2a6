"""Methods: from rewards to training samples. Needs only NumPy and the standard library."""

from vantage.methods.diagnostics import diagnose
from vantage.methods.ordering import update_of
from vantage.methods.recipe import RECIPES, Loss, Recipe, custom, recipe, register
from vantage.methods.rollouts import Rollouts, Samples

__all__ = [
    "RECIPES",
    "Loss",
    "Recipe",
    "Rollouts",
    "Samples",
    "custom",
    "diagnose",
    "recipe",
    "register",
    "update_of",
]
