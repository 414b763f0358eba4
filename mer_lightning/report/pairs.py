"""The comparisons that matter, from systems to differences with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mer_lightning.report.runs import FinishedRun, Ints, at_round
from mer_lightning.report.statistics import (
    ALPHA,
    NOT_SHOWN,
    Difference,
    Paired,
    holm,
    paired_differences,
    verdict,
)
from mer_lightning.report.systems import DataSet, System, other_settings
from mer_lightning.results.sums import Sums, cluster_sums

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
VARIANTS = 6  # of one experiment that are compared with each other, at most
MARGIN = 0.01  # one point: a loss below it counts as none when asking what a smaller network costs


@dataclass(frozen=True)
class Comparison:
    """First minus second on one part, over the seeds that both have."""

    first: str
    second: str
    question: str
    part: str
    measure: str  # what the verdict is about
    seeds: list[int]
    differences: dict[str, Difference | None]  # by measure
    unit: str  # what a cluster is: "speakers" (or other groups), or "utterances"
    other_settings: list[str]  # where the two differ besides what the question is about
    family: int = 1  # how many tests are corrected together
    alpha: float = ALPHA  # the level that Holm's procedure leaves to this one

    @property
    def difference(self) -> Difference | None:
        """In the verdict's measure."""
        return self.differences[self.measure]

    @property
    def null(self) -> float:
        """The difference that is tested against."""
        return 0.0

    @property
    def p(self) -> float | None:
        """None where there is too little for a test: such a comparison is in no family."""
        d = self.difference
        return None if d is None or d.lacks(self.unit) else d.p(self.null)

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``no difference shown``, at the corrected level; ``too few ... to tell``."""
        if (d := self.difference) is None:
            return NOT_SHOWN
        if lacking := d.lacks(self.unit):
            return f"too few {lacking} to tell"
        return self.judged(*d.interval(self.alpha))

    def judged(self, low: float, high: float) -> str:
        """The verdict for an interval at the corrected level."""
        return verdict(low, high)


@dataclass(frozen=True)
class Cost(Comparison):
    """What a smaller network costs: the chosen rounds of a system against the same rounds without pruning."""

    rounds: tuple[int, ...] = ()  # chosen on validation, by seed
    parameters_ratio: float = 1.0  # mean over seeds

    @property
    def null(self) -> float:
        """The loss that has to be ruled out."""
        return -MARGIN

    def judged(self, low: float, high: float) -> str:
        """Whether a loss of MARGIN is ruled out."""
        return "yes" if low > -MARGIN else "not shown"


def matches(data: DataSet) -> Iterator[tuple[System, System, str, list[str]]]:
    """The pairs of systems to compare, the question, and the other settings in which the two differ.

    Those of ``PAIRS``, with the same other settings if there are such, else the two that are most alike; and
    the variants of one experiment among themselves.
    """
    for (first, second), question in PAIRS.items():
        found = [
            (a, b, question, other)
            for a in data.of(first)
            for b in data.of(second)
            if set(a.seeds) & set(b.seeds) and (other := other_settings(a, b)) is not None
        ]
        clean = [match for match in found if not match[-1]]
        yield from clean or sorted(found, key=lambda match: len(match[-1]))[:1]
    for experiment in dict.fromkeys(s.experiment for s in data.systems):
        variants = data.of(experiment)
        for b, a in combinations(variants if len(variants) <= VARIANTS else [], 2):
            if set(a.seeds) & set(b.seeds):
                yield a, b, f"Does {a.label} beat {b.label}?", []


def comparisons(data: DataSet) -> list[Comparison]:
    """All pairs of systems, on every part."""
    measure = data.headline[1]
    return [
        compare(a, b, question, part, measure, other)
        for a, b, question, other in matches(data)
        for part in data.parts
    ]


def compare(
    first: System, second: System, question: str, part: str, measure: str, other: list[str]
) -> Comparison:
    """Two systems on one part, seed by seed on the same utterances."""
    runs = common_seeds(first, second)
    pair, unit = paired_sums(runs, part)
    seeds = [run.seed for run, _ in runs]
    differences = paired_differences(pair)
    return Comparison(first.label, second.label, question, part, measure, seeds, differences, unit, other)


def common_seeds(first: System, second: System) -> list[tuple[FinishedRun, FinishedRun]]:
    """The two runs of each seed that both systems have."""
    theirs = {run.seed: run for run in second.runs}
    return [(run, theirs[run.seed]) for run in first.runs if run.seed in theirs]


def paired_sums(
    runs: Sequence[tuple[FinishedRun, FinishedRun]], part: str, *, single: bool = False
) -> tuple[Paired, str]:
    """The sums of both systems on the utterances of a part, and what a cluster is.

    runs: the two runs of each seed, all with the same truth; single: every utterance is a cluster.
    """
    reference, _ = runs[0]
    rows = reference.rows(part)
    cluster, unit = (np.arange(len(rows)), "utterances") if single else clusters(reference, rows)
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


def costs(data: DataSet, experiment: str) -> list[Cost]:
    """What the smaller networks of an experiment's systems cost, in the headline's part and measure.

    Raises UserError where rounds' folders are gone.
    """
    controls = {a.label: b for a, b, _, other in matches(data) if b.experiment == "rewind_only" and not other}
    systems = [s for s in data.of(experiment) if any(run.results.best.parameters_ratio < 1 for run in s.runs)]
    return [cost(system, controls.get(system.label), *data.headline) for system in systems]


def cost(system: System, control: System | None, part: str, measure: str) -> Cost:
    """The rounds chosen on validation against the same rounds of the control, else against round 0."""
    runs = [
        (run, at_round(other, run.results.best_round))
        for run, other in (common_seeds(system, control) if control else [])
        if run.results.best_round < len(other.results.rounds)
    ]
    against = f"{control.label} in the same round" if control and runs else "its own round 0"
    runs = runs or [(run, at_round(run, 0)) for run in system.runs]
    pair, unit = paired_sums(runs, part)
    return Cost(
        system.label, against, f"Is {system.label} smaller at no loss?", part, measure,
        seeds=[run.seed for run, _ in runs],
        differences=paired_differences(pair),
        unit=unit,
        other_settings=[],
        rounds=tuple(run.results.best_round for run, _ in runs),
        parameters_ratio=float(np.mean([run.results.best.parameters_ratio for run, _ in runs])),
    )  # fmt: skip


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """The tests at the levels of Holm's procedure."""
    ps = [test.p for test in family]
    levels = iter(holm([p for p in ps if p is not None]))
    size = sum(p is not None for p in ps)
    return [
        replace(test, family=size, alpha=ALPHA if p is None else next(levels))
        for test, p in zip(family, ps, strict=True)
    ]
