"""The comparisons that matter, from systems to differences with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mer_lightning.report.runs import FinishedRun, Ints, at_round
from mer_lightning.report.statistics import (
    MEASURES,
    Difference,
    Estimate,
    Paired,
    Sums,
    cluster_sums,
    over_seeds,
    paired_bootstrap,
    verdict,
)
from mer_lightning.report.systems import DataSet, System, other_settings

# first, second: what the comparison answers
PAIRS = {
    ("enf", "baseline"): "Does entropy fusion beat attention fusion?",
    ("enf", "mean"): "Does entropy fusion beat the plain mean of the branches?",
    ("pnao", "enf"): "Does PNAO improve the network it starts from?",
    ("pnao", "rewind_only"): "Does pruning add quality beyond rewinding alone?",
    ("pnao", "random"): "Is it better to prune by importance than at random?",
    ("pnao", "one_shot"): "Is it better to prune in rounds than in one step?",
    ("pnao", "pnao_attention"): "Does entropy fusion beat attention fusion after PNAO?",
    ("final", "pnao"): "Does combining the two systems of PNAO beat entropy fusion with PNAO alone?",
}
MARGIN = 0.01  # one point: a loss below it counts as none when asking how small a network may get


@dataclass(frozen=True)
class Comparison:
    """First minus second on one part, over the seeds that both have."""

    first: str
    second: str
    question: str
    part: str
    seeds: list[int]
    differences: dict[str, Difference | None]  # measure -> bootstrap over utterances or speakers
    by_seed: dict[str, Estimate | None]  # measure -> the paired differences over seeds
    unit: str  # what was drawn: "speakers" (or other groups), or "utterances"
    units: int
    other_settings: list[str]  # besides fusion, pnao, combine: where the two differ

    def verdict(self, measure: str) -> str:
        """``better``, ``worse`` or ``no difference shown``."""
        d = self.differences[measure]
        nothing = float("nan")
        low, high = (nothing, nothing) if d is None else (d.low, d.high)
        return verdict(low, high, lower_is_better=measure == "dim")


def comparisons(data: DataSet) -> list[Comparison]:
    """All pairs of ``PAIRS`` that exist, on every part."""
    found = []
    for (first, second), question in PAIRS.items():
        a, b = data.system(first), data.system(second)
        if a and b and set(a.seeds) & set(b.seeds):
            found += [compare(a, b, part, question) for part in data.parts]
    return found


def compare(first: System, second: System, part: str, question: str) -> Comparison:
    """Two systems on one part, seed by seed on the same utterances."""
    theirs = {run.seed: run for run in second.runs}
    runs = [(run, theirs[run.seed]) for run in first.runs if run.seed in theirs]
    pair, unit = paired_sums(runs, part)
    by_seed = {m: _seed_differences(runs, part, m) for m in MEASURES}
    return Comparison(
        first.label, second.label, question, part,
        seeds=[run.seed for run, _ in runs],
        differences=paired_bootstrap(pair),
        by_seed=by_seed,
        unit=unit,
        units=pair.first.error.shape[1],
        other_settings=other_settings(*runs[0]),
    )  # fmt: skip


def _seed_differences(
    runs: Sequence[tuple[FinishedRun, FinishedRun]], part: str, measure: str
) -> Estimate | None:
    scores = [(a.scores(part)[measure], b.scores(part)[measure]) for a, b in runs]
    known = [x - y for x, y in scores if x is not None and y is not None]
    return over_seeds(known) if known else None


def paired_sums(runs: Sequence[tuple[FinishedRun, FinishedRun]], part: str) -> tuple[Paired, str]:
    """The sums of both systems on the utterances of a part, and what a cluster is.

    runs: the two runs of each seed, all with the same truth.
    """
    reference, _ = runs[0]
    cluster, unit = clusters(reference, reference.rows(part))
    first, second = (_stack([run_sums(pair[i], part, cluster) for pair in runs]) for i in (0, 1))
    return Paired(first, second), unit


def _stack(parts: Sequence[Sums]) -> Sums:
    return Sums(*(np.stack(arrays) for arrays in zip(*parts, strict=True)))


def clusters(run: FinishedRun, rows: Ints) -> tuple[Ints, str]:
    """The cluster of each of the rows, (R,), and its name: groups where known, else utterances.

    An utterance whose group is not known is a cluster of its own.
    """
    if not (run.group[rows] != "").any():
        return np.arange(len(rows)), "utterances"
    named = zip(run.group[rows], run.ids[rows], strict=True)
    keys = [f"group {group}" if group else f"utterance {name}" for group, name in named]
    return np.unique(keys, return_inverse=True)[1].astype(np.int64), "speakers"


def run_sums(run: FinishedRun, part: str, cluster: Ints) -> Sums:
    """A run's sums per cluster on a part."""
    rows = run.rows(part)
    return cluster_sums(
        run.emotion[rows], run.predicted[rows], run.valence[rows], run.predicted_valence[rows],
        cluster, len(run.classes),
    )  # fmt: skip


@dataclass(frozen=True)
class SizeStep:
    """A round of a system against its round 0."""

    round: int
    parameters_ratio: float  # mean over seeds
    difference: Difference | None  # in the headline's measure

    @property
    def no_loss(self) -> bool:
        """Whether the interval rules out a loss of MARGIN or more."""
        return self.difference is not None and self.difference.low > -MARGIN


def sizes(system: System, part: str, measure: str) -> list[SizeStep]:
    """Every round of a system against its round 0. Raises UserError where rounds' folders are gone."""
    count = min(len(run.results.rounds) for run in system.runs)
    full = [at_round(run, 0) for run in system.runs]
    found = []
    for i in range(1, count):
        ratio = float(np.mean([run.results.rounds[i].parameters_ratio for run in system.runs]))
        runs = [(at_round(run, i), start) for run, start in zip(system.runs, full, strict=True)]
        found.append(SizeStep(i, ratio, paired_bootstrap(paired_sums(runs, part)[0])[measure]))
    return found


def smallest_without_loss(found: Sequence[SizeStep]) -> SizeStep | None:
    """The smallest size whose interval rules out a loss of MARGIN."""
    good = [size for size in found if size.no_loss]
    return min(good, key=lambda size: size.parameters_ratio) if good else None
