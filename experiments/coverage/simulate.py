"""How often intervals of several kinds hold the true difference of two systems, as Markdown.

python experiments/coverage/simulate.py [DRAWS]
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from world import World, sample

from mer_lightning.report.statistics import (
    Components,
    Difference,
    Floats,
    Paired,
    detectable,
    holm,
    paired_differences,
    pseudo_values,
)
from mer_lightning.results.sums import scores

ALPHA = 0.05
SPEAKERS, CLIPS = World(), replace(World(), utterances=1)
EQUAL = replace(SPEAKERS, gain=(2.8, 2.8), loss=(1.0, 1.0))
TESTED = [(SPEAKERS, k, s) for k in (5, 10, 24, 100) for s in (1, 2, 3, 5)]
TESTED += [(CLIPS, 411, s) for s in (1, 3, 5, 20)]
FAMILIES = [(24, 3), (24, 5), (100, 3), (100, 5)]

Kind = Callable[[Paired, np.random.Generator, float], Floats]
# two systems' sums, chance, alpha -> (2, 3): ends of the intervals of Dis, Dim and Com


def differences(pair: Paired) -> list[Difference]:
    """Of Dis, Dim and Com; every utterance of the world is labelled."""
    return [d for d in paired_differences(pair).values() if d]


def two_way_t(pair: Paired, _: np.random.Generator, alpha: float) -> Floats:
    """What the report gives: a t interval on the jackknife's variances over seeds and clusters."""
    return np.array([d.interval(alpha) for d in differences(pair)]).T


def cluster_t(pair: Paired, _: np.random.Generator, alpha: float) -> Floats:
    """The same over clusters alone: seeds are held fixed."""
    found = differences(pair)
    parts = [Components(0.0, d.parts.cluster + d.parts.rest / d.seeds, 0.0) for d in found]
    fixed = [Difference(d.value, p, 1, d.clusters) for d, p in zip(found, parts, strict=True)]
    return np.array([d.interval(alpha) for d in fixed]).T


def ends(drawn: Floats, alpha: float) -> Floats:
    """(2, ...) the percentiles that hold ``1 - alpha`` of the replicates (R, ...)."""
    return np.asarray(np.quantile(drawn, [alpha / 2, 1 - alpha / 2], axis=0))


def replicates(alpha: float) -> int:
    """Of a bootstrap: ten beyond each end of the interval, 2,000 at most."""
    return min(2000, round(20 / alpha))


def replicated(pair: Paired, rng: np.random.Generator, alpha: float) -> Floats:
    """(S, R, 3) differences on R resamples of the clusters."""
    clusters = pair.first.error.shape[1]
    weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), replicates(alpha)).astype(np.float64)
    first, second = (
        scores(
            np.einsum("rk,skij->srij", weights, s.confusion, optimize=True),
            s.error @ weights.T,
            s.labelled @ weights.T,
        )
        for s in (pair.first, pair.second)
    )
    return np.asarray(first - second)


def cluster_percentile(pair: Paired, rng: np.random.Generator, alpha: float) -> Floats:
    """The percentile bootstrap over clusters."""
    return ends(replicated(pair, rng, alpha).mean(axis=0), alpha)


def two_way_percentile(pair: Paired, rng: np.random.Generator, alpha: float) -> Floats:
    """The percentile bootstrap over seeds x clusters."""
    drawn = replicated(pair, rng, alpha)
    seeds = len(drawn)
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), replicates(alpha)) / seeds
    return ends(np.einsum("srm,rs->rm", drawn, shares), alpha)


def two_way_bootstrap_t(pair: Paired, rng: np.random.Generator, alpha: float) -> Floats:
    """The studentised bootstrap over seeds x clusters, on the jackknife's pseudo-values."""
    found = []
    for d, values in zip(differences(pair), pseudo_values(pair), strict=True):
        rows, columns = (rng.integers(0, n, (replicates(alpha), n)) for n in values.shape)
        drawn = values[rows[:, :, None], columns[:, None, :]]
        error = errors(drawn)
        ts = (drawn.mean(axis=(1, 2)) - values.mean())[error > 0] / error[error > 0]
        found.append(d.value - ends(ts, alpha)[::-1] * d.parts.error(d.seeds, d.clusters)[0])
    return np.array(found).T


def errors(values: Floats) -> Floats:
    """``components(...).error`` of each of (R, S, K) tables, (R,)."""
    _, seeds, clusters = values.shape
    by_seed, by_cluster = values.mean(axis=2), values.mean(axis=1)
    spread = by_cluster.var(axis=1, ddof=1) / clusters
    if seeds == 1:
        return np.sqrt(spread)
    residual = values - by_seed[:, :, None] - by_cluster[:, None] + values.mean(axis=(1, 2), keepdims=True)
    rest = (residual**2).sum(axis=(1, 2)) / ((seeds - 1) * (clusters - 1)) / (seeds * clusters)
    seed = np.maximum(0, by_seed.var(axis=1, ddof=1) / seeds - rest)
    return np.sqrt(seed + np.maximum(spread, rest))


KINDS: dict[str, Kind] = {
    "percentile, clusters": cluster_percentile,
    "t, clusters": cluster_t,
    "percentile, seeds x clusters": two_way_percentile,
    "bootstrap-t, seeds x clusters": two_way_bootstrap_t,
    "**t, seeds x clusters**": two_way_t,
}


def truth(world: World, draws: int = 3000) -> Floats:
    """(3,) the mean difference over many seeds and speakers."""
    rng = np.random.default_rng(1)
    size = 100 if world.utterances > 1 else 2000
    found = [[d.value for d in differences(sample(rng, size, 1, world))] for _ in range(draws)]
    return np.asarray(np.mean(found, axis=0))


def coverage(
    kinds: Sequence[Kind], world: World, clusters: int, seeds: int, draws: int, true: Floats, alpha: float
) -> tuple[Floats, Floats]:
    """Shares of samples whose interval holds the truth, and mean widths, each (kinds, 3)."""
    rng, chance = np.random.default_rng([clusters, seeds]), np.random.default_rng(0)
    pairs = (sample(rng, clusters, seeds, world) for _ in range(draws))
    found = np.array(
        [[kind(pair, chance, alpha) for kind in kinds] for pair in pairs]
    )  # (draws, kinds, 2, 3)
    low, high = found[:, :, 0], found[:, :, 1]
    return ((low <= true) & (true <= high)).mean(axis=0), (high - low).mean(axis=0)


def cells(held: Floats, digits: int) -> str:
    """Percent of Dis / Dim / Com by kind, as cells of a table."""
    return " | ".join(" / ".join(f"{100 * share:.{digits}f}" for share in shares) for shares in held)


def coverage_table(draws: int) -> list[str]:
    """Coverage of every kind, and the width in Dis of the last kind."""
    head = f"| clusters | seeds | {' | '.join(KINDS)} | its width in Dis |"
    lines = [head, "|---:" * (len(KINDS) + 3) + "|"]
    truths = {world: truth(world) for world in (SPEAKERS, CLIPS)}
    for world, clusters, seeds in TESTED:
        held, width = coverage([*KINDS.values()], world, clusters, seeds, draws, truths[world], ALPHA)
        unit = "speakers" if world is SPEAKERS else "clips"
        lines.append(f"| {clusters} {unit} | {seeds} | {cells(held, 0)} | {width[-1, 0]:.3f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def strict_table(draws: int, size: int = 16) -> list[str]:
    """Coverage at the level of the first test of a family of 16: 99.7 %."""
    lines = ["| speakers | seeds | percentile | **t** |", "|---:|---:|---:|---:|"]
    true = truth(SPEAKERS)
    for clusters, seeds in FAMILIES:
        held, _ = coverage(
            (two_way_percentile, two_way_t), SPEAKERS, clusters, seeds, draws, true, ALPHA / size
        )
        lines.append(f"| {clusters} | {seeds} | {cells(held, 1)} |")
    return lines


def family_table(draws: int, size: int = 16) -> list[str]:
    """How often a family of comparisons of equal systems has any verdict."""
    lines = ["| speakers | seeds | corrected | each at 95 % |", "|---:|---:|---:|---:|"]
    for clusters, seeds in FAMILIES:
        rng = np.random.default_rng([clusters, seeds])
        ps = np.array(
            [differences(sample(rng, clusters, seeds, EQUAL))[2].p() for _ in range(draws // 2 * size)]
        )
        families = ps.reshape(-1, size)
        corrected = np.mean([(f <= holm(list(f))).any() for f in families])
        lines.append(
            f"| {clusters} | {seeds} | {corrected:.1%} | {(families <= ALPHA).any(axis=1).mean():.1%} |"
        )
    return lines


def power_line(draws: int, clusters: int = 24, seeds: int = 5) -> str:
    """How often a difference of the size that ``detectable`` names is found."""
    rng = np.random.default_rng(2)
    drawn = [differences(sample(rng, clusters, seeds, EQUAL))[0] for _ in range(draws)]
    true = detectable(Components(*np.mean([d.parts for d in drawn], axis=0)), seeds, clusters, ALPHA)
    found = np.mean([d.p(-true) <= ALPHA for d in drawn])  # as if each were larger by it
    return (
        f"{clusters} speakers, {seeds} seeds: {true:.3f} Dis is called detectable, and found in {found:.0%}."
    )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    tables = (coverage_table, strict_table, family_table)
    print("\n\n".join(["\n".join(table(count)) for table in tables] + [power_line(count)]))
