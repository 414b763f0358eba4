"""All that a report says of a data set: computed once, then shown as text, table, picture and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mer_lightning.errors import UserError
from mer_lightning.report import prose, table
from mer_lightning.report.costs import Cost, costs
from mer_lightning.report.gallery import data_set_pictures, main_system
from mer_lightning.report.pairs import Comparison, comparisons, corrected
from mer_lightning.report.pictures import Picture
from mer_lightning.report.power import Reach, reach
from mer_lightning.report.statistics import ALPHA, POWER, Difference
from mer_lightning.report.systems import DataSet, System


@dataclass(frozen=True)
class Findings:
    """A data set's statistics, sentences and pictures."""

    data: DataSet
    rows: list[table.Row]
    compared: list[Comparison]
    costs: list[Cost]
    power: list[Reach]
    answers: list[prose.Answer]
    remarks: list[str]  # on all answers: how they are corrected, what they could have shown
    cautions: list[str]
    pictures: list[Picture]


def findings(data: DataSet) -> Findings:
    """Everything, from the runs of one data set. All tests together are one family."""
    spent, gone = main_costs(data)
    family = corrected([*comparisons(data), *spent])
    compared = [test for test in family if not isinstance(test, Cost)]
    spent = [test for test in family if isinstance(test, Cost)]
    power = reach(data, compared)
    pictures, missing = data_set_pictures(data, compared)
    return Findings(
        data=data,
        rows=table.rows(data),
        compared=compared,
        costs=spent,
        power=power,
        answers=prose.answers(data, compared, spent),
        remarks=prose.remarks(compared, power),
        cautions=prose.cautions(data, compared) + gone + missing,
        pictures=pictures,
    )


def main_costs(data: DataSet) -> tuple[list[Cost], list[str]]:
    """What the main system's smaller networks cost, if the runs keep the folders of their rounds."""
    main = main_system(data)
    try:
        return costs(data, main.experiment), []
    except UserError as error:
        return [], [f"What {main.label} loses by its size is not known. {error}"]


def statistics_json(found: Sequence[Findings]) -> dict[str, Any]:
    """The content of statistics.json."""
    return {"schema": 1, "interval": 1 - ALPHA, "data_sets": [_data_set_json(f) for f in found]}


def _data_set_json(f: Findings) -> dict[str, Any]:
    part, measure = f.data.headline
    return {
        "name": f.data.name,
        "synthetic": f.data.synthetic,
        "protocol": f.data.protocol,
        "n": f.data.data.n,
        "headline": {"part": part, "measure": measure},
        "settings": f.data.shared_changes,
        "systems": [_system_json(*pair) for pair in zip(f.data.systems, f.rows, strict=True)],
        "family": {"size": sum(t.p is not None for t in (*f.compared, *f.costs)), "method": "holm"},
        "pairs": [_pair_json(c) for c in f.compared],
        "no_loss": [
            _pair_json(c) | {"rounds": c.rounds, "parameters_ratio": c.parameters_ratio} for c in f.costs
        ],
        "power": [row._asdict() | {"power": POWER} for row in f.power],
        "answers": [vars(answer) for answer in f.answers],
        "cautions": f.cautions,
    }


def _system_json(system: System, row: table.Row) -> dict[str, Any]:
    return {
        "system": system.label,
        "experiment": system.experiment,
        "changed": system.changed,
        "paper": row.published_name,
        "seeds": system.seeds,
        "runs": [str(run.path) for run in system.runs],
        "scores": [
            {"part": part, "measure": measure} | (estimate._asdict() if estimate else {"mean": None})
            for (part, measure), estimate in row.scores.items()
        ],
        "costs": row.costs,
    }


def _pair_json(c: Comparison) -> dict[str, Any]:
    low, high = c.difference.interval(c.alpha) if c.difference else (None, None)
    return {
        "first": c.first,
        "second": c.second,
        "part": c.part,
        "same_round": c.same_round,
        "seeds": c.seeds,
        "unit": c.unit,
        "differences": {measure: d and _difference_json(d) for measure, d in c.differences.items()},
        "test": {
            "measure": c.measure, "null": c.null, "p": c.p, "alpha": c.alpha, "low": low, "high": high,
            "verdict": c.verdict,
        },
        "other_settings": c.other_settings,
    }  # fmt: skip


def _difference_json(d: Difference) -> dict[str, Any]:
    low, high = d.interval()
    return {
        "value": d.value,
        "low": low,
        "high": high,
        "clusters": d.clusters,
        "variances": d.parts._asdict(),
    }
