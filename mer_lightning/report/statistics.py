"""What the figures can bear: intervals over seeds, and the paired bootstrap over utterances.

Pure functions: arrays in, numbers out. Scores are computed from sums per cluster (confusion counts and
squared errors), so that a replicate of the bootstrap is a product of matrices.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from mer_lightning.model.metrics import DIM_WEIGHT, weighted_f1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95  # of every interval
REPLICATES = 2000
CHUNK = 4_000_000  # draws held in memory at a time
MEASURES = ("dis", "dim", "com")


class Estimate(NamedTuple):
    """A mean over n seeds and half the width of its 95 % interval; None with a single seed."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half


def over_seeds(values: list[float]) -> Estimate:
    """Mean and t interval: ``mean +- t(0.975, n-1) s / sqrt(n)``, for at least one value."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Estimate(mean, None, 1)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * stats.sem(values)
    return Estimate(mean, float(half), n)


class Sums(NamedTuple):
    """All that Dis, Dim and Com need of K clusters of utterances."""

    confusion: Floats  # (K, C, C) counts, rows true, columns predicted
    error: Floats  # (K,) sums of squared errors of valence
    labelled: Floats  # (K,) counts of known valences


def cluster_sums(
    emotion: Ints, predicted: Ints, valence: Floats, predicted_valence: Floats, cluster: Ints, classes: int
) -> Sums:
    """Sums per cluster.

    Args:
        emotion, predicted: (N,) classes; -1 where the true one is not known.
        valence, predicted_valence: (N,); NaN where the true one is not known.
        cluster: (N,) in 0 .. K-1, every one of them present.
        classes: C.
    """
    count = int(cluster.max()) + 1
    known = emotion >= 0
    cell = (cluster[known] * classes + emotion[known]) * classes + predicted[known]
    confusion = np.bincount(cell, minlength=count * classes**2).reshape(count, classes, classes)
    labelled = np.isfinite(valence)
    error = np.where(labelled, predicted_valence - np.where(labelled, valence, 0), 0.0) ** 2
    return Sums(
        confusion.astype(np.float64),
        np.bincount(cluster, weights=error, minlength=count).astype(np.float64),
        np.bincount(cluster, weights=labelled, minlength=count).astype(np.float64),
    )


def scores(confusion: Floats, error: Floats, labelled: Floats) -> Floats:
    """Sums with any leading shape (..., C, C), (...), (...) -> (..., 3): Dis, Dim, Com."""
    dis = weighted_f1(torch.from_numpy(confusion)).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        dim = error / labelled
    return np.stack([dis, dim, dis - DIM_WEIGHT * dim], axis=-1)


class Difference(NamedTuple):
    """One system minus another in one measure, with the bootstrap's 95 % interval."""

    value: float
    low: float
    high: float
    not_better: float  # share of replicates in which the first is not better than the second

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Paired:
    """Sums of two systems on the same K clusters of utterances, each with a leading axis of S seeds."""

    first: Sums  # (S, K, C, C), (S, K), (S, K)
    second: Sums


def paired_bootstrap(
    pair: Paired, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Difference | None]:
    """Percentile bootstrap of the difference, first minus second, of scores averaged over seeds.

    A replicate draws K clusters with replacement, the same for both systems, scores both on them for
    each seed, and averages over the seeds. So the interval says how the difference would vary with other
    utterances (or speakers), given these trainings. Seeded: the same input gives the same interval.

    Returns:
        ``dis``, ``dim``, ``com`` -> Difference; None where there are no labels, or only one cluster.
    """
    rng = np.random.default_rng(seed)
    clusters = pair.first.error.shape[1]
    whole = _difference(pair, np.ones((1, clusters)))[0]
    if clusters < 2:
        return dict.fromkeys(MEASURES)
    step = max(1, CHUNK // clusters)
    parts = [
        _difference(pair, resamples(rng, clusters, min(step, replicates - done)))
        for done in range(0, replicates, step)
    ]
    return _summaries(whole, np.concatenate(parts))


def resamples(rng: np.random.Generator, clusters: int, replicates: int) -> Floats:
    """(replicates, K): how often each of K clusters comes up when K are drawn with replacement."""
    drawn = rng.integers(0, clusters, (replicates, clusters)) + clusters * np.arange(replicates)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=replicates * clusters)
    return counts.reshape(replicates, clusters).astype(np.float64)


def _difference(pair: Paired, weights: Floats) -> Floats:
    """(R, K) weights -> (R, 3): difference of the scores' means over seeds."""
    first, second = (_weighted_scores(sums, weights) for sums in (pair.first, pair.second))
    return np.asarray((first - second).mean(axis=0))


def _weighted_scores(sums: Sums, weights: Floats) -> Floats:
    """(S, K, ...) sums and (R, K) weights -> (S, R, 3) scores."""
    seeds, clusters, classes, _ = sums.confusion.shape
    counts = sums.confusion.reshape(seeds, clusters, classes * classes)
    # Counts below 2^24 are exact in single precision, at half the time.
    confusion = weights.astype(np.float32) @ counts.astype(np.float32)
    counted = confusion.astype(np.float64).reshape(seeds, -1, classes, classes)
    error, labelled = ((weights @ s[:, :, None])[..., 0] for s in (sums.error, sums.labelled))
    return scores(counted, error, labelled)


def _summaries(whole: Floats, replicates: Floats) -> dict[str, Difference | None]:
    found: dict[str, Difference | None] = {}
    for i, measure in enumerate(MEASURES):
        drawn = replicates[:, i][np.isfinite(replicates[:, i])]  # a draw may hold no labelled utterance
        if not np.isfinite(whole[i]) or not len(drawn):
            found[measure] = None
            continue
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        not_better = drawn >= 0 if measure == "dim" else drawn <= 0
        found[measure] = Difference(float(whole[i]), float(low), float(high), float(not_better.mean()))
    return found


def verdict(low: float, high: float, *, lower_is_better: bool = False) -> str:
    """``better``, ``worse``, or ``no difference shown`` for an interval that holds zero."""
    if low <= 0 <= high or not (np.isfinite(low) and np.isfinite(high)):
        return "no difference shown"
    return "better" if (low > 0) != lower_is_better else "worse"
