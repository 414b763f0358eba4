"""Table 1: one row per system, in the paper's columns, as CSV and as Markdown."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mer_lightning.data.corpus import TRAIN_SPLITS
from mer_lightning.report.prose import NAMES
from mer_lightning.report.runs import TRAIN_VAL
from mer_lightning.report.statistics import MEASURES, Estimate, over_seeds
from mer_lightning.report.systems import PUBLISHED_NAMES, DataSet, System

ARROWS = {"dis": "↑", "uar": "↑", "dim": "↓", "com": "↑"}  # which way is better
COSTS = ("parameters", "parameters_ratio", "macs", "networks", "all_parameters", "all_macs", "seconds")

# Table 1 of the paper, on MER 2023's test set MER-MULTI: Train&Val Com, Dis, Dim, Com.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "sense-dl-lab": (None, None, None, 0.7005),
    "AIPL-SEU": (None, None, None, 0.6860),
    "USTC-qw": (0.6402, 0.8328, 0.5930, 0.6846),
    "Baseline": (0.6267, 0.8287, 0.6033, 0.6779),
    "Ours(EnF)": (0.6375, 0.8350, 0.6258, 0.6786),
    "Ours(PNAO)": (0.6481, 0.8301, 0.5765, 0.6860),
    "Ours(EnF+PNAO)": (0.6579, 0.8383, 0.5734, 0.6949),
    "Ours(Final)": (0.6762, 0.8530, 0.5563, 0.7139),
}


@dataclass(frozen=True)
class Row:
    """A system's figures, each a mean over its seeds."""

    system: str
    published_name: str  # what the paper calls it; "" for a control
    transductive: bool  # it learnt from the test sets' features
    seeds: int
    scores: dict[tuple[str, str], Estimate | None]  # (part, measure); None without labels
    costs: dict[
        str, float
    ]  # COSTS: of one network (ratio: to round 0), of a fold ensemble, seconds of training


def columns(data: DataSet) -> list[tuple[str, str]]:
    """The (part, measure) of the columns: Train&Val Com, then Dis, Dim, Com of each test set.

    UAR stands beside Dis. Without valence there are these two alone; without a test set Train&Val has all.
    """
    measures = ("dis", "uar", *MEASURES[1:]) if data.has_valence else ("dis", "uar")
    parts = data.parts[1:] or data.parts
    first = [(TRAIN_VAL, data.headline[1])] if len(data.parts) > 1 else []
    return first + [(part, measure) for part in parts for measure in measures]


def rows(data: DataSet) -> list[Row]:
    """One row per system, in the order of the data set."""
    return [system_row(system, columns(data)) for system in data.systems]


def system_row(system: System, wanted: Sequence[tuple[str, str]]) -> Row:
    """The means over a system's seeds."""
    return Row(
        system=system.label,
        published_name="" if system.changed else PUBLISHED_NAMES.get(system.experiment, ""),
        transductive=system.runs[0].results.transductive,
        seeds=len(system.runs),
        scores={cell: mean_score(system, *cell) for cell in wanted},
        costs=costs(system),
    )


def mean_score(system: System, part: str, measure: str) -> Estimate | None:
    """Mean and interval over the seeds; None where the labels do not say."""
    values = [run.scores(part).get(measure) for run in system.runs]
    known = [v for v in values if v is not None]
    return over_seeds(known) if known else None


def costs(system: System) -> dict[str, float]:
    """Means over the seeds: the reported round's size, and the whole run's seconds of training."""
    each = []
    for run in system.runs:
        best, folds = run.results.best, run.results.folds
        everything = (folds, folds * best.parameters, folds * best.macs, run.results.seconds)
        each.append([*(getattr(best, name) for name in COSTS[:3]), *everything])
    return {name: float(value) for name, value in zip(COSTS, np.mean(each, axis=0), strict=True)}


def cell(estimate: Estimate | None, digits: int = 4) -> str:
    """``0.6949 ± 0.0021``, ``0.6949`` for a single seed, ``-`` where there is nothing."""
    if estimate is None:
        return "-"
    spread = "" if estimate.half is None else f" ± {estimate.half:.{digits}f}"
    return f"{estimate.mean:.{digits}f}{spread}"


def cost_cells(row: Row) -> list[str]:
    """Parameters with their ratio, MACs, those of the ensemble, and seconds as text."""
    c = row.costs
    return [f"{c['parameters']:,.0f} ({c['parameters_ratio']:.1%})"] + [
        f"{c[name]:,.0f}" for name in ("macs", "all_parameters", "all_macs", "seconds")
    ]


def sizes(data: DataSet) -> str:
    """``1,200 utterances in train, 240 in test1``: Train&Val first."""
    n = sorted(data.data.n.items(), key=lambda item: item[0] not in TRAIN_SPLITS)
    return ", ".join(f"{count:,}{' utterances' * (i == 0)} in {split}" for i, (split, count) in enumerate(n))


def caption(data: DataSet) -> str:
    """What the table shows, in one or two sentences."""
    made = "SYNTHETIC data: made up, its figures say nothing about people. " if data.synthetic else ""
    several = any(len(system.runs) > 1 for system in data.systems)
    spread = "Mean ± half the 95 % interval over seeds." if several else "One seed: no interval over seeds."
    folds = data.systems[0].runs[0].results.folds
    scored = "Train&Val is the split val, which stopped the training; one network per system."
    if data.protocol != "fixed":
        scored = (
            f"Train&Val is scored by one network per fold, a test set by the ensemble of all {folds}; sizes "
            "are those of the reported round."
        )
    settings = ", ".join(f"{key}={value}" for key, value in data.shared_changes.items())
    changed = f" Every system with {settings}." if settings else ""
    return f"{made}{data.name}: {sizes(data)}; protocol {data.protocol}. {spread} {scored}{changed}"


def csv_text(sets: Sequence[DataSet]) -> str:
    """All data sets in one table for machines: means and half-widths in columns of their own."""
    records = []
    for data in sets:
        for row in rows(data):
            record: dict[str, object] = {
                "data": data.name, "synthetic": data.synthetic, "protocol": data.protocol,
                "system": row.system, "paper": row.published_name,
                "transductive": row.transductive, "seeds": row.seeds,
            }  # fmt: skip
            for (part, measure), estimate in row.scores.items():
                name = f"{part.lower().replace('&', '_')}_{measure}"
                record[name] = "" if estimate is None else estimate.mean
                record[f"{name}_half"] = "" if estimate is None or estimate.half is None else estimate.half
            records.append(record | row.costs)
    names = dict.fromkeys(name for record in records for name in record if name not in COSTS)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, *COSTS], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def header(data: DataSet) -> list[str]:
    """Column titles of the table for readers."""
    scores = [f"{part} {NAMES[measure]} {ARROWS[measure]}" for part, measure in columns(data)]
    costs = ["One network: parameters (left)", "its MACs", "Fold ensemble: parameters", "its MACs", "Seconds"]
    return ["System", *scores, "Seeds", *costs]


def full_name(row: Row) -> str:
    """The system, its name in the paper, and whether it is transductive."""
    name = f"{row.system} [{row.published_name}]" if row.published_name else row.system
    return f"{name}, transductive" if row.transductive else name


def cells(row: Row) -> list[str]:
    """A row for readers, in the order of ``header``."""
    return [full_name(row), *(cell(e) for e in row.scores.values()), str(row.seeds), *cost_cells(row)]


def markdown(data: DataSet) -> str:
    """The table as Markdown, with its heading and caption."""
    lines = [header(data), ["---"] + ["---:"] * (len(header(data)) - 1), *map(cells, rows(data))]
    table = "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
    return f"## {data.name}\n\n{caption(data)}\n\n{table}\n"
