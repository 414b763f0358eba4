"""A small simulation of ``experiments/coverage``: intervals hold the true difference as often as they say."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments" / "coverage"


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        import simulate
    finally:
        sys.path.remove(str(SCRIPTS))
    return simulate


@pytest.mark.parametrize(("clusters", "seeds"), [(10, 5), (24, 3), (24, 5), (100, 3)])
def test_the_interval_over_seeds_and_speakers_holds_zero_for_equal_systems(
    simulate: ModuleType, clusters: int, seeds: int
) -> None:
    kinds = (simulate.two_way_t, simulate.cluster_t)
    held, _ = simulate.coverage(kinds, simulate.EQUAL, clusters, seeds, 300, np.zeros(3), 0.05)
    assert (held[0] >= 0.93).all()
    assert (held[0] <= 1).all()
    if clusters == 100:  # the more speakers, the more of the chance is the seeds'
        assert held[1, 0] < 0.90


def test_of_a_family_of_equal_systems_hardly_any_is_told_apart(simulate: ModuleType) -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(60):
        pairs = [simulate.sample(rng, 24, 5, simulate.EQUAL) for _ in range(8)]
        ps = [simulate.differences(pair)[0].p() for pair in pairs]
        false += any(p <= level for p, level in zip(ps, simulate.holm(ps), strict=True))
    assert false <= 6
