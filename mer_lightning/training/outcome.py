"""What one round on one fold leaves behind: a record, the network, and its decisions."""

import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.data.datamodule import EVALUATION_BATCH, FoldData
from mer_lightning.errors import UserError, reading
from mer_lightning.files.run_directory import RoundFolder, RunDirectory
from mer_lightning.model.base import EmotionNetwork
from mer_lightning.model.decisions import (
    EnsembleWeights,
    RowDecisions,
    concatenated,
    ensemble_decision,
    read_decisions,
)

AGAIN = "delete that round's folder, and the same command trains it again"
LARGEST_COUNT = 2**53
LONGEST_REASON = 100  # characters
MEASURED = {"loss", "dis", "dim", "com"}  # of every epoch


@dataclass(frozen=True)
class RoundRecord:
    """The numbers of one round on one fold, as PNAO and ``FoldRounds`` describe it."""

    fold: int
    round: int
    score: float  # of the early-stop point
    parameters: int  # of the network
    prunable: int  # of the layers that the nodes touch
    nodes: int
    macs: int  # multiply-accumulates for one utterance
    widths: dict[str, int]  # group -> nodes
    density: dict[str, float]  # group -> share of round 0's nodes
    difference: float  # largest, between the outputs of the masked and the compact network
    epochs: int
    seconds: float
    deltas: list[float]  # d1, d2 of Eq. 9 at the end
    notes: list[str]  # what guards did, what was emptied
    history: list[dict[str, float | None]]  # per epoch: loss, dis, dim, com


@torch.no_grad()
def predict_part(network: EmotionNetwork, data: FoldData, rows: NDArray[np.int64]) -> RowDecisions:
    """The network's decisions on some rows of the corpus, in large batches on the CPU."""
    table = data.table(torch.device("cpu"))
    index = torch.from_numpy(rows)
    batches = torch.split(index, EVALUATION_BATCH)
    return concatenated([RowDecisions(batch, network(table[batch].features)) for batch in batches])


def read_record(folder: RoundFolder) -> RoundRecord:
    """The record of a finished round."""
    with reading(folder.record, AGAIN):
        record = RoundRecord(**json.loads(folder.record.read_text(encoding="utf-8"))["record"])
        _check_record(record, folder)
        return record


def read_part(folder: RoundFolder, part: str, utterances: int) -> RowDecisions:
    """A finished round's decisions on a part of a corpus of so many utterances.

    part: ``held_out``, ``stopping`` or ``test``.
    """
    return read_decisions(folder.decisions(part), utterances, AGAIN)


def round_decisions(
    run: RunDirectory, number: int, folds: int, ensemble: str, utterances: int
) -> list[RowDecisions]:
    """A round's decisions on the held-out part of each fold, then those of all folds on the test sets.

    Raises UserError where its files are gone or damaged.
    """
    rounds = [run.round(fold, number) for fold in range(folds)]
    held_out, tests = ([read_part(r, part, utterances) for r in rounds] for part in ("held_out", "test"))
    shapes = {tuple(tensor.shape[1:] for tensor in part.decision) for part in [*held_out, *tests]}
    alike = len(shapes) == 1 and all(torch.equal(test.rows, tests[0].rows) for test in tests)
    rows = torch.cat([part.rows for part in [*held_out, tests[0]]]).sort().values
    if not (alike and torch.equal(rows, torch.arange(utterances))):
        raise UserError(f"{run.path}: the folds of round {number} do not belong together (damaged); {AGAIN}")
    equal = EnsembleWeights(torch.ones(folds), torch.ones(folds))
    test = ensemble_decision([test.decision for test in tests], equal, ensemble)
    return [*held_out, RowDecisions(tests[0].rows, test)]


def _check_record(r: RoundRecord, folder: RoundFolder) -> None:
    """A ValueError unless all values are of the kinds they should be, and the record is of its folder."""
    if (folder.path.parent.name, folder.path.name) != (f"fold_{r.fold}", f"round_{r.round}"):
        raise ValueError(f"the record of fold {r.fold}, round {r.round}"[:LONGEST_REASON])
    counts = {name: getattr(r, name) for name in ("parameters", "prunable", "nodes", "macs", "epochs")}
    for name, count in (counts | r.widths).items():
        if type(count) is not int or not (name == "parameters") <= count < LARGEST_COUNT:
            raise ValueError(f"{name} is not a count")
    history = [value for epoch in r.history for value in epoch.values() if value is not None]
    for number in (r.seconds, r.score, r.difference, *r.deltas, *r.density.values(), *history):
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(
                "seconds, score, difference, deltas, density or history hold something that is not a number"
            )
    if not all(isinstance(note, str) for note in r.notes) or not all(e.keys() >= MEASURED for e in r.history):
        raise ValueError("notes or history are not valid")
