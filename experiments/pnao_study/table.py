"""Tries side by side, as Markdown: size, validation and test score of the last round, by data set.

python -m experiments.pnao_study.table DIR    (finished runs at any depth below DIR)
"""

import sys
from pathlib import Path
from statistics import mean

from mer_lightning.report.runs import FinishedRun, find_runs
from mer_lightning.report.systems import changes, name, own_settings, settings_of


def cell(runs: list[FinishedRun]) -> str:
    """``19 %: .7809 / .8333``: parameters left, what validation says, and the test set, means over runs."""
    last = [run.results.rounds[-1] for run in runs]
    test = [next(iter(r.test.values())) for r in last if r.test]
    scores = [s.com if s.com is not None else s.dis for s in test]
    tested = mean(x for x in scores if x is not None) if scores else float("nan")
    left, validated = mean(r.parameters_ratio for r in last), mean(r.selection for r in last)
    return f"{left:.0%}: {validated:.4f} / {tested:.4f}"


def main(folder: Path) -> str:
    """The table."""
    found: dict[str, dict[str, list[FinishedRun]]] = {}
    for run in find_runs(folder):
        settings = settings_of(run)
        other = [k for k in ("data.clip",) if settings[k] != own_settings(run.experiment)[k]]
        changed = changes(run.experiment, settings, other)
        label = name(
            run.experiment, changed, {"protocol": "nested", "pnao.rounds": changed.get("pnao.rounds", "")}
        )
        found.setdefault(label, {}).setdefault(run.results.data.name, []).append(run)
    sets = sorted({data for by_set in found.values() for data in by_set})
    lines = [["setting", *sets], ["---"] + ["---:"] * len(sets)]
    lines += [
        [label, *(cell(by_set[s]) if s in by_set else "" for s in sets)] for label, by_set in found.items()
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), end="")
