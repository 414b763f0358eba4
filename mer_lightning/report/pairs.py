"""The comparisons that matter, from systems to differences with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mer_lightning.data.corpus import cluster_keys
from mer_lightning.errors import UserError
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
    ("rewind_only", "long"): "Do rounds of rewinding beat one fit of as many epochs?",
    ("pnao", "random"): "Does importance beat chance over the whole network?",
    ("pnao", "shuffled"): "Does importance beat chance within the layers?",
    ("pnao", "one_shot"): "Is it better to prune in rounds than in one step?",
    ("pnao", "scratch"): "Are the inherited weights worth more than fresh ones in the same widths?",
    ("pnao", "thin_attention"): "Does pruning beat an attention that is thin from the start?",
    ("pnao", "pnao_paper"): "Does pruning on one scale beat the paper's rule?",
    ("pnao", "pnao_attention"): "Does entropy fusion beat attention fusion after PNAO?",
    ("final", "pnao"): "Does combining the two systems of PNAO beat entropy fusion with PNAO alone?",
}
SAME_ROUND = ("rewind_only", "random", "shuffled")  # controls that have a round for each of pnao's
VARIANTS = 6  # of one experiment that are compared with each other, at most


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
    unit: str  # what a cluster is: "speakers", "groups" of another column, or "utterances"
    other_settings: list[str]  # where the two differ besides what the question is about
    family: int = 1  # how many tests are corrected together
    alpha: float = ALPHA  # the level that Holm's procedure leaves to this one
    same_round: bool = False  # the second in the first's chosen round, not in its own

    @property
    def against(self) -> str:
        """The second, in words."""
        return f"{self.second} in the same round" if self.same_round else self.second

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
    """Two systems on one part, seed by seed on the same utterances.

    Each in its chosen round, but a control that has the same rounds in the first one's.
    """
    runs = common_seeds(first, second)
    same = in_the_same_round(runs) if second.experiment in SAME_ROUND else []
    runs = same or runs
    pair, unit = paired_sums(runs, part)
    return Comparison(
        first.label, second.label, question, part, measure,
        seeds=[run.seed for run, _ in runs],
        differences=paired_differences(pair),
        unit=unit,
        other_settings=other,
        same_round=bool(same),
    )  # fmt: skip


def in_the_same_round(
    pairs: Sequence[tuple[FinishedRun, FinishedRun]],
) -> list[tuple[FinishedRun, FinishedRun]]:
    """The second runs brought to the first ones' chosen rounds; [] if one has no such round any more."""
    try:
        return [
            (run, other if other.results.best_round == number else at_round(other, number))
            for run, other in pairs
            if (number := run.results.best_round) < len(other.results.rounds)
        ]
    except UserError:
        return []


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
    keys = cluster_keys(run.group[rows].tolist(), run.ids[rows].tolist())
    unit = "speakers" if run.config["data"].get("group", "speaker") == "speaker" else "groups"
    return np.unique(keys, return_inverse=True)[1].astype(np.int64), unit


def run_sums(run: FinishedRun, part: str, cluster: Ints) -> Sums:
    """A run's sums per cluster on a part."""
    rows = run.rows(part)
    return cluster_sums(
        run.emotion[rows], run.predicted[rows], run.valence[rows], run.predicted_valence[rows],
        cluster, len(run.classes),
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
