"""How sure the difference between two systems is: one interval over seeds and speakers together.

Pure functions: arrays in, numbers out. Scores are computed from sums per cluster, so that leaving a
cluster out is a subtraction. How well the intervals cover:
``experiments/coverage``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mer_lightning.results.sums import Sums, scores

Floats = NDArray[np.float64]

ALPHA = 0.05  # of a single interval, and of a family of tests together
POWER = 0.8
MIN_CLUSTERS, MIN_SEEDS = 10, 3  # with fewer no interval covers what it promises
MEASURES = ("dis", "dim", "com")
NOT_SHOWN = "no difference shown"


class Estimate(NamedTuple):
    """A mean over n seeds and half the width of its 95 % interval; None with a single seed."""

    mean: float
    half: float | None
    n: int


def over_seeds(values: list[float]) -> Estimate:
    """Mean and t interval: ``mean +- t(0.975, n-1) s / sqrt(n)``, for at least one value."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Estimate(mean, None, 1)
    half = stats.t.ppf(1 - ALPHA / 2, n - 1) * stats.sem(values)
    return Estimate(mean, float(half), n)


class Components(NamedTuple):
    """Variances of the parts of ``X[s, k] = difference + seed[s] + cluster[k] + rest[s, k]``."""

    seed: float
    cluster: float
    rest: float

    def error(self, seeds: int, clusters: int) -> tuple[float, float]:
        """Standard error of the mean over S seeds and K clusters, and its degrees of freedom.

        ``V = seed / S + cluster / K + rest / SK``. Degrees of freedom after Satterthwaite:
        ``V^2 / (Vs^2 / (S-1) + Vc^2 / (K-1))``, where Vs and Vc, what the spread over seeds and over clusters
        estimates, both hold the rest; at least those of the smaller one. One seed tells nothing of others:
        the error is that of these trainings on other clusters.
        """
        rest = self.rest / (seeds * clusters)
        by_seed, by_cluster = self.seed / seeds + rest, self.cluster / clusters + rest
        variance = by_seed + by_cluster - rest
        if seeds == 1 or variance == 0:
            return float(np.sqrt(variance)), clusters - 1
        freedom = variance**2 / (by_seed**2 / (seeds - 1) + by_cluster**2 / (clusters - 1))
        return float(np.sqrt(variance)), max(freedom, min(seeds, clusters) - 1)


def components(values: Floats) -> Components:
    """Two-way analysis of variance of (S, K) values; with one seed all variance is the clusters'."""
    seeds, clusters = values.shape
    by_seed, by_cluster = values.mean(axis=1), values.mean(axis=0)
    if seeds == 1:
        return Components(0.0, float(by_cluster.var(ddof=1)), 0.0)
    residual = values - by_seed[:, None] - by_cluster + values.mean()
    rest = float((residual**2).sum() / ((seeds - 1) * (clusters - 1)))
    return Components(
        seed=max(0.0, float(by_seed.var(ddof=1)) - rest / clusters),
        cluster=max(0.0, float(by_cluster.var(ddof=1)) - rest / seeds),
        rest=rest,
    )


@dataclass(frozen=True)
class Difference:
    """One system minus another in one measure, the mean over S seeds, scored on K clusters."""

    value: float
    parts: Components
    seeds: int
    clusters: int

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """The t interval of level ``1 - alpha``, for other seeds and other clusters."""
        error, freedom = self.parts.error(self.seeds, self.clusters)
        half = float(stats.t.ppf(1 - alpha / 2, freedom)) * error
        return self.value - half, self.value + half

    def p(self, true: float = 0.0) -> float:
        """Two-sided p-value of the hypothesis that the difference is ``true``."""
        error, freedom = self.parts.error(self.seeds, self.clusters)
        distance = abs(self.value - true)
        if error == 0:
            return float(distance == 0)
        return float(2 * stats.t.sf(distance / error, freedom))

    def lacks(self, unit: str) -> str:
        """What there is too little of for a verdict: the unit that clusters are, ``seeds``, or nothing."""
        if self.clusters < MIN_CLUSTERS:
            return unit
        return "seeds" if self.seeds < MIN_SEEDS else ""


@dataclass(frozen=True)
class Paired:
    """Sums of two systems on the same K clusters of utterances, each with a leading axis of S seeds."""

    first: Sums  # (S, K, C, C), (S, K), (S, K)
    second: Sums


def paired_differences(pair: Paired) -> dict[str, Difference | None]:
    """First minus second, with the variances due to seeds and to clusters: those of ``pseudo_values``.

    Returns:
        ``dis``, ``dim``, ``com`` -> Difference; None where there are no labels, or one cluster has them all.
    """
    whole = (_scores(pair.first) - _scores(pair.second)).mean(axis=(0, 1))
    found: dict[str, Difference | None] = {}
    for measure, value, pseudo in zip(MEASURES, whole, pseudo_values(pair), strict=True):
        seeds, clusters = pseudo.shape
        enough = clusters > 1 and bool(np.isfinite(value) and np.isfinite(pseudo).all())
        found[measure] = Difference(float(value), components(pseudo), seeds, clusters) if enough else None
    return found


def pseudo_values(pair: Paired) -> list[Floats]:
    """The jackknife's pseudo-values of the difference in Dis, Dim and Com, each (S, K).

    ``K d[s] - (K-1) d[s, -k]``, where ``d[s, -k]`` is the difference with seed s without cluster k: seeds and
    clusters are crossed, each training is scored on each cluster. Clusters without a label do not count.
    """
    whole, without = (_scores(pair.first, out) - _scores(pair.second, out) for out in (False, True))
    emotion, valence = pair.first.confusion[0].any(axis=(-2, -1)), pair.first.labelled[0] > 0
    return [
        known.sum() * whole[:, :, i] - (known.sum() - 1) * without[:, known, i]
        for i, known in enumerate((emotion, valence, emotion | valence))
    ]


def _scores(sums: Sums, leave_out: bool = False) -> Floats:
    """(S, 1, 3) scores on all clusters, or (S, K, 3) on all but one."""
    totals = Sums(*(s.sum(axis=1, keepdims=True) for s in sums))
    return scores(*(t - s for t, s in zip(totals, sums, strict=True)) if leave_out else totals)


def holm(ps: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """The levels at which Holm's procedure tests a family: those with p at or below theirs are rejected.

    Of m hypotheses the i-th smallest p, counted from 0, is tested at ``alpha / (m - i)``; from the first that
    is not rejected on, all share its level. So an interval of level ``1 - alpha_i`` excludes what the test
    rejects and nothing else, and the probability of any false rejection is at most alpha.
    """
    order = np.argsort(ps)
    levels = alpha / np.arange(len(ps), 0, -1)
    held = np.flatnonzero(np.asarray(ps)[order] > levels)
    if len(held):
        levels[held[0] :] = levels[held[0]]
    found = np.empty(len(ps))
    found[order] = levels
    return [float(level) for level in found]


def verdict(low: float, high: float) -> str:
    """``better``, ``worse``, or ``no difference shown`` for an interval that holds zero."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else NOT_SHOWN


def loss_verdict(low: float, high: float, margin: float) -> str:
    """Whether a difference is no loss of the margin: ``yes``, ``no``, or ``not shown``."""
    if low > -margin:
        return "yes"
    return "no" if high < -margin else "not shown"


def detectable(parts: Components, seeds: int, clusters: int, alpha: float, power: float = POWER) -> float:
    """The smallest true difference that a test at level alpha finds with probability ``power``.

    ``(t(1 - alpha/2) + t(power)) sqrt(V)`` for S seeds and K clusters; see ``Components.error``.
    """
    error, freedom = parts.error(seeds, clusters)
    return float((stats.t.ppf(1 - alpha / 2, freedom) + stats.t.ppf(power, freedom)) * error)
