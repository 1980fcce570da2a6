"""Make the tables and the figure of the study from its results."""

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
BUDGET = running.BATCHES * ROLLOUTS  # rollouts at which final accuracies are measured
GENERATION = 0.5  # share of generation in the modelled time of a GRPO batch
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
# Arms with smaller groups, and the arm of plain GRPO with groups of that size.
CONTROLS = {
    "share-shuffle, n = 2": "grpo, n = 4",
    "share-shuffle, n = 2, rewrites": "grpo, n = 4",
}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        rows: One row per rollout batch.
        pace: Seconds of the median seed relative to this one. It corrects for other work on the
            machine, which slowed down single trainings.
    """

    rows: pd.DataFrame
    pace: float = 1.0

    @cached_property
    def spent(self) -> pd.DataFrame:
        """Cumulative cost after each batch, with one column per axis."""
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
        """Accuracy against the cost on an axis."""
        return self.against(self.spent[axis].to_numpy())

    def against(self, spent: np.ndarray) -> Curve:
        """Accuracy against the given cost after each batch."""
        there = self.rows["accuracy"].notna().to_numpy()
        return Curve(spent[there], self.rows["accuracy"].to_numpy()[there])

    @property
    def seed(self) -> int:
        """Seed of data, cold start and run."""
        return int(self.rows["seed"].iloc[0])

    @property
    def final(self) -> float:
        """Accuracy at the end of the rollout budget."""
        return self.curve("rollouts").at(BUDGET)

    @property
    def late(self) -> float:
        """Late accuracy, used to compare candidates."""
        return running.late(self.rows)

    def logged(self, name: str) -> float:
        """Mean of a logged metric over the batches."""
        return float(self.rows[name].mean())


Runs = dict[tuple[str, str], list[Run]]


def runs_of(results: pd.DataFrame, stage: str) -> Runs:
    """Trainings of a stage by task and arm, sorted by seed.

    Raises:
        ValueError: A seed has two trainings, for example at two learning rates, which the message
            names.
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
    """Table of accuracies at equal budgets, and of the cost to reach the accuracy of GRPO."""
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
    """Table of accuracies against GRPO, and of rollouts to 90 % of its gain, for each task."""
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
    """Table of metrics per rollout batch, as means over batches and seeds."""
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
    """Table of final accuracies of variations, and differences to the arm that each varies."""
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
    """Table of late validation accuracies against the base; too few seeds for intervals."""
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
    """Table of modelled times to 90 % of GRPO's gain, for several shares of generation."""
    shares = (1 / 3, 1 / 2, 2 / 3, 0.8)
    rows = [
        [arm, *(_ratio(_to_reach(runs, task, arm, _modelled(share), 0.9)) for share in shares)]
        for arm in arms
    ]
    return _markdown(["arm", *(f"generation {share:.0%}" for share in shares)], rows)


def gradient_table(compared: pd.DataFrame, task: str) -> str:
    """Table of cosines of batch gradients with that of accuracy, and the worth of a rollout."""
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
    """Cost for an arm to reach a part of GRPO's gain, relative to the cost for GRPO."""
    by_seed = [{run.seed: curve(run) for run in runs[task, name]} for name in (arm, BASE)]
    both = sorted(by_seed[0].keys() & by_seed[1].keys())

    arm_S, base_S = (measures.together([by[seed] for seed in both]) for by in by_seed)
    return measures.bootstrap(
        lambda drawn: measures.share_to_reach(arm_S.mean(drawn), base_S.mean(drawn), part),
        len(both),
    )


def _against(mine: list[Run], base: list[Run]) -> Interval:
    """Difference of final accuracies over common seeds."""
    by_seed = [{run.seed: run.final for run in some} for some in (mine, base)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    return measures.difference(*([values[seed] for seed in seeds] for values in by_seed))


def _at(mine: list[Run], axis: str, budget: float) -> str:
    return f"{np.mean([run.curve(axis).at(budget) for run in mine]):.3f}"


def _share(value: Interval) -> str:
    return f"{value.value:.3f} ± {value.high - value.value:.3f}"


def _points(value: Interval) -> str:
    """Format percentage points with their interval."""
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
    """Plot accuracy against rollouts and modelled time, and final differences to GRPO."""
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
    """Make every table of the pages, by name, from trainings and gradients."""
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
    """Insert the tables into a page between `<!-- name -->` and `<!-- end -->`.

    Raises:
        KeyError: A marker names no table.
    """
    return re.sub(
        r"(<!-- (?!end)(.+?) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{tables[found[2]]}\n\n{found[3]}",
        text,
        flags=re.S,
    )
