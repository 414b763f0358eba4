"""Each fold of the labels in turn as the test set: systems compared on all utterances, as Markdown.

python experiments/outer_folds/compare.py DIR    (the runs below DIR differ in data.test_fold and seed)
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from mer_lightning.errors import UserError
from mer_lightning.model.decisions import RowDecisions, concatenated
from mer_lightning.report.pairs import PAIRS, SAME_ROUND, VARIANTS, in_the_same_round, paired_sums
from mer_lightning.report.prose import signed
from mer_lightning.report.runs import FinishedRun, find_runs
from mer_lightning.report.statistics import Difference, holm, over_seeds, paired_differences, verdict
from mer_lightning.report.systems import Settings, changes, name, settings_of
from mer_lightning.report.table import cell

OUTER = "outer folds"  # the part that all tests together make


@dataclass(frozen=True)
class Outer:
    """A system: its changed settings, and seed -> its runs, one per test fold in order."""

    experiment: str
    changed: Settings
    seeds: dict[int, list[FinishedRun]]

    @property
    def size(self) -> float:
        """Parameters of a network in its chosen round, by those of round 0; mean over runs."""
        return float(
            np.mean([run.results.best.parameters_ratio for runs in self.seeds.values() for run in runs])
        )


def main(folder: Path) -> str:
    """A table of Dis per fold, and the differences with their intervals."""
    systems = by_system(find_runs(folder))
    return "\n".join([*table(systems), "", *differences(systems), ""])


def by_system(runs: Sequence[FinishedRun]) -> dict[str, Outer]:
    """Label -> system; seeds that lack a fold are left out."""
    found: dict[tuple[str, ...], dict[int, dict[int, FinishedRun]]] = {}
    keys: dict[tuple[str, ...], Settings] = {}
    for run in runs:
        fold = run.config["data"].get("test_fold")
        if fold is not None:
            changed = changes(run.experiment, settings_of(run), ())
            key = (run.experiment, *map(str, changed.items()))
            keys[key] = changed
            found.setdefault(key, {}).setdefault(run.seed, {})[fold] = run
    folds = {fold for seeds in found.values() for tests in seeds.values() for fold in tests}
    everywhere = set.intersection(*(set(c.items()) for c in keys.values())) if keys else set()
    systems = {}
    for key, seeds in found.items():
        whole = {
            s: [tests[f] for f in sorted(folds)]
            for s, tests in sorted(seeds.items())
            if len(tests) == len(folds)
        }
        if whole:
            systems[name(key[0], keys[key], dict(everywhere))] = Outer(key[0], keys[key], whole)
    if not systems:
        raise UserError("no system has a run for every test fold; run with -m data.test_fold=0,1,2,...")
    return systems


def test_dis(run: FinishedRun) -> float:
    """Weighted F1 on the run's test fold."""
    return float(next(iter(run.results.test.values())).dis or 0)


def table(systems: dict[str, Outer]) -> list[str]:
    """One row per system: the mean over seeds of each fold's Dis, then of their mean, and its size."""
    folds = len(next(iter(next(iter(systems.values())).seeds.values())))
    header = [
        "System",
        *(f"fold {f}" for f in range(folds)),
        "mean ± half of 95 % over seeds",
        "seeds",
        "left",
    ]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for label, system in systems.items():
        scores = np.array([[test_dis(run) for run in runs] for runs in system.seeds.values()])  # (S, F)
        total = cell(over_seeds(scores.mean(axis=1).tolist()))
        by_fold = (f"{x:.4f}" for x in scores.mean(axis=0))
        lines.append([label, *by_fold, total, str(len(system.seeds)), f"{system.size:.1%}"])
    return ["| " + " | ".join(line) + " |" for line in lines]


def asked(systems: dict[str, Outer]) -> Iterator[tuple[str, str]]:
    """The pairs to compare: those of the report, and the variants of one experiment."""
    for a, b in PAIRS:
        for first, one in systems.items():
            for second, other in systems.items():
                if (one.experiment, other.experiment) == (a, b):
                    yield first, second
    for experiment in dict.fromkeys(system.experiment for system in systems.values()):
        variants = [label for label, system in systems.items() if system.experiment == experiment]
        if len(variants) <= VARIANTS:
            yield from combinations(variants, 2)


def differences(systems: dict[str, Outer]) -> list[str]:
    """The differences in Dis over all utterances, with intervals over seeds and speakers, as one family."""
    found: dict[str, tuple[Difference, str]] = {}
    for first, second in asked(systems):
        mine, theirs = systems[first].seeds, systems[second].seeds
        pairs, same = [], systems[second].experiment in SAME_ROUND
        for seed in sorted(mine.keys() & theirs.keys()):
            both = list(zip(mine[seed], theirs[seed], strict=True))
            both = in_the_same_round(both) if same else both
            pairs.append((merged([a for a, _ in both]), merged([b for _, b in both])))
        if pairs:
            sums, unit = paired_sums(pairs, OUTER)
            if (d := paired_differences(sums)["dis"]) is not None:
                found[f"{first} - {second}{' in the same round' * same}"] = d, unit
    levels = holm([d.p() for d, _ in found.values()])
    return [line(pair, *found[pair], level) for pair, level in zip(found, levels, strict=True)]


def line(pair: str, d: Difference, unit: str, level: float) -> str:
    """A difference with its interval and verdict."""
    low, high = d.interval(level)
    lacking = d.lacks(unit)
    said = f"too few {lacking} to tell" if lacking else verdict(low, high)
    of = f"{d.clusters} {unit}, {d.seeds} seeds"
    return f"- {pair}: Dis {signed(d.value)} [{signed(low)}, {signed(high)}], {said} ({of})"


def merged(runs: Sequence[FinishedRun]) -> FinishedRun:
    """The test predictions of all folds' runs as those of one run; every utterance is tested once."""
    rows = [run.rows(next(iter(run.results.test))) for run in runs]

    parts = [(run.decision, torch.from_numpy(r)) for run, r in zip(runs, rows, strict=True)]
    decision = concatenated([RowDecisions(r, d.select(r)) for d, r in parts]).decision
    labels = {
        name: np.concatenate([getattr(run, name)[r] for run, r in zip(runs, rows, strict=True)])
        for name in ("ids", "fold", "group", "emotion", "valence")
    }
    split = np.full(len(labels["ids"]), OUTER)
    return replace(runs[0], split=split, decision=decision, **labels)


if __name__ == "__main__":
    try:
        print(main(Path(sys.argv[1])), end="")
    except (UserError, IndexError) as error:
        sys.exit(f"error: {error if isinstance(error, UserError) else 'say which folder: compare.py DIR'}")
