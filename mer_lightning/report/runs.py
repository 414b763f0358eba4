"""Finished runs as arrays, read from their run directories."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_lightning.data.corpus import TRAIN_SPLITS
from mer_lightning.errors import UserError, reading
from mer_lightning.files.plain_yaml import read_yaml
from mer_lightning.files.recorded import Results, Round
from mer_lightning.files.run_directory import RunDirectory

TRAIN_VAL = "Train&Val"  # the name of the part whose predictions are out of fold

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's figures and its predictions for N utterances, C emotions, M branches, in the corpus's order.

    All Train&Val predictions are out of fold; those of test sets are the mean over the folds' networks.
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
    predicted: Ints  # (N,) class
    predicted_valence: Floats  # (N,)
    posterior: Floats  # (N, C)
    weights: Floats  # (N, M), how much each branch counted
    branches: list[str]  # M names
    features: dict[str, str]  # feature set -> hash of its values; empty where the run does not say

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
    def combined(self) -> bool:
        """Whether it is several systems decided together: such a run has no rounds of its own."""
        return bool(self.config["combine"]["of"] != "none")

    @property
    def truth(self) -> str:
        """A fingerprint of the utterances and their labels: equal for runs that may be compared."""
        parts = (self.ids, self.split, self.emotion, self.valence)
        return hashlib.sha256("\0".join(repr(part.tolist()) for part in parts).encode()).hexdigest()

    def scores(self, part: str) -> dict[str, float | None]:
        """Dis, Dim and Com on a part, as the run reported them."""
        return part_scores(self.results, part)

    def rows(self, part: str) -> Ints:
        """Indices of a part's utterances."""
        wanted = TRAIN_SPLITS if part == TRAIN_VAL else (part,)
        return np.flatnonzero(np.isin(self.split, wanted))


def part_scores(entry: Results | Round, part: str) -> dict[str, float | None]:
    """Measure -> score of the reported round or of another: Train&Val's, or a test set's."""
    return asdict(entry.validation if part == TRAIN_VAL else entry.test[part])


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
    results = run.read_results()
    with reading(run.config, "restore it or remove the run"):
        config = dict(read_yaml(run.config.read_text(encoding="utf-8")))
        if not (isinstance(config["ensemble"], str) and isinstance(config["combine"]["of"], str)):
            raise ValueError("ensemble and combine.of are names")
    features = run.read_fingerprint().features if run.data.is_file() else {}
    with reading(run.predictions, "delete results.json, and the same command writes both again"):
        table = list(csv.DictReader(io.StringIO(run.predictions.read_text(encoding="utf-8"))))
        return _from_table(folder, results, config, table, features)


def _from_table(
    folder: Path,
    results: Results,
    config: dict[str, Any],
    table: list[dict[str, str]],
    features: dict[str, str],
) -> FinishedRun:
    expected = sum(results.data.n.values())
    if not table or len(table) != expected:
        raise ValueError(f"{len(table)} rows, results.json says {expected}")
    classes = results.data.classes
    branches = [name.removeprefix("weight_") for name in table[0] if name.startswith("weight_")]
    index = {name: i for i, name in enumerate(classes)} | {"": -1}

    def floats(names: list[str]) -> Floats:
        return np.array([[float(row[name] or "nan") for name in names] for row in table])

    return FinishedRun(
        path=folder,
        results=results,
        config=config,
        ids=np.array([row["utterance_id"] for row in table]),
        split=np.array([row["split"] for row in table]),
        fold=np.array([int(row["fold"] or -1) for row in table]),
        group=np.array([row.get("group") or "" for row in table]),
        emotion=np.array([index[row["emotion"]] for row in table]),
        valence=floats(["valence"])[:, 0],
        predicted=np.array([index[row["predicted_emotion"]] for row in table]),
        predicted_valence=floats(["predicted_valence"])[:, 0],
        posterior=floats([f"posterior_{name}" for name in classes]),
        weights=floats([f"weight_{name}" for name in branches]),
        branches=branches,
        features=features,
    )
