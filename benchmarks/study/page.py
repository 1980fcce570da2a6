"""Tables and figure of the study, from its file of results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from study import gradients, measures, running
from study.arms import ABLATIONS, ARMS, CANDIDATES, ROLLOUTS
from study.measures import Curve, Interval

BASE = "grpo"
BUDGET = running.BATCHES * ROLLOUTS  # rollouts at which final accuracies are compared
GENERATION = 0.5  # share of generation in the modelled time of a batch of GRPO
AXES = ("rollouts", "samples", "updates", "seconds", "modelled")
TO_REACH = ("rollouts", "seconds", "modelled")
COLOURS = {
    "grpo": "#000000",
    "dapo-filter": "#E69F00",
    "shuffle-r1": "#D55E00",
    "share-grpo": "#009E73",
    "share-shuffle": "#CC79A7",
    "grpo, n = 4": "#888888",
    "share-shuffle, n = 2": "#0072B2",
}
HIGHLIGHTED = tuple(COLOURS)
# Arms whose groups are smaller, and the plain one with groups of that size.
CONTROLS = {
    "share-shuffle, n = 2": "grpo, n = 4",
    "share-shuffle, n = 2, rewrites": "grpo, n = 4",
}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        rows: a row a rollout batch.
        pace: seconds of the seed in the middle, in those of this one: other work on the
            machine disturbed single trainings.
    """

    rows: pd.DataFrame
    pace: float = 1.0

    @cached_property
    def spent(self) -> pd.DataFrame:
        """What was spent after each batch, an axis a column."""
        rows = self.rows.fillna({"samples": 0, "distinct": 0, "seconds": 0})
        table = pd.DataFrame({"rollouts": rows["rollouts"], "updates": rows["updates"]})
        table["samples"] = rows["samples"].cumsum()
        table["seconds"] = self.pace * rows["seconds"].cumsum()
        table["modelled"] = self.modelled(GENERATION)
        return table

    def modelled(self, generation: float) -> np.ndarray:
        """Modelled time after each batch, in batches of GRPO."""
        samples, distinct = (self.rows[n].fillna(0).cumsum() for n in ("samples", "distinct"))
        parts = (np.asarray(v) / ROLLOUTS for v in (self.rows["rollouts"], samples, distinct))
        return measures.modelled_seconds(*parts, generation)

    def curve(self, axis: str) -> Curve:
        """Accuracy against what was spent."""
        return self.against(self.spent[axis].to_numpy())

    def against(self, spent: np.ndarray) -> Curve:
        """Accuracy against anything that is known after each batch."""
        there = self.rows["accuracy"].notna().to_numpy()
        return Curve(spent[there], self.rows["accuracy"].to_numpy()[there])

    @property
    def seed(self) -> int:
        """Of everything."""
        return int(self.rows["seed"].iloc[0])

    @property
    def final(self) -> float:
        """Accuracy when the rollouts of the budget are spent."""
        return self.curve("rollouts").at(BUDGET)

    @property
    def late(self) -> float:
        """Late accuracy, by which candidates are compared."""
        return running.late(self.rows)

    def logged(self, name: str) -> float:
        """Mean over the batches of what was logged."""
        return float(self.rows[name].mean())


Runs = dict[tuple[str, str], list[Run]]


def runs_of(results: pd.DataFrame, stage: str) -> Runs:
    """The trainings of a stage by task and arm, in order of their seeds.

    Raises:
        ValueError: two trainings of one seed, say at two rates; names them.
    """
    found: Runs = {}
    part = results[results["stage"] == stage]
    for (task, arm), rows in part.groupby(["task", "arm"], sort=True):
        by_seed = [one.sort_values("batch") for _, one in rows.groupby("seed", sort=True)]
        for one in by_seed:
            if one["batch"].duplicated().any():
                rates = one["learning_rate"].unique().tolist()
                raise ValueError(f"{stage} of {arm!r} on {task!r} was run twice, at {rates}")
        seconds_S = np.array([one["seconds"].sum() for one in by_seed])
        pace_S = np.median(seconds_S) / seconds_S
        found[task, arm] = [Run(*pair) for pair in zip(by_seed, pace_S, strict=True)]
    return found


# ---- tables --------------------------------------------------------------------------


def main_table(runs: Runs, task: str, arms: Iterable[str]) -> str:
    """Accuracy of every arm at equal budgets, and what it spends to be as good as GRPO."""
    arms = [arm for arm in arms if (task, arm) in runs]
    budgets = {
        axis: min(run.spent[axis].iloc[-1] for arm in arms for run in runs[task, arm])
        for axis in AXES
    }
    head = [
        "arm",
        "learning rate",
        "accuracy",
        "against grpo",
        "against its control",
        f"at {budgets['samples']:,.0f} samples",
        f"at {budgets['updates']:.0f} updates",
        f"at {budgets['seconds']:.0f} s",
        f"at {budgets['modelled']:.3g} modelled",
        "rollouts to 90 %",
        "seconds to 90 %",
        "modelled to 90 %",
        "rollouts to all",
        "seconds to all",
        "modelled to all",
    ]
    base = runs[task, BASE]
    rows = []
    for arm in arms:
        mine = runs[task, arm]
        rows.append(
            [
                arm,
                f"{mine[0].rows['learning_rate'].iloc[0]:g}",
                _share(measures.mean([run.final for run in mine])),
                _points(_against(mine, base)) if arm != BASE else "",
                _points(_against(mine, runs[task, CONTROLS[arm]])) if arm in CONTROLS else "",
                *(_at(mine, axis, budgets[axis]) for axis in AXES[1:]),
                *(_ratio(_to_reach(runs, task, arm, _on(axis), 0.9)) for axis in TO_REACH),
                *(_ratio(_to_reach(runs, task, arm, _on(axis))) for axis in TO_REACH),
            ]
        )
    return _markdown(head, rows)


def short_table(runs: Runs, tasks: Sequence[str], arms: Iterable[str]) -> str:
    """Of each task the accuracy against GRPO, and the rollouts to most of what GRPO learns."""
    head = ["recipe"] + [
        f"{task} digits: {what}"
        for task in tasks
        for what in ("accuracy", "points against grpo", "rollouts to 90 % of grpo's gain")
    ]
    rows = []
    for arm in arms:
        cells = []
        for task in tasks:
            mine = runs[task, arm]
            cells.append(_share(measures.mean([run.final for run in mine])))
            cells.append(_points(_against(mine, runs[task, BASE])) if arm != BASE else "")
            cells.append(_ratio(_to_reach(runs, task, arm, _on("rollouts"), 0.9)))
        rows.append([arm, *cells])
    return _markdown(head, rows)


def signal_table(runs: Runs, task: str, arms: Iterable[str]) -> str:
    """What happens in a rollout batch of every arm, means over batches and seeds."""
    columns: dict[str, tuple[str, str]] = {
        "silent rollouts": ("silent_rollouts", ".0%"),
        "silent samples": ("silent_samples", ".0%"),
        "samples": ("samples", ".0f"),
        "distinct": ("distinct", ".0f"),
        "gradient norm": ("grad_norm", ".2f"),
        "entropy": ("entropy", ".3f"),
        "clipped": ("clipped", ".2%"),
        "generate, s": ("seconds_generate", ".3f"),
        "plan, s": ("seconds_plan", ".4f"),
        "log-probs, s": ("seconds_log_probs", ".3f"),
        "update, s": ("seconds_update", ".3f"),
        "batch, s": ("seconds", ".3f"),
    }
    rows = [
        [arm]
        + [
            format(np.mean([run.logged(name) for run in runs[task, arm]]), form)
            for name, form in columns.values()
        ]
        for arm in arms
        if (task, arm) in runs
    ]
    return _markdown(["arm", *columns], rows)


def difference_table(runs: Runs, tasks: Sequence[str], bases: dict[str, str]) -> str:
    """Final accuracy of variations on each task, and against the arm that each varies."""
    head = ["variation", "of"] + [f"{task}{what}" for task in tasks for what in ("", ", against")]
    rows = []
    for arm, base in bases.items():
        cells = []
        for task in tasks:
            mine, theirs = runs.get((task, arm), []), runs.get((task, base), [])
            cells.append(_share(measures.mean([run.final for run in mine])) if mine else "")
            cells.append(_points(_against(mine, theirs)) if mine and theirs else "")
        rows.append([arm, base, *cells])
    return _markdown(head, rows)


def candidate_table(runs: Runs, tasks: Sequence[str], arms: Sequence[str], base: str) -> str:
    """Points of late accuracy against the base on validation, without intervals: seeds are few."""
    head = ["candidate"] + [f"{task}{what}" for task in tasks for what in (", seeds", ", points")]
    rows = []
    for arm in arms:
        cells = []
        for task in tasks:
            mine = {run.seed: run.late for run in runs.get((task, arm), [])}
            theirs = {run.seed: run.late for run in runs[task, base]}
            both = sorted(mine.keys() & theirs.keys())
            apart = np.mean([mine[seed] - theirs[seed] for seed in both]) if both else np.nan
            cells += [str(len(both)), f"{100 * apart:+.1f}"]
        rows.append([arm, *cells])
    return _markdown(head, rows)


def generation_table(runs: Runs, task: str, arms: Iterable[str]) -> str:
    """Modelled time to 90 % of GRPO's gain where generation costs more or less of a batch."""
    shares = (1 / 3, 1 / 2, 2 / 3, 0.8)
    rows = [
        [arm, *(_ratio(_to_reach(runs, task, arm, _modelled(share), 0.9)) for share in shares)]
        for arm in arms
    ]
    return _markdown(["arm", *(f"generation {share:.0%}" for share in shares)], rows)


def gradient_table(compared: pd.DataFrame, task: str) -> str:
    """How well the gradient of one batch points to accuracy, and what a rollout is worth."""
    points = ("start", "half-way")
    head = ["arm"] + [f"{point}: {what}" for point in points for what in ("cosine", "worth")]
    return _markdown(head, gradients.rows(compared, task, points))


def _modelled(generation: float) -> Callable[[Run], Curve]:
    return lambda run: run.against(run.modelled(generation))


def _on(axis: str) -> Callable[[Run], Curve]:
    return lambda run: run.curve(axis)


def _to_reach(
    runs: Runs, task: str, arm: str, curve: Callable[[Run], Curve], part: float = 1.0
) -> Interval:
    """What an arm spends to learn so much of what GRPO learns, in what that spends."""
    by_seed = [{run.seed: curve(run) for run in runs[task, name]} for name in (arm, BASE)]
    both = sorted(by_seed[0].keys() & by_seed[1].keys())

    arm_S, base_S = (measures.together([by[seed] for seed in both]) for by in by_seed)
    return measures.bootstrap(
        lambda drawn: measures.share_to_reach(arm_S.mean(drawn), base_S.mean(drawn), part),
        len(both),
    )


def _against(mine: list[Run], base: list[Run]) -> Interval:
    """Difference of the final accuracies over the seeds that both have."""
    by_seed = [{run.seed: run.final for run in some} for some in (mine, base)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    return measures.difference(*([values[seed] for seed in seeds] for values in by_seed))


def _at(mine: list[Run], axis: str, budget: float) -> str:
    return f"{np.mean([run.curve(axis).at(budget) for run in mine]):.3f}"


def _share(value: Interval) -> str:
    return f"{value.value:.3f} ± {value.high - value.value:.3f}"


def _points(value: Interval) -> str:
    """Percentage points with their interval."""
    return f"{100 * value.value:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def _ratio(value: Interval) -> str:
    def text(part: float) -> str:
        return f"{part:.2f}" if math.isfinite(part) else "never"

    return f"{text(value.value)} ({text(value.low)} to {text(value.high)})"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---- the figure ----------------------------------------------------------------------


def draw(runs: Runs, tasks: Sequence[str], arms: Sequence[str], file: Path) -> None:
    """Accuracy against rollouts and modelled time, and final differences to GRPO."""
    plotted, axes = plt.subplots(
        len(tasks), 3, figsize=(14, 4.6 * len(tasks)), layout="constrained", squeeze=False
    )
    for row, task in zip(axes, tasks, strict=True):
        there = [arm for arm in arms if (task, arm) in runs]
        for axis, against, label in (
            (row[0], "rollouts", "rollouts generated"),
            (row[1], "modelled", f"modelled time, batches of grpo ({GENERATION:.0%} generation)"),
        ):
            _curves(axis, runs, task, there, against)
            axis.set(xlabel=label, ylabel="accuracy on test", title=f"task {task!r}")
        _differences(row[2], runs, task, [arm for arm in there if arm != BASE])
    axes[0, 0].legend(frameon=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    plotted.savefig(file, dpi=100)
    plt.close(plotted)


def _curves(axis, runs: Runs, task: str, arms: Sequence[str], against: str) -> None:
    for arm in sorted(arms, key=lambda arm: arm in COLOURS):
        mean = measures.together([run.curve(against) for run in runs[task, arm]]).mean()
        style = {"color": COLOURS.get(arm, "#CCCCCC"), "linewidth": 2 if arm in COLOURS else 1}
        axis.plot(mean.spent_B, mean.accuracy_B, label=arm if arm in COLOURS else None, **style)


def _differences(axis, runs: Runs, task: str, arms: Sequence[str]) -> None:
    for place, arm in enumerate(reversed(arms)):
        value = _against(runs[task, arm], runs[task, BASE])
        colour = COLOURS.get(arm, "#666666")
        axis.plot([100 * value.low, 100 * value.high], [place, place], color=colour)
        axis.plot([100 * value.value], [place], "o", color=colour)
    axis.axvline(0, color="#000000", linewidth=0.8)
    axis.set_yticks(range(len(arms)), list(reversed(arms)))
    axis.set(xlabel="points of accuracy against grpo, 95 %", title="at equal generated rollouts")


# ---- the page ------------------------------------------------------------------------


def blocks(results: pd.DataFrame, compared: pd.DataFrame, tasks: Sequence[str]) -> dict[str, str]:
    """Every table of the page by its name, from the trainings and the gradients."""
    runs = runs_of(results, "test")
    made: dict[str, Callable[[], str]] = {}
    for task in tasks:
        made[f"gradients {task}"] = lambda task=task: gradient_table(compared, task)
        made[f"main {task}"] = lambda task=task: main_table(runs, task, ARMS)
        made[f"signal {task}"] = lambda task=task: signal_table(runs, task, ARMS)
        made[f"generation {task}"] = lambda task=task: generation_table(
            runs, task, [arm for arm in HIGHLIGHTED if arm != BASE]
        )
    made["ablations"] = lambda: difference_table(
        runs, tasks, {arm: of for arm, (of, _) in ABLATIONS.items()}
    )
    chosen = runs_of(results, "choice")
    arms = [arm for arm in (BASE, "share-grpo", *CANDIDATES) if (tasks[0], arm) in chosen]
    made["candidates"] = lambda: candidate_table(chosen, tasks, arms, "share-shuffle")
    made["learning"] = lambda: short_table(runs, tasks, HIGHLIGHTED)
    return {name: make() for name, make in made.items()}


def fill(text: str, tables: dict[str, str]) -> str:
    """The page with its tables put between `<!-- name -->` and `<!-- end -->`.

    Raises:
        KeyError: a mark that no table has.
    """
    return re.sub(
        r"(<!-- (?!end)(.+?) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{tables[found[2]]}\n\n{found[3]}",
        text,
        flags=re.S,
    )
