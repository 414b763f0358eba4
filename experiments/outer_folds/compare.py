"""Each fold of the labels in turn as the test set: systems compared on all utterances, as Markdown.

python experiments/outer_folds/compare.py DIR    (the runs below DIR differ in data.test_fold and seed)
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mer_lightning.errors import UserError
from mer_lightning.model.decisions import RowDecisions, concatenated
from mer_lightning.report.pairs import PAIRS, paired_sums
from mer_lightning.report.prose import signed
from mer_lightning.report.runs import FinishedRun, find_runs
from mer_lightning.report.statistics import Difference, holm, over_seeds, paired_differences, verdict
from mer_lightning.report.table import cell

OUTER = "outer folds"  # the part that all tests together make


def main(folder: Path) -> str:
    """A table of Dis per fold, and the differences with their intervals."""
    systems = by_system(find_runs(folder))
    return "\n".join([*table(systems), "", *differences(systems), ""])


def by_system(runs: Sequence[FinishedRun]) -> dict[str, dict[int, list[FinishedRun]]]:
    """Experiment -> seed -> its runs, one per test fold in order; seeds that lack a fold are left out."""
    found: dict[str, dict[int, dict[int, FinishedRun]]] = {}
    for run in runs:
        fold = run.config["data"].get("test_fold")
        if fold is not None:
            found.setdefault(run.experiment, {}).setdefault(run.seed, {})[fold] = run
    folds = {fold for seeds in found.values() for tests in seeds.values() for fold in tests}
    whole = {
        name: {
            s: [tests[f] for f in sorted(folds)]
            for s, tests in sorted(seeds.items())
            if len(tests) == len(folds)
        }
        for name, seeds in found.items()
    }
    if not any(whole.values()):
        raise UserError("no system has a run for every test fold; run with -m data.test_fold=0,1,2,...")
    return {name: seeds for name, seeds in whole.items() if seeds}


def test_dis(run: FinishedRun) -> float:
    """Weighted F1 on the run's test fold."""
    return float(next(iter(run.results.test.values())).dis or 0)


def table(systems: dict[str, dict[int, list[FinishedRun]]]) -> list[str]:
    """One row per system: the mean over seeds of each fold's Dis, then of their mean."""
    folds = len(next(iter(next(iter(systems.values())).values())))
    header = ["System", *(f"fold {f}" for f in range(folds)), "mean ± half of 95 % over seeds", "seeds"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for name, seeds in systems.items():
        scores = np.array([[test_dis(run) for run in runs] for runs in seeds.values()])  # (S, F)
        total = cell(over_seeds(scores.mean(axis=1).tolist()))
        lines.append([name, *(f"{x:.4f}" for x in scores.mean(axis=0)), total, str(len(seeds))])
    return ["| " + " | ".join(line) + " |" for line in lines]


def differences(systems: dict[str, dict[int, list[FinishedRun]]]) -> list[str]:
    """The differences in Dis over all utterances, with intervals over seeds and speakers, as one family."""
    found: dict[str, tuple[Difference, str]] = {}
    for first, second in PAIRS:
        seeds = sorted(systems.get(first, {}).keys() & systems.get(second, {}).keys())
        if seeds:
            pairs = [(merged(systems[first][s]), merged(systems[second][s])) for s in seeds]
            sums, unit = paired_sums(pairs, OUTER)
            if (d := paired_differences(sums)["dis"]) is not None:
                found[f"{first} - {second}"] = d, unit
    levels = holm([d.p() for d, _ in found.values()])
    return [line(name, *pair, level) for (name, pair), level in zip(found.items(), levels, strict=True)]


def line(name: str, d: Difference, unit: str, level: float) -> str:
    """A difference with its interval and verdict."""
    low, high = d.interval(level)
    lacking = d.lacks(unit)
    said = f"too few {lacking} to tell" if lacking else verdict(low, high)
    of = f"{d.clusters} {unit}, {d.seeds} seeds"
    return f"- {name}: Dis {signed(d.value)} [{signed(low)}, {signed(high)}], {said} ({of})"


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
