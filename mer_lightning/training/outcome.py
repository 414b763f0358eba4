"""What one round on one fold leaves behind: a record, the network, and its predictions."""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from mer_lightning.data.datamodule import EVALUATION_BATCH, FoldData
from mer_lightning.errors import reading
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.run_directory import RoundFolder
from mer_lightning.model.base import EmotionNetwork
from mer_lightning.model.checkpoint import Trained, write_network

AGAIN = "delete that round's folder, and the same command trains it again"
LARGEST_COUNT = 2**53
LONGEST_REASON = 100  # characters
MEASURED = {"loss", "dis", "dim", "com"}  # of every epoch


@dataclass(frozen=True)
class Record:
    """The numbers of one round on one fold."""

    fold: int
    round: int
    parameters: int
    nodes: int
    macs: int  # multiply-accumulates for one utterance
    epochs: int
    seconds: float
    compact_error: float  # largest difference between masked and compact outputs, in double precision
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


@dataclass(frozen=True)
class Outcome:
    """All of it, as written to a round's folder."""

    record: Record
    trained: Trained
    training_state: dict[str, Tensor]
    held_out: Predictions
    stopping: Predictions
    test: Predictions

    def write(self, folder: RoundFolder) -> None:
        """The hashes last: a folder with hashes is whole."""
        write_network(folder.network, self.trained)
        save_file(self.training_state, folder.training)
        for part in ("held_out", "stopping", "test"):
            save_file(vars(getattr(self, part)), folder.predictions(part))
        folder.record.write_text(json.dumps(asdict(self.record), indent=1), encoding="utf-8")
        write_checksums(folder.path)


def read_record(folder: RoundFolder) -> Record:
    """The record of a finished round."""
    with reading(folder.record, AGAIN):
        record = Record(**json.loads(folder.record.read_text(encoding="utf-8")))
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
    for name in ("parameters", "nodes", "macs", "epochs"):
        count = getattr(r, name)
        if type(count) is not int or not (name == "parameters") <= count < LARGEST_COUNT:
            raise ValueError(f"{name} is no count")
    history = [value for epoch in r.history for value in epoch.values() if value is not None]
    for number in (r.seconds, r.compact_error, *r.deltas, *history):
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError("seconds, compact_error, deltas or history hold what is no number")
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


def read_training_state(folder: RoundFolder) -> dict[str, Tensor]:
    """What a finished round hands to the next one."""
    with reading(folder.training, AGAIN):
        return dict(load_file(folder.training))
