"""The search for each system's dropout: one fit for each candidate, chosen on validation."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.evidence.plan import Found, Grid, Plan, Row, System, folder, settings_of
from experiments.evidence.record import Record
from mer_lightning.files.run_directory import RunDirectory


class Tried(NamedTuple):
    """A candidate: a system with a dropout, the outer test fold held apart."""

    system: str
    test: int | None
    dropout: float
    selection: float  # the score on stopping parts that rounds are chosen by, too


def tried(plan: Plan, grid: Grid, output: Path) -> list[Tried]:
    """The candidates of each search that is finished."""
    return [
        one
        for system in plan.systems.values()
        if system.searched
        for test in grid.tests
        for one in _tried(plan, system, settings_of(grid, system), test, output)
    ]


def _tried(plan: Plan, system: System, settings: str, test: int | None, output: Path) -> list[Tried]:
    record = Record(output)
    paths = {d: output / folder(system.name, d, test, 0) for d in plan.dropouts}
    if not all(record.finished(path, settings) for path in paths.values()):
        return []
    return [
        Tried(system.name, test, d, RunDirectory(path).read_results().best.selection)
        for d, path in paths.items()
    ]


def found(candidates: Sequence[Tried]) -> Found:
    """The dropout with the highest score for each system and outer test fold; the first of equal ones."""
    best: dict[tuple[str, int | None], Tried] = {}
    for one in candidates:
        key = one.system, one.test
        if key not in best or one.selection > best[key].selection:
            best[key] = one
    return {key: one.dropout for key, one in best.items()}


def settings_rows(data: str, candidates: Sequence[Tried]) -> list[Row]:
    """One row per candidate; ``chosen`` is 1 for the one that the system is trained with."""
    chosen = found(candidates)
    return [
        {
            "data": data,
            "test_fold": one.test,
            "system": one.system,
            "dropout": one.dropout,
            "selection": round(one.selection, 6),
            "chosen": int(chosen[one.system, one.test] == one.dropout),
        }
        for one in candidates
    ]
