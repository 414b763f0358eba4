"""From finished runs to rows: scores, sizes of every round, and the questions with one interval each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evidence.grid import Seeds
from experiments.evidence.outer import OUTER, merged
from experiments.evidence.plan import Grid, Plan, Question, Row
from mer_lightning.errors import UserError
from mer_lightning.report.pairs import in_the_same_round, paired_sums, run_sums
from mer_lightning.report.runs import FinishedRun, Floats, at_round
from mer_lightning.report.statistics import (
    ALPHA,
    MEASURES,
    Difference,
    detectable,
    holm,
    loss_verdict,
    over_seeds,
    paired_differences,
    verdict,
)
from mer_lightning.results.sums import scores

WHOLE = "enf"  # the network that everything is made smaller from


def run_rows(plan: Plan, grid: Grid, systems: dict[str, Seeds]) -> list[Row]:
    """One row per system of the plan: seeds run and planned, and hours of training."""
    return [_run_row(grid, name, systems.get(name, {})) for name in plan.systems]


def _run_row(grid: Grid, system: str, seeds: Seeds) -> Row:
    seconds = sum(run.results.seconds for own in seeds.values() for run in own)
    return {
        "data": grid.name,
        "system": system,
        "seeds": len(seeds),
        "planned": grid.seeds,
        "outer_folds": grid.outer,
        "hours": round(seconds / 3600, 3),
    }


def score_rows(data: str, systems: dict[str, Seeds]) -> list[Row]:
    """One row per system: test scores of the ensemble and of single networks, and the sizes of both.

    The ensemble is scored on all tested utterances at once; single networks each on their own test set.
    "left" is by the parameters of ``WHOLE``, in one fold.
    """
    whole = _parameters(systems[WHOLE]) if WHOLE in systems else None
    return [_score_row(data, name, seeds, whole) for name, seeds in systems.items()]


def _parameters(seeds: Seeds) -> float:
    """Of what one fold trains, in the chosen rounds: a network, or one for each member; mean over runs."""
    return float(np.mean([run.results.best.parameters for runs in seeds.values() for run in runs]))


def _networks(run: FinishedRun) -> int:
    """That decide together."""
    return len(list((run.path / "model").glob("*.safetensors")))


def _score_row(data: str, system: str, seeds: Seeds, full: float | None) -> Row:
    runs = [run for folds in seeds.values() for run in folds]
    whole = ensemble_scores(seeds)
    row: Row = {"data": data, "system": system, "seeds": len(seeds), "utterances": _utterances(seeds)}
    for i, measure in enumerate(MEASURES):
        found = over_seeds(whole[:, i].tolist())
        alone = [
            s[measure].mean for run in runs for s in list(run.results.single.values())[:1] if measure in s
        ]
        row |= {
            measure: _number(found.mean),
            f"{measure}_half": _number(found.half),
            f"single_{measure}": _mean(alone),
        }
    parameters = _parameters(seeds)
    return row | {
        "left": None if full is None else _number(parameters / full),
        "parameters": round(parameters),
        "networks": _networks(runs[0]),
        "ensemble_parameters": round(
            np.mean([run.results.folds * run.results.best.parameters for run in runs])
        ),
    }


def ensemble_scores(seeds: Seeds, number: int | None = None) -> Floats:
    """(S, 3) Dis, Dim, Com on all tested utterances, of the chosen rounds or of round ``number``."""
    found = []
    for runs in seeds.values():
        whole = merged(runs if number is None else [at_round(run, number) for run in runs])
        sums = run_sums(whole, OUTER, np.zeros(len(whole.ids), dtype=np.int64))
        found.append(scores(*(s[0] for s in sums)))
    return np.array(found)


def _utterances(seeds: Seeds) -> int:
    return sum(len(run.rows(_tested(run))) for run in next(iter(seeds.values())))


def _tested(run: FinishedRun) -> str:
    return next(iter(run.results.test))


def measure_of(seeds: Seeds) -> str:
    """Com where valences are known, else Dis."""
    run = next(iter(seeds.values()))[0]
    return "dis" if run.results.test[_tested(run)].com is None else "com"


def round_rows(data: str, systems: dict[str, Seeds], drawn: Sequence[str]) -> list[Row]:
    """One row per round of the ``drawn`` systems: size; the mean, lowest and highest seed's score."""
    return [row for name in drawn if name in systems for row in _rounds(data, name, systems[name])]


def _rounds(data: str, system: str, seeds: Seeds) -> Iterator[Row]:
    measure = measure_of(seeds)
    runs = [run for folds in seeds.values() for run in folds]
    for number in range(min(len(run.results.rounds) for run in runs)):
        rounds = [run.results.rounds[number] for run in runs]
        score = ensemble_scores(seeds, number)[:, MEASURES.index(measure)]
        yield {
            "data": data,
            "system": system,
            "round": number,
            "seeds": len(seeds),
            "parameters": round(np.mean([r.parameters for r in rounds])),
            "left": _mean([r.parameters_ratio for r in rounds]),
            "measure": measure,
            "score": _number(score.mean()),
            "low": _number(score.min()),
            "high": _number(score.max()),
        }


def size_rows(run: FinishedRun | None) -> list[Row]:
    """One row per round of the run in full size: sizes and seconds."""
    if run is None:
        return []
    return [
        {
            "round": number,
            "parameters": r.parameters,
            "left": _number(r.parameters_ratio),
            "nodes": r.nodes,
            "macs": r.macs,
            "seconds": round(r.seconds, 1),
        }
        for number, r in enumerate(run.results.rounds)
    ]


@dataclass(frozen=True)
class Asked:
    """A question's difference on a data set."""

    question: Question
    measure: str
    difference: Difference
    unit: str
    left: float  # of the first's parameters, in its chosen rounds

    def p(self, margin: float) -> float | None:
        """Of no difference, or of a loss of the margin; None where there is too little for a test."""
        if self.difference.lacks(self.unit):
            return None
        return self.difference.p(-margin if self.question.no_loss else 0.0)


def ask(question: Question, systems: dict[str, Seeds]) -> Asked | None:
    """First minus second over the seeds of both; None where there is no such seed.

    Raises UserError where the second lacks a round that the first chose.
    """
    if question.first not in systems or question.second not in systems:
        return None
    first, second = systems[question.first], systems[question.second]
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    pairs, sizes = [], []
    for seed in seeds:
        both = list(zip(first[seed], second[seed], strict=True))
        if question.same_round and len(both := in_the_same_round(both)) < len(first[seed]):
            raise UserError(
                f"{second[seed][0].path}: a round that {question.first} chose is not there; "
                "remove the folder, and the same command trains it again"
            )
        pairs.append((merged([a for a, _ in both]), merged([b for _, b in both])))
        sizes += [a.results.best.parameters_ratio for a, _ in both]
    sums, unit = paired_sums(pairs, OUTER)
    measure = measure_of(first)
    difference = paired_differences(sums)[measure]
    return None if difference is None else Asked(question, measure, difference, unit, float(np.mean(sizes)))


def answer_rows(data: str, systems: dict[str, Seeds], plan: Plan) -> list[Row]:
    """One row per question that can be asked; all tests of the data set are one family, after Holm."""
    asked = [a for question in plan.questions if (a := ask(question, systems))]
    ps = [a.p(plan.margin) for a in asked]
    # A question that cannot be asked yet counts as the last: intervals of a part are those of the whole.
    known = [p for p in ps if p is not None]
    levels = iter(holm([*known, *[1.0] * (len(plan.questions) - len(known))]))
    return [
        _answer_row(data, a, p, ALPHA if p is None else next(levels), plan.margin)
        for a, p in zip(asked, ps, strict=True)
    ]


def _answer_row(data: str, a: Asked, p: float | None, level: float, margin: float) -> Row:
    low, high = a.difference.interval(level)
    d = a.difference
    return {
        "data": data,
        "question": a.question.ask,
        "first": a.question.first,
        "second": a.question.second,
        "same_round": int(a.question.same_round),
        "wanted": "yes" if a.question.no_loss else "better",
        "measure": a.measure,
        "difference": _number(d.value),
        "low": _number(low),
        "high": _number(high),
        "level": _number(level),
        "p": _number(p),
        "answer": answer(a, low, high, margin),
        "could_show": _number(detectable(d.parts, d.seeds, d.clusters, level) - margin * a.question.no_loss),
        "left": _number(a.left),
        "seeds": d.seeds,
        "clusters": d.clusters,
        "unit": a.unit,
    }


def answer(a: Asked, low: float, high: float, margin: float) -> str:
    """The verdict for an interval at the corrected level."""
    if lacking := a.difference.lacks(a.unit):
        return f"too few {lacking} to tell"
    if a.question.no_loss:
        if a.left >= 1:
            return "not smaller"
        return loss_verdict(low, high, margin)
    said = verdict(low, high)
    return f"{said}, and less than the margin" if -margin < low and high < margin else said


def _mean(values: Sequence[float]) -> float | None:
    return _number(float(np.mean(values))) if values else None


def _number(value: float | None) -> float | None:
    """Six digits after the point; None for what is not known."""
    return None if value is None or not np.isfinite(value) else round(float(value), 6)
