"""What one round on one fold leaves behind: a record, the network, and its predictions."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from mer_lightning.data.datamodule import EVALUATION_BATCH, FoldData
from mer_lightning.errors import reading
from mer_lightning.files.run_directory import RoundFolder
from mer_lightning.model.base import EmotionNetwork

AGAIN = "delete that round's folder, and the same command trains it again"
LARGEST_COUNT = 2**53
LONGEST_REASON = 100  # characters
MEASURED = {"loss", "dis", "dim", "com"}  # of every epoch


@dataclass(frozen=True)
class Record:
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


@dataclass(frozen=True)
class Predictions:
    """Predictions for R utterances of the corpus, by M branches, over C emotions."""

    rows: Tensor  # (R,) indices into the corpus
    log_posterior: Tensor  # (R, C), fused
    valence: Tensor  # (R,), fused
    weights: Tensor  # (R, M)
    branch_log_posteriors: Tensor  # (R, M, C)
    branch_valences: Tensor  # (R, M)


@torch.no_grad()
def predict_part(network: EmotionNetwork, data: FoldData, rows: NDArray[np.int64]) -> Predictions:
    """The network's decisions on some rows of the corpus, in large batches on the CPU."""
    table = data.table(torch.device("cpu"))
    index = torch.from_numpy(rows)
    decisions = [network(table[batch].features) for batch in torch.split(index, EVALUATION_BATCH)]
    return Predictions(index, *(torch.cat(parts) for parts in zip(*decisions, strict=True)))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write them as safetensors."""
    save_file(vars(predictions), path)


def read_record(folder: RoundFolder) -> Record:
    """The record of a finished round."""
    with reading(folder.record, AGAIN):
        record = Record(**json.loads(folder.record.read_text(encoding="utf-8"))["record"])
        _check_record(record, folder)
        return record


def read_predictions(folder: RoundFolder, part: str) -> Predictions:
    """Predictions of a finished round; part: ``held_out``, ``stopping`` or ``test``."""
    with reading(folder.predictions(part), AGAIN):
        predictions = Predictions(**load_file(folder.predictions(part)))
        _check(predictions)
        return predictions


def _check_record(r: Record, folder: RoundFolder) -> None:
    """A ValueError unless all values are of the kinds they should be, and the record is of its folder."""
    if (folder.path.parent.name, folder.path.name) != (f"fold_{r.fold}", f"round_{r.round}"):
        raise ValueError(f"the record of fold {r.fold}, round {r.round}"[:LONGEST_REASON])
    counts = {name: getattr(r, name) for name in ("parameters", "prunable", "nodes", "macs", "epochs")}
    for name, count in (counts | r.widths).items():
        if type(count) is not int or not (name == "parameters") <= count < LARGEST_COUNT:
            raise ValueError(f"{name} is no count")
    history = [value for epoch in r.history for value in epoch.values() if value is not None]
    for number in (r.seconds, r.score, r.difference, *r.deltas, *r.density.values(), *history):
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError("seconds, score, difference, deltas, density or history hold what is no number")
    if not all(isinstance(note, str) for note in r.notes) or not all(e.keys() >= MEASURED for e in r.history):
        raise ValueError("notes or history are not what they should be")


def _check(p: Predictions) -> None:
    """A ValueError unless the tensors go together and are of the kinds they should be."""
    (r,), (_, m, c) = p.rows.shape, p.branch_log_posteriors.shape
    shapes = {
        "log_posterior": (r, c),
        "valence": (r,),
        "weights": (r, m),
        "branch_log_posteriors": (r, m, c),
        "branch_valences": (r, m),
    }
    for name, shape in shapes.items():
        tensor: Tensor = getattr(p, name)
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)}, expected numbers {shape}")
    if p.rows.dtype != torch.int64 or bool((p.rows < 0).any()):
        raise ValueError("rows: expected indices, 0 or above")
