"""Feature sets removed at test time, of models trained with and without modality dropout, as Markdown.

python -m experiments.missing.table DIR    (finished runs on one data set, at any depth below DIR)
"""

import sys
from itertools import product
from pathlib import Path

import numpy as np

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.report.conditions import removals, sums_by_group, tested
from mer_lightning.report.runs import FinishedRun, find_runs
from mer_lightning.report.statistics import (
    MEASURES,
    Difference,
    Paired,
    components,
    holm,
    paired_differences,
    pseudo_values,
)
from mer_lightning.results.evaluation import decide
from mer_lightning.results.predictor import load
from mer_lightning.results.sums import Sums, scores

ALL = "all sets"
SHOWN = ("dis", "dim")


def condition_sums(run: FinishedRun, corpus: Corpus) -> dict[str, Sums]:
    """Condition -> the run's sums per speaker on the test set, (1, K, ...)."""
    predictor, (rows, _) = load(run.path), tested(corpus)
    conditions = {ALL: ()} | removals(tuple(predictor.features))
    return {
        name: sums_by_group(decide(predictor.doing_without(sets), corpus, rows), corpus)
        for name, sets in conditions.items()
    }


def stacked(runs: list[dict[str, Sums]]) -> dict[str, Sums]:
    """The same of several seeds, (S, K, ...)."""
    return {
        name: Sums(*(np.concatenate(arrays) for arrays in zip(*(run[name] for run in runs), strict=True)))
        for name in runs[0]
    }


def minus(first: Paired, second: Paired, measure: str) -> Difference:
    """The first pair's difference minus the second's."""
    i = MEASURES.index(measure)
    pseudo = pseudo_values(first)[i] - pseudo_values(second)[i]
    value, other = (mean_score(p.first, measure) - mean_score(p.second, measure) for p in (first, second))
    return Difference(value - other, components(pseudo), *pseudo.shape)


def mean_score(sums: Sums, measure: str) -> float:
    """On all speakers together, the mean over seeds."""
    whole = scores(*(array.sum(axis=1) for array in sums))
    return float(whole[:, MEASURES.index(measure)].mean())


def main(folder: Path) -> str:
    """A table for each score."""
    runs = sorted(find_runs(folder), key=lambda run: run.seed)
    corpus = read_corpus(DataConfig(**runs[0].config["data"]))
    found: dict[float, list[dict[str, Sums]]] = {}
    for run in runs:
        p = float(run.config["network"]["modality_dropout"])
        found.setdefault(p, []).append(condition_sums(run, corpus))
    by_p = {p: stacked(each) for p, each in sorted(found.items())}
    return "\n".join(table(by_p, measure) for measure in SHOWN)


def table(by_p: dict[float, dict[str, Sums]], measure: str) -> str:
    """Rows: conditions. Bold: excludes zero at the level that Holm's procedure leaves to it in this table."""
    plain, *rates = by_p
    off = by_p[plain]
    gains: dict[tuple[str, float, str], Difference] = {}
    for (name, sums), p in product(off.items(), rates):
        here = Paired(by_p[p][name], sums)
        if difference := paired_differences(here)[measure]:
            gains[name, p, "gain"] = difference
        if name != ALL:
            gains[name, p, "saved"] = minus(here, Paired(by_p[p][ALL], off[ALL]), measure)
    levels = dict(zip(gains, holm([d.p() for d in gains.values()]), strict=True))

    def cell(key: tuple[str, float, str]) -> str:
        if key not in gains:
            return ""
        d = gains[key]
        text = "{:+.3f} [{:+.3f}, {:+.3f}]".format(d.value, *d.interval())
        return f"**{text}**" if d.p() <= levels[key] else text

    header = [f"{measure.title()}", f"p = {plain:g}"]
    for p in rates:
        header += [f"p = {p:g}", f"minus p = {plain:g}", "the same, beyond all sets"]
    rows = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for name, sums in off.items():
        cells = [name, f"{mean_score(sums, measure):.3f}"]
        for p in rates:
            cells += [
                f"{mean_score(by_p[p][name], measure):.3f}",
                cell((name, p, "gain")),
                cell((name, p, "saved")),
            ]
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
