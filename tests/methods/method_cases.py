"""Small tables of rollouts and views of a plan, for the tests of the methods."""

import inspect

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from vantage.methods import RECIPES, Rollouts, Samples
from vantage.methods.advantages import ESTIMATORS
from vantage.methods.ordering import SHAPES, WEIGHTS
from vantage.methods.ranking import Ranked, rank
from vantage.methods.selection import SELECTIONS
from vantage.methods.sharing import SHARINGS

BOUNDED = settings(derandomize=True, max_examples=40, deadline=None, database=None)
EVERY_RECIPE = sorted(RECIPES)
NEARLY_BINARY = st.sampled_from([0.0, 0.1, 0.9, 1.0])


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rollouts_of(*questions: list[list[float]]) -> Rollouts:
    """Rollouts from question -> prompt -> rewards; question 1 has prompts 10, 11..., 2 has 20..."""
    rows = [
        (question, 10 * question + nth, reward)
        for question, prompts in enumerate(questions, start=1)
        for nth, rewards in enumerate(prompts)
        for reward in rewards
    ]
    return Rollouts(*map(list, zip(*rows, strict=True)))


def ranked_of(rollouts: Rollouts, estimator: str = "group", seed: int = 0) -> Ranked:
    return rank(rollouts, ESTIMATORS[estimator](rollouts), seeded(seed))


def permuted(rollouts: Rollouts, order: np.ndarray) -> Rollouts:
    """The same rollouts with row `order[i]` in row i."""
    return Rollouts(rollouts.question_N[order], rollouts.prompt_N[order], rollouts.reward_N[order])


def pairs_of(samples: Samples) -> list[tuple[int, int]]:
    """(better row, worse row) of each pair, in the order of the plan."""
    return list(map(tuple, samples.rollout_M.reshape(-1, 2).tolist()))


def table(samples: Samples) -> np.ndarray:
    """A plan as rows of numbers."""
    return np.column_stack([np.asarray(column, float) for column in vars(samples).values()])


def chi_square(observed, expected) -> float:
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    return float(np.sum((observed - expected) ** 2 / expected))


# The value that chi-square exceeds once in 10,000 times, by degrees of freedom.
CHI_SQUARE_LIMIT = {1: 15.1, 2: 18.4, 3: 21.1, 5: 25.7}


@st.composite
def rollout_tables(draw, rewards=NEARLY_BINARY, *, differ: bool = False) -> Rollouts:
    """Up to 4 questions of up to 3 prompts of up to 5 rollouts: ragged, any ids, any order."""
    sizes = draw(
        st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4)
    )
    rng = seeded(draw(st.integers(0, 2**32 - 1)))
    question_V = np.repeat(np.arange(len(sizes)), [len(prompts) for prompts in sizes])
    prompt_N = np.repeat(np.arange(len(question_V)), [n for prompts in sizes for n in prompts])
    count = len(prompt_N)
    if differ:
        reward_N = rng.permutation(count)
    else:
        reward_N = rng.choice(draw(st.lists(rewards, min_size=1, max_size=3)), count)
    id_V = rng.choice(10**6, len(question_V), replace=False) - 10**5
    table_N = Rollouts(id_V[question_V[prompt_N]] * 10**12, id_V[prompt_N], reward_N)
    return permuted(table_N, rng.permutation(count))


def _fitting(options: dict) -> dict:
    """The options, with a power only for the shape that has one."""
    return options | {"power": 1.0} if options.get("shape", "power") != "power" else options


_FRACTION = st.sampled_from([0.25, 0.5, 0.75, 1.0])
_ROUNDS = st.integers(1, 9)
_SHAPES = {
    "weight": st.sampled_from(sorted(WEIGHTS)),
    "shape": st.sampled_from(sorted(SHAPES)),
    "power": st.sampled_from([0.0, 0.5, 1.0, 3.0]),
}
_OPTIONS = {
    **_SHAPES,
    "refills": st.integers(0, 3),
    "fraction": _FRACTION,
    "rounds": _ROUNDS,
    "estimator": st.sampled_from(sorted(ESTIMATORS)),
    "selection": st.sampled_from(sorted(SELECTIONS))
    | st.fixed_dictionaries(
        {
            "name": st.sampled_from(["pairwise", "max-variance", "random", "top-magnitude"]),
            "fraction": _FRACTION,
        }
    ),
    "sharing": st.sampled_from(sorted(SHARINGS)),
    "ordering": st.just("in-order")
    | st.fixed_dictionaries(
        {"name": st.just("advantage-shuffle"), "rounds": _ROUNDS, **_SHAPES}
    ).map(_fitting),
}


def options_of(name: str):
    """Every combination of options of the recipe `name`."""
    names = inspect.signature(RECIPES[name]).parameters
    return st.fixed_dictionaries({option: _OPTIONS[option] for option in names}).map(_fitting)
