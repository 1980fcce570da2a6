"""vantage: reinforcement learning of vision-language models that uses every rollout."""

from importlib import metadata

from vantage.errors import ConfigError, EngineError, InputError, VantageError
from vantage.methods import Loss, Recipe, Rollouts, Samples, diagnose, recipe

try:
    __version__ = metadata.version("vantage-rl")
except metadata.PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.0.0"

__all__ = [
    "ConfigError",
    "EngineError",
    "InputError",
    "Loss",
    "Recipe",
    "Rollouts",
    "Samples",
    "VantageError",
    "diagnose",
    "recipe",
]
