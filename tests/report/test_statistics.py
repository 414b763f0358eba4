"""Intervals that hold what they promise, and scores that agree with scikit-learn."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score

from mer_lightning.model.metrics import score, weighted_f1
from mer_lightning.report.statistics import (
    Paired,
    Sums,
    cluster_sums,
    over_seeds,
    paired_bootstrap,
    resamples,
    scores,
    verdict,
)

Ints = NDArray[np.int64]
CLASSES = 3


def answers(rng: np.random.Generator, truth: Ints, right: NDArray[np.float64]) -> Ints:
    """Predictions that are right with the given probability, else any other class."""
    other = (truth + rng.integers(1, CLASSES, truth.shape)) % CLASSES
    return np.where(rng.random(truth.shape) < right, truth, other)


def summed(truth: Ints, predicted: Ints, cluster: Ints) -> Sums:
    """Sums of one seed, without valence."""
    nothing = np.full(len(truth), np.nan)
    sums = cluster_sums(truth, predicted, nothing, nothing, cluster, CLASSES)
    return Sums(*(array[None] for array in sums))


def coverage(draws: int, speakers: int, each: int, spread: float, *, by_speaker: bool) -> float:
    """Share of ``draws`` samples of a known population whose interval holds the true difference.

    Classes are balanced and errors spread evenly, so the weighted F1 is the accuracy, 0.7 and 0.6.
    ``spread`` is how much the systems' difference varies from speaker to speaker.
    """
    rng = np.random.default_rng(7)
    truth_difference, held = 0.10, 0
    speaker = np.repeat(np.arange(speakers), each)
    for _ in range(draws):
        truth = rng.integers(0, CLASSES, speakers * each)
        lean = rng.uniform(-spread, spread, speakers)[speaker]
        first = answers(rng, truth, 0.7 + lean)
        second = answers(rng, truth, 0.6 - lean)
        cluster = speaker if by_speaker else np.arange(len(truth))
        pair = Paired(summed(truth, first, cluster), summed(truth, second, cluster))
        found = paired_bootstrap(pair, replicates=300, seed=int(rng.integers(1 << 30)))["dis"]
        assert found is not None
        held += found.low <= truth_difference <= found.high
    return held / draws


def test_the_interval_over_utterances_holds_the_truth_95_times_in_100() -> None:
    assert 0.91 <= coverage(300, speakers=200, each=1, spread=0.0, by_speaker=False) <= 0.98


def test_with_speakers_that_differ_only_the_clustered_interval_holds_the_truth() -> None:
    assert 0.91 <= coverage(300, speakers=40, each=20, spread=0.25, by_speaker=True) <= 0.98
    assert coverage(60, speakers=40, each=20, spread=0.25, by_speaker=False) < 0.80


def test_scores_from_cluster_sums_equal_scikit_learn_on_every_resample() -> None:
    rng = np.random.default_rng(0)
    n, k = 300, 17
    truth, predicted = rng.integers(-1, CLASSES, n), rng.integers(0, CLASSES, n)
    valence = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    guess, cluster = rng.normal(size=n), rng.integers(0, k, n)
    cluster[:k] = np.arange(k)
    sums = cluster_sums(truth, predicted, valence, guess, cluster, CLASSES)
    weights = resamples(rng, k, 20)
    for row in weights:
        confusion = np.einsum("k,kij->ij", row, sums.confusion)
        dis, dim, com = scores(confusion, row @ sums.error, row @ sums.labelled)
        rows = np.concatenate([np.repeat(np.flatnonzero(cluster == c), int(row[c])) for c in range(k)])
        known, valued = rows[truth[rows] >= 0], rows[np.isfinite(valence[rows])]
        assert dis == pytest.approx(f1_score(truth[known], predicted[known], average="weighted"))
        assert dim == pytest.approx(np.mean((valence[valued] - guess[valued]) ** 2))
        assert com == pytest.approx(dis - 0.25 * dim)


def test_scores_equal_those_of_the_metrics_module() -> None:
    rng = np.random.default_rng(1)
    posterior, truth = rng.dirichlet(np.ones(CLASSES), 200), rng.integers(0, CLASSES, 200)
    valence, guess = rng.normal(size=200), rng.normal(size=200)
    sums = cluster_sums(truth, posterior.argmax(1), valence, guess, np.zeros(200, dtype=np.int64), CLASSES)
    theirs = score(*(torch.from_numpy(x) for x in (posterior, guess, truth, valence)))
    ours = scores(sums.confusion[0], sums.error[0], sums.labelled[0])
    assert ours == pytest.approx(list(vars(theirs).values()))


def test_an_absent_class_and_no_labels_at_all() -> None:
    assert weighted_f1(torch.tensor([3.0, 0.0, 2.0]).diag()) == 1
    assert weighted_f1(torch.zeros(3, 3)).isnan()


def test_the_difference_is_the_difference_of_means_over_seeds_and_is_seeded() -> None:
    rng = np.random.default_rng(2)
    truth, cluster = rng.integers(0, CLASSES, 120), np.arange(120)
    first, second = ([answers(rng, truth, np.full(120, right)) for _ in range(3)] for right in (0.8, 0.6))
    pair = Paired(*(
        Sums(*(np.concatenate(a) for a in zip(*(summed(truth, p, cluster) for p in ps), strict=True)))
        for ps in (first, second)
    ))  # fmt: skip
    found = paired_bootstrap(pair, replicates=300)
    f1 = [np.mean([f1_score(truth, p, average="weighted") for p in ps]) for ps in (first, second)]
    assert found["dis"] is not None
    assert found["dis"].value == pytest.approx(f1[0] - f1[1])
    assert found["dis"].low < found["dis"].value < found["dis"].high
    assert found["dim"] is None
    assert found["com"] is None
    assert paired_bootstrap(pair, replicates=300) == found
    assert paired_bootstrap(pair, replicates=300, seed=1) != found


def test_equal_systems_show_no_difference_and_one_cluster_gives_no_interval() -> None:
    truth = np.array([0, 1, 2, 1])
    same = summed(truth, truth, np.arange(4))
    found = paired_bootstrap(Paired(same, same), replicates=50)["dis"]
    assert found == (0, 0, 0, 1)
    alone = summed(truth, truth, np.zeros(4, dtype=np.int64))
    assert paired_bootstrap(Paired(alone, alone))["dis"] is None


def test_the_share_not_better_counts_dim_the_other_way() -> None:
    valence = np.linspace(-1, 1, 40)
    emotion, cluster = np.zeros(40, dtype=np.int64), np.arange(40)
    near, far = (
        Sums(*(a[None] for a in cluster_sums(emotion, emotion, valence, valence + off, cluster, 1)))
        for off in (0.1, 1.0)
    )
    found = paired_bootstrap(Paired(near, far), replicates=50)
    assert found["dim"] is not None
    assert found["com"] is not None
    assert found["dim"].value < 0
    assert found["dim"].not_better == 0
    assert found["com"].not_better == 0


def test_the_interval_over_seeds_is_the_t_interval() -> None:
    values = [0.61, 0.64, 0.60, 0.66, 0.62]
    estimate = over_seeds(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == (pytest.approx(low), pytest.approx(high))
    assert over_seeds([0.5]) == (0.5, None, 1)
    assert over_seeds([0.5]).low is None
    assert over_seeds([0.5, 0.5]).half == 0


def test_better_or_worse_is_never_said_of_an_interval_that_holds_zero() -> None:
    rng = np.random.default_rng(3)
    for _ in range(2000):
        low, high = np.sort(rng.normal(size=2) * 10.0 ** rng.integers(-6, 2))
        lower_is_better = bool(rng.integers(2))
        said = verdict(low, high, lower_is_better=lower_is_better)
        if low <= 0 <= high:
            assert said == "no difference shown"
        else:
            assert said == ("better" if (low > 0) != lower_is_better else "worse")
    for low, high in ((0.0, 1.0), (-1.0, 0.0), (0.0, 0.0), (float("nan"), float("nan"))):
        assert verdict(low, high) == "no difference shown"
