"""Measures of benchmarks, computed from right and wrong answers.

`right_QN` of shape (questions, samples) holds 1 for each right answer. A measure that combines
several questions is computed for each sample and then averaged over samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from vantage.evaluation.items import Item
from vantage.evaluation.pass_at_k import Estimate, average, pass_at_k, ratio

Measures: TypeAlias = Callable[[Sequence[Item], np.ndarray], dict[str, Estimate]]


def accuracies(items: Sequence[Item], right_QN: np.ndarray) -> dict[str, Estimate]:
    """Compute the accuracy (mean pass@1), pass@2, 4, ..., and the accuracy of every part."""
    samples = right_QN.shape[1]
    right_Q, cluster_Q = right_QN.sum(axis=1), [item.cluster for item in items]
    ks = [2**power for power in range(1, samples.bit_length()) if 2**power <= samples]
    found = {"accuracy": pass_at_k(right_Q, samples, 1, cluster_Q)}
    found |= {f"pass@{k}": pass_at_k(right_Q, samples, k, cluster_Q) for k in ks}
    for name, places in _parts(items).items():
        clusters = [cluster_Q[place] for place in places]
        found[name] = pass_at_k(right_Q[places], samples, 1, clusters)
    return found


def _parts(items: Sequence[Item]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        for division, part in item.parts.items():
            places[f"{division}: {part}"].append(place)
    return dict(sorted(places.items()))


def hallusion(items: Sequence[Item], right_QN: np.ndarray) -> dict[str, Estimate]:
    """Compute HallusionBench's accuracy of questions (aAcc), figures (fAcc) and pairs (qAcc).

    A figure is right if all its questions are. A pair, one question about every figure of a set,
    is right if all its answers are. Questions without a figure do not count towards fAcc.
    https://arxiv.org/abs/2310.14566, section 4.
    """
    found = accuracies(items, right_QN)
    figures, pairs = [], []
    for item in items:
        row = item.row
        place = (row["category"], row["subcategory"], str(row["set_id"]))
        alone = row["category"] == "VS" and str(row["figure_id"]) == "0"
        figures.append(None if alone else (*place, str(row["figure_id"])))
        pairs.append((*place, str(row["question_id"])))
    return {
        "aAcc": found["accuracy"],
        "fAcc": _all_right(figures, right_QN),
        "qAcc": _all_right(pairs, right_QN),
        **found,
    }


def _all_right(groups: Iterable[Hashable | None], right_QN: np.ndarray) -> Estimate:
    """Return the share of groups in which every question is right."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        if group is not None:
            places[group].append(place)
    whole_G = [right_QN[rows].all(axis=0).mean() for rows in places.values()]
    return average(np.array(whole_G))


# Score of a problem, by which of its steps and of the whole problem are right.
WORTH = {"mastery": 1.0, "generalization": 0.5, "knowledge": 0.0, "rote": 0.0}


def we_math(items: Sequence[Item], right_QN: np.ndarray) -> dict[str, Estimate]:
    """Compute We-Math's four-dimensional metrics of problems asked in steps and as a whole.

    - Complete mastery, score 1: the steps and the whole problem are right.
    - Inadequate generalization, score 0.5: the steps are right, the whole problem is wrong.
    - Insufficient knowledge, score 0: a step and the whole problem are wrong.
    - Rote memorization, score 0: a step is wrong, the whole problem is right. The loose metric
      counts this as mastery unless all steps are wrong.

    Problems with missing questions are skipped. https://arxiv.org/abs/2407.01284, section 3.2.
    """
    found = accuracies(items, right_QN)
    stepwise = _problems(items, right_QN)
    for name, loose in (("strict", False), ("loose", True)):
        fates = [[_fate(one, loose) for one in problem.T] for problem in stepwise]
        share_GF = {
            fate: np.array([np.mean([one == fate for one in problem]) for problem in fates])
            for fate in WORTH
        }
        score_G = sum((WORTH[fate] * share_GF[fate] for fate in WORTH), np.zeros(len(fates)))
        found[name] = average(score_G)
        found[f"complete mastery ({name})"] = average(share_GF["mastery"])
        found[f"rote memorization ({name})"] = ratio(
            share_GF["rote"], share_GF["rote"] + share_GF["mastery"]
        )
        found["inadequate generalization"] = average(share_GF["generalization"])
        found["insufficient knowledge"] = average(share_GF["knowledge"])
    return found


def _problems(items: Sequence[Item], right_QN: np.ndarray) -> list[np.ndarray]:
    """Return right_KN of each complete problem: one row for each step, the last for the whole."""
    rows: dict[str, dict[str, int]] = defaultdict(dict)
    for place, item in enumerate(items):
        rows[str(item.row["ID"])][str(item.row["key"])] = place
    found = []
    for keys in rows.values():
        steps = min(keys)[0]
        wanted = [f"{steps}steps_{n}" for n in range(1, int(steps) + 1)] + [f"{steps}steps_multi"]
        if set(wanted) <= set(keys):
            found.append(right_QN[[keys[key] for key in wanted]])
    return found


def _fate(right: np.ndarray, loose: bool) -> str:
    *steps, whole = (bool(one) for one in right)
    if all(steps):
        return "mastery" if whole else "generalization"
    if not whole:
        return "knowledge"
    return "mastery" if loose and any(steps) else "rote"
