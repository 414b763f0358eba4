"""Finished runs as arrays, read from their run directories."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.data.corpus import TRAIN_SPLITS
from mer_lightning.errors import UserError, reading
from mer_lightning.files.recorded import Results, Round
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import Decision
from mer_lightning.model.decisions import in_order, read_decisions
from mer_lightning.training.outcome import round_decisions

REMEDY = "delete results.json, and the same command writes it again"
TRAIN_VAL = "Train&Val"  # the name of the part whose predictions are out of fold

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's figures and its decisions on N utterances, C emotions, M branches, in the corpus's order.

    All Train&Val decisions are out of fold; those on test sets are the folds' networks' together. With
    ``protocol=fixed`` those on train are of the network that learnt from it.
    """

    path: Path
    results: Results
    config: dict[str, Any]
    ids: Strings  # (N,)
    split: Strings  # (N,)
    fold: Ints  # (N,), -1: a test set
    group: Strings  # (N,), speaker or the like, "" where not known
    emotion: Ints  # (N,) true class, -1 where not known
    valence: Floats  # (N,) true, NaN where not known
    decision: Decision  # (N, ...), of the chosen round
    branch_names: list[str]  # M
    features: dict[str, str]  # feature set -> hash of its values; empty where the run does not say

    @property
    def predicted(self) -> Ints:
        """(N,) class."""
        return np.asarray(self.decision.posterior.argmax(dim=-1).numpy())

    @property
    def predicted_valence(self) -> Floats:
        """(N,)."""
        return np.asarray(self.decision.valence.double().numpy())

    @property
    def experiment(self) -> str:
        """The name of the system."""
        return self.results.experiment

    @property
    def seed(self) -> int:
        """The seed it was trained with."""
        return self.results.seed

    @property
    def classes(self) -> list[str]:
        """The C emotions."""
        return self.results.data.classes

    @property
    def parts(self) -> list[str]:
        """Train&Val, then the test sets."""
        return [TRAIN_VAL, *self.results.test]

    @property
    def rounds_after(self) -> int:
        """Rounds after the first one and those of label revision: of PNAO, or of a control."""
        return len(self.results.rounds) - 1 - int(self.config.get("revision", {}).get("rounds", 0))

    @property
    def combined(self) -> bool:
        """Whether it is several systems decided together: such a run has no rounds of its own."""
        return bool(self.config["combine"]["of"] != "none")

    @property
    def truth(self) -> str:
        """A fingerprint of the utterances and their labels: equal for runs that may be compared."""
        parts = (self.ids, self.split, self.emotion, self.valence)
        return hashlib.sha256("\0".join(repr(part.tolist()) for part in parts).encode()).hexdigest()

    def scores(self, part: str) -> dict[str, float | None]:
        """All scores on a part, as the run reported them."""
        return part_scores(self.results, part)

    def rows(self, part: str) -> Ints:
        """Indices of a part's utterances."""
        validation = ("val",) if self.results.protocol == "fixed" else TRAIN_SPLITS
        wanted = validation if part == TRAIN_VAL else (part,)
        return np.flatnonzero(np.isin(self.split, wanted))


def part_scores(entry: Results | Round, part: str) -> dict[str, float | None]:
    """Measure -> score of the reported round or of another: Train&Val's, or a test set's."""
    scores = entry.validation if part == TRAIN_VAL else entry.test.get(part)
    return dict.fromkeys(entry.validation.flat()) if scores is None else scores.flat()


def part_name(results: Results, part: str) -> str:
    """What to call a part: with ``protocol=fixed`` there is nothing out of fold, but the split val."""
    return "val" if part == TRAIN_VAL and results.protocol == "fixed" else part


def find_runs(root: Path) -> list[FinishedRun]:
    """All finished runs below a directory, in the order of their paths.

    Raises UserError if there is none, or if one's files are broken.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such directory; report.runs=DIR names the folder that holds the runs")
    runs = [read_run(folder) for folder in run_folders(root)]
    if not runs:
        raise UserError(f"{root}: no finished run below it, none has a results.json; run an experiment first")
    return runs


def run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a results.json. What lies inside a run, such as a control's reference, is part of it."""
    if RunDirectory(folder).finished:
        yield folder
        return
    inside_a_run = RunDirectory(folder).config.is_file()
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and not inside_a_run:
            yield from run_folders(child)


def read_run(folder: Path) -> FinishedRun:
    """One finished run. Raises UserError, naming the file, if something in it is missing or broken."""
    run = RunDirectory(folder)
    results, config = run.read_results(), run.read_config()
    with reading(run.config, "restore it or remove the run"):
        if not (isinstance(config["ensemble"], str) and isinstance(config["combine"]["of"], str)):
            raise ValueError("ensemble and combine.of are names")
    features = run.read_fingerprint().features if run.data.is_file() else {}
    with reading(run.predictions, REMEDY):
        table = list(csv.DictReader(io.StringIO(run.predictions.read_text(encoding="utf-8"))))
        expected = sum(results.data.n.values())
        if not table or len(table) != expected:
            raise ValueError(f"{len(table)} rows, results.json says {expected}")
        index = {name: i for i, name in enumerate(results.data.classes)} | {"": -1}
        names = [name.removeprefix("weight_") for name in table[0] if name.startswith("weight_")]
        return FinishedRun(
            path=folder,
            results=results,
            config=config,
            ids=np.array([row["utterance_id"] for row in table]),
            split=np.array([row["split"] for row in table]),
            fold=np.array([int(row["fold"] or -1) for row in table]),
            group=np.array([row.get("group") or "" for row in table]),
            emotion=np.array([index[row["emotion"]] for row in table]),
            valence=np.array([float(row["valence"] or "nan") for row in table]),
            decision=_decision(run.decisions, len(table), len(index) - 1, len(names)),
            branch_names=names,
            features=features,
        )


def _decision(path: Path, n: int, classes: int, branches: int) -> Decision:
    """A run's decisions on all its utterances."""
    rows, decision = read_decisions(path, n, REMEDY)
    shape = len(rows), decision.log_posterior.shape[1], decision.weights.shape[1]
    with reading(path, REMEDY):
        if shape != (n, classes, branches) or not torch.equal(rows, torch.arange(n)):
            raise ValueError(f"not of {n} utterances, {classes} emotions and {branches} branches")
    return decision


def at_round(run: FinishedRun, number: int) -> FinishedRun:
    """The same run with the decisions of another round. Raises UserError if they are gone or damaged.

    Nor are there any of a run with ``priors=``, which are those of its chosen round.
    """
    if run.results.priors:
        raise UserError(f"{run.path}: priors= changed the posteriors of its chosen round alone")
    folds, ensemble, n = run.results.folds, str(run.config["ensemble"]), len(run.ids)
    parts = round_decisions(RunDirectory(run.path), number, folds, ensemble, n)
    return replace(run, decision=in_order(parts))
