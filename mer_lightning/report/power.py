"""What difference such an experiment could see: with more seeds, or on as many clips as MER-MULTI has."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mer_lightning.report.pairs import Comparison, common_seeds, matches, paired_sums
from mer_lightning.report.statistics import (
    ALPHA,
    MIN_CLUSTERS,
    MIN_SEEDS,
    Components,
    Difference,
    detectable,
    paired_differences,
)
from mer_lightning.report.systems import DataSet

MER_MULTI = 411  # clips
SEEDS = (5, 20)  # and those at hand


class Reach(NamedTuple):
    """The smallest true difference that four of five such experiments would show."""

    unit: str  # speakers, or clips taken one by one
    clusters: int
    seeds: int
    alpha: float  # of the test: corrected for the family
    difference: float


def reach(data: DataSet, compared: Sequence[Comparison]) -> list[Reach]:
    """For the speakers at hand and for MER-MULTI's clips, with the seeds at hand, with 5 and with 20.

    The variances are means over the pairs in the headline's part and measure. Empty if none has the seeds.
    """
    part, measure = data.headline
    by_unit = [c.difference for c in compared if c.part == part]
    by_clip = [
        paired_differences(paired_sums(common_seeds(a, b), part, single=True)[0])[measure]
        for a, b, *_ in matches(data)
    ]
    units, clips = mean_components(by_unit), mean_components(by_clip)
    if units is None or clips is None:
        return []
    alpha = ALPHA / (compared[0].family or len(compared))
    at_hand, unit = next(d.clusters for d in by_unit if d), compared[0].unit
    wanted = [(unit, at_hand, units)] if unit != "utterances" and at_hand >= MIN_CLUSTERS else []
    return [
        Reach(unit, count, seeds, alpha, detectable(parts, seeds, count, alpha))
        for unit, count, parts in [*wanted, ("clips", MER_MULTI, clips)]
        for seeds in sorted({max(len(c.seeds) for c in compared), *SEEDS})
    ]


def mean_components(differences: Sequence[Difference | None]) -> Components | None:
    """The means of those that have enough seeds; None without any."""
    known = [d.parts for d in differences if d and d.seeds >= MIN_SEEDS]
    return Components(*np.mean(known, axis=0)) if known else None
