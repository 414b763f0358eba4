"""All that a report says of a data set: computed once, then shown as text, table, picture and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mer_lightning.errors import UserError
from mer_lightning.report import prose, table
from mer_lightning.report.gallery import data_set_pictures, main_system
from mer_lightning.report.pairs import Comparison, SizeStep, comparisons, sizes
from mer_lightning.report.pictures import Picture
from mer_lightning.report.statistics import LEVEL, REPLICATES
from mer_lightning.report.systems import DataSet


@dataclass(frozen=True)
class Findings:
    """A data set's statistics, sentences and pictures."""

    data: DataSet
    rows: list[table.Row]
    compared: list[Comparison]
    sizes: dict[str, list[SizeStep]]
    answers: list[prose.Answer]
    cautions: list[str]
    pictures: list[Picture]


def findings(data: DataSet) -> Findings:
    """Everything, from the runs of one data set."""
    compared = comparisons(data)
    shrunk, gone = system_sizes(data)
    pictures, missing = data_set_pictures(data, compared)
    return Findings(
        data=data,
        rows=table.rows(data),
        compared=compared,
        sizes=shrunk,
        answers=prose.answers(data, compared, shrunk),
        cautions=prose.cautions(data, compared) + gone + missing,
        pictures=pictures,
    )


def system_sizes(data: DataSet) -> tuple[dict[str, list[SizeStep]], list[str]]:
    """The main system's rounds against its round 0, if it has several and keeps their folders."""
    main = main_system(data)
    if all(len(run.results.rounds) < 2 for run in main.runs):
        return {}, []
    try:
        return {main.label: sizes(main, *data.headline)}, []
    except UserError as error:
        return {}, [f"How small {main.label} can get is not known. {error}"]


def statistics_json(found: Sequence[Findings]) -> dict[str, Any]:
    """The content of statistics.json."""
    return {
        "schema": 1,
        "interval": LEVEL,
        "replicates": REPLICATES,
        "data_sets": [_data_set_json(f) for f in found],
    }


def _data_set_json(f: Findings) -> dict[str, Any]:
    part, measure = f.data.headline
    return {
        "name": f.data.name,
        "synthetic": f.data.synthetic,
        "protocol": f.data.protocol,
        "n": f.data.data.n,
        "headline": {"part": part, "measure": measure},
        "systems": [_system_json(f.data, row) for row in f.rows],
        "pairs": [_pair_json(c) for c in f.compared],
        "sizes": {label: [_size_json(step) for step in steps] for label, steps in f.sizes.items()},
        "answers": [vars(answer) for answer in f.answers],
        "cautions": f.cautions,
    }


def _system_json(data: DataSet, row: table.Row) -> dict[str, Any]:
    system = data.system(row.system)
    runs = system.runs if system else ()
    return {
        "system": row.system,
        "paper": row.published_name,
        "seeds": [run.seed for run in runs],
        "runs": [str(run.path) for run in runs],
        "scores": [
            {"part": part, "measure": measure} | (estimate._asdict() if estimate else {"mean": None})
            for (part, measure), estimate in row.scores.items()
        ],
        "costs": row.costs,
    }


def _pair_json(c: Comparison) -> dict[str, Any]:
    return {
        "first": c.first,
        "second": c.second,
        "part": c.part,
        "seeds": c.seeds,
        "drawn": {"unit": c.unit, "count": c.units},
        "differences": {
            measure: None if d is None else d._asdict() | {"verdict": c.verdict(measure)}
            for measure, d in c.differences.items()
        },
        "over_seeds": {m: None if e is None else e._asdict() for m, e in c.by_seed.items()},
        "other_settings": c.other_settings,
    }


def _size_json(size: SizeStep) -> dict[str, Any]:
    return {
        "round": size.round,
        "parameters_ratio": size.parameters_ratio,
        "difference": None if size.difference is None else size.difference._asdict(),
        "no_loss": size.no_loss,
    }
