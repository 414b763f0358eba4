"""Intervals that hold what they promise, and scores that agree with scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score

from mer_lightning.model.metrics import score, weighted_f1
from mer_lightning.report.statistics import (
    Components,
    Difference,
    Paired,
    components,
    detectable,
    holm,
    over_seeds,
    paired_differences,
    verdict,
)
from mer_lightning.results.sums import Sums, cluster_sums, scores

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CLASSES = 3


def answers(rng: np.random.Generator, truth: Ints, right: float) -> Ints:
    """Predictions that are right with the given probability, else any other class."""
    other = (truth + rng.integers(1, CLASSES, truth.shape)) % CLASSES
    return np.where(rng.random(truth.shape) < right, truth, other)


def stacked(truth: Ints, predicted: list[Ints], valence: Floats, guess: list[Floats], cluster: Ints) -> Sums:
    """Sums of several seeds."""
    parts = [
        cluster_sums(truth, p, valence, g, cluster, CLASSES) for p, g in zip(predicted, guess, strict=True)
    ]
    return Sums(*map(np.stack, zip(*parts, strict=True)))


def labelled(rng: np.random.Generator, n: int, clusters: int) -> tuple[Ints, Floats, Ints]:
    """Emotions and valences, some not known, and clusters, every one of them present."""
    cluster = rng.integers(0, clusters, n)
    cluster[:clusters] = np.arange(clusters)
    valence = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    return rng.integers(-1, CLASSES, n), valence, cluster


def pair_of(rng: np.random.Generator, seeds: int, clusters: int) -> tuple[Paired, Floats]:
    """Two systems on 300 utterances, and scikit-learn's differences without each cluster, (S, 1 + K, 3).

    The first of these is without none.
    """
    truth, valence, cluster = labelled(rng, 300, clusters)
    predicted = [[answers(rng, truth, right) for _ in range(seeds)] for right in (0.8, 0.6)]
    guess = [[valence + rng.normal(0, s, 300) for _ in range(seeds)] for s in (0.9, 1.0)]
    pair = Paired(*(stacked(truth, predicted[i], valence, guess[i], cluster) for i in (0, 1)))

    def by_hand(system: int, seed: int, rows: NDArray[np.bool_]) -> Floats:
        known, valued = rows & (truth >= 0), rows & np.isfinite(valence)
        dis = f1_score(truth[known], predicted[system][seed][known], average="weighted")
        dim = np.mean((valence[valued] - guess[system][seed][valued]) ** 2)
        return np.array([dis, dim, dis - 0.25 * dim])

    rows = [cluster >= 0] + [cluster != k for k in range(clusters)]
    return pair, np.array([[by_hand(0, s, r) - by_hand(1, s, r) for r in rows] for s in range(seeds)])


def test_valence_of_one_speaker_alone_gives_no_difference_in_it() -> None:
    pair, _ = pair_of(np.random.default_rng(0), 3, 11)
    alone = np.arange(11) == 0
    first, second = (
        s._replace(error=s.error * alone, labelled=s.labelled * alone) for s in (pair.first, pair.second)
    )
    found = paired_differences(Paired(first, second))
    assert found["dis"] is not None
    assert found["dim"] is None
    assert found["com"] is None


@pytest.mark.parametrize("seeds", [1, 3])
def test_differences_and_their_variances_against_the_jackknife_by_hand(seeds: int) -> None:
    pair, by_hand = pair_of(np.random.default_rng(seeds), seeds, 11)
    found = paired_differences(pair)
    for i, measure in enumerate(("dis", "dim", "com")):
        d = found[measure]
        assert d is not None
        whole, without = by_hand[:, 0, i], by_hand[:, 1:, i]
        assert (d.seeds, d.clusters) == (seeds, 11)
        assert d.value == pytest.approx(whole.mean())
        assert d.parts == pytest.approx(components(11 * whole[:, None] - 10 * without))
        if seeds == 1:  # the jackknife's standard error and its t interval
            error = np.sqrt(10 / 11 * ((without - without.mean()) ** 2).sum())
            low, high = stats.t.interval(0.95, 10, whole[0], error)
            assert d.interval() == pytest.approx((low, high))


def test_components_are_those_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    seeds, clusters, sizes = 6, 40, np.array([1.0, 2.0, 3.0])
    drawn = np.array([
        components(
            rng.normal(0, sizes[0], (seeds, 1))
            + rng.normal(0, sizes[1], clusters)
            + rng.normal(0, sizes[2], (seeds, clusters))
        )
        for _ in range(2000)
    ])  # fmt: skip
    assert drawn.mean(axis=0) == pytest.approx(sizes**2, rel=0.05)


def test_the_error_of_one_source_of_chance_is_that_of_its_t_interval() -> None:
    seeds_alone, clusters_alone = Components(0.04, 0, 0), Components(0, 0.04, 0)
    assert seeds_alone.error(5, 100) == pytest.approx((0.2 / np.sqrt(5), 4))
    assert clusters_alone.error(5, 100) == pytest.approx((0.02, 99))
    assert Components(0.1, 0.2, 0.3).error(4, 50)[0] == pytest.approx(np.sqrt(0.1 / 4 + 0.2 / 50 + 0.3 / 200))
    for parts in (Components(0.1, 0.2, 0.3), Components(0, 0, 1), Components(1, 0, 1)):
        freedom = parts.error(4, 50)[1]
        assert 3 <= freedom <= 52


def test_p_and_interval_say_the_same() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        parts = Components(*rng.uniform(0, 1e-3, 3))
        d = Difference(rng.normal(0, 0.02), parts, int(rng.integers(1, 8)), int(rng.integers(2, 100)))
        alpha, true = rng.uniform(0.001, 0.2), rng.normal(0, 0.02)
        low, high = d.interval(alpha)
        assert (low <= true <= high) == (d.p(true) >= alpha)
    assert Difference(0.0, Components(0, 0, 0), 3, 20).p() == 1
    assert Difference(0.1, Components(0, 0, 0), 3, 20).p() == 0


def test_what_there_is_too_little_of() -> None:
    counts = {(3, 9): "speakers", (1, 9): "speakers", (2, 10): "seeds", (3, 10): ""}
    for (seeds, clusters), lacking in counts.items():
        assert Difference(0, Components(0, 1, 0), seeds, clusters).lacks("speakers") == lacking


def test_holm_rejects_what_the_closed_bonferroni_test_rejects() -> None:
    """By closed testing: i is rejected if in every subset with i the smallest p is below 0.05 / its size."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        m = int(rng.integers(1, 7))
        ps = rng.uniform(0, 1, m) ** rng.integers(1, 6)
        subsets = [list(s) for size in range(1, m + 1) for s in combinations(range(m), size)]
        rejected = [all(ps[s].min() <= 0.05 / len(s) for s in subsets if i in s) for i in range(m)]
        levels = np.array(holm(list(ps)))
        assert (ps <= levels).tolist() == rejected
        assert (levels >= 0.05 / len(ps) - 1e-12).all()
        assert (levels <= 0.05).all()
    assert holm([]) == []


def test_a_detectable_difference_is_found_in_four_of_five_tests() -> None:
    parts, alpha = Components(1e-4, 4e-3, 9e-3), 0.01
    true = detectable(parts, seeds=5, clusters=60, alpha=alpha)
    error, freedom = parts.error(5, 60)
    bound, shift = stats.t.ppf(1 - alpha / 2, freedom), true / error
    assert stats.nct.sf(bound, freedom, shift) == pytest.approx(0.8, abs=0.02)
    assert detectable(parts, 20, 60, alpha) < true
    assert detectable(parts, 5, 411, alpha) < true


def test_scores_equal_those_of_the_metrics_module() -> None:
    rng = np.random.default_rng(1)
    posterior, truth = rng.dirichlet(np.ones(CLASSES), 200), rng.integers(0, CLASSES, 200)
    valence, guess = rng.normal(size=200), rng.normal(size=200)
    sums = cluster_sums(truth, posterior.argmax(1), valence, guess, np.zeros(200, dtype=np.int64), CLASSES)
    theirs = score(*(torch.from_numpy(x) for x in (posterior, guess, truth, valence)))
    ours = scores(sums.confusion[0], sums.error[0], sums.labelled[0])
    assert ours == pytest.approx([theirs.dis, theirs.dim, theirs.com])


def test_an_absent_class_and_no_labels_at_all() -> None:
    assert weighted_f1(torch.tensor([3.0, 0.0, 2.0]).diag()) == 1
    assert weighted_f1(torch.zeros(3, 3)).isnan()


def test_equal_systems_show_no_difference_and_one_cluster_gives_no_interval() -> None:
    pair, _ = pair_of(np.random.default_rng(6), 3, 12)
    same = paired_differences(Paired(pair.first, pair.first))["com"]
    assert same is not None
    assert (same.interval(), same.p()) == ((0, 0), 1)
    alone = Sums(*(s[:, :1] for s in pair.first))
    assert set(paired_differences(Paired(alone, alone)).values()) == {None}


def test_clusters_without_a_label_do_not_count() -> None:
    truth, guess = np.array([0, 1, -1, 2, -1]), np.zeros(5)
    valence = np.array([np.nan, 0.5, 1.0, np.nan, np.nan])
    sums = stacked(truth, [truth], valence, [guess], np.arange(5))
    found = paired_differences(Paired(sums, sums))
    assert [d and d.clusters for d in found.values()] == [3, 2, 4]
    nothing = sums._replace(labelled=0 * sums.labelled)
    assert paired_differences(Paired(nothing, nothing))["dim"] is None


def test_the_interval_over_seeds_is_the_t_interval() -> None:
    values = [0.61, 0.64, 0.60, 0.66, 0.62]
    estimate = over_seeds(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert estimate.half == pytest.approx((high - low) / 2)
    assert estimate.mean == pytest.approx((high + low) / 2)
    assert over_seeds([0.5]) == (0.5, None, 1)
    assert over_seeds([0.5, 0.5]).half == 0


def test_better_or_worse_is_never_said_of_an_interval_that_holds_zero() -> None:
    rng = np.random.default_rng(3)
    for _ in range(2000):
        low, high = np.sort(rng.normal(size=2) * 10.0 ** rng.integers(-6, 2))
        said = verdict(low, high)
        assert said == ("no difference shown" if low <= 0 <= high else "better" if low > 0 else "worse")
    for low, high in ((0.0, 1.0), (-1.0, 0.0), (0.0, 0.0), (float("nan"), float("nan"))):
        assert verdict(low, high) == "no difference shown"
