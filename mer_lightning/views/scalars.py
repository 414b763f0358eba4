"""The numbers that a dashboard gets, by name: pure functions of what the run directory holds.

A row is a step on an axis (``epoch`` or ``round``) and the values there. Scores that no label gives are
left out.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mer_lightning.files.recorded import Results, Round

EPOCH, ROUND = "epoch", "round"
SIZES = ("parameters", "parameters_ratio", "nodes", "macs", "seconds", "selection")


class LoggedRow(NamedTuple):
    """Values at one step of an axis."""

    axis: str
    at: int
    values: dict[str, float]


def epoch_row(fold: int, number: int, values: Mapping[str, float | None]) -> LoggedRow:
    """An epoch of a fold, the ``number``-th over all its rounds."""
    return LoggedRow(EPOCH, number, known(f"fold_{fold}", values))


def round_row(entry: Round) -> LoggedRow:
    """A round of ``results.json``: sizes, scores out of fold, by fold, and of each test set."""
    values = known("round", {name: getattr(entry, name) for name in SIZES} | entry.validation.flat())
    for fold, scores in enumerate(entry.by_fold):
        values |= known(f"round/fold_{fold}", scores.flat())
    for split, scores in entry.test.items():
        values |= known(f"round/test_{split}", scores.flat())
    return LoggedRow(ROUND, entry.round, values)


def best_values(results: Results) -> dict[str, float]:
    """The chosen round's numbers, and which it is."""
    best = round_row(results.best)
    values = {f"best/{name.removeprefix('round/')}": value for name, value in best.values.items()}
    return values | {"best/round": float(best.at)}


def known(prefix: str, values: Mapping[str, float | None]) -> dict[str, float]:
    """``PREFIX/name`` for the values there are."""
    return {f"{prefix}/{name}": float(value) for name, value in values.items() if value is not None}
